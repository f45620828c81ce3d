/* SPDX-License-Identifier: Apache-2.0 */
// What the simulator's native tests share: cases by name, loads in few words.
#pragma once

#include "sim/registry.hpp"
#include "sim/simulation.hpp"

#include <cstdio>
#include <cstring>
#include <span>

using namespace schedtuna::sim;

inline constexpr Ns MS = 1'000'000;
inline int failures = 0;

struct Case {
	const char *name;
	void (*run)();
};

// Without a name: list them.
inline int run_case(std::span<const Case> cases, int argc, char **argv)
{
	for (const Case &c : cases) {
		if (argc < 2)
			std::puts(c.name);
		else if (!std::strcmp(c.name, argv[1]))
			c.run();
	}
	return failures ? 1 : 0;
}

inline void check(const char *what, bool holds)
{
	if (holds)
		return;
	failures++;
	std::printf("%s: no\n", what);
}

template <typename Got, typename Wanted> void equal(const char *what, Got got, Wanted wanted)
{
	if (static_cast<long long>(got) == static_cast<long long>(wanted))
		return;
	failures++;
	std::printf("%s: %lld, not %lld\n", what, static_cast<long long>(got), static_cast<long long>(wanted));
}

inline void same(const char *what, const std::string &got, const std::string &wanted)
{
	if (got == wanted)
		return;
	failures++;
	std::printf("%s: \"%s\", not \"%s\"\n", what, got.c_str(), wanted.c_str());
}

template <typename Error, typename Function> void raises(const char *what, Function function)
{
	try {
		function();
	} catch (const Error &error) {
		return;
	}
	failures++;
	std::printf("%s: no error\n", what);
}

inline Step run(Ns length)
{
	return {Op::Run, 0, 0, NONE, NONE, {Shape::Fixed, length, 0, 0}};
}
inline Step sleep_for(Ns length)
{
	return {Op::Sleep, 0, 0, NONE, NONE, {Shape::Fixed, length, 0, 0}};
}
inline Step on(Op op, std::uint32_t object, std::uint32_t other = NONE)
{
	return {op, 0, 0, object, other, {}};
}
inline Step loop(std::uint32_t to, Ns times)
{
	return {Op::Loop, 0, 0, to, NONE, {Shape::Fixed, times, 0, 0}};
}
inline Step set_affinity(std::uint32_t cpu_set)
{
	return on(Op::SetAffinity, cpu_set);
}

// A task with a program of its own; both have the number that is returned.
inline std::uint32_t add_task(Workload &w, std::string name, std::vector<Step> steps)
{
	w.programs.push_back({name, std::move(steps), 0});
	TaskDef &task = w.tasks.emplace_back();
	task.name = std::move(name);
	task.program = static_cast<std::uint32_t>(w.programs.size() - 1);
	return task.program;
}

inline Simulation machine(const Workload &w, std::uint32_t cpus, const char *scheduler)
{
	return Simulation({cpus, 0, 1}, free_of_cost(), w, make_scheduler(scheduler), {});
}

inline std::vector<sched_event> switches_of(Simulation &s)
{
	std::vector<sched_event> switches;
	for (const sched_event &e : s.take_events())
		if (e.type == EVENT_SWITCH)
			switches.push_back(e);
	return switches;
}

inline bool alike(const Simulation &a, const Simulation &b)
{
	Totals x = a.totals(), y = b.totals();
	bool alike = a.now() == b.now() && a.nr_tasks() == b.nr_tasks() && x.hash == y.hash
		     && x.nr_events == y.nr_events && x.nr_switches == y.nr_switches && x.nr_wakeups == y.nr_wakeups
		     && x.idle_ns == y.idle_ns && x.overhead_ns == y.overhead_ns && x.nr_migrations == y.nr_migrations;
	for (TaskId id = 0; alike && id < a.nr_tasks(); id++)
		alike = a.cpu_time_ns(id) == b.cpu_time_ns(id) && a.task(id).state == b.task(id).state;
	return alike;
}

class Dice
{
      public:
	explicit Dice(std::uint64_t seed) : state_(seed)
	{
	}
	std::uint64_t below(std::uint64_t limit)
	{
		return mix(state_++) % limit;
	}

      private:
	std::uint64_t state_;
};

