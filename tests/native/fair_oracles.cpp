/* SPDX-License-Identifier: Apache-2.0 */
// Small loads under `fair`; what came of each is printed as `load.name value` for test_sim_fair.py.
#include "sim/fair.hpp"
#include "sim/registry.hpp"
#include "sim/simulation.hpp"

#include <algorithm>
#include <cstdio>

using namespace schedtuna::sim;

namespace
{
constexpr Ns MS = 1'000'000, SECOND = 1'000 * MS;
constexpr Amount FOREVER{Shape::Fixed, -1, 0, 0};

Amount fixed(Ns length)
{
	return {Shape::Fixed, length, 0, 0};
}

// CPU 0 alone, of a machine whose slices are those of two CPUs, or both.
struct Load : Workload {
	std::uint32_t hog, sleeper;

	explicit Load(bool is_pinned)
	{
		cpu_sets = {{0}};
		pinned_ = is_pinned;
		hog = add({"hog", {{Op::Run, 0, 0, NONE, NONE, fixed(SECOND)}, {Op::Loop, 0, 0, 0, NONE, FOREVER}}});
		sleeper = add({"sleeper",
			       {{Op::Run, 0, 0, NONE, NONE, fixed(2 * MS)},
				{Op::SleepUntil, 0, 0, 0, NONE, fixed(10 * MS)},
				{Op::Loop, 0, 0, 0, NONE, FOREVER}},
			       1});
	}
	std::uint32_t add(Program program)
	{
		programs.push_back(std::move(program));
		return static_cast<std::uint32_t>(programs.size() - 1);
	}
	TaskDef &start(std::uint32_t program, Ns when = 0)
	{
		TaskDef &task = tasks.emplace_back();
		task.name = programs[program].name;
		task.program = program;
		task.start_ns = when;
		task.cpu_set = pinned_ ? 0 : NONE;
		return task;
	}
	GroupId group(std::uint32_t weight, GroupId parent = ROOT_GROUP)
	{
		groups.push_back({"group", parent, shares_of(weight)});
		return static_cast<GroupId>(groups.size() - 1);
	}

      private:
	bool pinned_;
};

struct Run {
	Simulation simulation;
	double seconds;

