/* SPDX-License-Identifier: Apache-2.0 */
// The machine as schedulers see it: time, tasks, CPUs, dispatch queues, interrupts to choose again.
//
// Simulation (simulation.hpp) is the only one; it adds what tasks do.
#pragma once

#include "costs.hpp"
#include "events.hpp"
#include "sched_event.h"  // simulated and recorded traces have the same records
#include "task_attributes.h"
#include "types.hpp"

#include <algorithm>
#include <set>
#include <tuple>

namespace schedtuna::sim
{

inline constexpr std::uint32_t MAX_CPUS = 1024;
static_assert(MAX_CPUS <= 1u << CpuTournament::CPU_BITS);

enum class EnqueueReason : std::uint8_t {
	Wakeup,	  // it slept
	Fork,	  // its first time
	PutBack,  // it was preempted, or its slice is over
	Yield,	  // it gave up the CPU
	Migrate,  // it may no longer run where it ran: Task::cpu is another one; or another scheduler had it
};

enum class DequeueReason : std::uint8_t { Sleep, Exit, Migrate };

enum class TaskState : std::uint8_t { Unborn, Queued, Running, Blocked, Dead };

// What the machine knows of a task; a scheduler may set slice_ns and vtime as sched_ext's p->scx.slice and dsq_vtime.
struct Task {
	Ns cpu_time_ns = 0;   // until Machine::charge() of its CPU
	Ns slice_ns = NEVER;  // what is left of it; counted down by the machine while the task runs. NEVER: unlimited
	Ns vtime = 0;	      // the key in a DSQ in vtime order
	CpuId cpu = 0;	      // where it runs or is queued, or ran last
	std::uint32_t weight = NICE_0_WEIGHT;  // of its nice value; policy Idle has 3
	TaskState state = TaskState::Unborn;
	Policy policy = Policy::Other;
	std::int8_t nice = 0;
	bool is_kthread = false;
	std::uint16_t group = ROOT_GROUP;
	std::uint32_t cpu_set = 0;  // of Machine::cpus()
	Ns custom_slice_ns = 0;	    // asked for by sched_setattr; 0: none
};

struct Topology {
	std::uint32_t nr_cpus = 1;
	std::uint32_t cpus_per_llc = 0;	 // 0: one LLC
	std::uint32_t threads_per_core = 1;
};

struct Totals {
	std::uint64_t nr_events = 0;  // steps of the loop: a phase's or slice's end, a tick, a timer, a wakeup
	std::uint64_t nr_switches = 0, nr_wakeups = 0, nr_migrations = 0, nr_ticks = 0;
	Ns idle_ns = 0;		 // summed over CPUs
	Ns interrupts_ns = 0;	 // of CPUs that were not idle; the rest of the time is CPU time of tasks
	Ns overhead_ns = 0;	 // switches, wakeups, interrupts: what tasks did not get
	std::uint64_t hash = 0;	 // of every switch: (when, CPU, who)
};

// A task that would go from one CPU's queue to another's, and how things are then.
struct Migration {
	std::uint64_t nth = 0;	// of all such, from 0
	Ns at_ns = 0;
	TaskId task = NONE;
	CpuId from = NONE, to = NONE;
	bool wakes = false;			   // it wakes up; else balancing moves it
	std::uint32_t nr_idle = 0, nr_busy = 0;	   // CPUs without tasks that can run, and with some
	std::uint32_t from_load = 0, to_load = 0;  // how much of each CPU was used lately, 0 to 1024
};

inline constexpr std::uint32_t LOCAL_DSQ = 0x80000000u;	 // | CPU: what dispatch() left for that CPU to run
inline constexpr std::uint32_t GLOBAL_DSQ = 0;		 // schedulers may create more

// How fast a burst gets on: so many nanoseconds of it in 1024 of CPU time. Switches, wakeups and interrupts take as
// long everywhere.
inline constexpr std::uint32_t FULL_RATE = 1024;

// How much of a burst is done in some CPU time; what is left over of a nanosecond is kept for the next time, so that it
// does not matter how often it is asked.
inline Ns work_done(std::uint32_t rate, Ns ran, std::uint32_t &part_done)
{
	Ns all = ran * rate + part_done;
	part_done = static_cast<std::uint32_t>(all % FULL_RATE);
	return all / FULL_RATE;
}

inline constexpr Ns DEFAULT_SLICE = 20'000'000;	 // SCX_SLICE_DFL: of a task that is run with none left

enum class Kick : std::uint8_t {
	Idle,	  // wake the CPU if it is idle
	Preempt,  // its task's slice is over
};

class Machine
{
      public:
	// Time, tasks, CPUs
	Ns now() const
	{
		return now_;
	}
	// The CPU's time without what interrupts took of it (rq_clock_task).
	Ns clock_task(CpuId cpu) const
	{
		const Cpu &c = cpus_[cpu];
		return (now_ > c.interrupted_until ? now_ : c.interrupted_until) - c.interrupts_ns;
	}
	std::uint32_t nr_cpus() const
	{
		return topology_.nr_cpus;
	}
	std::uint32_t nr_tasks() const	// ever created: ids are below it
	{
		return static_cast<std::uint32_t>(births_.size());
	}
	Task &task(TaskId id)
	{
		return tasks_[id];
	}
	const Task &task(TaskId id) const
	{
		return tasks_[id];
	}
	const CpuSet &cpus(TaskId id) const  // where it may run
	{
		return cpu_sets_[tasks_[id].cpu_set];
	}
	bool may_run(TaskId id, CpuId cpu) const  // a CPU that there is
	{
		std::uint32_t set = tasks_[id].cpu_set;
		return set == 0 || cpu_sets_[set].has(cpu);
	}
	TaskId current(CpuId cpu) const	 // NONE: idle
	{
		return cpus_[cpu].current;
	}
	// The CPU that does what happens now (smp_processor_id), in a task or in an interrupt.
	CpuId this_cpu() const
	{
		return this_cpu_;
	}
	bool in_interrupt() const
	{
		return in_interrupt_;
	}
	// The waker is about to sleep (WF_SYNC, as pipes say).
	bool wake_sync() const
	{
		return wake_sync_;
	}
	std::uint32_t llc_of(CpuId cpu) const
	{
		return topology_.cpus_per_llc ? cpu / topology_.cpus_per_llc : 0;
	}
	std::uint32_t nr_nodes() const
	{
		return costs_.nodes > 1 ? static_cast<std::uint32_t>(costs_.nodes) : 1;
	}
	std::uint32_t node_of(CpuId cpu) const
	{
		return cpu / (topology_.nr_cpus / nr_nodes());
	}
	std::int64_t remote_distance() const  // between nodes; 10 is a node's own
	{
		return costs_.remote_distance;
	}
	std::uint32_t home_of(TaskId id) const	// the node of its memory; NONE: it has not run
	{
		return threads_[id].home;
	}
	// What a CPU computes, of 1024.
	std::uint32_t capacity_of(CpuId cpu) const
	{
		bool is_slow = cpu >= topology_.nr_cpus - static_cast<std::uint32_t>(costs_.slow_cpus);
		return is_slow ? static_cast<std::uint32_t>(costs_.slow_capacity) : FULL_RATE;
	}
	bool has_slow_cpus() const
	{
		return costs_.slow_cpus != 0;
	}
	// For schedulers that draw: the same for the same load, whoever schedules it.
	std::uint64_t load_seed() const
	{
		return load_seed_;
	}
	CpuId sibling_of(CpuId cpu) const  // the other thread of its core; NONE
	{
		return topology_.threads_per_core == 2 ? cpu ^ 1 : NONE;
	}
	Ns tick_ns() const
	{
		return costs_.tick_ns;
	}
	// A group's own weight in the kernel's units (scale_load_down(tg->shares)), and its parent.
	std::uint32_t group_weight(GroupId group) const
	{
		return groups_[group].weight;
	}
	GroupId group_parent(GroupId group) const
	{
		return groups_[group].parent;
	}
	std::uint32_t nr_groups() const
	{
		return static_cast<std::uint32_t>(groups_.size());
	}
	// Bring the CPU time and slice of the task that runs there up to date.
	void charge(CpuId cpu)
	{
		Cpu &c = cpus_[cpu];
		Ns clock = clock_task(cpu), ran = clock - c.charged_at;
		if (ran <= 0 || c.current == NONE)
			return;
		c.charged_at = clock;
		Task &t = tasks_[c.current];
		t.cpu_time_ns += ran;
		if (t.slice_ns != NEVER)
			t.slice_ns = t.slice_ns > ran ? t.slice_ns - ran : 0;
		Ns paid = c.debt_ns < ran ? c.debt_ns : ran;
		c.debt_ns -= paid;
		Ns done = ran - paid;
		if (c.rate != FULL_RATE) [[unlikely]]
			done = work_done(c.rate, done, threads_[c.current].part_done);
		threads_[c.current].burst_left_ns -= done;
	}
	Ns cpu_time_ns(TaskId id) const;  // until now