// Hogs of several nices, sleepers whose bursts vary, and pairs that send each other messages: an eighth or so each.
inline Workload mixed_load(std::uint32_t nr_tasks)
{
	static constexpr std::int8_t NICES[8] = {0, 0, 5, 0, -5, 1, 10, -1};
	Workload w;
	for (std::uint32_t i = 0; i < nr_tasks; i++) {
		std::uint32_t kind = i % 8;
		std::string name = "t" + std::to_string(i);
		if (kind < 2 || (kind == 6 && i + 1 == nr_tasks)) {
			add_task(w, name, {run(3600'000 * MS)});
			w.tasks.back().nice = NICES[i / 8 % 8];
		} else if (kind < 6) {
			Ns burst = 200'000 + 50'000 * (i % 7), period = 4 * MS + 500'000 * (i % 11);
			Step varied{Op::Run, 0, 0, NONE, NONE, {Shape::Uniform, burst, burst + burst / 5, 0}};
			Step timer{Op::SleepUntil, 0, 0, 0, NONE, {Shape::Fixed, period, 0, 0}};
			add_task(w, name, {varied, timer, loop(0, -1)});
			w.programs.back().nr_timers = 1;
			w.tasks.back().nice = NICES[i % 8];
			w.tasks.back().start_ns = period * (i % 16) / 16;
		} else {
			auto pipe = static_cast<std::uint32_t>(w.resources.size());
			if (kind == 6) {
				w.resources.push_back({"there" + name, ResourceKind::Pipe, 1});
				w.resources.push_back({"back" + name, ResourceKind::Pipe, 1});
				add_task(w, name,
					 {run(20'000 + 1000 * (i % 5)), on(Op::Write, pipe), on(Op::Read, pipe + 1),
					  loop(0, -1)});
			} else {
				add_task(w, name,
					 {on(Op::Read, pipe - 2), run(30'000), on(Op::Write, pipe - 1), loop(0, -1)});
			}
		}
	}
	return w;
}

// Every kind of step, in an order that makes sense for mutexes; it may end in a deadlock.
inline Workload random_load(std::uint64_t seed)
{
	Dice dice(seed * 1000);
	Workload w;
	w.cpu_sets = {{0}, {0}};
	w.resources = {{"mutex", ResourceKind::Mutex, 0},	  {"mutex2", ResourceKind::Mutex, 0},
		       {"condition", ResourceKind::Condition, 0}, {"barrier", ResourceKind::Barrier, 2},
		       {"suspended", ResourceKind::Suspended, 0}, {"pipe", ResourceKind::Pipe, 2}};
	auto amount = [&dice](Ns most) {
		static constexpr Amount SHAPES[] = {{Shape::Fixed, 300, 0, 0},	     {Shape::Uniform, 0, 999, 0},
						    {Shape::Exponential, 400, 0, 0}, {Shape::Erlang, 400, 3, 0},
						    {Shape::Lognormal, 200, 900, 0}, {Shape::Pareto, 50, 1500, 9999},
						    {Shape::Hyper, 100, 900, 300}};
		Amount a = SHAPES[dice.below(7)];
		a.a = a.a * most / 1000;
		a.b *= a.shape == Shape::Uniform || a.shape == Shape::Hyper ? most / 1000 : 1;
		a.c *= a.shape == Shape::Pareto ? most / 1000 : 1;
		return a;
	};
	auto nr_tasks = static_cast<std::uint32_t>(1 + dice.below(12));
	for (std::uint32_t i = 0; i < nr_tasks; i++) {
		std::vector<Step> steps;
		for (std::uint64_t n = 1 + dice.below(6); n; n--) {
			auto value = [&](Op op, Ns a) { return Step{op, 0, 0, NONE, NONE, {Shape::Fixed, a, 0, 0}}; };
			switch (dice.below(16)) {
			case 0:
				steps.insert(
					steps.end(),
					{on(Op::Lock, 0), {Op::Run, 0, 0, NONE, NONE, amount(MS)}, on(Op::Unlock, 0)});
				break;
			case 1:
				steps.insert(steps.end(), {on(Op::Lock, 1), on(Op::Wait, 2, 1), on(Op::Unlock, 1)});
				break;
			case 2:
				steps.push_back(on(dice.below(2) ? Op::Signal : Op::Broadcast, 2));
				break;
			case 3:
				steps.push_back(on(Op::Barrier, 3));
				break;
			case 4:
				steps.push_back(on(dice.below(3) ? Op::Resume : Op::Suspend, 4));
				break;
			case 5:
				steps.push_back(on(dice.below(2) ? Op::Read : Op::Write, 5));
				break;
			case 6:
				steps.push_back({Op::Io, 0, 0, NONE, NONE, amount(3 * MS)});
				break;
			case 7:
				steps.push_back({Op::Yield});
				break;
			case 8:
				steps.push_back({Op::SleepUntil,
						 static_cast<std::uint8_t>(dice.below(2)),
						 0,
						 0,
						 NONE,
						 {Shape::Fixed, MS, 0, 0}});
				break;
			case 9:
				steps.push_back({Op::Spin, 0, 0, NONE, NONE, amount(2 * MS)});
				break;
			case 10:
				steps.push_back(value(Op::SetNice, static_cast<Ns>(dice.below(40)) - 20));
				steps.push_back(value(Op::SetPolicy, static_cast<Ns>(dice.below(3))));
				break;
			case 11:
				steps.push_back(set_affinity(static_cast<std::uint32_t>(dice.below(2))));
				break;
			case 12:
				if (i)
					steps.push_back(on(Op::Fork, static_cast<std::uint32_t>(dice.below(i))));
				break;
			case 13:
				steps.push_back({Op::Sleep, 0, 0, NONE, NONE, amount(5 * MS)});
				break;
			default:
				steps.push_back({Op::Run, READ_CPU_TIME, 0, NONE, NONE, amount(2 * MS)});
			}
		}
		steps.push_back({Op::Run, 0, 0, NONE, NONE, {Shape::Fixed, 1000, 0, 0}});
		if (dice.below(2))
			steps.push_back(loop(static_cast<std::uint32_t>(steps.size() - 1),
					     static_cast<Ns>(1 + dice.below(20))));
		if (dice.below(8) == 0 && i)
			steps.push_back(on(Op::Exec, static_cast<std::uint32_t>(dice.below(i))));
		add_task(w, "t" + std::to_string(i), std::move(steps));
		w.programs.back().nr_timers = 1;
		w.tasks.back().start_ns = static_cast<Ns>(dice.below(5)) * MS;
		w.tasks.back().nice = static_cast<std::int8_t>(dice.below(40) - 20);
		w.tasks.back().cpu_set = dice.below(8) ? NONE : 0;
	}
	w.tasks.back().start_ns = 0;
	return w;
}
