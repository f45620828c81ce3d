/* SPDX-License-Identifier: Apache-2.0 */
// The simulator at its limits, under every scheduler: what a sanitizer or an invariant would say.
#include "sim_cases.hpp"

#include <thread>

namespace
{

constexpr std::uint32_t NR_THREADS = 8;

std::vector<std::string> all_schedulers()
{
	std::vector<std::string> names;
	for (const SchedulerRow &row : schedulers())
		names.emplace_back(row.name);
	return names;
}

void many_cpus()
{
	Workload w = mixed_load(2000);
	for (const std::string &name : all_schedulers()) {
		Simulation s({MAX_CPUS, 64, 2}, Costs{}, w, make_scheduler(name), {});
		s.run(MS);
		check((name + " uses the CPUs").c_str(), s.totals().idle_ns < MS * MAX_CPUS);
	}
}

void many_tasks()
{
	Workload w;
	add_task(w, "short", {run(1000), sleep_for(1000), run(1000)});
	for (std::uint32_t i = 1; i < 100'000; i++) {
		w.tasks.push_back(w.tasks[0]);
		w.tasks.back().nice = static_cast<std::int8_t>(static_cast<int>(i % 40) - 20);
		w.tasks.back().start_ns = i / 100;
	}
	for (const char *name : {"rr", "fair"}) {
		Simulation s({8, 4, 1}, free_of_cost(), w, make_scheduler(name), {});
		check("all of them end", s.run(1000 * MS) == Stop::AllExited);
		equal("CPU time", s.now() * 8 - s.totals().idle_ns, 2000ll * 100'000);
	}
}

// Groups in groups, of the least and the greatest weight, with tasks whose nice values and policies change.
void weights()
{
	Workload w;
	for (std::uint32_t group = 1; group <= 6; group++)
		w.groups.push_back(
			{"g" + std::to_string(group), group < 3 ? 0 : group - 2, group % 2 ? MIN_SHARES : MAX_SHARES});
	auto set = [](Op op, Ns value) { return Step{op, 0, 0, NONE, NONE, {Shape::Fixed, value, 0, 0}}; };
	for (std::uint32_t i = 0; i < 21; i++) {
		Ns nice = i % 2 ? 19 : -20;
		add_task(w, "t" + std::to_string(i),
			 {set(Op::SetNice, nice), run(MS / 2 + i), set(Op::SetPolicy, i % 3), sleep_for(MS / 3),
			  set(Op::SetNice, -1 - nice), set(Op::SetSlice, i % 2 ? 100'000 : 100 * MS), run(3 * MS),
			  loop(0, -1)});
		w.tasks.back().group = i % 7;
	}
	for (const std::string &name : all_schedulers())
		for (std::uint32_t cpus : {1u, 4u}) {
			Simulation s({cpus, cpus / 2, 1}, Costs{}, w, make_scheduler(name), {});
			s.run(500 * MS);
			equal("time that is accounted for", s.now(), 500 * MS);
		}
}

// Bursts, sleeps, timers and slices that would end after the end of time; and all of time without a tick.
void huge_times()
{
	auto step = [](Op op, Ns amount) { return Step{op, 0, 0, 0, NONE, {Shape::Fixed, amount, 0, 0}}; };
	for (const std::string &name : all_schedulers())
		for (Ns length : {NEVER - 1, NEVER / 2, LONGEST, LONGEST / 3, Ns{1} << 40}) {
			Workload w;
			for (int nice : {-20, 0, 19}) {
				std::uint32_t task = add_task(w, "t" + std::to_string(nice),
							      {run(length), step(Op::SleepUntil, length),
							       step(Op::Spin, length), step(Op::Io, length), run(MS)});
				w.programs[task].nr_timers = 1;
				w.tasks[task].nice = static_cast<std::int8_t>(nice);
				w.tasks[task].policy = nice == 19 ? Policy::Idle : Policy::Other;
				w.tasks[task].start_ns = nice == 0 ? length : 0;
			}
			Costs costs;
			costs.tick_ns = 0;
			costs.slice_timer = 0;
			Setting rarely{"boost_ms", 1'000'000};	// or its timer would be all that happens
			auto settings = std::span(&rarely, name == "mlfq" ? 1 : 0);
			Simulation s({2, 0, 1}, costs, w, make_scheduler(name, settings), {});
			bool ended = false;
			for (Ns until : {MS, LONGEST / 2, LONGEST})
				ended = ended || s.run(until) != Stop::Time;
			if (!ended)
				raises<BadInput>("time ends", [&] { s.run(NEVER - 1); });
		}
}

void every_scheduler()
{
	for (const std::string &name : all_schedulers())
		for (std::uint64_t seed = 1; seed <= 12; seed++) {
			Costs costs;
			costs.irq_per_s = seed % 2 * 3000;
			costs.kthread_per_s = seed % 3 * 200;
			costs.tick_skew_ns = seed % 2 * 100'000;
			Simulation s({static_cast<std::uint32_t>(1 + seed % 9), seed % 3 ? 0u : 1u, 1}, costs,
				     random_load(seed), make_scheduler(name), {seed, seed});
			s.run(7 * MS);
			Simulation fork(s);
			bool alike_at_end = s.run(20 * MS) == fork.run(20 * MS) && alike(s, fork);
			check((name + ": a fork ends alike").c_str(), alike_at_end);
		}
}

// Threads that fork one simulation, while others run forks of it: they share nothing that changes.
void forks_in_threads()
{
	for (const char *name : {"rr", "vtime", "fair"}) {
		Simulation origin({4, 2, 1}, Costs{}, mixed_load(40), make_scheduler(name), {});
		origin.run(5 * MS);
		const Simulation &shared = origin;
		std::vector<std::uint64_t> hashes(NR_THREADS);
		std::vector<std::thread> threads;
		for (std::uint64_t &hash : hashes)
			threads.emplace_back([&shared, &hash] {
				Simulation mine(shared);
				mine.run(15 * MS);
				Simulation again(mine);
				again.run(30 * MS);
				hash = again.totals().hash;
			});
		for (std::thread &thread : threads)
			thread.join();
		origin.run(30 * MS);
		for (std::uint64_t hash : hashes)
			equal("a fork in a thread", hash, origin.totals().hash);
	}
}

const Case CASES[] = {
	{"many_cpus", many_cpus},   {"many_tasks", many_tasks},		  {"weights", weights},
	{"huge_times", huge_times}, {"every_scheduler", every_scheduler}, {"forks_in_threads", forks_in_threads},
};

}  // namespace

int main(int argc, char **argv)
{
	return run_case(CASES, argc, argv);
}
