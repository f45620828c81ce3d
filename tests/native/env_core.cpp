/* SPDX-License-Identifier: Apache-2.0 */
// Environments under the sanitizers: batches on threads against single ones, every action there is, all bins.
#include "env/batch.hpp"
#include "sim_cases.hpp"

#include <algorithm>
#include <cmath>

using namespace schedtuna::env;

namespace
{

constexpr std::uint32_t N = 7;

std::vector<std::vector<Ns>> edges()
{
	std::vector<Ns> log2;
	for (Ns edge = 1; edge < Ns{1} << 40; edge += std::max<Ns>(1, edge / 3))
		log2.push_back(edge);
	return {TASK_FEATURES.size() + MACHINE_FEATURES.size(), log2};
}

std::shared_ptr<PickNextSetup> setup(const char *baseline, std::uint32_t nr_slots)
{
	std::vector<Workload> loads{mixed_load(12), mixed_load(30)};
	Topology topology{3, 0, 1};
	Lengths lengths;
	lengths.episode_ns = 30'000'000;
	std::array<double, TERMS.size()> weights;
	weights.fill(1);
	return std::make_shared<PickNextSetup>(std::move(loads), std::vector<std::uint64_t>{1, 2, 3}, topology, Costs{},
					       lengths, make_scheduler("external"), make_scheduler(baseline), weights,
					       nr_slots, edges());
}

struct Bound {
	std::vector<std::int64_t> actions, elapsed, nr_masked;
	std::vector<float> observations, finals;
	std::vector<double> rewards, terms;
	std::unique_ptr<bool[]> flags, masks;
	Batch batch;

	Bound(std::shared_ptr<PickNextSetup> s, std::uint32_t n, std::uint64_t seed, unsigned nr_threads)
	    : actions(n), elapsed(n), nr_masked(n), observations(n * s->nr_observed()), finals(n * s->nr_observed()),
	      rewards(n), terms(n * TERMS.size()), flags(new bool[2 * n]), masks(new bool[n * s->nr_actions()]),
	      batch(s, n, seed, Autoreset::SameStep, nr_threads)
	{
		batch.bind({actions.data(), observations.data(), rewards.data(), flags.get(), flags.get() + n,
			    elapsed.data(), finals.data(), masks.get(), terms.data(), nr_masked.data()});
		batch.reset();
	}
};

void batch_is_its_members()
{
	for (const char *baseline : {"fair", "rr", "las"}) {
		auto shared = setup(baseline, baseline[0] == 'r' ? 3 : 16);
		Bound many(shared, N, 5, 3);
		std::vector<std::unique_ptr<Bound>> alone;
		for (std::uint32_t i = 0; i < N; i++)
			alone.push_back(std::make_unique<Bound>(shared, 1, 5 + i, 1));
		std::uint32_t width = shared->nr_observed();
		for (std::uint64_t step = 0; step < 400; step++) {
			for (std::uint32_t i = 0; i < N; i++)
				many.actions[i] = static_cast<std::int64_t>(mix(step * N + i) % shared->nr_actions());
			many.batch.step();
			for (std::uint32_t i = 0; i < N; i++) {
				alone[i]->actions[0] = many.actions[i];
				alone[i]->batch.step();
				check("rewards", many.rewards[i] == alone[i]->rewards[0]);
				check("rewards are numbers", std::isfinite(many.rewards[i]));
				check("observations",
				      std::equal(alone[i]->observations.begin(), alone[i]->observations.end(),
						 many.observations.begin() + i * width));
			}
		}
	}
}

void bins_are_those_of_their_edges()
{
	for (std::uint64_t round = 0; round < 300; round++) {
		std::vector<Ns> all;
		Ns edge = static_cast<Ns>(mix(round) % 100) - 50;
		for (std::uint64_t i = 0; i <= mix(round + 1000) % 40; i++) {
			all.push_back(edge);
			edge += 1 + static_cast<Ns>(mix(round * 64 + i) >> (20 + mix(i + round) % 43));
		}
		Encoder encoder(all);
		for (std::uint64_t i = 0; i < 300; i++) {
			Ns value = static_cast<Ns>(mix(i ^ round << 20) >> (1 + i % 63)) - static_cast<Ns>(i % 70);
			if (i % 3 == 0)
				value = all[i % all.size()] - static_cast<Ns>(i & 1);
			auto wanted = std::upper_bound(all.begin(), all.end(), value) - all.begin();
			equal("bin", encoder.bin(value), wanted);
			check("its number",
			      encoder(value) == static_cast<float>(wanted) / static_cast<float>(all.size()));
		}
	}
}

void wrong_actions_raise_on_any_thread()
{
	Bound many(setup("fair", 16), N, 1, 3);
	many.actions.assign(N, 0);
	many.actions[N - 1] = 99;
	raises<BadInput>("no action", [&] { many.batch.step(); });
}

const Case CASES[] = {
	{"batch_is_its_members", batch_is_its_members},
	{"bins_are_those_of_their_edges", bins_are_those_of_their_edges},
	{"wrong_actions_raise_on_any_thread", wrong_actions_raise_on_any_thread},
};

}  // namespace

int main(int argc, char **argv)
{
	return run_case(CASES, argc, argv);
}
