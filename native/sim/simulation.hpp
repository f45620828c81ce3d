/* SPDX-License-Identifier: Apache-2.0 */
// The simulated machine itself: what a simulation is made of, and how it goes on.
//
// A switch takes place at its beginning: the task that leaves can be woken up elsewhere at once, and the task that
// comes pays for it. A system call is not preempted (PREEMPT_NONE): what its wakeups cost passes before the CPU
// chooses again.
#pragma once

#include "machine.hpp"
#include "random.hpp"
#include "scheduler.hpp"
#include "workload.hpp"

#include <memory>
#include <optional>

namespace schedtuna::sim
{

// Two seeds: what the load draws, and what the machine's own noise draws. Runs of a block share the first.
struct Seeds {
	std::uint64_t workload = 1;
	std::uint64_t noise = 1;
};

// Why run() came back: its time has come, no task is left, those that are left wait for each other, or a CPU is to
// choose (Simulation::stop_at_pick()).
enum class Stop : std::uint8_t { Time, AllExited, Deadlock, Decision };

// The kernel's weight for load (sched_prio_to_weight; WEIGHT_IDLEPRIO).
std::uint32_t weight_of(std::int8_t nice, Policy policy);

// What a trace's table of tasks says of one beside its state.
struct TaskTally {
	Ns born_at, died_at;  // NEVER: it lives
	std::uint64_t nr_voluntary_switches, nr_involuntary_switches;
};

inline constexpr std::uint32_t MAX_TASKS = 1'000'000;  // ever created

class Simulation : public Machine
{
      public:
	// Raises BadInput: what is wrong with the workload, topology or costs, and what is allowed.
	Simulation(Topology topology, const Costs &costs, Workload workload, std::unique_ptr<Scheduler> scheduler,
		   Seeds seeds);
	// A fork: it goes on exactly as the original does. The original's trace stays with it.
	Simulation(const Simulation &other);
	// A copy of one in which nothing has happened yet, with seeds of its own.
	Simulation(const Simulation &unstarted, Seeds seeds);
	Simulation(Simulation &&) = default;
	Simulation &operator=(Simulation &&) = default;

	// Go on until everything up to and including that time has happened; at most until the workload's duration.
	// Raises SchedulerError, and BadInput where a task does what it can't (unlocks what it doesn't hold, loops
	// without taking time); the simulation can't go on after either.
	Stop run(Ns until);
	// The same for the next event; Stop::Time: there are more.
	Stop step();

	// Counterfactuals, in decisions.cpp. Come back (Stop::Decision) where a CPU chooses for the nth time, counted
	// over all CPUs from 0, before the scheduler is asked; a fork made there may choose otherwise.
	void stop_at_pick(std::uint64_t nth)
	{
		if (!decides_outside_)
			stop_at_ = nth;
	}
	std::uint64_t nr_picks() const	// choices that have begun
	{
		return nr_picks_;
	}
	CpuId deciding_cpu() const  // NONE: no decision is due
	{
		return decision_.cpu;
	}
	TaskId deciding_prev() const  // who ran there; NONE: it was idle
	{
		return decision_.prev;
	}
	const std::vector<TaskId> &candidates() const;	// of the decision that is due
	// Let that CPU run a candidate, and go on to the end of this moment. NONE: it idles, which only a scheduler can
	// that decides outside. Raises BadInput: it is no candidate, or no decision is due.
	// `cost` passes before anything else, as CPU time of who comes.
	void choose(TaskId next, Ns cost = 0);
	void choose_own();  // whom the scheduler would
	// Let a CPU choose again, as soon as interrupts and costs allow, whatever it does now.
	void preempt(CpuId cpu);
	// Let the nth wakeup (Totals::nr_wakeups, so from 1; births count, too) go to this CPU, whatever the scheduler
	// selects; one that wakes up in place stays there. Schedulers whose CPUs share a queue take no heed.
	void place_at_wakeup(std::uint64_t nth, CpuId cpu)
	{
		place_at_ = nth;
		place_on_ = cpu;
	}
	// Migrations, which `fair` asks for one by one: where a task would wake up on another CPU, and where balancing
	// would move one that waits. Foreseen in a fork: the next one that nobody has decided about, until that time;
	// nothing: there is none. Raises BadInput unless the scheduler is `fair`.
	std::optional<Migration> next_migration(Ns until) const;
	// Let one that is to come be (as it will if nobody decides) or let its task stay. Raises BadInput: it is over,
	// or a later one has been decided about.
	void decide_migration(std::uint64_t nth, bool moves);
	// What a decision costs: CPU time of who wakes a task up, or of the CPU that balances.
	void set_migration_cost(Ns cost)
	{
		asking_ns_ = cost;
	}
	// Draw other amounts from now on, which the seed tells; what has been drawn stays.
	void redraw(std::uint64_t seed);
	std::uint64_t nr_migrations_asked() const
	{
		return nr_asked_;
	}
	// Go on event by event until behind the nth is asked for, or to that time: true: asked() tells of it.
	bool run_to_migration(std::uint64_t nth, Ns until);
	const Migration &asked() const
	{
		return asked_;
	}
	// Set a task's nice value, policy or slice (op and value as in a Step) from outside: it costs nothing, and
	// holds until the task sets it itself. Raises BadInput.
	void set_attribute(TaskId id, Op op, Ns value);

