/* SPDX-License-Identifier: Apache-2.0 */
// The contract between the simulated machine and a scheduler: sched_ext's callbacks and services.
//
// A scheduler holds no pointer to the machine, so that a simulation can be copied (Simulation::Simulation(const &)):
// each callback is handed it. Its own state about tasks lies in vectors of its own, indexed by TaskId; init_task()
// comes before anything else about a task.
//
// The order of callbacks is sched_ext's: a task that wakes up gets select_cpu(), then enqueue(); one that is put back
// while it could run on gets stopping(runnable = true), then enqueue(EnqueueReason::PutBack); one that blocks or exits
// gets stopping(runnable = false), then dequeue(). dispatch() is asked for what runs next, running() tells that it
// does.
//
// One that takes over a machine that runs (Simulation::swap()) finds all CPUs idle: after init() it gets init_task()
// for each task that was born, then enqueue(EnqueueReason::Migrate) for those that can run.
#pragma once

#include "machine.hpp"

#include <memory>
#include <span>
#include <string_view>

namespace schedtuna::sim
{

// Parameters' values in the order of their table (registry.hpp).
using Values = std::span<const std::int64_t>;

class Scheduler
{
      public:
	virtual ~Scheduler() = default;
	virtual std::string_view name() const = 0;
	virtual std::unique_ptr<Scheduler> clone() const = 0;  // its whole state, for the fork of a simulation

	// Why it can't schedule such a machine, asked before init(); empty: it can.
	virtual std::string_view refuses(const Machine &) const
	{
		return {};
	}
	virtual void init(Machine &)
	{
	}
	virtual void init_task(Machine &, TaskId)
	{
	}  // before its first enqueue
	virtual void exit_task(Machine &, TaskId)
	{
	}

	// Where a task that wakes up or is forked is to run. An idle CPU that is returned should be claimed by
	// test_and_clear_idle(). It may insert into LOCAL_DSQ | cpu: then enqueue() is skipped.
	virtual CpuId select_cpu(Machine &, TaskId, CpuId prev_cpu, EnqueueReason) = 0;
	virtual void enqueue(Machine &, TaskId, EnqueueReason) = 0;
	// It is no longer to run: it slept, exited, or is about to be enqueued anew.
	virtual void dequeue(Machine &, TaskId, DequeueReason)
	{
	}
	// A task that blocked is still in the scheduler's queue (DELAY_DEQUEUE) and wakes up where it is: then neither
	// select_cpu() nor enqueue() is called.
	virtual bool wake_in_place(Machine &, TaskId)
	{
		return false;
	}
	// What runs next on a CPU: either put it into LOCAL_DSQ | cpu and return NONE, or take it out of a queue of
	// your own and return it. `prev` is the task that ran (NONE: the CPU was idle); if it is still runnable it was
	// enqueued (PutBack) before. NONE and an empty local DSQ: the CPU becomes idle.
	virtual TaskId dispatch(Machine &, CpuId, TaskId prev) = 0;
	// Whom it runs is not its own decision: Simulation::run() comes back wherever there are candidates.
	virtual bool decides_outside() const
	{
		return false;
	}
	// Counterfactuals: the tasks among which dispatch() would choose, in any order. By default those that wait in
	// the CPU's dispatch queue and in the shared ones.
	virtual void candidates(const Machine &m, CpuId cpu, std::vector<TaskId> &found) const
	{
		m.dsq_candidates(cpu, found);
	}
	// Take this candidate out of a queue of your own, with all else that dispatch() would do. False: it is not to
	// be had.
	virtual bool dispatch_instead(Machine &, CpuId, [[maybe_unused]] TaskId prev, [[maybe_unused]] TaskId instead)
	{
		return false;
	}
	virtual void running(Machine &, TaskId)
	{
	}
	virtual void stopping(Machine &, TaskId, [[maybe_unused]] bool runnable)
	{
	}
	virtual void tick(Machine &, CpuId, TaskId)
	{
	}  // of a CPU that runs this task
	virtual void update_idle(Machine &, CpuId, [[maybe_unused]] bool idle)
	{
	}
	virtual void set_weight(Machine &, TaskId)
	{
	}  // nice, policy or slice changed
	virtual void set_cpumask(Machine &, TaskId)
	{
	}
	// A group's weight changed. False: groups keep the one that they had at its beginning.
	virtual bool set_group_weight(Machine &, GroupId)
	{
		return false;
	}
	// Its parameters become these while it runs. False: they hold from its beginning on.
	virtual bool set_parameters(Machine &, Values)
	{
		return false;
	}
	// The task asks for its CPU time (clock_gettime, getrusage): the kernel's fair class brings its account up to
	// date there.
	virtual void read_cpu_time(Machine &, TaskId)
	{
	}
	// The time that Machine::set_timer() was given has come.
	virtual void timer_fired(Machine &, CpuId)
	{
	}
};

}  // namespace schedtuna::sim
