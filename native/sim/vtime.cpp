/* SPDX-License-Identifier: Apache-2.0 */
// One queue for all CPUs in the order of weighted virtual time, without preemption by wakeups: what the kernel's
// example tools/sched_ext/scx_simple.bpf.c does.
#include "ranked.hpp"
#include "registry.hpp"

#include <algorithm>

namespace schedtuna::sim
{

namespace
{

class Vtime final : public RankedScheduler
{
      public:
	explicit Vtime(Ns slice_ns) : slice_ns_(slice_ns)
	{
	}
	std::string_view name() const override
	{
		return "vtime";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Vtime>(*this);
	}
	bool set_parameters(Machine &, Values values) override
	{
		slice_ns_ = values[0] * 1000;
		return true;
	}
	void init_task(Machine &m, TaskId id) override
	{
		granted_.resize(m.nr_tasks());
		m.task(id).vtime = now_;
	}
	void running(Machine &m, TaskId id) override
	{
		now_ = std::max(now_, m.task(id).vtime);
		granted_[id] = m.task(id).slice_ns;
	}
	// By what it used of its slice; who yields has used all of it.
	void stopping(Machine &m, TaskId id, bool) override
	{
		Task &task = m.task(id);
		task.vtime += (granted_[id] - task.slice_ns) * NICE_0_WEIGHT / task.weight;
	}

      protected:
	// A sleeper saves up one slice at most.
	void update(Machine &m, TaskId id) override
	{
		m.task(id).vtime = std::max(m.task(id).vtime, now_ - slice_ns_);
	}
	Ns rank(const Machine &m, TaskId id) const override
	{
		return m.task(id).vtime;
	}
	Ns slice_ns(const Machine &, TaskId) const override
	{
		return slice_ns_;
	}
	bool preempts(EnqueueReason) const override
	{
		return false;
	}

      private:
	Ns slice_ns_;
	Ns now_ = 0;		   // the virtual time of what began to run last
	std::vector<Ns> granted_;  // slices of those that run
};

constexpr Parameter PARAMETERS[] = {
	{"slice_us", ParameterKind::Integer, 20'000, 1, 10'000'000,
	 "how long a task runs before the next one does, us"},
};

}  // namespace

extern const SchedulerRow VTIME;
const SchedulerRow VTIME{
	"vtime", "one queue by weighted virtual time, as the kernel's example scx_simple", PARAMETERS,
	[](Values values) -> std::unique_ptr<Scheduler> { return std::make_unique<Vtime>(values[0] * 1000); }};

}  // namespace schedtuna::sim
