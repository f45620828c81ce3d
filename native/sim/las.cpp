/* SPDX-License-Identifier: Apache-2.0 */
// Least attained service (foreground-background): whoever has computed least since it woke up comes first.
//
// Best among those that don't know how long a burst is, where the longer it has run the longer it will
// (L. Kleinrock, "Queueing Systems II", 1976, section 4.6).
#include "ranked.hpp"
#include "registry.hpp"

namespace schedtuna::sim
{

namespace
{

class Las final : public RankedScheduler
{
      public:
	explicit Las(Ns quantum_ns) : quantum_ns_(quantum_ns)
	{
	}
	std::string_view name() const override
	{
		return "las";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Las>(*this);
	}
	bool set_parameters(Machine &, Values values) override
	{
		quantum_ns_ = values[0] * 1000;
		return true;
	}

      protected:
	Ns rank(const Machine &m, TaskId id) const override
	{
		return clock_.attained_ns(m, id);
	}
	Ns slice_ns(const Machine &, TaskId) const override
	{
		return quantum_ns_;
	}
	bool preempts(EnqueueReason) const override
	{
		return true;
	}
	void burst_begins(Machine &m, TaskId id) override
	{
		clock_.begin(m, id);
	}

      private:
	Ns quantum_ns_;
	BurstClock clock_;
};

constexpr Parameter PARAMETERS[] = {
	{"quantum_us", ParameterKind::Integer, 1000, 1, 1'000'000,
	 "how long a task runs before it is compared with those that wait, us"},
};

}  // namespace

extern const SchedulerRow LAS;
const SchedulerRow LAS{
	"las", "whoever has computed least since it woke up comes first", PARAMETERS,
	[](Values values) -> std::unique_ptr<Scheduler> { return std::make_unique<Las>(values[0] * 1000); }};

}  // namespace schedtuna::sim
