/* SPDX-License-Identifier: Apache-2.0 */
// What tasks wait for: mutexes, conditions, barriers, each other, pipes, each in FIFO order. Who wakes a task up has
// done its step for it, but for a mutex: that is taken by whom comes first.
#include "simulation.hpp"

namespace schedtuna::sim
{

void Simulation::perform_resource(CpuId cpu, TaskId id, const Step &step)
{
	const std::uint32_t object = step.object, other = step.other;
	switch (step.op) {
	case Op::Lock:
		lock(cpu, id, object);
		break;
	case Op::Unlock:
		unlock(id, object);
		advance(id);
		break;
	case Op::Wait:
		if (threads_[id].relocks) {
			lock(cpu, id, other);
			break;
		}
		if (other != NONE)
			unlock(id, other);
		wait_for(cpu, id, object);
		break;
	case Op::Signal:
	case Op::Broadcast:
		do
			signal(object);
		while (step.op == Op::Broadcast && resources_[object].first != NONE);
		advance(id);
		break;
	case Op::Barrier:
		wait_at_barrier(cpu, id, object);
		break;
	case Op::Suspend:
		wait_for(cpu, id, object);
		break;
	case Op::Resume:
		while (resources_[object].first != NONE)
			grant(pop_waiter(object));
		advance(id);
		break;
	case Op::Read:
		read_pipe(cpu, id, object);
		break;
	case Op::Write:
		write_pipe(cpu, id, step);
		break;
	default:
		throw BadInput(where(id) + ": there is no such step");
	}
}

void Simulation::wait_for(CpuId cpu, TaskId id, std::uint32_t resource)
{
	ResourceState &r = resources_[resource];
	threads_[id].waits_for = resource;
	threads_[id].waits_before = NONE;
	(r.last == NONE ? r.first : threads_[r.last].waits_before) = id;
	r.last = id;
	nr_stuck_++;
	block(cpu, PREV_SLEEPING);
}

TaskId Simulation::pop_waiter(std::uint32_t resource)
{
	ResourceState &r = resources_[resource];
	TaskId id = r.first;
	r.first = threads_[id].waits_before;
	if (r.first == NONE)
		r.last = NONE;
	threads_[id].waits_for = NONE;
	nr_stuck_--;
	return id;
}

// The task has what it waited for.
void Simulation::grant(TaskId id)
{
	advance(id);
	wake(id, EnqueueReason::Wakeup);
}

void Simulation::lock(CpuId cpu, TaskId id, std::uint32_t mutex)
{
	ResourceState &r = resources_[mutex];
	if (r.owner != NONE) {
		wait_for(cpu, id, mutex);
		return;
	}
	r.owner = id;
	threads_[id].relocks = false;
	advance(id);
}

void Simulation::unlock(TaskId id, std::uint32_t mutex)
{
	ResourceState &r = resources_[mutex];
	if (r.owner != id)
		throw BadInput(where(id) + " gives up " + workload_->resources[mutex].name
			       + ", which it doesn't hold: lock it before");
	r.owner = NONE;
	if (r.first != NONE)
		wake(pop_waiter(mutex), EnqueueReason::Wakeup);
}

// Wake the first that waits for the condition, if there is one; it takes its mutex when it runs.
void Simulation::signal(std::uint32_t condition)
{
	if (resources_[condition].first == NONE)
		return;
	TaskId waiter = pop_waiter(condition);
	threads_[waiter].relocks = step_of(waiter).other != NONE;
	if (!threads_[waiter].relocks)
		grant(waiter);
	else
		wake(waiter, EnqueueReason::Wakeup);
}

void Simulation::wait_at_barrier(CpuId cpu, TaskId id, std::uint32_t barrier)
{
	ResourceState &r = resources_[barrier];
	if (++r.count < workload_->resources[barrier].size) {
		wait_for(cpu, id, barrier);
		return;
	}
	r.count = 0;
	while (r.first != NONE)
		grant(pop_waiter(barrier));
	advance(id);
}

void Simulation::read_pipe(CpuId cpu, TaskId id, std::uint32_t pipe)
{
	ResourceState &r = resources_[pipe];
	if (r.count == 0) {
		wait_for(cpu, id, pipe);
		return;
	}
	if (r.first == NONE)
		r.count--;
	else  // the pipe was full, and takes the message of the first that waits
		grant_sync(pop_waiter(pipe));
	advance(id);
}

void Simulation::write_pipe(CpuId cpu, TaskId id, const Step &step)
{
	ResourceState &r = resources_[step.object];
	if (r.count == workload_->resources[step.object].size) {
		wait_for(cpu, id, step.object);
		return;
	}
	if (r.count || r.first == NONE)
		r.count++;
	else if (step.flags & PLAIN_WAKEUP)
		grant(pop_waiter(step.object));
	else  // the pipe is empty, and the first that waits takes the message
		grant_sync(pop_waiter(step.object));
	advance(id);
}

void Simulation::grant_sync(TaskId id)
{
	wake_sync_ = true;
	grant(id);
	wake_sync_ = false;
}

std::string Simulation::waiting() const
{
	std::string text;
	for (TaskId id = 0; id < nr_tasks(); id++) {
		std::uint32_t resource = threads_[id].waits_for;
		if (resource == NONE)
			continue;
		text += (text.empty() ? "" : "; ") + where(id) + " waits for " + workload_->resources[resource].name;
		if (TaskId owner = resources_[resource].owner; owner != NONE)
			text += ", which " + name_of(owner) + " holds";
	}
	return text;
}

}  // namespace schedtuna::sim
