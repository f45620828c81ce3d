/* SPDX-License-Identifier: Apache-2.0 */
// What holds after every event. Tests build with SCHEDTUNA_SIM_CHECK; it costs more than the simulation itself.
#include "simulation.hpp"

#ifdef SCHEDTUNA_SIM_CHECK

#include <cstdio>
#include <cstdlib>

namespace schedtuna::sim
{

namespace
{

void hold(bool holds, const char *what, Ns now, std::uint32_t id)
{
	if (holds)
		return;
	std::fprintf(stderr, "at %lld ns, %u: %s\n", static_cast<long long>(now), id, what);
	std::abort();
}

}  // namespace

void Simulation::check() const
{
	std::uint32_t nr_busy = 0, nr_running = 0, nr_live = 0, nr_stuck = 0;
	Totals sums = totals();
	Ns accounted = sums.idle_ns + sums.interrupts_ns;
	for (CpuId cpu = 0; cpu < nr_cpus(); cpu++) {
		const Cpu &c = cpus_[cpu];
		hold(!c.is_touched, "a CPU was forgotten", now_, cpu);
		Ns planned = next_of(c) == NEVER ? NEVER : std::min(next_of(c), LONGEST + 1);
		hold(cpu_events_.time_of(cpu) == std::max(planned, now_) || cpu_events_.time_of(cpu) == planned,
		     "a CPU's next event isn't what it plans", now_, cpu);
		if (c.current == NONE)
			continue;
		nr_busy++;
		accounted -= std::max<Ns>(c.interrupted_until - now_, 0);
		const Task &t = tasks_[c.current];
		hold(t.state == TaskState::Running && t.cpu == cpu, "a CPU runs a task that doesn't run there", now_,
		     cpu);
		hold(cpus(c.current).has(cpu), "a task runs where it may not", now_, c.current);
		hold(!idle_.has(cpu), "a CPU that isn't idle is said to be", now_, cpu);
		hold(c.charged_at <= clock_task(cpu) && c.debt_ns >= 0, "a clock went backwards", now_, cpu);
	}
	for (TaskId id = 0; id < nr_tasks(); id++) {
		const Task &t = tasks_[id];
		const Thread &thread = threads_[id];
		bool has_timer = events_.time_of(task_slot(id)) != NEVER;
		nr_running += t.state == TaskState::Running;
		nr_live += t.state != TaskState::Dead && !thread.is_background;
		nr_stuck += thread.waits_for != NONE;
		accounted += cpu_time_ns(id);
		hold(thread.burst_left_ns >= 0, "a burst got longer than it is", now_, id);
		hold(thread.dsq == NONE || t.state == TaskState::Queued, "a task is dispatched that can't run", now_,
		     id);
		hold(thread.waits_for == NONE || t.state == TaskState::Blocked, "a task waits that isn't blocked", now_,
		     id);
		bool sleeps = t.state == TaskState::Unborn
			      || (t.state == TaskState::Blocked && thread.waits_for == NONE);
		hold(has_timer == sleeps, "a task's timer isn't what its state needs", now_, id);
	}
	hold(nr_busy == nr_running, "a task runs on two CPUs or on none", now_, nr_running);
	hold(nr_live == nr_live_ && nr_stuck == nr_stuck_, "tasks were miscounted", now_, nr_live);
	hold(accounted == now_ * nr_cpus(), "CPU time, interrupts and idle time don't add up", now_, 0);
}

}  // namespace schedtuna::sim

#endif
