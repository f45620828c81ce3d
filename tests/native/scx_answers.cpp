/* SPDX-License-Identifier: Apache-2.0 */
// The simulated kernel is put into each state that a guest's log tells of (tests/kernel/bpf/answers.bpf.c), and asked
// what the guest's kernel was asked. Prints, per question: how often it was asked, and how often it was answered
// differently here.
//
//     scx_answers LOG CPUS CPUS_PER_LLC THREADS_PER_CORE [order|slice]
//
// The last one plants a fault: tasks come to the head of queues, or a CPU's time is 1 ns longer.
#include "scx/functions.hpp"
#include "scx/scheduler.hpp"
#include "sim_cases.hpp"

#include <bit>
#include <fstream>
#include <map>
#include <unordered_map>
#include <unordered_set>

using namespace schedtuna::scx;

#include "scx_answers.h"

namespace
{

constexpr TaskId STAND_IN = 0, WAKER = 1, FIRST = 2, NR_TASKS = 4096;
constexpr std::uint64_t NR_PRINTED = 5;

using u64 = std::uint64_t;
using s32 = std::int32_t;

u64 ask(scx_instance *i, const char *name, u64 a = 0, u64 b = 0, u64 c = 0, u64 d = 0)
{
	return find_function(name)(i, a, b, c, d, 0);
}

// The operations of a scheduler that does what the record at hand tells of.
const scx_answer *record;
bool was_asked, comes_first;  // the latter is a fault
std::unordered_map<s32, TaskId> task_of;
std::map<s32, s32> pid_of;  // of the simulated pid
struct Found {
	s32 nr_arrival, nr_vtime, moved;
	s32 arrival[LISTED], by_vtime[LISTED], reversed[LISTED];
} found;

u64 init(scx_instance *i, u64, u64, u64, u64, u64)
{
	for (u64 cpu = 0; cpu < MAX_CPUS; cpu++) {
		ask(i, "scx_bpf_create_dsq", ARRIVAL_QUEUE + cpu);
		ask(i, "scx_bpf_create_dsq", VTIME_QUEUE + cpu);
	}
	return 0;
}

u64 argument(const scx_instance *i, u64 context, std::size_t n)
{
	u64 value;
	std::memcpy(&value, i->memory + context + 8 * n, sizeof(value));
	return value;
}

u64 select_cpu(scx_instance *i, u64 r1, u64, u64, u64, u64)
{
	ask(i, "scx_bpf_dsq_insert", argument(i, r1, 0), Constants{}.SCX_DSQ_LOCAL, record->given_slice, 0);
	return static_cast<u64>(record->cpu);
}

u64 enqueue(scx_instance *i, u64 r1, u64, u64, u64, u64)
{
	u64 p = argument(i, r1, 0), cpu = static_cast<u64>(record->cpu), flags = record->flags;
	flags |= comes_first ? Constants{}.SCX_ENQ_HEAD : 0;
	if (record->which == INTO_LOCAL) {
		flags |= Constants{}.SCX_ENQ_PREEMPT;
		ask(i, "scx_bpf_dsq_insert", p, Constants{}.SCX_DSQ_LOCAL, record->given_slice, flags);
	} else if (record->which == INTO_ARRIVAL) {
		ask(i, "scx_bpf_dsq_insert", p, ARRIVAL_QUEUE + cpu, record->given_slice, flags);
	} else {
		find_function("scx_bpf_dsq_insert_vtime")(i, p, VTIME_QUEUE + cpu, record->given_slice, record->vtime,
							  flags);
	}
	return 0;
}

void list(scx_instance *i, s32 *pids, u64 dsq, u64 flags)
{
	u64 iterator = i->stack;
	std::memset(pids, 0, sizeof(s32) * LISTED);
	ask(i, "bpf_iter_scx_dsq_new", iterator, dsq, flags);
	for (int n = 0; n < LISTED; n++) {
		u64 p = ask(i, "bpf_iter_scx_dsq_next", iterator);
		if (!p)
			break;
		s32 pid;
		std::memcpy(&pid, i->memory + p + offsetof(mirror::task_struct, pid), sizeof(pid));
		pids[n] = pid_of[pid];
	}
	ask(i, "bpf_iter_scx_dsq_destroy", iterator);
}

u64 dispatch(scx_instance *i, u64, u64, u64, u64, u64)
{
	u64 cpu = static_cast<u64>(record->cpu), first = ARRIVAL_QUEUE + cpu, second = VTIME_QUEUE + cpu;
	if (was_asked)
		return 0;
	was_asked = true;
	found.nr_arrival = static_cast<s32>(ask(i, "scx_bpf_dsq_nr_queued", first));
	found.nr_vtime = static_cast<s32>(ask(i, "scx_bpf_dsq_nr_queued", second));
	list(i, found.arrival, first, 0);
	list(i, found.by_vtime, second, 0);
	list(i, found.reversed, second, Constants{}.SCX_DSQ_ITER_REV);
	if (record->which)
		std::swap(first, second);
	found.moved = ask(i, "scx_bpf_dsq_move_to_local", first)    ? 1
		      : ask(i, "scx_bpf_dsq_move_to_local", second) ? 2
								    : 0;
	return 0;
}

constexpr scx_function FUNCTIONS[] = {
	{"init", "struct_ops/init", init, nullptr, 1, 1},
	{"select_cpu", "struct_ops/select_cpu", select_cpu, nullptr, 1, 1},
	{"enqueue", "struct_ops/enqueue", enqueue, nullptr, 1, 1},
	{"dispatch", "struct_ops/dispatch", dispatch, nullptr, 1, 1},
};
constexpr scx_member MEMBERS[] = {{"init", 0, 0}, {"select_cpu", 1, 0}, {"enqueue", 2, 0}, {"dispatch", 3, 0}};

std::shared_ptr<const Library> library()
{
	static scx_object object{};
	object.abi = SCX_OBJECT_ABI;
	object.bytes = sizeof(object);
	object.name = object.digest = object.kernel = "answers";
	object.image_end = SCX_IMAGE + 4096;
	object.functions = FUNCTIONS;
	object.members = MEMBERS;
	object.nr_functions = std::size(FUNCTIONS);
	object.nr_members = std::size(MEMBERS);
	return std::make_shared<const Library>(object, Constants{});
}

// A machine that can be put into any state.
class Posed : public Simulation
{
      public:
	using Simulation::Simulation;
	void stand_on(CpuId cpu)
	{
		this_cpu_ = cpu;
	}
	void set_idle(u64 cpus)
	{
		for (CpuId cpu = 0; cpu < nr_cpus(); cpu++)
			cpus >> cpu & 1 ? idle_.set(cpu) : idle_.clear(cpu);
	}
	void set_current(CpuId cpu, TaskId id)
	{
		cpus_[cpu].current = id;
		cpus_[cpu].charged_at = clock_task(cpu);
	}
	void pass(CpuId cpu, Ns ran)  // time of its task, which has not been charged
	{
		cpus_[cpu].charged_at = clock_task(cpu) - ran;
	}
};

class Replay
{
      public:
	Replay(CpuId cpus, CpuId per_llc, CpuId per_core, std::string fault)
	    : machine_({cpus, per_llc, per_core}, free_of_cost(), sleepers(), make_scheduler("fair"), {1, 1}),
	      idle_(library(), {}, {}, 1), queues_(library(), {}, {}, 1), fault_(std::move(fault))
	{
		comes_first = fault_ == "order";
		machine_.run(10 * MS);
		for (Core *core : {&idle_, &queues_}) {
			core->enter(machine_);
			core->load();
			for (TaskId id = 0; id < NR_TASKS; id++)
				core->add_task(id, false);
		}
	}
	void replay(const scx_answer &r)
	{
		record = &r;
		switch (r.kind) {
		case ANSWER_IDLE:
			return ask_idle(r);
		case ANSWER_DIRECT:
			queues_.select_cpu(task(r.pid), static_cast<CpuId>(r.cpu), 0);
			is_direct_.insert(r.pid);
			return;
		case ANSWER_RUNNABLE:
			if (is_direct_.erase(r.pid) || (r.exits && !is_changed_.contains(r.pid)))
				enter(r);
			return;
		case ANSWER_ENQUEUE:
			return enter(r);
		case ANSWER_DISPATCH:
			return choose(r);
		case ANSWER_RUNNING:
			return run(r);
		case ANSWER_TICK:
			return charge(r, "slice at a tick");
		case ANSWER_STOPPING:
			return stop(r);
		case ANSWER_QUIESCENT:
			return sleep(r);
		}
	}
	void print() const
	{
		for (const auto &[what, count] : asked_)
			std::printf("%s\t%llu\t%llu\n", what.c_str(), static_cast<unsigned long long>(count[0]),
				    static_cast<unsigned long long>(count[1]));
	}

