/* SPDX-License-Identifier: Apache-2.0 */
// Shortest job first and shortest remaining time first: oracles, which know how long each burst is going to be.
//
// SRTF has the least mean turnaround that is possible on one CPU (L. Schrage, "A Proof of the Optimality of the
// Shortest Remaining Processing Time Discipline", Operations Research 16, 1968).
#include "ranked.hpp"
#include "registry.hpp"

namespace schedtuna::sim
{

namespace
{

class Shortest final : public RankedScheduler
{
      public:
	explicit Shortest(bool preempts) : preempts_(preempts)
	{
	}
	std::string_view name() const override
	{
		return preempts_ ? "srtf" : "sjf";
	}
	std::unique_ptr<Scheduler> clone() const override
	{
		return std::make_unique<Shortest>(*this);
	}

      protected:
	Ns rank(const Machine &m, TaskId id) const override
	{
		return m.burst_left_ns(id);
	}
	Ns slice_ns(const Machine &, TaskId) const override
	{
		return NEVER;
	}
	bool preempts(EnqueueReason) const override
	{
		return preempts_;
	}

      private:
	bool preempts_;
};

}  // namespace

extern const SchedulerRow SJF, SRTF;
const SchedulerRow SJF{"sjf",
		       "oracle: the shortest burst first, which then runs to its end",
		       {},
		       [](Values) -> std::unique_ptr<Scheduler> { return std::make_unique<Shortest>(false); }};
const SchedulerRow SRTF{"srtf",
			"oracle: the burst with the least time left, at any moment",
			{},
			[](Values) -> std::unique_ptr<Scheduler> { return std::make_unique<Shortest>(true); }};

}  // namespace schedtuna::sim
