/* SPDX-License-Identifier: Apache-2.0 */
// One queue for all CPUs, out of which a scheduler takes whom it likes: for rules that are no order.
#pragma once

#include "scheduler.hpp"

namespace schedtuna::sim
{

class OneQueue : public Scheduler
{
      public:
	CpuId select_cpu(Machine &m, TaskId id, CpuId prev_cpu, EnqueueReason reason) override;
	void enqueue(Machine &m, TaskId id, EnqueueReason reason) override;
	TaskId dispatch(Machine &m, CpuId cpu, TaskId prev) override;
	void candidates(const Machine &m, CpuId cpu, std::vector<TaskId> &found) const override;
	bool dispatch_instead(Machine &m, CpuId cpu, TaskId prev, TaskId instead) override;

      protected:
	explicit OneQueue(Ns slice_ns) : slice_ns_(slice_ns)
	{
	}
	// Whose turn it is: one of these, of which there is one at least, in order of arrival.
	virtual TaskId choose(Machine &m, const std::vector<TaskId> &among) = 0;
	// Before a task is queued, or goes straight to an idle CPU.
	virtual void arrives(Machine &, TaskId)
	{
	}
	Ns slice_ns() const
	{
		return slice_ns_;
	}
	void set_slice_ns(Ns slice_ns)
	{
		slice_ns_ = slice_ns;
	}

      private:
	void take(Machine &m, TaskId id);

	Ns slice_ns_;
	std::vector<TaskId> waiting_;  // in order of arrival
};

}  // namespace schedtuna::sim
