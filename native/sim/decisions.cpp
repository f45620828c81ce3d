/* SPDX-License-Identifier: Apache-2.0 */
// What would have been: one choice that is made otherwise, or one attribute that is changed from outside.
#include "simulation.hpp"

#include "check.hpp"

#include <algorithm>
#include <utility>

namespace schedtuna::sim
{

Simulation::Decision Simulation::due() const
{
	if (decision_.cpu == NONE)
		throw BadInput("no decision is due: run until stop_at_pick() lets the simulation come back");
	return decision_;
}

// False: there is nobody to choose.
bool Simulation::put_off(CpuId cpu, TaskId prev)
{
	decision_ = {cpu, prev};
	if (!decides_outside_ || !candidates().empty())
		return true;
	decision_ = {};
	stop_at_ = nr_picks_;
	return false;
}

// A decision that nobody took, though they were told of it, is the scheduler's, if it has any of its own.
bool Simulation::waits_for_choice()
{
	if (decides_outside_ || !decision_.is_told) {
		decision_.is_told = true;
		return true;
	}
	choose_own();
	return decision_.cpu != NONE && waits_for_choice();
}

const std::vector<TaskId> &Simulation::candidates() const
{
	CpuId cpu = due().cpu;
	if (candidates_.empty())
		scheduler_->candidates(*this, cpu, candidates_);
	return candidates_;
}

void Simulation::choose(TaskId next, Ns cost)
{
	CpuId cpu = due().cpu;
	const std::vector<TaskId> &found = candidates();
	bool idles = next == NONE && decides_outside_;
	if (!idles && std::find(found.begin(), found.end(), next) == found.end())
		throw BadInput("CPU " + std::to_string(cpu) + " can't choose task " + std::to_string(next)
			       + ", which is no candidate");
	if (!idles && !dsq_remove(next) && !scheduler_->dispatch_instead(*this, cpu, decision_.prev, next))
		throw BadInput(std::string(scheduler_->name()) + " moved " + name_of(next) + " away from CPU "
			       + std::to_string(cpu) + " before it chose");
	finish(next, cost);
}

void Simulation::preempt(CpuId cpu)
{
	if (cpu >= nr_cpus())
		throw BadInput("there is no CPU " + std::to_string(cpu));
	if (decision_.cpu == NONE) {
		this_cpu_ = cpu;
		in_interrupt_ = false;
	}
	resched(cpu);
	if (decision_.cpu == NONE)
		settle_outside();
}

void Simulation::choose_own()
{
	Decision decision = due();
	finish(pick(decision.cpu, decision.prev));
}

void Simulation::set_attribute(TaskId id, Op op, Ns value)
{
	std::string who = "task " + std::to_string(id);
	if (id >= nr_tasks() || tasks_[id].state == TaskState::Dead)
		throw BadInput(who + ": there is none");
	if (decision_.cpu != NONE)
		throw BadInput(who + ": attributes can't be set while a decision is due");
	check_attribute(op, value, who);
	this_cpu_ = tasks_[id].cpu;
	in_interrupt_ = false;
	apply_attribute(id, op, value);
	settle_outside();
}

void Simulation::set_parameters(Values values)
{
	if (decision_.cpu != NONE)
		throw BadInput("parameters can't be set while a decision is due");
	this_cpu_ = 0;
	in_interrupt_ = false;
	if (!scheduler_->set_parameters(*this, values))
		throw BadInput("the parameters of " + std::string(scheduler_->name()) + " hold from its beginning on");
	settle_outside();
}

void Simulation::set_group_weight(GroupId group, std::uint32_t weight)
{
	std::string who = "group " + std::to_string(group);
	if (group == ROOT_GROUP || group >= nr_groups())
		throw BadInput(who + ": there is none that has a weight");
	if (weight < MIN_SHARES || weight > MAX_SHARES)
		throw BadInput(who + ": a weight is 2 to 262144");
	if (decision_.cpu != NONE)
		throw BadInput(who + ": weights can't be set while a decision is due");
	this_cpu_ = 0;
	in_interrupt_ = false;
	std::uint32_t before = std::exchange(groups_[group].weight, weight);
	if (!scheduler_->set_group_weight(*this, group)) {
		groups_[group].weight = before;
		throw BadInput(std::string(scheduler_->name()) + " keeps the weights that groups had at its beginning");
	}
	settle_outside();
}

std::optional<Migration> Simulation::next_migration(Ns until) const
{
	Simulation ahead(*this);
	ahead.is_traced_ = false;
	if (ahead.run_to_migration(std::max(nr_decided_, nr_asked_), until))
		return ahead.asked_;
	return {};
}

bool Simulation::run_to_migration(std::uint64_t nth, Ns until)
{
	if (scheduler_->name() != "fair")
		throw BadInput(std::string(scheduler_->name())
			       + " has no queue per CPU, so that nothing migrates between them");
	told_at_ = nth;
	until = std::min(until, workload_->duration_ns);
	while (nr_asked_ <= nth && next_event() <= until && step() == Stop::Time) {
	}
	told_at_ = ~0ull;
	return nr_asked_ > nth;
}

void Simulation::decide_migration(std::uint64_t nth, bool moves)
{
	if (nth < std::max(nr_decided_, nr_asked_))
		throw BadInput("migration " + std::to_string(nth) + " is decided already");
	nr_decided_ = nth + 1;
	if (!moves)
		stays_.push_back(nth);
}

// Where a task that wakes up is to run instead. The idle CPU that it was given is idle still.
CpuId Simulation::placed(TaskId id, CpuId own)
{
	CpuId cpu = place_on_;
	place_at_ = 0;
	if (cpu >= nr_cpus() || !cpus(id).has(cpu))
		throw BadInput(name_of(id) + " may not run on CPU " + std::to_string(cpu));
	if (cpu == own)
		return own;
	if (threads_[id].dsq != NONE)
		throw BadInput(std::string(scheduler_->name()) + " has put " + name_of(id) + " into CPU "
			       + std::to_string(own) + "'s queue already");
	if (cpus_[own].current == NONE && !cpus_[own].need_resched)
		idle_.set(own);
	idle_.clear(cpu);
	return cpu;
}

}  // namespace schedtuna::sim
