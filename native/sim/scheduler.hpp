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
#pragma once

#include "types.hpp"

#include <memory>
#include <string_view>

namespace schedtuna::sim
{

enum class EnqueueReason : std::uint8_t {
	Wakeup,	  // it slept
	Fork,	  // its first time
	PutBack,  // it was preempted, or its slice is over
	Yield,	  // it gave up the CPU
	Changed,  // its nice value, policy, slice, group or affinity changed while it was queued or ran
	Migrate,  // the scheduler itself moved it (Machine::migrate())
};

enum class DequeueReason : std::uint8_t { Sleep, Exit, Changed, Migrate };

enum class TaskState : std::uint8_t { Unborn, Queued, Running, Blocked, Dead };

// What the machine knows of a task; a scheduler may set slice_ns and vtime as sched_ext's p->scx.slice and dsq_vtime.
struct Task {
	Ns cpu_time_ns = 0;  // until Machine::charge_time() of its CPU
	Ns slice_ns = 0;     // what is left of it; counted down by the machine while the task runs. NEVER: unlimited
	Ns vtime = 0;	     // the key in a DSQ in vtime order
	CpuId cpu = 0;	     // where it runs or is queued, or ran last
	std::uint32_t weight = NICE_0_WEIGHT;  // of its nice value; policy Idle has 3
	TaskState state = TaskState::Unborn;
	Policy policy = Policy::Other;
	std::int8_t nice = 0;
	bool is_kthread = false;
	std::uint16_t group = ROOT_GROUP;
	std::uint32_t cpu_set = 0;  // of Machine::cpus()
	Ns custom_slice_ns = 0;	    // asked for by sched_setattr; 0: none
};

inline constexpr std::uint32_t LOCAL_DSQ = 0x80000000u;	 // | CPU: what dispatch() left for that CPU to run
inline constexpr std::uint32_t GLOBAL_DSQ = 0;		 // schedulers may create more

enum class Kick : std::uint8_t {
	Idle,	  // wake the CPU if it is idle
	Preempt,  // its task's slice is over
};

// The machine, as schedulers see it. Simulation (simulation.hpp) is the only one.
class Machine
{
      public:
	// Time, tasks, CPUs
	Ns now() const;
	Ns clock_task(CpuId cpu) const;	 // the CPU's time without what interrupts took of it (rq_clock_task)
	std::uint32_t nr_cpus() const;
	std::uint32_t nr_tasks() const;	 // ever created: ids are below it
	Task &task(TaskId id);
	const Task &task(TaskId id) const;
	const CpuSet &cpus(TaskId id) const;  // where it may run
	TaskId current(CpuId cpu) const;      // NONE: idle
	std::uint32_t llc_of(CpuId cpu) const;
	CpuId sibling_of(CpuId cpu) const;  // the other thread of its core; NONE
	Ns tick_ns() const;
	// A group's own weight in the kernel's units (scale_load_down(tg->shares)), and its parent.
	std::uint32_t group_weight(GroupId group) const;
	GroupId group_parent(GroupId group) const;
	std::uint32_t nr_groups() const;

	// What no real scheduler knows: CPU time until the task's present burst ends. For oracles (SJF, SRTF) alone.
	Ns burst_left_ns(TaskId id) const;

	// Idle CPUs
	const CpuSet &idle_cpus() const;
	bool test_and_clear_idle(CpuId cpu);
	CpuId pick_idle_cpu(const CpuSet &allowed, CpuId near);	 // same CPU, then LLC, then any; NONE

	// Dispatch queues, each in FIFO or vtime order, ties in order of insertion
	std::uint32_t create_dsq();
	void dsq_insert(TaskId task, std::uint32_t dsq, Ns slice_ns);
	void dsq_insert_vtime(TaskId task, std::uint32_t dsq, Ns slice_ns, Ns vtime);
	bool dsq_move_to_local(std::uint32_t dsq, CpuId cpu);  // the first that may run there
	std::uint32_t dsq_nr_queued(std::uint32_t dsq) const;
	TaskId dsq_peek(std::uint32_t dsq) const;
	bool dsq_remove(TaskId task);  // wherever it is queued

	// Making CPUs choose again
	void kick(CpuId cpu, Kick how);
	void resched(CpuId cpu);  // set TIF_NEED_RESCHED: it chooses again as soon as interrupts and costs allow

	// A task that waits in the scheduler's own queue goes to another CPU: counted, traced and paid for.
	void migrate(TaskId task, CpuId to);
};

class Scheduler
{
      public:
	virtual ~Scheduler() = default;
	virtual std::string_view name() const = 0;
	virtual std::unique_ptr<Scheduler> clone() const = 0;  // its whole state, for the fork of a simulation

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
	virtual void running(Machine &, TaskId)
	{
	}
	virtual void stopping(Machine &, TaskId, bool runnable)
	{
	}
	virtual void tick(Machine &, CpuId, TaskId)
	{
	}  // of a CPU that runs this task
	virtual void update_idle(Machine &, CpuId, bool idle)
	{
	}
	virtual void set_weight(Machine &, TaskId)
	{
	}  // nice, policy or slice changed
	virtual void set_cpumask(Machine &, TaskId)
	{
	}
	// The task asks for its CPU time (clock_gettime, getrusage): the kernel's fair class brings its account up to
	// date there.
	virtual void read_cpu_time(Machine &, TaskId)
	{
	}
	// Time of the next thing that the scheduler wants to do by itself (a BPF timer, balancing); NEVER.
	virtual Ns timer(Machine &)
	{
		return NEVER;
	}
	virtual void timer_fired(Machine &)
	{
	}
};

}  // namespace schedtuna::sim
