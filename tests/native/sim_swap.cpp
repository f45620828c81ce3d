/* SPDX-License-Identifier: Apache-2.0 */
// Cases of native/sim/swap.cpp, by name: test_sim_engine.py runs each, with every invariant checked after every event.
// A case prints what was wrong and exits 1.
#include "sim_cases.hpp"

#include <algorithm>

namespace
{

constexpr Ns LENGTH = 60 * MS;
constexpr const char *SCHEDULERS[] = {"fair",	 "fifo", "rr",	  "sjf",	 "srtf",    "las",
				      "gittins", "mlfq", "vtime", "interactive", "external"};

Simulation any_machine(std::uint32_t i, Ns swap_ns)
{
	Costs costs = i % 5 ? Costs{} : free_of_cost();
	costs.swap_ns = swap_ns;
	costs.irq_per_s = i % 2 * 1000;
	costs.kthread_per_s = i % 3 * 100;
	std::uint32_t cpus = 1 + i % 6;
	return Simulation({cpus, cpus % 4 ? 0u : 2u, 1}, costs, i % 4 ? random_load(i) : mixed_load(3 * cpus + 5),
			  make_scheduler(SCHEDULERS[i % std::size(SCHEDULERS)]), {i, i});
}

// Whoever comes first runs where nobody else decides.
Stop go_on(Simulation &s, Ns until)
{
	Stop stop;
	while ((stop = s.run(until)) == Stop::Decision)
		s.choose(s.candidates().front());
	return stop;
}

// From any scheduler to any, at any time, on any load: what holds after every event goes on holding, the same twice
// and in forks, and a scheduler that is not yet there goes with the fork.
void any_swap()
{
	std::uint32_t nr_swaps = 0;
	for (std::uint32_t i = 0; i < 220; i++) {
		Dice dice(i);
		Simulation s = any_machine(i, static_cast<Ns>(dice.below(3)) * 4 * MS), again(s);
		for (Ns at = MS; at < LENGTH; at += static_cast<Ns>(1 + dice.below(20)) * MS) {
			const char *next = SCHEDULERS[dice.below(std::size(SCHEDULERS))];
			Stop stop = go_on(s, at);
			go_on(again, at);
			if (stop == Stop::AllExited)
				break;
			s.swap(make_scheduler(next));
			again.swap(make_scheduler(next));
			nr_swaps++;
			if (dice.below(4) == 0)
				again = Simulation(again);
		}
		Simulation fork(s);
		Stop stop = go_on(s, LENGTH);
		check("the same end", go_on(fork, LENGTH) == stop && go_on(again, LENGTH) == stop);
		check("the same in a fork", alike(s, fork));
		check("the same twice", alike(s, again));
	}
	check("there were swaps", nr_swaps > 500);
}

// No work is lost or done twice: one CPU without costs is busy until all is done.
void work_is_kept()
{
	for (const char *from : SCHEDULERS)
		for (const char *to : SCHEDULERS) {
			Workload w;
			Ns sum = 0;
			for (Ns i = 1; i <= 8; i++) {
				add_task(w, "t" + std::to_string(i), {run(i * 3 * MS)});
				sum += i * 3 * MS;
			}
			Simulation s = machine(w, 1, from);  // whose swaps cost nothing, either
			for (Ns at = 5 * MS; at < sum; at += 17 * MS) {
				go_on(s, at);
				s.swap(make_scheduler(at / MS % 2 ? to : from));
			}
			check("all are done", go_on(s, NEVER) == Stop::AllExited);
			if (s.now() != sum)
				std::printf("%s, %s\n", from, to);
			equal("at the earliest", s.now(), sum);
			for (TaskId id = 0; id < 8; id++)
				equal("each with its work", s.cpu_time_ns(id), (id + 1) * 3 * MS);
		}
}

void the_way_leads_through_fair()
{
	Costs costs;
	costs.swap_ns = 10 * MS;
	auto name_at = [](Simulation &s, Ns at) {
		s.run(at);
		return std::string(s.scheduler().name());
	};
	Simulation s({2, 0, 1}, costs, mixed_load(12), make_scheduler("rr"), {});
	s.run(20 * MS);
	s.swap(make_scheduler("fifo"));
	same("at once", std::string(s.scheduler().name()), "fair");
	Simulation overruled(s);
	same("meanwhile", name_at(s, 30 * MS - 1), "fair");
	same("then", name_at(s, 30 * MS), "fifo");
	overruled.run(25 * MS);
	overruled.swap(make_scheduler("las"));
	same("not the first one", name_at(overruled, 34 * MS), "fair");
	same("but the second", name_at(overruled, 35 * MS), "las");
	s.swap(make_scheduler("vtime"));
	s.swap(make_scheduler("fair"));
	same("nor any, if fair is to stay", name_at(s, 100 * MS), "fair");
	s.swap(make_scheduler("mlfq"));
	same("from fair", name_at(s, 109 * MS), "fair");
	same("to another", name_at(s, 110 * MS), "mlfq");
}

// What a scheduler kept for itself is gone, and nobody runs for free: switches are paid, and traced as preemptions.
void swaps_are_seen()
{
	Workload w;
	add_task(w, "a", {run(3600'000 * MS)});
	add_task(w, "b", {run(3600'000 * MS)});
	w.tasks.back().nice = 5;
	Simulation s = machine(w, 1, "fifo");
	s.set_traced(true);
	s.run(10 * MS);
	s.take_events();
	s.swap(make_scheduler("fair"));
	std::vector<sched_event> switches = switches_of(s);
	equal("its CPU chooses again", switches.size(), 2);
	equal("who ran was preempted", switches[0].prev_state, PREV_PREEMPTED);
	equal("at once", switches[1].timestamp_ns, 10 * MS);
	Ns before = s.cpu_time_ns(0);
	s.run(10'010 * MS);
	Ns got = s.cpu_time_ns(0) - before, due = 10'000 * MS * 1024 / (335 + 1024);
	check("by weight from now on", got > due - 10 * MS && got < due + 10 * MS);

	Simulation decides = machine(w, 1, "fair");
	decides.stop_at_pick(0);
	decides.run(MS);
	raises<BadInput>("while a decision is due", [&] { decides.swap(make_scheduler("fifo")); });

	Simulation outside = machine(w, 1, "rr");
	outside.run(MS);
	outside.swap(make_scheduler("external"));
	check("decisions come from outside", outside.run(2 * MS) == Stop::Decision);
	equal("about all that can run", outside.candidates().size(), 2);
	outside.choose(1);
	equal("whom one chooses runs", outside.current(0), 1);
	outside.swap(make_scheduler("fifo"));
	check("and no more", outside.run(300 * MS) == Stop::Time);
}

const Case CASES[] = {
	{"any_swap", any_swap},
	{"work_is_kept", work_is_kept},
	{"the_way_leads_through_fair", the_way_leads_through_fair},
	{"swaps_are_seen", swaps_are_seen},
};

}  // namespace

int main(int argc, char **argv)
{
	return run_case(CASES, argc, argv);
}