	// What no real scheduler knows: CPU time until the task's present burst ends. For oracles (SJF, SRTF) alone.
	Ns burst_left_ns(TaskId id) const;

	// Idle CPUs
	const CpuSet &idle_cpus() const
	{
		return idle_;
	}
	bool test_and_clear_idle(CpuId cpu)
	{
		bool was = idle_.has(cpu);
		idle_.clear(cpu);
		return was;
	}
	CpuId pick_idle_cpu(const CpuSet &allowed, CpuId near);	 // claimed: same CPU, then LLC, then any; NONE

	// Dispatch queues, each in FIFO or vtime order, ties in order of insertion. A CPU that chooses looks into its
	// local one, then the global one, before it calls dispatch().
	std::uint32_t create_dsq();
	void dsq_insert(TaskId task, std::uint32_t dsq, Ns slice_ns);
	void dsq_insert_vtime(TaskId task, std::uint32_t dsq, Ns slice_ns, Ns vtime);
	bool dsq_move_to_local(std::uint32_t dsq, CpuId cpu);  // the first that may run there
	std::uint32_t dsq_nr_queued(std::uint32_t dsq) const;
	TaskId dsq_peek(std::uint32_t dsq) const;
	bool dsq_remove(TaskId task);  // wherever it is queued
	// Who waits in the CPU's own queue or in a shared one, and may run there: appended.
	void dsq_candidates(CpuId cpu, std::vector<TaskId> &found) const;

