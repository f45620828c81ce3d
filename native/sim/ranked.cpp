/* SPDX-License-Identifier: Apache-2.0 */
#include "ranked.hpp"

namespace schedtuna::sim
{

void RankedScheduler::init(Machine &m)
{
	queue_ = m.create_dsq();
}

CpuId RankedScheduler::select_cpu(Machine &m, TaskId id, CpuId prev_cpu, EnqueueReason)
{
	burst_begins(m, id);
	const CpuSet &allowed = m.cpus(id);
	CpuId idle = m.pick_idle_cpu(allowed, prev_cpu);
	if (idle == NONE)
		return allowed.has(prev_cpu) ? prev_cpu : allowed.first_of_both(allowed);
	update(m, id);
	m.dsq_insert(id, LOCAL_DSQ | idle, slice_ns(m, id));
	return idle;
}

void RankedScheduler::enqueue(Machine &m, TaskId id, EnqueueReason reason)
{
	update(m, id);
	m.dsq_insert_vtime(id, queue_, slice_ns(m, id), rank(m, id));
	if (CpuId idle = m.pick_idle_cpu(m.cpus(id), m.task(id).cpu); idle != NONE)
		m.kick(idle, Kick::Idle);
	else if (CpuId worse = preempts(reason) ? cpu_of_a_worse_one(m, id) : NONE; worse != NONE)
		m.kick(worse, Kick::Preempt);
}

// A CPU that is about to choose takes the best one anyway.
CpuId RankedScheduler::cpu_of_a_worse_one(Machine &m, TaskId id) const
{
	Ns worst = rank(m, id);
	CpuId found = NONE;
	const CpuSet &allowed = m.cpus(id);
	for (CpuId cpu = allowed.first_of_both(allowed); cpu != NONE; cpu = allowed.first_of_both(allowed, cpu + 1)) {
		if (m.current(cpu) == NONE || m.need_resched(cpu))
			continue;
		m.charge(cpu);
		Ns running = rank(m, m.current(cpu));
		if (running > worst) {
			worst = running;
			found = cpu;
		}
	}
	return found;
}

void RankedScheduler::dequeue(Machine &m, TaskId id, DequeueReason reason)
{
	m.dsq_remove(id);
	if (reason != DequeueReason::Migrate)
		burst_ends(m, id);
}

TaskId RankedScheduler::dispatch(Machine &m, CpuId cpu, TaskId)
{
	m.dsq_move_to_local(queue_, cpu);
	return NONE;
}

}  // namespace schedtuna::sim