	// Give the scheduler other parameters while it runs: all of them, in the order of its row. Raises BadInput: its
	// own hold from its beginning on, or a decision is due.
	void set_parameters(Values values);
	void set_group_weight(GroupId group, std::uint32_t weight);  // in the kernel's units

	// Another scheduler takes over, in swap.cpp. As in the kernel, the way from one to another leads through
	// `fair`: that takes over now, and `next`, unless it is `fair` itself, after Costs::swap_ns; a later call
	// overrules it. Raises BadInput while a decision is due.
	void swap(std::unique_ptr<Scheduler> next);
	const Scheduler *coming() const	 // that is to take over; nullptr: none
	{
		return coming_.get();
	}

	Ns next_event() const;	// NEVER: there is none

	Totals totals() const;	// until now
	const Workload &workload() const
	{
		return *workload_;
	}
	const Scheduler &scheduler() const
	{
		return *scheduler_;
	}
	Scheduler &scheduler()
	{
		return *scheduler_;
	}
	std::uint32_t nr_stuck() const	// tasks that wait for other tasks
	{
		return nr_stuck_;
	}
	std::string name_of(TaskId id) const;	   // its program's, after an Exec
	std::uint32_t program_of(TaskId id) const  // which changes with an Exec, and the name with it
	{
		return threads_[id].program;
	}
	std::uint32_t definition_of(TaskId id) const  // its index in Workload::tasks; beyond: a background kthread
	{
		return threads_[id].definition;
	}
	TaskId parent_of(TaskId id) const  // NONE: it was there from the beginning
	{
		return threads_[id].parent;
	}
	// Which tasks wait for what, and who holds it: a deadlock's explanation. Empty if none waits.
	std::string waiting() const;

	void set_traced(bool is_traced);		// off at first; tasks that are there are found as they are
	std::vector<sched_event> take_events();		// since the last call
	const std::vector<sched_event> &events() const	// the same, and they stay
	{
		return trace_;
	}
	std::vector<task_attributes> take_attributes();		 // likewise
	TaskTally tally_of(TaskId id) const;			 // since it is traced
	std::vector<CpuId> cpu_set(std::uint32_t number) const;	 // those that attributes name, from 1 on
	std::uint32_t nr_cpu_sets() const
	{
		return static_cast<std::uint32_t>(cpu_sets_.size());
	}

	// Memory that a machine with so many tasks takes, without its scheduler's.
	static std::uint64_t bytes_needed(std::uint32_t nr_cpus, std::uint32_t nr_tasks);

#ifdef SCHEDTUNA_SIM_CHECK
	void check() const;  // the invariants; aborts
#endif