      private:
	static Workload sleepers()
	{
		Workload w;
		for (TaskId id = 0; id < NR_TASKS; id++)
			add_task(w, "t", {sleep_for(3600'000 * MS)});
		return w;
	}
	static std::vector<DsqPlace> &places(Core &core)
	{
		return const_cast<std::vector<DsqPlace> &>(core.places());
	}
	bool is_known(s32 pid) const
	{
		return task_of.contains(pid);
	}
	TaskId task(s32 pid)
	{
		auto [at, is_new] = task_of.emplace(pid, next_);
		if (is_new) {
			pid_of[static_cast<s32>(next_) + 1] = pid;
			if (++next_ == NR_TASKS)
				throw std::runtime_error("more tasks than there is room for");
		}
		return at->second;
	}
	void compare(const std::string &what, bool same, const std::string &how)
	{
		auto &count = asked_[what];
		count[0]++;
		if (same)
			return;
		if (++count[1] <= NR_PRINTED)
			std::fprintf(stderr, "%s: %s\n", what.c_str(), how.c_str());
	}

	void ask_idle(const scx_answer &r)
	{
		static const char *const NAMES[] = {"scx_bpf_select_cpu_dfl", "scx_bpf_select_cpu_and",
						    "scx_bpf_pick_idle_cpu",  "scx_bpf_pick_idle_cpu, whole",
						    "scx_bpf_pick_any_cpu",   "scx_bpf_test_and_clear_cpu_idle"};
		if (!r.is_stable || r.is_pinned) {
			asked_[r.is_pinned ? "left out: pinned" : "left out: others changed the masks"][0]++;
			return;
		}
		CpuId cpu = static_cast<CpuId>(r.cpu);
		TaskId current = machine_.current(cpu);
		pose(r);
		std::string state = told(r.idle) + " idle, whole " + told(idle_.mask(idle_.idle_mask(true))[0]);
		if (machine_.sibling_of(0) != NONE && idle_.mask(idle_.idle_mask(true))[0] != r.cores) {
			asked_["left out: the mask of cores lags"][0]++;
			return unpose(r, current);
		}
		Answer here = answer(r);
		if (!(here == r) && r.answer >= 0) {
			// Others in that kernel move where a CPU's search begins: from where it would have found the
			// same.
			machine_.set_idle(1ull << (r.answer + machine_.nr_cpus() - 1) % machine_.nr_cpus());
			idle_.pick_idle_cpu(idle_.mask(idle_.all_cpus()), 0);
			machine_.set_idle(r.idle);
			Answer again = answer(r);
			asked_["from elsewhere"][0] += again == r;
			here = again == r ? again : here;
		}
		compare(NAMES[r.which], here == r,
			state + ", on " + std::to_string(cpu) + ", prev " + std::to_string(r.prev) + ", flags "
				+ told(r.wake_flags) + ", local " + std::to_string(r.nr_local) + ": "
				+ std::to_string(r.answer) + " left " + told(r.idle_after) + ", here "
				+ std::to_string(here.cpu) + " left " + told(here.idle));
		unpose(r, current);
	}
	void unpose(const scx_answer &r, TaskId current)
	{
		CpuId cpu = static_cast<CpuId>(r.cpu);
		machine_.set_current(cpu, current);
		if (r.nr_local)
			idle_.dsq(cpu).remove(places(idle_), STAND_IN);
	}
	struct Answer {
		s32 cpu;
		bool is_idle;
		u64 idle, cores;  // what is left
		bool operator==(const scx_answer &r) const
		{
			return cpu == r.answer && is_idle == static_cast<bool>(r.is_idle) && idle == r.idle_after
			       && cores == r.cores_after;
		}
	};
	Answer answer(const scx_answer &r)
	{
		Answer made{0, false, 0, 0};
		made.cpu = static_cast<s32>(put(r, made.is_idle));
		made.idle = idle_.mask(idle_.idle_mask(false))[0];
		made.cores = machine_.sibling_of(0) == NONE ? r.cores_after : idle_.mask(idle_.idle_mask(true))[0];
		return made;
	}
	void pose(const scx_answer &r)
	{
		CpuId cpu = static_cast<CpuId>(r.cpu);
		machine_.stand_on(cpu);
		machine_.set_idle(r.idle);
		machine_.set_current(cpu, WAKER);
		idle_.task(WAKER).flags = r.exits ? mirror::PF_EXITING : 0;
		idle_.mask(idle_.task(FIRST).cpus_ptr)[0] = r.allowed;
		idle_.task(FIRST).nr_cpus_allowed = std::popcount(r.allowed);
		if (r.nr_local)
			idle_.dsq(cpu).insert(places(idle_), cpu, STAND_IN, false);
	}
	u64 put(const scx_answer &r, bool &is_idle)
	{
		scx_instance *i = &idle_.instance();
		u64 p = idle_.address_of(FIRST), cpus = idle_.task(FIRST).cpus_ptr, at = i->stack;
		u64 prev = static_cast<u64>(r.prev), answer = 0;
		switch (r.which) {
		case SELECT_CPU_DFL:
			answer = ask(i, "scx_bpf_select_cpu_dfl", p, prev, r.wake_flags, at);
			is_idle = i->memory[at];
			return answer;
		case SELECT_CPU_AND:
			idle_.at<mirror::scx_bpf_select_cpu_and_args>(at) = {r.prev, r.wake_flags, 0};
			answer = ask(i, "__scx_bpf_select_cpu_and", p, cpus, at);
			break;
		case PICK_IDLE:
			answer = ask(i, "scx_bpf_pick_idle_cpu", cpus, 0);
			break;
		case PICK_IDLE_WHOLE:
			answer = ask(i, "scx_bpf_pick_idle_cpu", cpus, Constants{}.SCX_PICK_IDLE_CORE);
			break;
		case PICK_ANY:
			return ask(i, "scx_bpf_pick_any_cpu", cpus, 0);
		default:
			is_idle = ask(i, "scx_bpf_test_and_clear_cpu_idle", prev);
			return prev;
		}
		is_idle = static_cast<s32>(answer) >= 0;
		return answer;
	}

	// Into a queue: because it wakes up, or because it was stopped with nothing left of its slice.
	void enter(const scx_answer &r)
	{
		TaskId id = task(r.pid);
		machine_.task(id).cpu = static_cast<CpuId>(r.cpu);
		is_changed_.erase(r.pid);
		queues_.task(id).flags = r.exits ? mirror::PF_EXITING : 0;
		if (is_stopped_.erase(r.pid)) {
			queues_.put_prev(static_cast<CpuId>(r.cpu), id, STAND_IN);
		} else {
			queues_.take(id);
			queues_.enqueue_woken(id, r.flags);
		}
	}
	void choose(const scx_answer &r)
	{
		CpuId cpu = static_cast<CpuId>(r.cpu);
		TaskId prev = r.pid ? task(r.pid) : NONE;
		if (r.pid && is_running(r))
			charge(r, "slice at dispatch()");
		machine_.stand_on(cpu);
		was_asked = false;
		found = {};
		TaskId next = queues_.balance(cpu, prev, r.is_queued);
		if (next != NONE && next != prev)
			queues_.dsq(cpu).insert(places(queues_), cpu, next, true);
		compare("is dispatch() called", was_asked,
			"on " + std::to_string(cpu) + ", prev " + std::to_string(r.pid) + " with "
				+ std::to_string(r.slice) + " ns left, local " + std::to_string(queues_.dsq(cpu).nr()));
		if (!was_asked)
			return;
		compare("scx_bpf_dsq_nr_queued", found.nr_arrival == r.nr_arrival && found.nr_vtime == r.nr_vtime,
			numbers(r.nr_arrival, r.nr_vtime) + ", here " + numbers(found.nr_arrival, found.nr_vtime));
		compare_lists("order of arrival", r.arrival, found.arrival);
		compare_lists("order of virtual time", r.by_vtime, found.by_vtime);
		compare_lists("its reverse", r.reversed, found.reversed);
		compare("scx_bpf_dsq_move_to_local", found.moved == r.moved, numbers(r.moved, found.moved));
	}
	void compare_lists(const std::string &what, const s32 *there, const s32 *here)
	{
		if (!there[0] && !here[0])
			return;
		std::string how;
		for (const s32 *all : {there, here}) {
			for (int i = 0; i < LISTED && all[i]; i++)
				how += std::to_string(all[i]) + " ";
			how += all == there ? "here " : "";
		}
		compare(what + (there[1] ? ", several" : ", one"), !std::memcmp(there, here, sizeof(s32) * LISTED),
			how);
	}
	bool is_running(const scx_answer &r)
	{
		return machine_.current(static_cast<CpuId>(r.cpu)) == task(r.pid);
	}
	void run(const scx_answer &r)
	{
		bool is_known_here = is_known(r.pid);
		TaskId id = task(r.pid);
		CpuId cpu = static_cast<CpuId>(r.cpu);
		TaskId first = queues_.dsq(cpu).first();
		bool was_chosen = chosen_.contains(cpu) && chosen_[cpu] == id;
		chosen_.erase(cpu);
		if (is_changed_.erase(r.pid))
			is_known_here = false;
		if (is_known_here)
			compare("who runs next", first == id || was_chosen,
				std::to_string(r.pid) + " on " + std::to_string(cpu) + ", here "
					+ (first == NONE ? "nobody"
							 : std::to_string(pid_of[static_cast<s32>(first) + 1]))
					+ ", in " + std::to_string(queues_.places()[id].dsq));
		queues_.take(id);
		machine_.task(id).cpu = cpu;
		machine_.set_current(cpu, id);
		if (is_known_here) {
			queues_.running(id);
			compare("slice at running()", queues_.task(id).scx.slice == r.slice,
				numbers(static_cast<long long>(r.slice),
					static_cast<long long>(queues_.task(id).scx.slice)));
		}
		queues_.set_slice(id, r.slice);
		ran_ns_[id] = r.ran_ns;
	}
	void charge(const scx_answer &r, const std::string &what)
	{
		TaskId id = task(r.pid);
		CpuId cpu = static_cast<CpuId>(r.cpu);
		if (!ran_ns_.contains(id) || machine_.current(cpu) != id)
			return;
		u64 ran = r.ran_ns - ran_ns_[id], before = queues_.task(id).scx.slice;
		ran_ns_[id] = r.ran_ns;
		machine_.pass(cpu, static_cast<Ns>(ran + (fault_ == "slice")));
		queues_.tick(cpu, id);
		u64 here = queues_.task(id).scx.slice;
		compare(what, here == r.slice,
			std::to_string(before) + " - " + std::to_string(ran) + ": " + std::to_string(r.slice)
				+ ", here " + std::to_string(here) + " of " + std::to_string(r.pid));
		queues_.set_slice(id, r.slice);
	}
	void stop(const scx_answer &r)
	{
		TaskId id = task(r.pid);
		CpuId cpu = static_cast<CpuId>(r.cpu);
		charge(r, "slice at stopping()");
		queues_.set_slice(id, r.slice);
		machine_.set_current(cpu, NONE);
		if (r.is_queued && !r.slice)  // it comes back after the choice
			chosen_[cpu] = queues_.dsq(cpu).first();
		queues_.task(id).flags = r.exits ? mirror::PF_EXITING : 0;
		if (r.is_queued && (r.slice || r.exits))
			queues_.put_prev(cpu, id, STAND_IN);
		else if (r.is_queued)
			is_stopped_.insert(r.pid);
	}
	void sleep(const scx_answer &r)
	{
		TaskId id = task(r.pid);
		queues_.take(id);
		is_stopped_.erase(r.pid);
		if (r.flags & Constants{}.SCX_DEQ_SCHED_CHANGE)	 // if it runs, it comes back without a choice
			is_changed_.insert(r.pid);
		queues_.quiescent(id, r.flags, false);
	}

	static std::string told(u64 mask)
	{
		char text[32];
		std::snprintf(text, sizeof(text), "%#llx", static_cast<unsigned long long>(mask));
		return text;
	}
	static std::string numbers(long long a, long long b)
	{
		return std::to_string(a) + " and " + std::to_string(b);
	}

	Posed machine_;
	Core idle_, queues_;  // what happens on other CPUs meanwhile matters to the first alone
	std::string fault_;
	TaskId next_ = FIRST + 1;
	std::unordered_set<s32> is_direct_, is_stopped_, is_changed_;
	std::unordered_map<CpuId, TaskId> chosen_;  // before the task that ran was put back
	std::unordered_map<TaskId, u64> ran_ns_;
	std::map<std::string, std::array<u64, 2>> asked_;
};

}  // namespace

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	auto number = [&](int i) { return static_cast<CpuId>(std::stoul(argv[i])); };
	Replay replay(number(2), number(3), number(4), argc > 5 ? argv[5] : "");
	std::ifstream log(argv[1], std::ios::binary);
	scx_answer r;
	while (log.read(reinterpret_cast<char *>(&r), sizeof(r)))
		replay.replay(r);
	replay.print();
	return 0;
}
