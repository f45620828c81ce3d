/* SPDX-License-Identifier: Apache-2.0 */
#include "pick_next.hpp"

#include <algorithm>
#include <cmath>

namespace schedtuna::env
{

namespace
{

std::array<double, TERMS.size()> scaled(std::array<double, TERMS.size()> weights)
{
	double sum = 0;
	for (double weight : weights)
		sum += std::abs(weight);
	if (!std::isfinite(sum) || sum <= 0)
		throw BadInput("a reward's weights are finite, and one of them is not 0");
	for (std::size_t i = 0; i < weights.size(); i++)
		weights[i] *= 100 / sum * TERMS[i].sign;
	return weights;
}

void check(const Lengths &lengths)
{
	if (lengths.episode_ns <= 0 || lengths.idle_ns <= 0 || lengths.delay_ns <= 0 || lengths.decision_ns < 0)
		throw BadInput("lengths of time are positive; a decision may cost 0");
	if (lengths.episode_ns > LONGEST / 8 || lengths.decision_ns > 1'000'000'000)
		throw BadInput("an episode lasts 13 days at most, and a decision a second");
}

}  // namespace

PickNextSetup::PickNextSetup(std::vector<Workload> loads, std::vector<std::uint64_t> arrivals, Topology topology,
			     const Costs &costs, Lengths lengths, std::unique_ptr<Scheduler> chooser,
			     std::unique_ptr<Scheduler> baseline, std::array<double, TERMS.size()> weights,
			     std::uint32_t nr_slots, std::vector<std::vector<Ns>> edges)
    : arrivals(std::move(arrivals)), lengths(lengths), weights(scaled(weights)), nr_slots(nr_slots),
      baselines_(loads.size() * this->arrivals.size())
{
	check(lengths);
	auto *external = dynamic_cast<External *>(chooser.get());
	slice_ns = external ? external->slice_ns() : NEVER;
	if (loads.empty() || this->arrivals.empty())
		throw BadInput("there is at least one load, and one seed of arrivals");
	if (nr_slots < 2 || nr_slots > MAX_SLOTS)
		throw BadInput("an environment has 2 to " + std::to_string(MAX_SLOTS) + " slots");
	if (edges.size() != TASK_FEATURES.size() + MACHINE_FEATURES.size())
		throw BadInput("each feature has its bins");
	for (std::vector<Ns> &each : edges) {
		auto found = std::find_if(encoders_.begin(), encoders_.end(),
					  [&](const Encoder &encoder) { return encoder.edges() == each; });
		const Encoder *encoder = found == encoders_.end() ? &encoders_.emplace_back(std::move(each)) : &*found;
		(task_features.size() < TASK_FEATURES.size() ? task_features : machine_features).push_back(encoder);
	}
	bool follows_shares = weights[static_cast<int>(Term::fairness)] != 0;
	auto metered = [&](const Scheduler &scheduler, bool is_watched) {
		return std::make_unique<Metered>(scheduler.clone(), follows_shares, is_watched);
	};
	for (Workload &load : loads) {
		starts.emplace_back(topology, costs, load, metered(*chooser, !external), Seeds{});
		baseline_starts_.emplace_back(topology, costs, std::move(load), metered(*baseline, false), Seeds{});
	}
}

const Amounts &PickNextSetup::baseline(std::uint32_t load, std::uint32_t arrival) const
{
	Baseline &known = baselines_[load * arrivals.size() + arrival];
	if (known.is_known.load(std::memory_order_acquire))
		return known.amounts;
	Simulation simulation(baseline_starts_[load], Seeds{arrivals[arrival], arrivals[arrival]});
	if (simulation.run(lengths.episode_ns) == Stop::Deadlock)
		throw BadInput("the load is stuck: " + simulation.waiting());
	Amounts amounts = static_cast<Metered &>(simulation.scheduler()).amounts(simulation);
	for (Ns &amount : amounts)  // what it does nothing of must not count without bounds
		amount = std::max(amount, std::max<Ns>(simulation.now() / 1000 * simulation.nr_cpus(), 1));
	std::lock_guard guard(lock_);
	known.amounts = amounts;
	known.is_known.store(true, std::memory_order_release);
	return known.amounts;
}

}  // namespace schedtuna::env
