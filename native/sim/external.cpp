/* SPDX-License-Identifier: Apache-2.0 */
#include "external.hpp"

#include "registry.hpp"

#include <utility>

namespace schedtuna::sim
{

void External::init(Machine &m)
{
	queue_ = m.create_dsq();
	put_back_.assign(m.nr_cpus(), NONE);
}

void External::init_task(Machine &m, TaskId id)
{
	past_.resize(m.nr_tasks());
	past_[id].woke_with = m.task(id).cpu_time_ns;
}

CpuId External::select_cpu(Machine &m, TaskId id, CpuId prev, EnqueueReason)
{
	CpuId idle = m.pick_idle_cpu(m.cpus(id), prev);
	if (idle != NONE)
		return idle;
	return m.cpus(id).has(prev) ? prev : m.cpus(id).first_of_both(m.cpus(id));
}

void External::enqueue(Machine &m, TaskId id, EnqueueReason why)
{
	bool arrives = why == EnqueueReason::Wakeup || why == EnqueueReason::Fork;
	past_[id].queued_at = m.now();
	past_[id].is_protected = false;
	if (arrives)
		past_[id].woke_with = m.task(id).cpu_time_ns;
	m.dsq_insert(id, queue_, slice_ns_);
	CpuId cpu = m.task(id).cpu;
	if (arrives && m.current(cpu) != NONE) {
		if (asks_at_wakeups_ && !past_[m.current(cpu)].is_protected)
			m.resched(cpu);
	} else if (!arrives && why != EnqueueReason::Migrate) {
		put_back_[cpu] = id;
	}
}

// Another one runs in its place: an idle CPU may take it.
void External::running(Machine &m, TaskId id)
{
	TaskId left = std::exchange(put_back_[m.task(id).cpu], NONE);
	if (left == NONE || left == id || m.task(left).state != TaskState::Queued)
		return;
	if (CpuId idle = m.pick_idle_cpu(m.cpus(left), m.task(left).cpu); idle != NONE)
		m.kick(idle, Kick::Idle);
}

void External::timer_fired(Machine &m, CpuId cpu)
{
	if (m.current(cpu) == NONE)
		m.resched(cpu);
}

void External::dequeue(Machine &m, TaskId id, DequeueReason why)
{
	m.dsq_remove(id);
	if (why == DequeueReason::Sleep)
		past_[id].burst_ns = m.task(id).cpu_time_ns - past_[id].woke_with;
}

TaskId External::dispatch(Machine &m, CpuId cpu, TaskId)
{
	m.dsq_move_to_local(queue_, cpu);
	return NONE;
}

namespace
{

constexpr Parameter PARAMETERS[] = {
	{"slice_us", ParameterKind::Integer, 20'000, 0, 10'000'000,
	 "how long a task runs before its CPU chooses again; 0: until it blocks, us"},
	{"asks_at_wakeups", ParameterKind::Flag, 1, 0, 1,
	 "a task that wakes up while no CPU idles makes the CPU where it ran last choose again"},
};

}  // namespace

extern const SchedulerRow EXTERNAL;
const SchedulerRow EXTERNAL{"external", "decisions come from outside", PARAMETERS,
			    [](Values values) -> std::unique_ptr<Scheduler> {
				    return std::make_unique<External>(values[0] ? values[0] * 1000 : NEVER, values[1]);
			    }};

}  // namespace schedtuna::sim
