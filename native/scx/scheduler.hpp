/* SPDX-License-Identifier: Apache-2.0 */
// A translated sched_ext scheduler as one of the simulator's.
//
// The simulated machine puts a task back before it asks what runs next; the kernel asks first, and lets the task run
// on where there is nothing else. So what the machine says of a task that is put back is kept until dispatch(), where
// all happens in the kernel's order. Its dispatch queues are the core's own.
#pragma once

#include "core.hpp"

namespace schedtuna::scx
{

class BpfScheduler final : public sim::Scheduler
{
      public:
	BpfScheduler(std::shared_ptr<const Library> library, std::vector<GlobalSetting> settings,
		     std::vector<MapSetting> entries, std::uint64_t seed,
		     std::shared_ptr<const Prepared> prepared = nullptr)
	    : core_(std::move(library), std::move(settings), std::move(entries), seed, std::move(prepared))
	{
	}
	std::string_view name() const override
	{
		return core_.library().object().name;
	}
	std::unique_ptr<sim::Scheduler> clone() const override
	{
		return std::make_unique<BpfScheduler>(*this);
	}
	std::string_view refuses(const sim::Machine &m) const override
	{
		return sim::refuses_uneven(m);
	}
	void init(sim::Machine &) override;
	void init_task(sim::Machine &, TaskId) override;
	void exit_task(sim::Machine &, TaskId) override;
	CpuId select_cpu(sim::Machine &, TaskId, CpuId prev_cpu, sim::EnqueueReason) override;
	void enqueue(sim::Machine &, TaskId, sim::EnqueueReason) override;
	void dequeue(sim::Machine &, TaskId, sim::DequeueReason) override;
	TaskId dispatch(sim::Machine &, CpuId, TaskId prev) override;
	void candidates(const sim::Machine &, CpuId, std::vector<TaskId> &found) const override;
	bool dispatch_instead(sim::Machine &, CpuId, TaskId prev, TaskId instead) override;
	void running(sim::Machine &, TaskId) override;
	void stopping(sim::Machine &, TaskId, bool runnable) override;
	void tick(sim::Machine &, CpuId, TaskId) override;
	void update_idle(sim::Machine &, CpuId, bool idle) override;
	void set_weight(sim::Machine &, TaskId) override;
	void set_cpumask(sim::Machine &, TaskId) override;
	void timer_fired(sim::Machine &, CpuId) override;
	const Core &core() const
	{
		return core_;
	}

      private:
	bool take_prev(CpuId cpu, TaskId prev);

	Core core_;
	std::vector<TaskId> put_back_;	// per CPU: to be put back by the choice that goes on
	std::vector<bool> keeps_;	// per CPU: its task was chosen again
	TaskId leaving_ = NONE;		// stopping() was told of it, and not yet why
};

std::unique_ptr<sim::Scheduler> make_bpf_scheduler(std::shared_ptr<const Library> library,
						   std::vector<GlobalSetting> settings, std::vector<MapSetting> entries,
						   std::uint64_t seed, std::shared_ptr<const Prepared> prepared);

}  // namespace schedtuna::scx
