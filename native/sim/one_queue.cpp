/* SPDX-License-Identifier: Apache-2.0 */
#include "one_queue.hpp"

#include <algorithm>

namespace schedtuna::sim
{

CpuId OneQueue::select_cpu(Machine &m, TaskId id, CpuId prev_cpu, EnqueueReason)
{
	const CpuSet &allowed = m.cpus(id);
	CpuId idle = m.pick_idle_cpu(allowed, prev_cpu);
	if (idle == NONE)
		return allowed.has(prev_cpu) ? prev_cpu : allowed.first_of_both(allowed);
	arrives(m, id);
	m.dsq_insert(id, LOCAL_DSQ | idle, slice_ns_);
	return idle;
}

void OneQueue::enqueue(Machine &m, TaskId id, EnqueueReason)
{
	arrives(m, id);
	waiting_.push_back(id);
	if (CpuId idle = m.pick_idle_cpu(m.cpus(id), m.task(id).cpu); idle != NONE)
		m.kick(idle, Kick::Idle);
}

void OneQueue::take(Machine &m, TaskId id)
{
	waiting_.erase(std::find(waiting_.begin(), waiting_.end(), id));
	m.task(id).slice_ns = slice_ns_;
}

TaskId OneQueue::dispatch(Machine &m, CpuId cpu, TaskId)
{
	std::vector<TaskId> among;
	for (TaskId id : waiting_)
		if (m.may_run(id, cpu))
			among.push_back(id);
	if (among.empty())
		return NONE;
	TaskId next = choose(m, among);
	take(m, next);
	return next;
}

void OneQueue::candidates(const Machine &m, CpuId cpu, std::vector<TaskId> &found) const
{
	m.dsq_candidates(cpu, found);
	for (TaskId id : waiting_)
		if (m.may_run(id, cpu))
			found.push_back(id);
}

bool OneQueue::dispatch_instead(Machine &m, CpuId, TaskId, TaskId instead)
{
	bool waits = std::find(waiting_.begin(), waiting_.end(), instead) != waiting_.end();
	if (waits)
		take(m, instead);
	return waits;
}

}  // namespace schedtuna::sim
