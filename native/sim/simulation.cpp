/* SPDX-License-Identifier: Apache-2.0 */
#include "simulation.hpp"

#include <utility>

namespace schedtuna::sim
{

Simulation::Simulation(const Simulation &other)
    : Machine(other), workload_(other.workload_), scheduler_(other.scheduler_->clone()),
      coming_(other.coming_ ? other.coming_->clone() : nullptr), seeds_(other.seeds_), resources_(other.resources_),
      programs_(other.programs_), step_memory_(other.step_memory_), nr_interrupts_(other.nr_interrupts_),
      noise_at_(other.noise_at_), next_interruption_(other.next_interruption_), nr_background_(other.nr_background_),
      nr_live_(other.nr_live_), nr_stuck_(other.nr_stuck_), steps_now_(other.steps_now_),
      nr_distributed_(other.nr_distributed_), nr_settled_(other.nr_settled_), nr_picks_(other.nr_picks_),
      stop_at_(other.stop_at_), decides_outside_(other.decides_outside_), decision_(other.decision_),
      candidates_(other.candidates_), place_at_(other.place_at_), place_on_(other.place_on_),
      nr_decided_(other.nr_decided_)
{
	trace_.clear();
	set_traced(is_traced_);
}

void Simulation::set_traced(bool is_traced)
{
	is_traced_ = is_traced;
	attributes_.clear();
	ended_.clear();
	for (TaskId id = 0; id < nr_tasks(); id++)
		if (is_known(id))
			record_attributes(id, ATTRIBUTE_SNAPSHOT);
}

Stop Simulation::state() const
{
	if (decision_.cpu != NONE) [[unlikely]]
		return Stop::Decision;
	if (nr_live_ == 0)
		return Stop::AllExited;
	return nr_stuck_ == nr_live_ ? Stop::Deadlock : Stop::Time;
}

static void throw_too_long()
{
	throw BadInput("a simulation lasts 104 days of its time at most");
}

Stop Simulation::run(Ns until)
{
	until = std::min(until, workload_->duration_ns);
	if (decision_.cpu != NONE && waits_for_choice())
		return Stop::Decision;
	Stop stop = state();
	Ns last = std::min(until, LONGEST);
	while (stop == Stop::Time && next_time() <= last) {
		happen();
		stop = state();
	}
	decision_.is_told = true;
	if (stop != Stop::Time)
		return stop;
	if (next_time() == NEVER)
		throw SchedulerError(std::string(scheduler_->name())
				     + " left runnable tasks waiting though every CPU is idle");
	if (until > LONGEST)
		throw_too_long();
	now_ = std::max(now_, until);
	return stop;
}

Stop Simulation::step()
{
	if (decision_.cpu != NONE) {
		if (waits_for_choice())
			return Stop::Decision;
	} else if (state() == Stop::Time && next_time() != NEVER) {
		if (next_time() > LONGEST)
			throw_too_long();
		happen();
	}
	decision_.is_told = true;
	return state();
}

// Let every CPU whose plans have changed go on as far as it can at this moment.
inline void Simulation::settle(std::size_t from)
{
	for (std::size_t i = from; i < touched_.size(); i++) {
		CpuId cpu = touched_[i];
		service(cpu);
		if (decision_.cpu != NONE) [[unlikely]] {
			nr_settled_ = i;
			return;
		}
		cpus_[cpu].is_touched = false;
	}
	touched_.clear();
}

Ns Simulation::next_event() const
{
	Ns next = next_time();
	if (next <= LONGEST) [[likely]]
		return next;
	next = events_.first_time();
	for (CpuId cpu = 0; cpu < nr_cpus(); cpu++)
		next = std::min(next, next_of(cpus_[cpu]));
	return next;
}

void Simulation::happen()
{
	Ns of_cpu = cpu_events_.first_time(), when = events_.first_time();
	bool is_cpu = of_cpu <= when;
	Tournament::Slot slot = is_cpu ? cpu_events_.first_cpu() : events_.first_slot();
	when = std::min(when, of_cpu);
	if (when != now_) {
#ifdef SCHEDTUNA_SIM_CHECK
		if (when < now_)
			std::abort();
#endif
		now_ = when;
		steps_now_ = 0;
	}
	totals_.nr_events++;
	std::uint32_t n = nr_cpus();
	if (is_cpu) {
		this_cpu_ = slot;
		Cpu &c = cpus_[slot];
		c.is_touched = true;  // it will be looked at, whatever it does to itself
		if (c.current != NONE && std::max(c.next_tick, c.interrupted_until) <= now_)
			tick(slot);
		service(slot);
		if (decision_.cpu != NONE) [[unlikely]] {
			touched_.insert(touched_.begin(), slot);
			return;
		}
		c.is_touched = false;
	} else if (slot < n) {
		this_cpu_ = slot;
		in_interrupt_ = true;
		events_.set(slot, NEVER);
		scheduler_->timer_fired(*this, slot);
	} else if (slot < 2 * n) {
		this_cpu_ = slot - n;
		in_interrupt_ = true;
		interrupt_again(this_cpu_);
	} else if (slot == swap_slot()) {
		events_.set(slot, NEVER);
		take_over(std::move(coming_));
	} else if (slot == pressure_slot()) {
		change_pressure();
	} else {
		events_.set(slot, NEVER);
		time_out(slot - task_slot(0));
	}
	settle(0);
#ifdef SCHEDTUNA_SIM_CHECK
	bool is_due = nr_tasks() + nr_cpus() < 3000 || totals_.nr_events % 10'000 == 0;	 // it looks at all of them
	if (is_due && decision_.cpu == NONE)
		check();
#endif
}

void Simulation::service(CpuId cpu)
{
	Cpu &c = cpus_[cpu];
	for (;;) {
		Ns next = next_of(c);
		if (next > now_) {
			cpu_events_.set(cpu, next);
			return;
		}
		this_cpu_ = cpu;
		in_interrupt_ = false;
		charge(cpu);
		bool is_free = c.debt_ns == 0 && c.interrupted_until <= now_;
		if (c.need_resched && is_free) {
			if (!schedule(cpu)) [[unlikely]]
				return;
		} else if (!c.need_resched && is_free && is_done(c.current)) {
			do
				perform(cpu);
			while (decision_.cpu == NONE && c.current != NONE && !c.need_resched && c.debt_ns == 0
			       && c.interrupted_until <= now_ && is_done(c.current));
			if (decision_.cpu != NONE) [[unlikely]]
				return;
		} else if (!c.need_resched && costs_.slice_timer && tasks_[c.current].slice_ns == 0) {
			resched(cpu);
		} else {  // a tick is due, which is an event of its own
			cpu_events_.set(cpu, now_);
			return;
		}
	}
}

void Simulation::tick(CpuId cpu)
{
	Cpu &c = cpus_[cpu];
	totals_.nr_ticks++;
	charge(cpu);
	while (c.next_tick <= now_)
		c.next_tick += costs_.tick_ns;
	in_interrupt_ = true;
	if (tasks_[c.current].slice_ns == 0)
		resched(cpu);
	scheduler_->tick(*this, cpu, c.current);
	interrupt(cpu, costs_.tick_cost_ns);
	in_interrupt_ = false;
}

TaskId Simulation::pick(CpuId cpu, TaskId prev)
{
	for (bool asked = false;; asked = true) {
		TaskId next = local_dsqs_[cpu].nr_queued ? dsq_first(LOCAL_DSQ | cpu, cpu) : NONE;
		if (next == NONE && dsqs_[GLOBAL_DSQ].nr_queued)
			next = dsq_first(GLOBAL_DSQ, cpu);
		if (next != NONE)
			dsq_remove(next);
		else if (!asked)
			next = scheduler_->dispatch(*this, cpu, prev);
		else
			return NONE;
		if (next == NONE)
			continue;
		if (next >= nr_tasks() || tasks_[next].state != TaskState::Queued || threads_[next].dsq != NONE)
			throw SchedulerError(std::string(scheduler_->name()) + ": dispatch() returned task "
					     + std::to_string(next) + ", which does not wait to run");
		if (!may_run(next, cpu))
			throw SchedulerError(std::string(scheduler_->name()) + ": " + name_of(next)
					     + " was dispatched to CPU " + std::to_string(cpu)
					     + ", where it may not run");
		return next;
	}
}

inline void Simulation::enter(CpuId cpu, TaskId prev, TaskId next)
{
	Cpu &c = cpus_[cpu];
	c.need_resched = false;
	c.yields = false;
	if (next != prev) {
		switch_to(cpu, prev, next);
	} else if (next == NONE) {
		idle_.set(cpu);
		return;
	}
	if (next != NONE) {
		if (tasks_[next].slice_ns == 0)
			tasks_[next].slice_ns = DEFAULT_SLICE;
		tasks_[next].state = TaskState::Running;
		scheduler_->running(*this, next);
	}
}

bool Simulation::schedule(CpuId cpu)
{
	Cpu &c = cpus_[cpu];
	count_step(c.current);
	charge(cpu);
	TaskId prev = c.current;
	bool is_runnable = prev != NONE && tasks_[prev].state == TaskState::Running;
	if (is_runnable) {
		scheduler_->stopping(*this, prev, true);
		tasks_[prev].state = TaskState::Queued;
		scheduler_->enqueue(*this, prev, c.yields ? EnqueueReason::Yield : EnqueueReason::PutBack);
		c.leaves_as = c.yields ? PREV_RUNNABLE : PREV_PREEMPTED;
	}
	if (nr_picks_++ == stop_at_ && put_off(cpu, prev)) [[unlikely]]
		return false;
	enter(cpu, prev, pick(cpu, prev));
	return true;
}

void Simulation::switch_to(CpuId cpu, TaskId prev, TaskId next)
{
	Cpu &c = cpus_[cpu];
	totals_.nr_switches++;
	std::uint64_t what = static_cast<std::uint64_t>(now_) ^ static_cast<std::uint64_t>(cpu) << 52;
	totals_.hash = (totals_.hash ^ (what + next)) * 0x9e3779b97f4a7c15;
	totals_.hash ^= totals_.hash >> 29;
	if (next != NONE && tasks_[next].cpu != cpu) {
		moved(next, tasks_[next].cpu, cpu);
		tasks_[next].cpu = cpu;
	}
	if (sched_event *e = record(EVENT_SWITCH, prev, next)) {
		static constexpr __u32 KERNELS[] = {0x100, 0, 1, 2, 2, 4, 0x10};
		e->prev_state = prev == NONE ? static_cast<__u8>(PREV_RUNNABLE) : c.leaves_as;
		e->aux = KERNELS[e->prev_state];
		e->other_prio = static_cast<__s16>(120 + (next == NONE ? 0 : tasks_[next].nice));
		if (prev != NONE) {
			Ended &counts = ended(prev);
			(e->prev_state > PREV_RUNNABLE ? counts.nr_voluntary : counts.nr_involuntary)++;
		}
	}
	c.current = next;
	if (next == NONE) {
		c.idle_since = now_;
		totals_.overhead_ns -= c.debt_ns;  // what the last wakeup of a Wait cost
		c.debt_ns = 0;
		idle_.set(cpu);
		scheduler_->update_idle(*this, cpu, true);
		return;
	}
	if (prev == NONE) {
		totals_.idle_ns += now_ - c.idle_since;
		idle_.clear(cpu);
		scheduler_->update_idle(*this, cpu, false);
		if (costs_.tick_ns) {
			Ns phase = costs_.tick_skew_ns * cpu % costs_.tick_ns;
			c.next_tick = now_ < phase ? phase : now_ - (now_ - phase) % costs_.tick_ns + costs_.tick_ns;
		}
	}
	c.charged_at = clock_task(cpu);
	if (is_uneven_) [[unlikely]]
		set_rate(cpu);
	c.debt_ns += costs_.context_switch_ns;
	totals_.overhead_ns += costs_.context_switch_ns;
}

// Where schedule() and its callers were left, and then what the event still has to settle.
void Simulation::finish(TaskId next, Ns cost)
{
	Decision decision = std::exchange(decision_, {});
	candidates_.clear();
	if (decides_outside_)
		stop_at_ = nr_picks_;
	this_cpu_ = decision.cpu;
	in_interrupt_ = false;
	enter(decision.cpu, decision.prev, next);
	if (cost)
		spend(decision.cpu, cost);
	if (decision.exits)
		scheduler_->exit_task(*this, decision.prev);
	if (decision.moves)
		move_away(decision.cpu, decision.prev);
	settle_outside();
}

void Simulation::settle_outside()
{
	settle(std::exchange(nr_settled_, 0));
#ifdef SCHEDTUNA_SIM_CHECK
	if (decision_.cpu == NONE)
		check();
#endif
}

void Simulation::wake(TaskId id, EnqueueReason why)
{
	Task &t = tasks_[id];
	totals_.nr_wakeups++;
	if (why == EnqueueReason::Wakeup)
		if (sched_event *e = record(EVENT_WAKING, id, cpus_[this_cpu_].current)) {
			e->aux = in_interrupt_ ? WAKER_INTERRUPT : WAKER_TASK;
			e->target_cpu = static_cast<__u16>(t.cpu);
		}
	t.state = TaskState::Queued;
	if (why == EnqueueReason::Wakeup || !in_interrupt_)
		spend(this_cpu_, costs_.wakeup_ns);
	if (why == EnqueueReason::Fork || !scheduler_->wake_in_place(*this, id)) {
		CpuId cpu = scheduler_->select_cpu(*this, id, t.cpu, why);
		if (totals_.nr_wakeups == place_at_) [[unlikely]]
			cpu = placed(id, cpu);
		if (cpu >= nr_cpus() || !may_run(id, cpu))
			throw SchedulerError(std::string(scheduler_->name()) + ": select_cpu() returned CPU "
					     + std::to_string(cpu) + ", where " + name_of(id) + " may not run");
		if (cpu != t.cpu && why == EnqueueReason::Wakeup)
			moved(id, t.cpu, cpu);
		t.cpu = cpu;
		if (threads_[id].dsq == NONE)
			scheduler_->enqueue(*this, id, why);
	}
	bool is_new = why == EnqueueReason::Fork;
	if (sched_event *e = record(is_new ? EVENT_WAKEUP_NEW : EVENT_WAKEUP, id, cpus_[t.cpu].current))
		e->target_cpu = static_cast<__u16>(t.cpu);
	if (cpus_[t.cpu].current == NONE)
		resched(t.cpu);
}

// The task that runs there goes to sleep: its last step, or what wakes it up, is set already.
void Simulation::block(CpuId cpu, std::uint8_t leaves_as)
{
	TaskId id = cpus_[cpu].current;
	scheduler_->stopping(*this, id, false);
	tasks_[id].state = TaskState::Blocked;
	scheduler_->dequeue(*this, id, DequeueReason::Sleep);
	cpus_[cpu].leaves_as = leaves_as;
	schedule(cpu);
}

// A task's timer: it is born, or has slept enough.
void Simulation::time_out(TaskId id)
{
	this_cpu_ = threads_[id].timer_cpu;
	in_interrupt_ = true;
	if (tasks_[id].state == TaskState::Unborn) {
		threads_[id].born_at = births_[id] = now_;
		record_attributes(id, ATTRIBUTE_FORK);
		scheduler_->init_task(*this, id);
		arrive(id);
		wake(id, EnqueueReason::Fork);
		return;
	}
	interrupt(this_cpu_, costs_.timer_irq_ns);
	wake(id, EnqueueReason::Wakeup);
}

Totals Simulation::totals() const
{
	Totals totals = totals_;
	for (const Cpu &c : cpus_)
		if (c.current == NONE)
			totals.idle_ns += now_ - c.idle_since;
	return totals;
}

std::vector<sched_event> Simulation::take_events()
{
	std::vector<sched_event> events;
	events.swap(trace_);
	trace_.reserve(events.size() + events.size() / 8);
	return events;
}

TaskTally Simulation::tally_of(TaskId id) const
{
	Ended counts = id < ended_.size() ? ended_[id] : Ended{};
	return {births_[id], counts.at, counts.nr_voluntary, counts.nr_involuntary};
}

std::vector<task_attributes> Simulation::take_attributes()
{
	std::vector<task_attributes> attributes;
	attributes.swap(attributes_);
	return attributes;
}

std::vector<CpuId> Simulation::cpu_set(std::uint32_t number) const
{
	std::vector<CpuId> cpus;
	for (CpuId cpu = 0; cpu < nr_cpus(); cpu++)
		if (cpu_sets_[number - 1].has(cpu))
			cpus.push_back(cpu);
	return cpus;
}

std::uint64_t Simulation::bytes_needed(std::uint32_t nr_cpus, std::uint32_t nr_tasks)
{
	std::uint64_t per_cpu = sizeof(Cpu) + sizeof(Dsq) + sizeof(CpuId) + sizeof(std::uint64_t);
	per_cpu += CpuTournament::bytes(nr_cpus) / nr_cpus;
	std::uint64_t per_task = sizeof(Task) + sizeof(Thread) + 3 * sizeof(Ns);
	return per_cpu * nr_cpus + per_task * nr_tasks + Tournament::bytes(2 * nr_cpus + 2 + nr_tasks);
}

}  // namespace schedtuna::sim
