/* SPDX-License-Identifier: Apache-2.0 */
#include "loads.hpp"

#include <cmath>

namespace schedtuna::env
{

Loads::Loads(std::vector<Workload> loads, std::vector<std::uint64_t> arrivals, Topology topology, const Costs &costs,
	     Ns episode_ns, const Scheduler &scheduler, const std::array<double, TERMS.size()> &weights)
    : arrivals_(std::move(arrivals)), episode_ns_(episode_ns), weights_(weights),
      baselines_(loads.size() * arrivals_.size())
{
	if (loads.empty() || arrivals_.empty())
		throw BadInput("there is at least one load, and one seed of arrivals");
	if (episode_ns <= 0 || episode_ns > LONGEST / 8)
		throw BadInput("an episode lasts 13 days at most");
	double sum = 0;
	for (double weight : weights)
		sum += std::abs(weight);
	if (!std::isfinite(sum) || sum <= 0)
		throw BadInput("a reward's weights are finite, and one of them is not 0");
	for (std::size_t i = 0; i < TERMS.size(); i++)
		weights_[i] *= 100 / sum * TERMS[i].sign;
	bool follows_shares = weights[static_cast<int>(Term::fairness)] != 0;
	for (Workload &load : loads)
		starts_.emplace_back(topology, costs, std::move(load),
				     std::make_unique<Metered>(scheduler.clone(), follows_shares), Seeds{});
}

std::uint64_t Loads::seed(const Draw &draw) const
{
	if (draw.load >= starts_.size() || draw.arrival >= arrivals_.size())
		throw BadInput("there is no such load, or no such arrivals");
	return arrivals_[draw.arrival];
}

std::unique_ptr<Simulation> Loads::begin(const Draw &draw) const
{
	return std::make_unique<Simulation>(starts_[draw.load], Seeds{seed(draw), seed(draw)});
}

const Amounts &Loads::baseline(const Draw &draw) const
{
	Baseline &known = baselines_[draw.load * arrivals_.size() + draw.arrival];
	if (known.is_known.load(std::memory_order_acquire))
		return known.amounts;
	std::unique_ptr<Simulation> simulation = begin(draw);
	if (simulation->run(episode_ns_) == Stop::Deadlock)
		throw BadInput("the load is stuck: " + simulation->waiting());
	Amounts amounts = static_cast<Metered &>(simulation->scheduler()).amounts(*simulation);
	for (Ns &amount : amounts)  // what it does nothing of must not count without bounds
		amount = std::max(amount, std::max<Ns>(simulation->now() / 1000 * simulation->nr_cpus(), 1));
	std::lock_guard guard(lock_);
	known.amounts = amounts;
	known.is_known.store(true, std::memory_order_release);
	return known.amounts;
}

double Loads::reward(const Amounts &now, const Amounts &before, const Amounts &baseline) const
{
	double sum = 0;
	for (std::size_t i = 0; i < now.size(); i++)
		if (weights_[i] != 0)
			sum += weights_[i] * static_cast<double>(now[i] - before[i]) / static_cast<double>(baseline[i]);
	return sum;
}

Draw Loads::draw(std::uint64_t key, std::uint64_t nth) const
{
	std::uint64_t drawn = mix(key + nth);
	auto among = [&](std::size_t n, std::uint64_t purpose) {
		return static_cast<std::uint32_t>(mix(drawn + purpose) % n);
	};
	return {among(starts_.size(), 0), among(arrivals_.size(), 1), mix(drawn + 2)};
}

}  // namespace schedtuna::env
