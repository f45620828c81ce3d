/* SPDX-License-Identifier: Apache-2.0 */
// Loads of which episodes are drawn, with what a built-in scheduler makes of each.
#pragma once

#include "meter.hpp"

#include <atomic>
#include <memory>
#include <mutex>

namespace schedtuna::env
{

// Which episode: indices of a load and of arrivals, and what permutes the slots.
struct Draw {
	std::uint32_t load = 0, arrival = 0;
	std::uint64_t shuffle = 0;
};

// What a step comes to.
struct Outcome {
	double reward = 0;
	bool terminated = false, truncated = false;
	Ns elapsed_ns = 0;  // since the decision before
	bool was_masked = false;
};

class Loads
{
      public:
	Loads(std::vector<Workload> loads, std::vector<std::uint64_t> arrivals, Topology topology, const Costs &costs,
	      Ns episode_ns, const Scheduler &scheduler, const std::array<double, TERMS.size()> &weights);

	// The seed of an episode's arrivals. Raises BadInput: there is no such load, or no such arrivals.
	std::uint64_t seed(const Draw &draw) const;
	// Its load under that scheduler, before anything has happened. Raises BadInput likewise.
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