	// Making CPUs choose again
	void kick(CpuId cpu, Kick how);
	void resched(CpuId cpu);  // set TIF_NEED_RESCHED: it chooses again as soon as interrupts and costs allow
	bool need_resched(CpuId cpu) const
	{
		return cpus_[cpu].need_resched;
	}
	// Scheduler::timer_fired(cpu) is called then, in an interrupt of that CPU. NEVER: not any more.
	void set_timer(CpuId cpu, Ns when)
	{
		events_.set(scheduler_slot(cpu), when);
	}

	// A task that waits in the scheduler's own queue goes to another CPU: counted, traced and paid for.
	void migrate(TaskId task, CpuId to);
	// Schedulers whose CPUs have queues of their own ask it before they do so, or send a task that wakes up
	// elsewhere: yes, unless it was decided otherwise (Simulation::decide_migration()). `describe` says what would
	// happen, if somebody wants to know.
	template <typename Describe> bool shall_migrate(Describe describe)
	{
		std::uint64_t nth = nr_asked_++;
		if (nth == told_at_) [[unlikely]] {
			asked_ = describe();
			asked_.nth = nth;
			asked_.at_ns = now_;
		}
		if (asking_ns_)
			spend(this_cpu_, asking_ns_);
		if (stays_.empty() || stays_.front() != nth) [[likely]]
			return true;
		stays_.erase(stays_.begin());
		return false;
	}

      protected:
	Machine(Topology topology, const Costs &costs);

	// What nobody but the machine knows of a task.
	struct Thread {
		Ns burst_left_ns = 0;				 // CPU time until its present step is done
		Ns spin_until = 0;				 // Spin: when it ends; 0: it has not begun
		Ns refill_ns = 0;				 // what the next burst takes longer on another CPU
		std::uint64_t key = 0;				 // of its draws
		std::uint32_t program = 0, first = 0, step = 0;	 // and where its program begins
		std::uint32_t nr_forks = 0;
		std::uint32_t dsq = NONE, dsq_before = NONE,
			      dsq_behind = NONE;		      // where it is queued, and its neighbours
		Ns dsq_vtime = 0;				      // where it stands in a DSQ in vtime order
		std::uint64_t dsq_seq = 0;			      // and at equal ones
		std::uint32_t waits_for = NONE, waits_before = NONE;  // a resource, and who waits behind
		std::uint32_t memory = NONE;			      // of its program's steps, in step_memory_
		std::uint32_t loops[2] = {};			      // how often each was passed
		std::uint32_t definition = 0;
		TaskId parent = NONE;
		std::uint32_t part_done = 0;  // of a nanosecond of its burst, in 1/1024
		std::uint32_t home = NONE;    // the node of its memory
		Ns born_at = 0;
		CpuId timer_cpu = 0;	     // whose interrupt wakes it up
		bool relocks = false;	     // Wait: it was woken, and takes its mutex again
		bool is_background = false;  // its end is not awaited
	};

	struct Cpu {
		TaskId current = NONE;
		bool need_resched = false, is_touched = false, yields = false;
		std::uint8_t leaves_as = PREV_PREEMPTED;  // a task that blocked or exited
		std::uint32_t rate = FULL_RATE;		  // of the task that runs there
		Ns charged_at = 0;			  // clock_task() of the last charge()
		Ns debt_ns = 0;				  // CPU time that its task has to spend before it gets on
		Ns interrupts_ns = 0;			  // all that have begun
		Ns interrupted_until = 0;
		Ns next_tick = NEVER;
		Ns wakes_at = 0;  // idle: when it has left its idle state
		Ns idle_since = 0;
	};