	Run(Load load, double for_seconds, Ns tick = 4 * MS, std::vector<Setting> settings = {}, bool is_traced = false)
	    : simulation({2, 0, 1}, costs(tick), std::move(load), make_scheduler("fair", settings), {1, 1}),
	      seconds(for_seconds)
	{
		simulation.set_traced(is_traced);
		simulation.run(static_cast<Ns>(for_seconds * 1e9));
	}
	static Costs costs(Ns tick)
	{
		Costs costs = free_of_cost();
		costs.tick_ns = tick;
		costs.context_switch_ns = 2000;
		return costs;
	}
	double share(TaskId first, TaskId last) const  // of those tasks, of all CPU time
	{
		double part = 0, all = 0;
		for (TaskId id = 0; id < simulation.nr_tasks(); id++) {
			auto time = static_cast<double>(simulation.cpu_time_ns(id));
			all += time;
			part += id >= first && id <= last ? time : 0;
		}
		return part / all;
	}
	double switches() const
	{
		return static_cast<double>(simulation.totals().nr_switches) / seconds;
	}
	double migrations() const
	{
		return static_cast<double>(simulation.totals().nr_migrations) / seconds;
	}
	const Fair &fair() const
	{
		return static_cast<const Fair &>(simulation.scheduler());
	}
};

void say(const char *load, const char *what, double value)
{
	std::printf("%s.%s %.6g\n", load, what, value);
}

void two_hogs()
{
	Load load(true);
	load.start(load.hog);
	load.start(load.hog).nice = 5;
	Run run(load, 30);
	say("hogs", "share", run.share(0, 0));
	say("hogs", "switches", run.switches());
	say("fast_ticks", "switches", Run(load, 30, MS).switches());
	Run timed(load, 10, 4 * MS, {{"hrtick", 1}});
	say("hrtick", "share", timed.share(0, 0));
	say("hrtick", "switches", timed.switches());
}

// Over all phases of the sleeper against the tick.
void with_sleeper()
{
	double share = 0, switches = 0, latency = 0, at_once = 0, nr_wakeups = 0;
	for (int phase = 0; phase < 16; phase++) {
		Load load(true);
		load.start(load.hog);
		load.start(load.hog).nice = 5;
		load.start(load.sleeper, phase * MS / 4 + 1);
		Run run(load, 10, 4 * MS, {}, true);
		share += run.share(2, 2) / 16;
		switches += run.switches() / 16;
		double woken_at = -1;
		for (const sched_event &event : run.simulation.take_events()) {
			auto when = static_cast<double>(event.timestamp_ns);
			if (event.type == EVENT_WAKEUP && event.tid == 3)
				woken_at = when;
			if (event.type != EVENT_SWITCH || event.other_tid != 3 || woken_at < 0)
				continue;
			nr_wakeups++;
			latency += when - woken_at;
			at_once += when - woken_at < 50'000;
			woken_at = -1;
		}
	}
	say("sleeper", "share", share);
	say("sleeper", "switches", switches);
	say("sleeper", "at_once", at_once / nr_wakeups);
	say("sleeper", "latency_us", latency / nr_wakeups / 1000);
}

void groups()
{
	for (bool is_pinned : {true, false}) {
		Load load(is_pinned);
		GroupId one = load.group(100), other = load.group(100);
		load.start(load.hog).group = one;
		for (int i = 0; i < 8; i++)
			load.start(load.hog).group = other;
		Run run(load, 20);
		say(is_pinned ? "groups" : "groups_on_two", "share", run.share(0, 0));
	}
	Load load(true);
	GroupId light = load.group(100), heavy = load.group(300), inner = load.group(50, heavy);
	load.start(load.hog).group = light;
	load.start(load.hog).group = heavy;
	load.start(load.hog).group = inner;
	Run run(load, 20);
	say("weights", "light", run.share(0, 0));
	say("weights", "heavy", run.share(1, 1));
	say("weights", "inner", run.share(2, 2));
}

void unpinned()
{
	for (int nr_hogs : {3, 4, 5}) {
		Load load(false);
		for (int i = 0; i < nr_hogs; i++)
			load.start(load.hog, i * MS);
		Run run(load, 30);
		std::string name = "hogs_" + std::to_string(nr_hogs);
		double least = 1, most = 0;
		for (TaskId id = 0; id < static_cast<TaskId>(nr_hogs); id++) {
			least = std::min(least, run.share(id, id));
			most = std::max(most, run.share(id, id));
		}
		say(name.c_str(), "migrations", run.migrations());
		say(name.c_str(), "spread", most - least);
		say(name.c_str(), "idle", static_cast<double>(run.simulation.totals().idle_ns) / 60e9);
	}
}

void slices()
{
	for (std::int64_t version : {616, 618}) {
		Load load(true);
		load.start(load.hog).slice_ns = 100 * MS;
		load.start(load.hog).slice_ns = MS / 10;
		Run run(load, 20, 4 * MS, {{"version", version}});
		std::string name = "slices_" + std::to_string(version);
		say(name.c_str(), "share", run.share(0, 0));
		say(name.c_str(), "switches", run.switches());
	}
	try {
		make_scheduler("fair", std::vector<Setting>{{"version", 617}});
	} catch (const BadInput &) {
		say("slices_617", "refused", 1);
	}
}

void policies()
{
	Load load(true);
	load.start(load.hog).policy = Policy::Idle;
	load.start(load.sleeper).policy = Policy::Other;
	Run idle(load, 10, 4 * MS, {}, true);
	double waited = 0, woken_at = -1;
	for (const sched_event &event : idle.simulation.take_events()) {
		auto when = static_cast<double>(event.timestamp_ns);
		if (event.type == EVENT_WAKEUP && event.tid == 2)
			woken_at = when;
		if (event.type != EVENT_SWITCH || event.other_tid != 2 || woken_at < 0)
			continue;
		waited = std::max(waited, when - woken_at);
		woken_at = -1;
	}
	say("idle", "longest_wait_us", waited / 1000);
	say("idle", "sleeper", idle.share(1, 1));
	load.tasks[0].policy = Policy::Other;
	load.tasks[1].policy = Policy::Batch;
	say("batch", "sleeper", Run(load, 10).share(1, 1));
}

// Nice changes from 0 to 5 halfway, beside another hog.
void renice()
{
	Load load(true);
	std::uint32_t changes = load.add({"changes",
					  {{Op::Run, 0, 0, NONE, NONE, fixed(5 * SECOND)},
					   {Op::SetNice, 0, 0, NONE, NONE, fixed(5)},
					   {Op::Run, 0, 0, NONE, NONE, fixed(100 * SECOND)}}});
	load.start(changes);
	load.start(load.hog);
	Run before(load, 10);
	say("renice", "before", before.share(0, 0));
	Run after(load, 30);
	double during = static_cast<double>(after.simulation.cpu_time_ns(0) - before.simulation.cpu_time_ns(0));
	say("renice", "after", during / 20e9);
}

// Whatever happens, lags add up to nothing, and nobody is owed more than the longest slice and a tick.
void lags()
{
	Load load(false);
	std::uint32_t pause = load.add({"pause",
					{{Op::Run, 0, 0, NONE, NONE, {Shape::Exponential, 2 * MS, 0, 0}},
					 {Op::Sleep, 0, 0, NONE, NONE, {Shape::Exponential, 4 * MS, 0, 0}},
					 {Op::Loop, 0, 0, 0, NONE, FOREVER}}});
	for (int i = 0; i < 12; i++)
		load.start(i % 3 ? pause : load.hog, i * MS / 7).nice = static_cast<std::int8_t>(i % 5 - 2);
	Simulation simulation({2, 0, 1}, Run::costs(4 * MS), load, make_scheduler("fair"), {1, 1});
	double sum = 0, longest = 0;
	for (Ns until = SECOND; until < 4 * SECOND; until += 7 * MS) {
		simulation.run(until);
		const auto &fair = static_cast<const Fair &>(simulation.scheduler());
		for (CpuId cpu = 0; cpu < 2; cpu++) {
			double weighted = 0, weight = 0;
			std::vector<const Entity *> queued;
			for (TaskId id = 0; id < 12; id++)
				if (fair.entity(id).on_rq && fair.entity(id).queue == cpu)
					queued.push_back(&fair.entity(id));
			for (const Entity *entity : queued) {
				weight += static_cast<double>(entity->load());
				weighted += static_cast<double>(entity->load()) * static_cast<double>(entity->vruntime);
			}
			FairQueue queue = fair.queue(ROOT_GROUP, cpu);
			if (queued.size() != queue.nr_queued)
				say("lags", "miscounted", 1);
			for (const Entity *entity : queued) {
				double lag = weighted / weight - static_cast<double>(entity->vruntime);
				sum += lag * static_cast<double>(entity->load());
				longest = std::max(longest, lag * static_cast<double>(entity->load()) / 1024 / 1e6);
			}
		}
	}
	say("lags", "sum_ms", sum / 1024 / 1e6);
	say("lags", "longest_ms", longest);
}
}  // namespace

int main()
{
	two_hogs();
	with_sleeper();
	groups();
	unpinned();
	slices();
	policies();
	renice();
	lags();
}
