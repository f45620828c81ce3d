/* SPDX-License-Identifier: Apache-2.0 */
// What becomes of a load if a task migrates, and what if it stays? Each of `fair`'s migrations, and both its futures.
//
// Both futures begin in the same state, right behind the decision, and draw the same amounts from then on. What is
// drawn differs from one pair to the next (Simulation::redraw()), so that pairs show how much hangs on what nobody
// can know. A future costs the integral of the number of tasks that want to get on (Metered: turnaround).
#pragma once

#include "meter.hpp"

namespace schedtuna::env
{

class Futures
{
      public:
	// Raises BadInput unless the scheduler is `fair`.
	Futures(Topology topology, const Costs &costs, Workload workload, const Scheduler &fair, Seeds seeds);

	// To the next migration, up to that time; false: there is none. The one before is, as `fair` would have it.
	bool next(Ns until);
	const Migration &asked() const
	{
		return asked_;
	}
	bool shares_llc() const	 // both CPUs of the migration do
	{
		return base_->llc_of(asked_.from) == base_->llc_of(asked_.to);
	}
	// What staying costs more than migrating, pair by pair and in each horizon by horizon (ascending).
	std::vector<Ns> gains(std::uint32_t nr_pairs, const std::vector<Ns> &horizons) const;

      private:
	Simulation behind(bool moves) const;

	std::unique_ptr<Simulation> base_;  // at the end of an event before the decision
	Migration asked_;
	std::uint64_t nth_ = 0;
	bool is_due_ = false;
};

}  // namespace schedtuna::env
