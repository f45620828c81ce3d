/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler.hpp"

#include <algorithm>
#include <utility>

namespace schedtuna::scx
{

using sim::DequeueReason;
using sim::EnqueueReason;
using sim::Machine;

namespace
{

// The simulation is the only machine.
Simulation &whole(Machine &m)
{
	return static_cast<Simulation &>(m);
}

}  // namespace

void BpfScheduler::init(Machine &m)
{
	put_back_.assign(m.nr_cpus(), NONE);
	keeps_.assign(m.nr_cpus(), false);
	core_.enter(whole(m));
	core_.load();
	core_.leave();
}

void BpfScheduler::init_task(Machine &m, TaskId id)
{
	core_.enter(whole(m));
	core_.add_task(id, m.task(id).state == sim::TaskState::Unborn);
	core_.leave();
}

void BpfScheduler::exit_task(Machine &m, TaskId id)
{
	core_.enter(whole(m));
	if (leaving_ == id)  // another scheduler takes over
		core_.stopping(std::exchange(leaving_, NONE), true);
	core_.remove_task(id);
	core_.leave();
}

CpuId BpfScheduler::select_cpu(Machine &m, TaskId id, CpuId prev_cpu, EnqueueReason reason)
{
	core_.enter(whole(m));
	const Constants &k = core_.constants();
	std::uint64_t flags = reason == EnqueueReason::Fork ? k.SCX_WAKE_FORK : k.SCX_WAKE_TTWU;
	if (m.wake_sync() && reason == EnqueueReason::Wakeup)
		flags |= k.SCX_WAKE_SYNC;
	CpuId cpu = core_.select_cpu(id, prev_cpu, flags);
	core_.leave();
	return cpu;
}

void BpfScheduler::enqueue(Machine &m, TaskId id, EnqueueReason reason)
{
	core_.enter(whole(m));
	if (reason == EnqueueReason::PutBack || reason == EnqueueReason::Yield) {
		leaving_ = NONE;
		put_back_[m.task(id).cpu] = id;
		if (reason == EnqueueReason::Yield)
			core_.yield(id);
	} else {
		const Constants &k = core_.constants();
		bool selected = reason != EnqueueReason::Migrate && !m.cpus(id).has_one();
		std::uint64_t flags = (reason == EnqueueReason::Wakeup ? k.SCX_ENQ_WAKEUP : 0)
				      | (selected ? k.SCX_ENQ_CPU_SELECTED : 0);
		core_.enqueue_woken(id, flags);
	}
	core_.leave();
}

void BpfScheduler::dequeue(Machine &m, TaskId id, DequeueReason reason)
{
	core_.enter(whole(m));
	if (reason == DequeueReason::Migrate) {	 // the stopper moves it: it is put back, and taken elsewhere
		leaving_ = NONE;
		core_.stopping(id, true);
	} else {
		core_.quiescent(id, core_.constants().SCX_DEQ_SLEEP, reason == DequeueReason::Exit);
	}
	core_.leave();
}

// Whether the task that ran can run on.
bool BpfScheduler::take_prev(CpuId cpu, TaskId prev)
{
	return std::exchange(put_back_[cpu], NONE) == prev && prev != NONE;
}

TaskId BpfScheduler::dispatch(Machine &m, CpuId cpu, TaskId prev)
{
	core_.enter(whole(m));
	bool runnable = take_prev(cpu, prev);
	TaskId next = core_.balance(cpu, prev, runnable);
	keeps_[cpu] = runnable && next == prev;
	if (runnable && next != prev)
		core_.put_prev(cpu, prev, next);
	core_.leave();
	return next;
}

void BpfScheduler::candidates(const Machine &m, CpuId cpu, std::vector<TaskId> &found) const
{
	found = core_.candidates(cpu);
	TaskId prev = put_back_[cpu];
	if (prev != NONE && m.cpus(prev).has(cpu))
		found.push_back(prev);
}

bool BpfScheduler::dispatch_instead(Machine &m, CpuId cpu, TaskId prev, TaskId instead)
{
	core_.enter(whole(m));
	bool runnable = take_prev(cpu, prev), keeps = runnable && instead == prev;
	bool taken = keeps || core_.take(instead);
	keeps_[cpu] = keeps;
	if (runnable && !keeps)
		core_.put_prev(cpu, prev, instead);
	core_.leave();
	return taken;
}

void BpfScheduler::running(Machine &m, TaskId id)
{
	CpuId cpu = m.task(id).cpu;
	if (keeps_[cpu]) {
		keeps_[cpu] = false;
		return;
	}
	core_.enter(whole(m));
	core_.running(id);
	core_.leave();
}

void BpfScheduler::stopping(Machine &m, TaskId id, bool runnable)
{
	if (runnable) {
		leaving_ = id;	// what follows tells why
		return;
	}
	core_.enter(whole(m));
	core_.stopping(id, false);
	core_.leave();
}

void BpfScheduler::tick(Machine &m, CpuId cpu, TaskId id)
{
	core_.enter(whole(m));
	core_.tick(cpu, id);
	core_.leave();
}

void BpfScheduler::update_idle(Machine &m, CpuId cpu, bool idle)
{
	core_.enter(whole(m));
	core_.update_idle(cpu, idle);
	core_.leave();
}

void BpfScheduler::set_weight(Machine &m, TaskId id)
{
	core_.enter(whole(m));
	core_.change(id, Operation::set_weight);
	core_.leave();
}

void BpfScheduler::set_cpumask(Machine &m, TaskId id)
{
	core_.enter(whole(m));
	core_.change(id, Operation::set_cpumask);
	core_.leave();
}

void BpfScheduler::timer_fired(Machine &m, CpuId cpu)
{
	core_.enter(whole(m));
	core_.timers_fired(cpu);
	core_.leave();
}

std::unique_ptr<sim::Scheduler> make_bpf_scheduler(std::shared_ptr<const Library> library,
						   std::vector<GlobalSetting> settings, std::vector<MapSetting> entries,
						   std::uint64_t seed, std::shared_ptr<const Prepared> prepared)
{
	return std::make_unique<BpfScheduler>(std::move(library), std::move(settings), std::move(entries), seed,
					      std::move(prepared));
}

}  // namespace schedtuna::scx
