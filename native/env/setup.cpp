/* SPDX-License-Identifier: Apache-2.0 */
#include "pick_next.hpp"

#include <algorithm>

namespace schedtuna::env
{

namespace
{

void check(const Lengths &lengths)
{
	if (lengths.idle_ns <= 0 || lengths.delay_ns <= 0 || lengths.decision_ns < 0)
		throw BadInput("lengths of time are positive; a decision may cost 0");
	if (lengths.decision_ns > 1'000'000'000)
		throw BadInput("a decision takes a second at most");
}

}  // namespace

PickNextSetup::PickNextSetup(std::vector<Workload> workloads, std::vector<std::uint64_t> arrivals, Topology topology,
			     const Costs &costs, Lengths lengths, std::unique_ptr<Scheduler> chooser,
			     std::unique_ptr<Scheduler> baseline, std::array<double, TERMS.size()> weights,
			     std::uint32_t nr_slots, std::vector<std::vector<Ns>> edges)
    : loads(workloads, std::move(arrivals), topology, costs, lengths.episode_ns, *baseline, weights), lengths(lengths),
      nr_slots(nr_slots)
{
	check(lengths);
	auto *external = dynamic_cast<External *>(chooser.get());
	slice_ns = external ? external->slice_ns() : NEVER;
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
	for (Workload &load : workloads)
		starts.emplace_back(topology, costs, std::move(load),
				    std::make_unique<Metered>(chooser->clone(), follows_shares, !external), Seeds{});
}

}  // namespace schedtuna::env
