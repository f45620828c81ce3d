/* SPDX-License-Identifier: Apache-2.0 */
// Cases of native/sim/simulation.hpp, by name: test_sim_engine.py runs each, with every invariant checked after every
// event. A case prints what was wrong and exits 1.
#include "sim_cases.hpp"

#include <algorithm>

namespace
{

Ns done_at(Simulation &s)
{
	while (s.step() == Stop::Time) {
	}
	return s.now();
}

// Two bursts of 3 and 1 ms: in order of arrival, or in slices of 1 ms.
void order_of_arrival()
{
	Workload w;
	add_task(w, "long", {run(3 * MS)});
	add_task(w, "short", {run(1 * MS)});
	Simulation fifo = machine(w, 1, "fifo");
	fifo.set_traced(true);
	equal("the end", done_at(fifo), 4 * MS);
	std::vector<sched_event> switches = switches_of(fifo);
	equal("switches", switches.size(), 3);
	equal("the long one leaves", switches[1].timestamp_ns, 3 * MS);
	equal("it is dead", switches[1].prev_state, PREV_DEAD);
	equal("idle again", switches[2].other_tid, 0);

	Costs exact = free_of_cost();
	exact.slice_timer = 1;
	Setting slice{"slice_us", 1000};
	Simulation rr({1, 0, 1}, exact, w, make_scheduler("rr", {&slice, 1}), {});
	rr.set_traced(true);
	equal("the end under rr", done_at(rr), 4 * MS);
	switches = switches_of(rr);
	equal("switches under rr", switches.size(), 4);
	equal("the slice's end", switches[1].timestamp_ns, 1 * MS);
	equal("preempted", switches[1].prev_state, PREV_PREEMPTED);

	exact.slice_timer = 0;
	w.programs[0].steps[0].amount.a = 9 * MS;
	Simulation coarse({1, 0, 1}, exact, w, make_scheduler("rr", {&slice, 1}), {});
	coarse.set_traced(true);
	done_at(coarse);
	equal("without a timer a slice ends at a tick", switches_of(coarse)[1].timestamp_ns, 4 * MS);
}

void costs_are_paid()
{
	Costs costs = free_of_cost();
	costs.context_switch_ns = 1000;
	costs.wakeup_ns = 500;
	costs.timer_irq_ns = 200;
	costs.idle_exit_ns = 3000;
	costs.ipi_ns = 70;
	Workload w;
	add_task(w, "sleeper", {run(1 * MS), sleep_for(5 * MS), run(1 * MS)});
	Simulation s({1, 0, 1}, costs, w, make_scheduler("fifo"), {});
	// idle exit, switch, burst, sleep; timer's interrupt with the wakeup, idle exit, switch, burst
	equal("the end", done_at(s), (3000 + 1000 + MS) + 5 * MS + (200 + 500 + 3000) + (1000 + MS));
	equal("CPU time", s.cpu_time_ns(0), 2 * (1000 + MS));
	equal("overhead", s.totals().overhead_ns, 2000);

	costs = free_of_cost();
	costs.migration_ns = 10'000;
	costs.migration_llc_ns = 25'000;
	Workload moves;
	moves.cpu_sets = {{1}, {3}};
	add_task(moves, "mover", {set_affinity(0), run(MS), set_affinity(1), run(MS)});
	Simulation m({4, 2, 1}, costs, moves, make_scheduler("fifo"), {});
	equal("longer bursts", done_at(m), 2 * MS + 10'000 + 35'000);
	equal("migrations", m.totals().nr_migrations, 2);

	costs = free_of_cost();
	costs.tick_cost_ns = 1000;
	Workload hog;
	add_task(hog, "hog", {run(10 * MS)});
	Simulation t({1, 0, 1}, costs, hog, make_scheduler("fifo"), {});
	equal("ticks stop the task's clock", done_at(t), 10 * MS + 2 * 1000);
	equal("but are no CPU time", t.cpu_time_ns(0), 10 * MS);
	equal("interrupts", t.totals().interrupts_ns, 2000);
}

void timers_and_spinning()
{
	Workload w;
	// 2 of every 10 ms; the third burst overruns its deadline, which then doesn't block.
	Step timer{Op::SleepUntil, 0, 0, 0, NONE, {Shape::Fixed, 10 * MS, 0, 0}};
	std::uint32_t task = add_task(w, "periodic",
				      {run(2 * MS), timer, run(2 * MS), timer, run(13 * MS), timer, timer, run(MS)});
	w.programs[task].nr_timers = 1;
	Simulation s = machine(w, 1, "fifo");
	equal("absolute timers keep their grid", done_at(s), 40 * MS + MS);

	for (Step &step : w.programs[task].steps)
		step.flags = TIMER_RELATIVE;
	Simulation r = machine(w, 1, "fifo");
	equal("relative ones start again", done_at(r), 33 * MS + 10 * MS + MS);

	Workload spin;
	add_task(spin, "spinner", {{Op::Spin, 0, 0, NONE, NONE, {Shape::Fixed, 5 * MS, 0, 0}}, run(MS)});
	add_task(spin, "other", {run(20 * MS)});
	Setting slice{"slice_us", 4000};
	Simulation p({1, 0, 1}, free_of_cost(), spin, make_scheduler("rr", {&slice, 1}), {});
	// Runs 0-4, waits 4-8 (its time ends at 5), runs on with what follows.
	p.run(9 * MS);
	equal("spinning ends by the clock", p.cpu_time_ns(0), 5 * MS);
	check("it has exited", p.task(0).state == TaskState::Dead);

	Workload io;
	add_task(io, "reader", {{Op::Io, 0, 0, NONE, NONE, {Shape::Fixed, MS, 0, 0}}, sleep_for(0)});
	Simulation i = machine(io, 1, "fifo");
	i.set_traced(true);
	equal("IO", done_at(i), MS);
	equal("its state", switches_of(i)[1].prev_state, PREV_IO);
}

void mutexes_and_conditions()
{
	Workload w;
	w.resources = {{"m", ResourceKind::Mutex, 0}, {"c", ResourceKind::Condition, 0}};
	add_task(w, "waiter", {on(Op::Lock, 0), on(Op::Wait, 1, 0), run(2 * MS), on(Op::Unlock, 0)});
	add_task(w, "waiter2", {on(Op::Lock, 0), on(Op::Wait, 1, 0), run(2 * MS), on(Op::Unlock, 0)});
	add_task(w, "signaller", {run(MS), on(Op::Lock, 0), on(Op::Broadcast, 1), run(3 * MS), on(Op::Unlock, 0)});
	Simulation s = machine(w, 4, "fifo");
	equal("one after the other", done_at(s), MS + 3 * MS + 2 * MS + 2 * MS);

	Workload d;
	d.resources = {{"a", ResourceKind::Mutex, 0}, {"b", ResourceKind::Mutex, 0}};
	add_task(d, "one", {on(Op::Lock, 0), run(MS), on(Op::Lock, 1)});
	add_task(d, "two", {on(Op::Lock, 1), run(MS), on(Op::Lock, 0)});
	Simulation deadlocked = machine(d, 2, "fifo");
	check("a deadlock is seen", deadlocked.run(10 * MS) == Stop::Deadlock);
	equal("when it comes about", deadlocked.now(), MS);
	same("and named", deadlocked.waiting(),
	     "one (step 2 of program one) waits for b, which two holds; "
	     "two (step 2 of program two) waits for a, which one holds");

	Workload u;
	u.resources = {{"m", ResourceKind::Mutex, 0}};
	add_task(u, "thief", {on(Op::Unlock, 0)});
	raises<BadInput>("unlocking what one doesn't hold", [&] { machine(u, 1, "fifo").run(MS); });

	// pthread's: who unlocks and locks again keeps the mutex while the other one is only on its way.
	Workload greedy;
	greedy.resources = {{"m", ResourceKind::Mutex, 0}};
	add_task(greedy, "greedy",
		 {on(Op::Lock, 0), run(MS), on(Op::Unlock, 0), on(Op::Lock, 0), run(MS), on(Op::Unlock, 0)});
	add_task(greedy, "modest", {on(Op::Lock, 0), run(MS), on(Op::Unlock, 0)});
	Simulation g = machine(greedy, 1, "fifo");
	done_at(g);
	equal("no handover", g.totals().nr_switches, 3);
}

void barriers_suspension_pipes()
{
	Workload w;
	w.resources = {{"b", ResourceKind::Barrier, 3}};
	for (Ns length : {1, 2, 5})
		add_task(w, "t" + std::to_string(length), {run(length * MS), on(Op::Barrier, 0), run(MS)});
	Simulation s = machine(w, 3, "fifo");
	equal("a barrier waits for the last", done_at(s), 6 * MS);

	Workload p;
	p.resources = {{"there", ResourceKind::Pipe, 1}, {"back", ResourceKind::Pipe, 1}};
	add_task(p, "ping", {on(Op::Write, 0), on(Op::Read, 1), run(MS), loop(0, 10)});
	add_task(p, "pong", {on(Op::Read, 0), run(MS), on(Op::Write, 1), loop(0, 10)});
	Simulation pipes = machine(p, 2, "fifo");
	equal("ping-pong", done_at(pipes), 20 * MS);

	Workload full;
	full.resources = {{"pipe", ResourceKind::Pipe, 3}};
	add_task(full, "writer", {on(Op::Write, 0), loop(0, 10)});
	add_task(full, "reader", {sleep_for(5 * MS), on(Op::Read, 0), run(MS), loop(1, 10)});
	Simulation f = machine(full, 2, "fifo");
	f.run(MS);
	equal("a full pipe blocks", f.task(0).state == TaskState::Blocked, 1);
	equal("all messages arrive", done_at(f), 15 * MS);

	Workload r;
	r.resources = {{"name", ResourceKind::Suspended, 0}};
	add_task(r, "sleeper", {on(Op::Suspend, 0), run(MS)});
	add_task(r, "waker", {sleep_for(3 * MS), on(Op::Resume, 0)});
	Simulation resumed = machine(r, 1, "fifo");
	equal("resumed", done_at(resumed), 4 * MS);
	add_task(r, "lost", {sleep_for(9 * MS), on(Op::Suspend, 0)});
	check("nobody resumes it", machine(r, 1, "fifo").run(NEVER) == Stop::Deadlock);
}

void forks_and_exec()
{
	Workload w;
	std::uint32_t child = add_task(w, "child", {run(MS)});
	w.tasks[child].start_ns = NEVER;
	std::uint32_t other = add_task(w, "other", {run(5 * MS)});
	w.tasks[other].start_ns = NEVER;
	add_task(w, "parent", {run(MS), on(Op::Fork, child), on(Op::Fork, child), on(Op::Exec, other)});
	Simulation s = machine(w, 1, "fifo");
	s.set_traced(true);
	equal("all of them run", done_at(s), 8 * MS);
	equal("tasks", s.nr_tasks(), 3);
	same("a new name", s.name_of(0), "other");
	equal("parents", s.parent_of(2), 0);

	Workload bomb;
	add_task(bomb, "bomb", {on(Op::Fork, 0), loop(0, -1)});
	raises<BadInput>("a fork bomb", [&] { machine(bomb, 1, "fifo").run(MS); });
	Workload idle;
	add_task(idle, "spinner", {sleep_for(0), loop(0, -1)});
	raises<BadInput>("a loop without time", [&] { machine(idle, 1, "fifo").run(MS); });
	Workload empty;
	add_task(empty, "looper", {loop(0, -1)});
	raises<BadInput>("an empty loop", [&] { machine(empty, 1, "fifo").run(MS); });

	Workload nested;
	add_task(nested, "nested",
		 {run(MS), loop(0, 3), sleep_for(MS), {Op::Loop, 0, 1, 0, NONE, {Shape::Fixed, 2, 0, 0}}});
	Simulation n = machine(nested, 1, "fifo");
	equal("loops in loops", done_at(n), 2 * (3 + 1) * MS);
}

void attributes_change()
{
	Workload w;
	w.cpu_sets = {{0}, {1}};
	add_task(w, "changing",
		 {{Op::SetNice, 0, 0, NONE, NONE, {Shape::Fixed, 5, 0, 0}},
		  {Op::SetPolicy, 0, 0, NONE, NONE, {Shape::Fixed, 2, 0, 0}},
		  {Op::SetSlice, 0, 0, NONE, NONE, {Shape::Fixed, 3 * MS, 0, 0}},
		  set_affinity(1),
		  run(MS)});
	Simulation s = machine(w, 2, "fifo");
	done_at(s);
	const Task &t = s.task(0);
	equal("nice", t.nice, 5);
	equal("weight of SCHED_IDLE", t.weight, 3);
	equal("slice", t.custom_slice_ns, 3 * MS);
	equal("CPU", t.cpu, 1);
	equal("nice's weight", weight_of(-20, Policy::Other), 88761);
	equal("migrations", s.totals().nr_migrations, 1);
}

// Noise is a matter of its own seed, and only of that.
void two_seeds()
{
	Workload w = mixed_load(12);
	auto hash = [&](const Costs &costs, Seeds seeds) {
		Simulation s({3, 0, 1}, costs, w, make_scheduler("rr"), seeds);
		s.run(100 * MS);
		return s.totals().hash;
	};
	Costs noisy;
	noisy.irq_per_s = 2000;
	noisy.kthread_per_s = 100;
	equal("without noise its seed is nothing", hash({}, {1, 1}) == hash({}, {1, 2}), 1);
	equal("the workload's seed is something", hash({}, {1, 1}) == hash({}, {2, 1}), 0);
	equal("noise differs", hash(noisy, {1, 1}) == hash(noisy, {1, 2}), 0);
	equal("the same noise", hash(noisy, {1, 7}) == hash(noisy, {1, 7}), 1);
	// The draws of the load are those that they were: every task has done the same bursts when it is done.
	Workload bursts;
	add_task(bursts, "t", {{Op::Run, 0, 0, NONE, NONE, {Shape::Exponential, MS, 0, 0}}, loop(0, 50)});
	Costs irqs = free_of_cost();
	irqs.irq_per_s = 1000;
	irqs.irq_ns = 5000;
	Simulation quiet = machine(bursts, 1, "fifo"), loud({1, 0, 1}, irqs, bursts, make_scheduler("fifo"), {});
	done_at(quiet);
	done_at(loud);
	equal("the same bursts", quiet.cpu_time_ns(0), loud.cpu_time_ns(0));
	check("more time", loud.now() > quiet.now());
}

// A scheduler that is told by a function what to do at each enqueue.
class Wrong : public Scheduler
{
      public:
	explicit Wrong(void (*enqueue)(Machine &, TaskId)) : enqueue_(enqueue)
	{
	}
	std::string_view name() const override
	{
		return "wrong";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Wrong>(*this);
	}
	CpuId select_cpu(Machine &, TaskId, CpuId, EnqueueReason) override
	{
		return 0;
	}
	void enqueue(Machine &m, TaskId id, EnqueueReason) override
	{
		enqueue_(m, id);
	}
	TaskId dispatch(Machine &, CpuId, TaskId) override
	{
		return NONE;
	}