      private:
	// A resource's state. A pipe's tasks read while it is empty, and write while it is full.
	struct ResourceState {
		TaskId first = NONE, last = NONE;  // that wait for it
		TaskId owner = NONE;		   // of a mutex
		std::uint32_t count = 0;	   // tasks at a barrier, messages in a pipe
	};

	// The programs' steps in one piece, an Exit behind each; forks share them.
	struct Programs {
		Rows<Step> steps;
		Rows<std::uint32_t> counts;	    // where in its task's memory each counts how often it was reached
		std::vector<std::uint32_t> first;   // of each program
		std::vector<std::uint32_t> memory;  // how much of it each program's tasks have
	};

	// simulation.cpp: the loop
	void happen();
	[[gnu::always_inline]] inline void settle(std::size_t from);
	void service(CpuId cpu);
	Ns next_time() const  // of the next event; beyond LONGEST any time
	{
		return std::min(cpu_events_.first_time(), events_.first_time());
	}
	// When the CPU is to be looked at again if nothing else happens.
	[[gnu::always_inline]] Ns next_of(const Cpu &c) const
	{
		if (c.current == NONE)
			return c.need_resched ? std::max(c.wakes_at, c.interrupted_until) : NEVER;
		Ns charged_at = c.charged_at + c.interrupts_ns;	 // if no interrupt comes, in real time
		Ns free_at = charged_at + c.debt_ns;
		Ns next;
		if (c.need_resched) {
			next = std::max({free_at, c.interrupted_until, now_});
		} else {
			const Thread &thread = threads_[c.current];
			Ns left = c.rate == FULL_RATE ? thread.burst_left_ns : time_for(c, thread);
			if (__builtin_add_overflow(free_at, left, &next))
				next = NEVER;
			if (thread.spin_until)
				next = std::max({thread.spin_until, free_at, c.interrupted_until});
			Ns slice = costs_.slice_timer ? tasks_[c.current].slice_ns : NEVER;
			if (slice < next - charged_at)
				next = charged_at + slice;
		}
		return std::min(next, std::max(c.next_tick, c.interrupted_until));
	}
	void tick(CpuId cpu);
	bool schedule(CpuId cpu);  // false: its choice is put off
	TaskId pick(CpuId cpu, TaskId prev);
	[[gnu::always_inline]] inline void enter(CpuId cpu, TaskId prev, TaskId next);
	void switch_to(CpuId cpu, TaskId prev, TaskId next);
	void wake(TaskId id, EnqueueReason why);
	void block(CpuId cpu, std::uint8_t leaves_as);
	void time_out(TaskId id);
	Stop state() const;
	void count_step(TaskId id)  // a guard against loads and schedulers for which time never goes on
	{
		if (++steps_now_ > 1'000'000) [[unlikely]]
			check_endless(id);
	}
	void check_endless(TaskId id) const;
	bool is_done(TaskId id) const  // with its burst
	{
		const Thread &thread = threads_[id];
		return thread.burst_left_ns == 0 || (thread.spin_until && thread.spin_until <= now_);
	}

	// decisions.cpp
	struct Decision {
		CpuId cpu = NONE;
		TaskId prev = NONE;
		bool exits = false, moves = false;  // what happens to prev afterwards
		bool is_told = false;		    // run() has come back with it
	};
	Decision due() const;
	bool waits_for_choice();
	bool put_off(CpuId cpu, TaskId prev);
	void finish(TaskId next, Ns cost = 0);
	void settle_outside();
	CpuId placed(TaskId id, CpuId own);

	// swap.cpp
	void require_fit(const Scheduler &scheduler) const;
	void take_over(std::unique_ptr<Scheduler> next);
	void let_go(CpuId cpu);
	bool is_known(TaskId id) const	// to the scheduler
	{
		return tasks_[id].state != TaskState::Unborn && tasks_[id].state != TaskState::Dead;
	}

