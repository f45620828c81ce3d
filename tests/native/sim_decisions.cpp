/* SPDX-License-Identifier: Apache-2.0 */
// Cases of native/sim/decisions.cpp, by name: test_sim_engine.py runs each, with every invariant checked after every
// event. A case prints what was wrong and exits 1.
#include "sim_cases.hpp"

#include "sim/external.hpp"

#include <algorithm>
#include <optional>

namespace
{

constexpr Ns LENGTH = 60 * MS;
constexpr const char *SCHEDULERS[] = {"fair", "fifo",	 "rr",	 "sjf",	  "srtf",
				      "las",  "gittins", "mlfq", "vtime", "interactive"};

Simulation random_machine(std::uint32_t i, const char *scheduler)
{
	Costs costs;
	costs.irq_per_s = i % 2 * 1000;
	costs.kthread_per_s = i % 3 * 100;
	std::uint32_t cpus = 1 + i % 6;
	return Simulation({cpus, cpus % 4 ? 0u : 2u, 1}, costs, i % 4 ? random_load(i) : mixed_load(3 * cpus + 5),
			  make_scheduler(scheduler), {i, i});
}

// The machine where it chooses for the nth time; nothing: it never does.
std::optional<Simulation> at_pick(const Simulation &begin, std::uint64_t nth)
{
	Simulation s(begin);
	s.stop_at_pick(nth);
	if (s.run(LENGTH) != Stop::Decision)
		return {};
	equal("picks that have begun", s.nr_picks(), nth + 1);
	return s;
}

// Whom the scheduler itself chooses there; NONE: nobody.
TaskId own_choice(const Simulation &at)
{
	Simulation s(at);
	CpuId cpu = s.deciding_cpu();
	s.set_traced(true);
	TaskId before = s.current(cpu);
	s.choose_own();
	for (const sched_event &e : s.take_events()) {
		if (e.type == EVENT_SWITCH && e.cpu == cpu && static_cast<Ns>(e.timestamp_ns) == at.now())
			return e.other_tid - 1;
		if (e.type != EVENT_MIGRATE)  // a CPU that would idle pulls a task first
			break;
	}
	return before;
}

Simulation chosen(const Simulation &at, TaskId next)
{
	Simulation s(at);
	s.choose(next);
	s.run(LENGTH);
	return s;
}

// Stopping there, and choosing whom the scheduler chooses, changes nothing; another candidate runs, twice the same.
void flips()
{
	std::uint32_t nr_decisions = 0, nr_flips = 0;
	for (std::uint32_t i = 0; i < 40; i++) {
		const char *scheduler = SCHEDULERS[i % 2 ? 0 : i / 2 % std::size(SCHEDULERS)];
		Simulation begin = random_machine(i, scheduler), whole(begin);
		whole.run(LENGTH);
		Dice dice(i);
		for (int k = 0; k < 5 && whole.nr_picks(); k++) {
			std::optional<Simulation> at = at_pick(begin, dice.below(whole.nr_picks()));
			if (!at) {
				check("a pick is reached", false);
				continue;
			}
			Simulation own(*at);
			own.choose_own();
			own.run(LENGTH);
			check("the scheduler's choice changes nothing", alike(own, whole));
			std::vector<TaskId> candidates = at->candidates();
			TaskId natural = own_choice(*at);
			nr_decisions++;
			for (TaskId next : candidates) {
				Simulation a = chosen(*at, next);
				nr_flips += next != natural;
				if (next == natural)
					check("its choice, named, changes nothing", alike(a, whole));
				else
					check("a flip gives the same twice", alike(a, chosen(*at, next)));
			}
		}
	}
	check("there were decisions and flips", nr_decisions > 100 && nr_flips > 100);
}

void a_flip_runs_its_task()
{
	Workload w;
	add_task(w, "long", {run(30 * MS)});
	add_task(w, "short", {run(1 * MS)});
	for (const char *scheduler : {"fifo", "fair"}) {
		Simulation s = machine(w, 1, scheduler);
		s.stop_at_pick(0);
		check("the first choice", s.run(NEVER) == Stop::Decision);
		equal("nobody ran before", s.current(0), NONE);
		equal("its CPU", s.deciding_cpu(), 0);
		Simulation other(s);
		other.choose(other.candidates().back());
		equal("who was chosen runs", other.current(0), s.candidates().back());
		raises<BadInput>("nothing to decide", [&] { other.choose(0); });
		raises<BadInput>("nor candidates", [&] { (void)other.candidates(); });
		raises<BadInput>("no task", [&] { s.choose(7); });
		check("it goes on by itself", s.run(NEVER) == Stop::AllExited);
	}
	Simulation s = machine(w, 1, "fifo");
	while (s.nr_picks() == 0)
		s.step();
	s.run(MS / 2);
	check("the short one waits", s.task(1).state == TaskState::Queued);
	equal("fifo: until the long one is done", s.cpu_time_ns(0), MS / 2);
}

// A task that is moved by its affinity, or exits, with its CPU's choice put off.
void what_follows_a_choice()
{
	Workload w;
	w.cpu_sets = {{1}, {0}};
	add_task(w, "mover", {set_affinity(0), run(MS), set_affinity(1), run(MS)});
	add_task(w, "hog", {run(5 * MS)});
	for (const char *scheduler : {"fair", "fifo", "vtime"}) {
		Simulation begin = machine(w, 2, scheduler), whole(begin);
		whole.run(NEVER);
		for (std::uint64_t nth = 0; nth < whole.nr_picks(); nth++) {
			Simulation s(begin);
			s.stop_at_pick(nth);
			check("it stops", s.run(NEVER) == Stop::Decision);
			Simulation other(s);
			check("all exit", other.run(NEVER) == Stop::AllExited);
			check("as without a stop", alike(other, whole));
		}
	}
}

void placements()
{
	std::uint32_t nr_moved = 0;
	for (std::uint32_t i = 0; i < 30; i++) {
		Simulation begin = random_machine(i, "fair"), whole(begin);
		whole.set_traced(true);
		whole.run(LENGTH);
		std::vector<sched_event> wakeups;
		for (const sched_event &e : whole.take_events())
			if (e.type == EVENT_WAKEUP || e.type == EVENT_WAKEUP_NEW)
				wakeups.push_back(e);
		equal("every wakeup is traced", wakeups.size(), whole.totals().nr_wakeups);
		Dice dice(i);
		for (int k = 0; k < 3 && !wakeups.empty(); k++) {
			std::uint64_t nth = dice.below(wakeups.size());
			TaskId id = wakeups[nth].tid - 1;
			for (CpuId cpu = 0; cpu < whole.nr_cpus(); cpu++) {
				if (!whole.cpus(id).has(cpu))
					continue;
				Simulation a(begin);
				a.place_at_wakeup(nth + 1, cpu);
				Simulation b(a);
				try {
					a.run(LENGTH);
					b.run(LENGTH);
				} catch (const BadInput &) {
					continue;  // its affinity was another one then
				}
				check("the same twice", alike(a, b));
				if (cpu == wakeups[nth].target_cpu)
					check("where it went anyway", alike(a, whole));
				nr_moved += !alike(a, whole);
			}
		}
	}
	check("some placements matter", nr_moved > 20);
}

// From 20 ms on a hog has the weight of nice 5: of the rest it gets 335 of 335 + 1024.
void attributes_from_outside()
{
	Workload w;
	add_task(w, "a", {run(3600'000 * MS)});
	add_task(w, "b", {run(3600'000 * MS)});
	Simulation s = machine(w, 1, "fair");
	s.run(20 * MS);
	Simulation same(s), plain(s);
	same.set_attribute(0, Op::SetNice, 0);
	same.run(500 * MS);
	plain.run(500 * MS);
	check("what is so already changes nothing", alike(same, plain));
	Ns before = s.cpu_time_ns(0);
	s.set_attribute(0, Op::SetNice, 5);
	s.run(10'020 * MS);
	Ns got = s.cpu_time_ns(0) - before, due = 10'000 * MS * 335 / (335 + 1024);
	check("its share", got > due - 10 * MS && got < due + 10 * MS);
	s.set_attribute(1, Op::SetPolicy, static_cast<Ns>(Policy::Idle));
	s.set_attribute(1, Op::SetSlice, 3 * MS);
	equal("its weight", s.task(1).weight, 3);
	raises<BadInput>("no nice value", [&] { s.set_attribute(0, Op::SetNice, 20); });
	raises<BadInput>("no policy", [&] { s.set_attribute(0, Op::SetPolicy, 3); });
	raises<BadInput>("no slice", [&] { s.set_attribute(0, Op::SetSlice, -1); });
	raises<BadInput>("no task", [&] { s.set_attribute(2, Op::SetNice, 1); });
	Simulation early = machine(w, 1, "fair");
	early.set_attribute(0, Op::SetNice, 5);	 // before it is born
	early.run(10'000 * MS);
	check("from the beginning", early.cpu_time_ns(0) < 2'480 * MS && early.cpu_time_ns(0) > 2'450 * MS);

	for (std::uint32_t i = 0; i < 100; i++) {  // any attribute of any task, at any time: the invariants hold
		Simulation any = random_machine(i, SCHEDULERS[i % std::size(SCHEDULERS)]);
		Dice dice(i);
		for (Ns at = MS; at < LENGTH; at += 7 * MS) {
			any.run(at);
			auto id = static_cast<TaskId>(dice.below(any.nr_tasks()));
			if (any.task(id).state == TaskState::Dead)
				continue;
			any.set_attribute(id, Op::SetNice, static_cast<Ns>(dice.below(40)) - 20);
			any.set_attribute(id, Op::SetPolicy, static_cast<Ns>(dice.below(3)));
			any.set_attribute(id, Op::SetSlice, static_cast<Ns>(dice.below(2)) * MS);
		}
	}
}

Simulation external(const Workload &w, std::uint32_t cpus, std::initializer_list<Setting> settings,
		    std::uint64_t seed = 1)
{
	return Simulation({cpus, 0, 1}, Costs{}, w, make_scheduler("external", settings), {seed, seed});
}

void first_come(Simulation &s, Ns until)
{
	while (s.run(until) == Stop::Decision)
		s.choose(s.candidates().front());
}

// Who always takes the first is the scheduler that always takes the first.
void from_outside()
{
	for (std::uint32_t i = 0; i < 60; i++) {
		std::uint32_t cpus = i % 2 ? 1 : 4;
		Workload w = i % 2 ? random_load(i) : mixed_load(i + 2);
		bool is_rr = i % 4 < 2;
		Setting slice{"slice_us", 3000};
		Simulation own({cpus, 0, 1}, Costs{}, w,
			       is_rr ? make_scheduler("rr", {&slice, 1}) : make_scheduler("fifo"), {i, i});
		Simulation outside = external(w, cpus, {{"slice_us", is_rr ? 3000 : 0}, {"asks_at_wakeups", 0}}, i);
		own.run(LENGTH);
		first_come(outside, LENGTH / 2);
		Simulation fork(outside);
		first_come(fork, LENGTH);
		first_come(outside, LENGTH);
		if (!alike(outside, own))
			std::printf("load %u\n", i);
		check("first come, first served", alike(outside, own));
		check("and its fork", alike(fork, own));
	}
}

// Any choice that is allowed keeps the invariants, and the same choices come to the same.
void any_choice_from_outside()
{
	for (std::uint32_t i = 0; i < 60; i++) {
		auto whole = [i] {
			Simulation s = external(random_load(i), 1 + i % 4,
						{{"slice_us", 1000}, {"asks_at_wakeups", i % 2}}, i);
			Dice dice(i);
			Ns now = -1;
			while (s.run(LENGTH) == Stop::Decision) {
				const std::vector<TaskId> &found = s.candidates();
				for (TaskId id : found) {
					CandidateRow row = dynamic_cast<const External &>(s.scheduler()).row(s, id);
					check("times of a candidate",
					      row.waited_ns >= 0 && row.attained_ns >= 0 && row.burst_ns >= 0);
				}
				if (s.now() > now && dice.below(8) == 0)  // nor is every CPU left idle for ever
					s.preempt(static_cast<CpuId>(dice.below(s.nr_cpus())));
				now = s.now();
				s.choose(found[dice.below(found.size())]);
			}
			return s;
		};
		check("the same twice", alike(whole(), whole()));
	}
}

void idling_from_outside()
{
	Workload w;
	add_task(w, "hog", {run(5 * MS)});
	add_task(w, "later", {run(1 * MS)});
	w.tasks.back().start_ns = 2 * MS;
	Simulation s = external(w, 1, {});
	check("a task is born", s.run(NEVER) == Stop::Decision);
	equal("one candidate", s.candidates().size(), 1);
	check("until it is told", s.run(NEVER) == Stop::Decision && s.step() == Stop::Decision);
	raises<BadInput>("no candidate", [&] { s.choose(1); });
	Simulation lazy(s);
	s.choose(NONE);
	equal("nobody runs", s.current(0), NONE);
	check("until another one comes", s.run(NEVER) == Stop::Decision);
	equal("two candidates", s.candidates().size(), 2);
	s.choose(1);
	equal("it runs", s.current(0), 1);
	first_come(s, NEVER);
	check("all are done", s.run(NEVER) == Stop::AllExited);
	lazy.choose(NONE);
	lazy.preempt(0);
	check("asked again", lazy.run(NEVER) == Stop::Decision);
	lazy.choose(NONE);
	lazy.run(NEVER);
	lazy.choose(NONE);
	raises<SchedulerError>("it lets everything wait", [&] { lazy.run(NEVER); });
	raises<BadInput>("no CPU", [&] { s.preempt(1); });
	Simulation plain = machine(w, 1, "fifo");
	plain.stop_at_pick(0);
	plain.run(NEVER);
	raises<BadInput>("others don't idle", [&] { plain.choose(NONE); });
}

// Tasks that sleep as often as they run, and some that wake each other all at once.
Workload lively_load(std::uint32_t nr_tasks)
{
	Workload w;
	w.resources = {{"lap", ResourceKind::Barrier, 4}};
	for (std::uint32_t i = 0; i < nr_tasks; i++) {
		Step burst{Op::Run, 0, 0, NONE, NONE, {Shape::Exponential, 400'000, 0, 0}};
		Step rest{Op::Sleep, 0, 0, NONE, NONE, {Shape::Exponential, 600'000, 0, 0}};
		add_task(w, "t" + std::to_string(i),
			 i < 4 ? std::vector{burst, on(Op::Barrier, 0), loop(0, -1)}
			       : std::vector{burst, rest, loop(0, -1)});
	}
	return w;
}

// What is decided as it would be changes nothing; a task that is to stay stays; the same decisions come to the same.
void migrations()
{
	std::uint32_t nr_waking = 0, nr_balanced = 0, nr_different = 0;
	for (std::uint32_t i = 0; i < 40; i++) {
		std::uint32_t cpus = 2 + i % 5;
		Simulation begin = i % 4 ? Simulation({cpus, cpus % 4 ? 0u : 2u, 1}, Costs{}, lively_load(2 * cpus),
						      make_scheduler("fair"), {i, i})
					 : random_machine(i, "fair");
		Simulation whole(begin), yes(begin);
		whole.run(LENGTH);
		while (std::optional<Migration> next = yes.next_migration(LENGTH)) {
			equal("which one", next->nth, yes.nr_migrations_asked());
			equal("CPUs", next->nr_idle + next->nr_busy, whole.nr_cpus());
			check("loads", next->from_load <= 1024 && next->to_load <= 1024);
			(next->wakes ? nr_waking : nr_balanced)++;
			yes.decide_migration(next->nth, true);
			raises<BadInput>("only once", [&] { yes.decide_migration(next->nth, true); });
			check("it is asked for", yes.run_to_migration(next->nth, LENGTH));
			equal("when it was to be", yes.now(), next->at_ns);
			check("there is such a task", next->task < yes.nr_tasks());
		}
		yes.run(LENGTH);
		check("decided as it would be", alike(yes, whole));
		equal("all of them", yes.nr_migrations_asked(), whole.nr_migrations_asked());

		auto any = [&] {
			Simulation s(begin);
			Dice dice(i);
			while (std::optional<Migration> next = s.next_migration(LENGTH)) {
				bool moves = dice.below(2);
				s.decide_migration(next->nth, moves);
				Simulation at(s);
				at.run_to_migration(next->nth, LENGTH);
				if (at.nr_migrations_asked() == next->nth + 1 && at.current(next->from) != next->task)
					equal("where it is", at.task(next->task).cpu, moves ? next->to : next->from);
				if (dice.below(2))  // or several ahead
					s.run_to_migration(next->nth, LENGTH);
			}
			s.run(LENGTH);
			return s;
		};
		Simulation a = any();
		check("the same twice", alike(a, any()));
		nr_different += !alike(a, whole);
	}
	check("of both kinds", nr_waking > 300 && nr_balanced > 100);
	check("and they matter", nr_different > 30);
	raises<BadInput>("no queue per CPU", [] { (void)random_machine(1, "rr").next_migration(LENGTH); });
}

const Case CASES[] = {
	{"migrations", migrations},
	{"from_outside", from_outside},
	{"any_choice_from_outside", any_choice_from_outside},
	{"idling_from_outside", idling_from_outside},
	{"flips", flips},
	{"a_flip_runs_its_task", a_flip_runs_its_task},
	{"what_follows_a_choice", what_follows_a_choice},
	{"placements", placements},
	{"attributes_from_outside", attributes_from_outside},
};

}  // namespace

int main(int argc, char **argv)
{
	return run_case(CASES, argc, argv);
}