      private:
	void (*enqueue_)(Machine &, TaskId);
};

void wrong_schedulers()
{
	Workload w;
	w.cpu_sets = {{1}};
	add_task(w, "free", {run(MS)});
	auto raises_with = [&w](const char *what, void (*enqueue)(Machine &, TaskId)) {
		raises<SchedulerError>(what, [&] {
			Simulation s({2, 0, 1}, free_of_cost(), w, std::make_unique<Wrong>(enqueue), {});
			s.run(MS);
		});
	};
	raises_with("twice in a queue", [](Machine &m, TaskId id) {
		m.dsq_insert(id, GLOBAL_DSQ, MS);
		m.dsq_insert(id, GLOBAL_DSQ, MS);
	});
	raises_with("no such queue", [](Machine &m, TaskId id) { m.dsq_insert(id, 7, MS); });
	raises_with("no such CPU", [](Machine &m, TaskId id) { m.dsq_insert(id, LOCAL_DSQ | 2, MS); });
	raises_with("the global queue has no vtime",
		    [](Machine &m, TaskId id) { m.dsq_insert_vtime(id, GLOBAL_DSQ, MS, 0); });
	raises_with("a task is lost", [](Machine &, TaskId) {});
	w.tasks[0].cpu_set = 0;
	raises_with("a CPU that isn't allowed", [](Machine &m, TaskId id) { m.dsq_insert(id, GLOBAL_DSQ, MS); });
	raises_with("a local queue that isn't allowed",
		    [](Machine &m, TaskId id) { m.dsq_insert(id, LOCAL_DSQ | 0, MS); });
	raises<BadInput>("no such scheduler", [] { make_scheduler("none"); });
	Setting much{"slice_us", 0}, strange{"what", 1};
	raises<BadInput>("a value out of range", [&] { make_scheduler("rr", {&much, 1}); });
	raises<BadInput>("no such parameter", [&] { make_scheduler("rr", {&strange, 1}); });
}

void bad_input()
{
	Workload w;
	raises<BadInput>("no task", [&] { machine(w, 1, "fifo"); });
	add_task(w, "t", {run(MS)});
	auto with = [&w](const char *what, void (*change)(Workload &)) {
		Workload changed = w;
		change(changed);
		raises<BadInput>(what, [&] { machine(changed, 2, "fifo"); });
	};
	with("nice", [](Workload &x) { x.tasks[0].nice = 20; });
	with("program", [](Workload &x) { x.tasks[0].program = 1; });
	with("group", [](Workload &x) { x.tasks[0].group = 1; });
	with("CPU", [](Workload &x) { x.cpu_sets = {{2}}; });
	with("no CPU", [](Workload &x) { x.cpu_sets = {{}}; });
	with("a negative time", [](Workload &x) { x.programs[0].steps[0].amount.a = -1; });
	with("a mutex that isn't one", [](Workload &x) { x.programs[0].steps.push_back(on(Op::Lock, 0)); });
	with("a loop forward", [](Workload &x) { x.programs[0].steps.push_back(loop(2, 1)); });
	with("a barrier of none", [](Workload &x) { x.resources = {{"b", ResourceKind::Barrier, 0}}; });
	with("an order of groups", [](Workload &x) { x.groups.push_back({"g", 1, 100}); });
	with("no start", [](Workload &x) { x.tasks[0].start_ns = NEVER; });
	with("a timer that isn't there", [](Workload &x) {
		x.programs[0].steps.push_back({Op::SleepUntil, 0, 0, 0, NONE, {Shape::Fixed, 1, 0, 0}});
	});
	raises<BadInput>("CPUs", [&] { machine(w, 1025, "fifo"); });
	raises<BadInput>("no CPUs", [&] { machine(w, 0, "fifo"); });
	Costs costs;
	costs.tick_ns = 1;
	raises<BadInput>("ticks", [&] { Simulation({1, 0, 1}, costs, w, make_scheduler("fifo"), {}); });
}

// Random loads on random machines: the invariants hold, and whoever goes on from the same state goes on alike.
void variants()
{
	for (std::uint64_t seed = 1; seed <= 300; seed++) {
		Workload w = random_load(seed);
		Dice dice(seed * 77);
		auto cpus = static_cast<std::uint32_t>(1 + dice.below(9));
		Costs costs = dice.below(2) ? Costs{} : free_of_cost();
		costs.slice_timer = static_cast<Ns>(dice.below(2));
		costs.irq_per_s = static_cast<Ns>(dice.below(2) * 3000);
		costs.kthread_per_s = static_cast<Ns>(dice.below(2) * 500);
		costs.tick_skew_ns = static_cast<Ns>(dice.below(2) * 100'000);
		Setting slice{"slice_us", static_cast<std::int64_t>(100 + dice.below(5000))};
		bool rr = dice.below(2);
		auto make = [&] {
			return Simulation({cpus, 0, 1}, costs, w,
					  rr ? make_scheduler("rr", {&slice, 1}) : make_scheduler("fifo"),
					  {seed, seed});
		};
		Simulation whole = make(), parts = make();
		Stop stop = whole.run(20 * MS);
		parts.run(static_cast<Ns>(dice.below(20)) * MS);
		Simulation fork(parts);
		parts.set_traced(true);	 // changes nothing
		for (Ns at = parts.now(); at < 20 * MS; at += 333'333)
			parts.run(at);
		Stop parts_stop = parts.run(20 * MS), fork_stop = fork.run(20 * MS);
		std::string name = "variant " + std::to_string(seed);
		check((name + ": the same end").c_str(), stop == parts_stop && stop == fork_stop);
		check((name + ": the same in parts").c_str(), alike(whole, parts));
		check((name + ": the same in a fork").c_str(), alike(whole, fork));
		if (stop == Stop::Deadlock)
			check((name + ": said who waits").c_str(), !whole.waiting().empty());
	}
}

void memory()
{
	check("400 B a task", Simulation::bytes_needed(8, 1'000'000) <= 400ull * 1'000'000);
	check("and with a few", Simulation::bytes_needed(8, 1000) <= 400ull * 1000);
}

void cpus_take_their_turns()
{
	for (std::uint32_t nr_cpus : {1u, 2u, 5u, 64u, 1000u}) {
		Dice dice(nr_cpus);
		CpuTournament cpus(nr_cpus);
		std::vector<Ns> times(nr_cpus, NEVER);
		for (int i = 0; i < 3000; i++) {
			auto cpu = static_cast<CpuId>(dice.below(nr_cpus));
			Ns time = static_cast<Ns>(dice.below(50)), far = LONGEST - 1 + static_cast<Ns>(dice.below(3));
			times[cpu] = i % 7 == 0 ? NEVER : i % 5 == 0 ? far : time;
			cpus.set(cpu, times[cpu]);
			auto first = std::min_element(times.begin(), times.end());  // of equal ones the lowest
			equal("first time", cpus.first_time(), *first);
			equal("that CPU's", cpus.time_of(cpu), times[cpu]);
			if (*first != NEVER)
				equal("first CPU", cpus.first_cpu(), first - times.begin());
		}
	}
}

// It never happens, and is told as it is.
void events_beyond_the_longest_simulation()
{
	Workload w;
	add_task(w, "long", {run(Ns{1} << 60)});
	Costs costs = free_of_cost();
	costs.tick_ns = 0;
	Simulation s({2, 0, 1}, costs, w, make_scheduler("fair"), {});
	s.run(1000);
	equal("next event", s.next_event(), Ns{1} << 60);
	raises<BadInput>("too long", [&] { s.step(); });
}

const Case CASES[] = {
	{"order_of_arrival", order_of_arrival},
	{"costs_are_paid", costs_are_paid},
	{"timers_and_spinning", timers_and_spinning},
	{"mutexes_and_conditions", mutexes_and_conditions},
	{"barriers_suspension_pipes", barriers_suspension_pipes},
	{"forks_and_exec", forks_and_exec},
	{"attributes_change", attributes_change},
	{"two_seeds", two_seeds},
	{"wrong_schedulers", wrong_schedulers},
	{"bad_input", bad_input},
	{"cpus_take_their_turns", cpus_take_their_turns},
	{"events_beyond_the_longest_simulation", events_beyond_the_longest_simulation},
	{"memory", memory},
	{"variants", variants},
};

}  // namespace

int main(int argc, char **argv)
{
	return run_case(CASES, argc, argv);
}
