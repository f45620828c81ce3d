/* SPDX-License-Identifier: Apache-2.0 */
// A scheduler whose decisions come from outside: a policy, an environment, a test.
//
// Tasks that can run stand in one queue in order of arrival. Where a CPU is to choose and has candidates,
// Simulation::run() comes back with Stop::Decision, until Simulation::choose() says who runs, or nobody. A CPU that was
// told to idle is asked again when a task comes that may run there, or by Simulation::preempt().
#pragma once

#include "scheduler.hpp"

namespace schedtuna::sim
{

// What a scheduler can know of a task that waits: nothing here tells how long it will compute.
struct CandidateRow {
	TaskId id = NONE;
	std::uint32_t weight = 0;
	CpuId cpu = 0;	// where it ran last
	std::uint16_t group = 0;
	std::int8_t nice = 0;
	Policy policy = Policy::Other;
	Ns waited_ns = 0;    // since it was put into the queue
	Ns attained_ns = 0;  // CPU time since it woke up or was born
	Ns burst_ns = 0;     // CPU time between its last two sleeps; 0: it has not slept yet
	Ns cpu_time_ns = 0;  // in all
};

class External final : public Scheduler
{
      public:
	External(Ns slice_ns, bool asks_at_wakeups) : slice_ns_(slice_ns), asks_at_wakeups_(asks_at_wakeups)
	{
	}
	std::string_view name() const override
	{
		return "external";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<External>(*this);
	}
	bool decides_outside() const override
	{
		return true;
	}
	void init(Machine &) override;
	void init_task(Machine &, TaskId) override;
	CpuId select_cpu(Machine &, TaskId, CpuId prev_cpu, EnqueueReason) override;
	void enqueue(Machine &, TaskId, EnqueueReason) override;
	void dequeue(Machine &, TaskId, DequeueReason) override;
	TaskId dispatch(Machine &, CpuId, TaskId prev) override;  // the first in the queue
	void running(Machine &, TaskId) override;
	void timer_fired(Machine &, CpuId) override;  // it was told to idle until then

	// Nobody who wakes up makes its CPU choose again, until it is queued anew.
	void protect(TaskId id)
	{
		past_[id].is_protected = true;
	}
	Ns slice_ns() const
	{
		return slice_ns_;
	}
	CandidateRow row(const Machine &m, TaskId id) const
	{
		const Task &t = m.task(id);
		const Past &past = past_[id];
		return {id,
			t.weight,
			t.cpu,
			t.group,
			t.nice,
			t.policy,
			m.now() - past.queued_at,
			t.cpu_time_ns - past.woke_with,
			past.burst_ns,
			t.cpu_time_ns};
	}
	Ns attained_ns(const Machine &m, TaskId id) const  // until now
	{
		return m.cpu_time_ns(id) - past_[id].woke_with;
	}

      private:
	struct Past {
		Ns queued_at = 0;
		Ns woke_with = 0;  // CPU time that it had then
		Ns burst_ns = 0;
		bool is_protected = false;
	};

	Ns slice_ns_;
	bool asks_at_wakeups_;
	std::uint32_t queue_ = 0;
	std::vector<Past> past_;
	std::vector<TaskId> put_back_;	// per CPU, since it ran last
};

}  // namespace schedtuna::sim