	struct Dsq {
		std::uint32_t first = NONE, last = NONE, nr_queued = 0;
		std::set<std::tuple<Ns, std::uint64_t, TaskId>> by_vtime;
	};

	// What a trace's table of tasks says beside what is known of each anyway.
	struct Ended {
		std::uint64_t nr_voluntary = 0, nr_involuntary = 0;  // switches
		Ns at = NEVER;
	};
	Ended &ended(TaskId id)
	{
		if (id >= ended_.size()) [[unlikely]]
			ended_.resize(tasks_.size());
		return ended_[id];
	}

	struct Group {
		std::uint32_t weight;
		GroupId parent;
	};

	Dsq &dsq_of(std::uint32_t dsq);
	const Dsq &dsq_of(std::uint32_t dsq) const;
	void dsq_check(TaskId id, std::uint32_t dsq, bool is_vtime);
	TaskId dsq_first(std::uint32_t dsq, CpuId cpu) const;  // that may run there; NONE

	// Stop what the CPU does for so long, from now on.
	void interrupt(CpuId cpu, Ns length);
	// The task that runs there, or the interrupt that is being handled, takes so much longer.
	void spend(CpuId cpu, Ns cost);
	void touch(CpuId cpu)
	{
		if (!cpus_[cpu].is_touched) {
			cpus_[cpu].is_touched = true;
			touched_.push_back(cpu);
		}
	}
	void moved(TaskId id, CpuId from, CpuId to);
	// Add an event on this_cpu_ to the trace, if there is one. A task's tid is its id + 1; idle CPUs run 0.
	sched_event *record(sched_event_type type, TaskId id, TaskId other)
	{
		return is_traced_ ? append_event(type, id, other) : nullptr;
	}
	sched_event *append_event(sched_event_type type, TaskId id, TaskId other);
	void record_attributes(TaskId id, attribute_reason reason);

	Tournament::Slot scheduler_slot(CpuId cpu) const
	{
		return cpu;
	}
	Tournament::Slot interrupt_slot(CpuId cpu) const
	{
		return nr_cpus() + cpu;
	}
	Tournament::Slot swap_slot() const
	{
		return 2 * nr_cpus();
	}
	Tournament::Slot pressure_slot() const
	{
		return 2 * nr_cpus() + 1;
	}
	Tournament::Slot task_slot(TaskId id) const
	{
		return 2 * nr_cpus() + 2 + id;
	}

	// CPU time that the burst of the task that runs there takes, if nothing changes.
	static Ns time_for(const Cpu &c, const Thread &thread)
	{
		if (thread.burst_left_ns == 0 || thread.burst_left_ns >= LONGEST)
			return thread.burst_left_ns;
		return (thread.burst_left_ns * FULL_RATE - thread.part_done + c.rate - 1) / c.rate;
	}
	void set_rate(CpuId cpu);

	Ns now_ = 0;
	Topology topology_;
	Costs costs_;
	// At equal times CPUs come first, then the scheduler's timers, interrupts, another scheduler, memory, tasks.
	CpuTournament cpu_events_;
	Tournament events_;
	Rows<Task> tasks_;
	Rows<Thread> threads_;
	std::vector<Cpu> cpus_;
	std::vector<CpuSet> cpu_sets_;	// all CPUs, those of the workload, then each CPU alone if there are kthreads
	std::vector<Group> groups_;
	std::vector<Dsq> dsqs_, local_dsqs_;
	CpuSet idle_;
	std::vector<CpuId> touched_;  // what they do next has changed
	CpuId this_cpu_ = 0;
	bool in_interrupt_ = false;
	bool wake_sync_ = false;
	std::uint64_t nr_inserted_ = 0;
	std::uint64_t nr_asked_ = 0, told_at_ = ~0ull;	// migrations
	Migration asked_;
	Ns asking_ns_ = 0;
	std::vector<std::uint64_t> stays_;  // those to come that are not to be
	Totals totals_;
	bool is_uneven_ = false;   // not all bursts get on at the full rate
	bool is_pressed_ = false;  // memory is short
	std::uint64_t nr_pressures_ = 0, load_seed_ = 0;
	bool is_traced_ = false;
	std::vector<sched_event> trace_;
	std::vector<task_attributes> attributes_;  // their cpu_set is one more than the task's
	Rows<Ns> births_;			   // of the tasks; Thread::born_at is a program's
	std::vector<Ended> ended_;		   // of the tasks that there are in the trace; others have none
};

// What schedulers say that know neither nodes nor capacities; empty: the machine has none.
std::string_view refuses_uneven(const Machine &m);

}  // namespace schedtuna::sim
