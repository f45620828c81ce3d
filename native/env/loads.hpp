/* SPDX-License-Identifier: Apache-2.0 */
// Loads of which episodes are drawn, with what a built-in scheduler makes of each.
#pragma once

#include "pick_next.hpp"

namespace schedtuna::env
{

class Loads
{
      public:
	Loads(std::vector<Workload> loads, std::vector<std::uint64_t> arrivals, Topology topology, const Costs &costs,
	      Ns episode_ns, const Scheduler &scheduler, const std::array<double, TERMS.size()> &weights);

	// Its load under that scheduler, before anything has happened. Raises BadInput: there is no such load.
	std::unique_ptr<Simulation> begin(const Draw &draw) const;
	// What that scheduler comes to by the end; simulated once.
	const Amounts &baseline(const Draw &draw) const;
	// Of what came to pass since then.
	double reward(const Amounts &now, const Amounts &before, const Amounts &baseline) const;
	Draw draw(std::uint64_t key, std::uint64_t nth) const;

      private:
	struct Baseline {
		std::atomic<bool> is_known{false};
		Amounts amounts{};
	};

	std::vector<Simulation> starts_;
	std::vector<std::uint64_t> arrivals_;  // workload seeds
	Ns episode_ns_;
	std::array<double, TERMS.size()> weights_;  // with signs, scaled: that scheduler comes to -100 or 100
	mutable std::vector<Baseline> baselines_;   // [load][arrival]
	mutable std::mutex lock_;
};

}  // namespace schedtuna::env
