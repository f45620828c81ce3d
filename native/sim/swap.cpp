/* SPDX-License-Identifier: Apache-2.0 */
// Another scheduler takes over a machine that runs.
#include "registry.hpp"
#include "simulation.hpp"

#include <utility>

namespace schedtuna::sim
{

namespace
{

constexpr std::string_view DEFAULT_SCHEDULER = "fair";

}  // namespace

void Simulation::require_fit(const Scheduler &scheduler) const
{
	if (std::string_view why = scheduler.refuses(*this); !why.empty())
		throw BadInput(std::string(scheduler.name()) + " can't schedule this machine: " + std::string(why));
}

void Simulation::swap(std::unique_ptr<Scheduler> next)
{
	require_fit(*next);
	require_fit(*make_scheduler(DEFAULT_SCHEDULER));
	if (decision_.cpu != NONE)
		throw BadInput("the scheduler can't be changed while a decision is due");
	coming_.reset();
	events_.set(swap_slot(), NEVER);
	if (next->name() == DEFAULT_SCHEDULER) {
		take_over(std::move(next));
	} else {
		if (scheduler_->name() != DEFAULT_SCHEDULER)
			take_over(make_scheduler(DEFAULT_SCHEDULER));
		coming_ = std::move(next);
		events_.set(swap_slot(), now_ + costs_.swap_ns);
	}
	settle_outside();
}

// What runs there is to be chosen anew, as if it had been preempted.
void Simulation::let_go(CpuId cpu)
{
	Cpu &c = cpus_[cpu];
	TaskId id = c.current;
	this_cpu_ = cpu;
	charge(cpu);
	c.need_resched = c.yields = false;
	if (id == NONE)
		return;
	scheduler_->stopping(*this, id, true);
	tasks_[id].state = TaskState::Queued;
	c.leaves_as = PREV_PREEMPTED;
	switch_to(cpu, id, NONE);
	c.idle_since = std::max(now_, c.interrupted_until);  // an interrupt is not idle time
}

void Simulation::take_over(std::unique_ptr<Scheduler> next)
{
	in_interrupt_ = false;
	for (CpuId cpu = 0; cpu < nr_cpus(); cpu++) {
		let_go(cpu);
		set_timer(cpu, NEVER);
	}
	for (TaskId id = 0; id < nr_tasks(); id++) {
		if (!is_known(id))
			continue;
		dsq_remove(id);
		scheduler_->exit_task(*this, id);
		tasks_[id].slice_ns = Task{}.slice_ns;
		tasks_[id].vtime = Task{}.vtime;
	}
	dsqs_.assign(1, {});
	bool decided_outside = std::exchange(decides_outside_, next->decides_outside());
	if (decides_outside_ || decided_outside)
		stop_at_ = decides_outside_ ? nr_picks_ : ~0ull;
	scheduler_ = std::move(next);
	scheduler_->init(*this);
	for (TaskId id = 0; id < nr_tasks(); id++)
		if (is_known(id))
			scheduler_->init_task(*this, id);
	for (TaskId id = 0; id < nr_tasks(); id++) {
		if (tasks_[id].state != TaskState::Queued)
			continue;
		this_cpu_ = tasks_[id].cpu;
		scheduler_->enqueue(*this, id, EnqueueReason::Migrate);
	}
	for (CpuId cpu = 0; cpu < nr_cpus(); cpu++) {
		this_cpu_ = cpu;
		resched(cpu);
		if (cpus_[cpu].idle_since >= now_)  // it ran
			cpus_[cpu].wakes_at = std::max(now_, cpus_[cpu].interrupted_until);
	}
}

}  // namespace schedtuna::sim
