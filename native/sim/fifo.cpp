/* SPDX-License-Identifier: Apache-2.0 */
// One queue for all CPUs, in order of arrival: FIFO lets a task run until it blocks, round robin for a slice.
#include "registry.hpp"

namespace schedtuna::sim
{

namespace
{

class GlobalQueue : public Scheduler
{
      public:
	GlobalQueue(std::string_view name, Ns slice_ns) : name_(name), slice_ns_(slice_ns)
	{
	}
	std::string_view name() const override
	{
		return name_;
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<GlobalQueue>(*this);
	}
	CpuId select_cpu(Machine &m, TaskId id, CpuId prev, EnqueueReason) override
	{
		CpuId cpu = m.pick_idle_cpu(m.cpus(id), prev);
		if (cpu != NONE)
			return cpu;
		return m.cpus(id).has(prev) ? prev : m.cpus(id).first_of_both(m.cpus(id));
	}
	void enqueue(Machine &m, TaskId id, EnqueueReason) override
	{
		m.dsq_insert(id, GLOBAL_DSQ, slice_ns_);
	}
	TaskId dispatch(Machine &, CpuId, TaskId) override
	{
		return NONE;
	}
	bool set_parameters(Machine &, Values values) override
	{
		if (!values.empty())
			slice_ns_ = values[0] * 1000;
		return !values.empty();
	}

      private:
	std::string_view name_;
	Ns slice_ns_;
};

constexpr Parameter RR_PARAMETERS[] = {
	{"slice_us", ParameterKind::Integer, 20000, 1, 10'000'000, "how long a task runs before the next one does, us"},
};

}  // namespace

extern const SchedulerRow FIFO, RR;
const SchedulerRow FIFO{
	"fifo",
	"one queue in order of arrival; a task runs until it blocks",
	{},
	[](Values) -> std::unique_ptr<Scheduler> { return std::make_unique<GlobalQueue>("fifo", NEVER); }};
const SchedulerRow RR{"rr", "one queue in order of arrival; a task runs for a slice, then goes to the end",
		      RR_PARAMETERS, [](Values values) -> std::unique_ptr<Scheduler> {
			      return std::make_unique<GlobalQueue>("rr", values[0] * 1000);
		      }};

}  // namespace schedtuna::sim
