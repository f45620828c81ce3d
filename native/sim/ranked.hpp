/* SPDX-License-Identifier: Apache-2.0 */
// One queue for all CPUs, in the order of a rank; what runs may be preempted by what has a better one.
//
// Most schedulers here differ in the rank alone. A burst is what a task computes between two sleeps.
#pragma once

#include "scheduler.hpp"

namespace schedtuna::sim
{

class RankedScheduler : public Scheduler
{
      public:
	void init(Machine &m) override;
	void init_task(Machine &m, TaskId id) override
	{
		burst_begins(m, id);  // for one that it takes over
	}
	CpuId select_cpu(Machine &m, TaskId id, CpuId prev_cpu, EnqueueReason reason) override;
	void enqueue(Machine &m, TaskId id, EnqueueReason reason) override;
	void dequeue(Machine &m, TaskId id, DequeueReason reason) override;
	TaskId dispatch(Machine &m, CpuId cpu, TaskId prev) override;

      protected:
	// The lowest comes first; equal ranks keep the order of their arrival.
	virtual Ns rank(const Machine &m, TaskId id) const = 0;
	// For how long it may run before ranks are compared again; NEVER: until something arrives.
	virtual Ns slice_ns(const Machine &m, TaskId id) const = 0;
	// Whether what arrives so may preempt what runs.
	virtual bool preempts(EnqueueReason reason) const = 0;
	virtual void burst_begins(Machine &, TaskId)
	{
	}
	virtual void burst_ends(Machine &, TaskId)
	{
	}
	// Before a task is queued, or goes straight to an idle CPU.
	virtual void update(Machine &, TaskId)
	{
	}
	std::uint32_t queue() const
	{
		return queue_;
	}

      private:
	CpuId cpu_of_a_worse_one(Machine &m, TaskId id) const;

	std::uint32_t queue_ = 0;
};

// CPU time since the task's burst began, for ranks that depend on it.
class BurstClock
{
      public:
	void begin(const Machine &m, TaskId id)
	{
		began_at_.resize(m.nr_tasks());
		began_at_[id] = m.cpu_time_ns(id);
	}
	Ns attained_ns(const Machine &m, TaskId id) const
	{
		return m.cpu_time_ns(id) - began_at_[id];
	}

      private:
	std::vector<Ns> began_at_;  // in each task's CPU time
};

}  // namespace schedtuna::sim