	// setup.cpp: what there is at the beginning
	void add_cpu_sets();
	void add_groups();
	void add_background(Workload &workload) const;
	void lay_out_programs();
	void start_noise();
	void set_seeds(Seeds seeds);
	void await_pressure();
	void change_pressure();
	void next_noise(CpuId cpu);
	Key key_of(const Thread &thread) const;
	const Interruption *next_interruption(CpuId cpu) const;
	void await_interrupt(CpuId cpu);
	void interrupt_again(CpuId cpu);

	// steps.cpp: what tasks do
	void create(std::uint32_t definition, Key key, TaskId parent);
	void perform(CpuId cpu);
	void advance(TaskId id)	 // its step is done
	{
		threads_[id].step++;
		arrive(id);
	}
	void arrive(TaskId id);	 // load the burst that comes next
	[[gnu::noinline]] void apply_attribute(TaskId id, Op op, Ns value);
	void sleep(CpuId cpu, TaskId id, Ns length, std::uint8_t leaves_as);
	void sleep_until(CpuId cpu, TaskId id, const Step &step);
	void spin(TaskId id, const Step &step);
	void fork(CpuId cpu, TaskId id, const Step &step);
	void exec(TaskId id, const Step &step);
	[[gnu::noinline]] void exit(CpuId cpu, TaskId id);
	[[gnu::noinline]] void set_affinity(CpuId cpu, TaskId id, std::uint32_t cpu_set);
	void move_away(CpuId cpu, TaskId id);
	std::size_t step_index(TaskId id) const
	{
		return threads_[id].first + threads_[id].step;
	}
	const Step &step_of(TaskId id) const
	{
		return programs_->steps[step_index(id)];
	}
	Ns draw_step(TaskId id, const Step &step);
	std::string where(TaskId id) const;

	// resources.cpp: what they wait for
	void perform_resource(CpuId cpu, TaskId id, const Step &step);
	void wait_for(CpuId cpu, TaskId id, std::uint32_t resource);
	TaskId pop_waiter(std::uint32_t resource);
	void grant(TaskId id);
	void grant_sync(TaskId id);
	void lock(CpuId cpu, TaskId id, std::uint32_t mutex);
	void unlock(TaskId id, std::uint32_t mutex);
	void signal(std::uint32_t condition);
	void wait_at_barrier(CpuId cpu, TaskId id, std::uint32_t barrier);
	void read_pipe(CpuId cpu, TaskId id, std::uint32_t pipe);
	void write_pipe(CpuId cpu, TaskId id, const Step &step);

	std::shared_ptr<const Workload> workload_;  // with the background kthreads; never changed
	std::unique_ptr<Scheduler> scheduler_, coming_;
	Seeds seeds_;
	Rows<ResourceState> resources_;
	std::shared_ptr<const Programs> programs_;
	Rows<Ns> step_memory_;	// timers, from the task's start, and those counts
	std::vector<std::uint64_t> nr_interrupts_;
	std::vector<Ns> noise_at_;		      // per CPU, when its next one comes
	std::vector<std::size_t> next_interruption_;  // per CPU, in the workload's
	std::uint32_t nr_background_ = 0;
	std::uint32_t nr_live_ = 0, nr_stuck_ = 0;  // of the workload's tasks; stuck: no timer will wake it
	std::uint64_t steps_now_ = 0;		    // done since time went on
	std::uint32_t nr_distributed_ = 0;	    // tasks that affinity moved
	std::size_t nr_settled_ = 0;		    // of touched_
	std::uint64_t nr_picks_ = 0, stop_at_ = ~0ull;
	bool decides_outside_ = false;
	Decision decision_;
	mutable std::vector<TaskId> candidates_;  // once they were asked for
	std::uint64_t place_at_ = 0;
	CpuId place_on_ = NONE;
	std::uint64_t nr_decided_ = 0;	// migrations before that one
};

}  // namespace schedtuna::sim
