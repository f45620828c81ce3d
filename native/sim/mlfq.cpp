/* SPDX-License-Identifier: Apache-2.0 */
// A multi-level feedback queue (F. Corbato and others, "An Experimental Time-Sharing System", 1962; the rules are those
// of R. and A. Arpaci-Dusseau, "Operating Systems: Three Easy Pieces", chapter 8).
//
// Who has used up its allotment at a level, in one go or in several, moves down to one whose allotment is twice as
// long; from time to time everybody is lifted to the top.
#include "ranked.hpp"
#include "registry.hpp"

namespace schedtuna::sim
{

namespace
{

constexpr std::uint8_t NR_LEVELS = 5;

class Mlfq final : public RankedScheduler
{
      public:
	Mlfq(Ns allotment_ns, Ns boost_ns) : allotment_ns_(allotment_ns), boost_ns_(boost_ns)
	{
	}
	std::string_view name() const override
	{
		return "mlfq";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Mlfq>(*this);
	}
	// Until tasks are lifted next it is as long as it was.
	bool set_parameters(Machine &, Values values) override
	{
		allotment_ns_ = values[0] * 1000;
		boost_ns_ = values[1] * 1'000'000;
		return true;
	}
	void init(Machine &m) override
	{
		RankedScheduler::init(m);
		m.set_timer(0, m.now() + boost_ns_);
	}
	void init_task(Machine &m, TaskId id) override
	{
		tasks_.resize(m.nr_tasks());
		tasks_[id].since = m.cpu_time_ns(id);
	}
	void timer_fired(Machine &m, CpuId cpu) override
	{
		for (TaskId id = 0; id < tasks_.size(); id++) {
			tasks_[id] = {0, m.cpu_time_ns(id)};
			if (m.dsq_remove(id))
				m.dsq_insert_vtime(id, queue(), slice_ns(m, id), rank(m, id));
		}
		m.set_timer(cpu, m.now() + boost_ns_);
	}

      protected:
	Ns rank(const Machine &, TaskId id) const override
	{
		return tasks_[id].level;
	}
	Ns slice_ns(const Machine &m, TaskId id) const override
	{
		return (allotment_ns_ << tasks_[id].level) - used_ns(m, id);
	}
	bool preempts(EnqueueReason) const override
	{
		return true;
	}
	void update(Machine &m, TaskId id) override
	{
		Standing &standing = tasks_[id];
		if (used_ns(m, id) < allotment_ns_ << standing.level)
			return;
		if (standing.level + 1 < NR_LEVELS)
			standing.level++;
		standing.since = m.cpu_time_ns(id);
	}

      private:
	struct Standing {
		std::uint8_t level = 0;
		Ns since = 0;  // its CPU time when its allotment began
	};

	Ns used_ns(const Machine &m, TaskId id) const
	{
		return m.cpu_time_ns(id) - tasks_[id].since;
	}

	Ns allotment_ns_, boost_ns_;
	std::vector<Standing> tasks_;
};

constexpr Parameter PARAMETERS[] = {
	{"allotment_us", ParameterKind::Integer, 10'000, 1, 10'000'000,
	 "CPU time at the highest level before a task moves down; twice as much at each below, us"},
	{"boost_ms", ParameterKind::Integer, 1000, 1, 1'000'000, "how often all tasks are lifted to the top, ms"},
};

}  // namespace

extern const SchedulerRow MLFQ;
const SchedulerRow MLFQ{"mlfq", "five levels; who computes much sinks, and is lifted now and then", PARAMETERS,
			[](Values values) -> std::unique_ptr<Scheduler> {
				return std::make_unique<Mlfq>(values[0] * 1000, values[1] * 1'000'000);
			}};

}  // namespace schedtuna::sim
