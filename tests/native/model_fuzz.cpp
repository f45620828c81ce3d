/* SPDX-License-Identifier: Apache-2.0 */
// Builds models of arrays that are damaged at random, and runs what was not refused: nothing may lead outside.
#include "model/decider.hpp"
#include "model/runtime.hpp"

#include <cstdio>
#include <cstdlib>
#include <random>

using namespace schedtuna::model;

namespace
{

std::mt19937_64 chance;

std::size_t below(std::size_t bound)
{
	return chance() % bound;
}

template <typename T> std::vector<T> numbers(std::size_t count, bool any)
{
	std::vector<T> made(count);
	for (T &value : made)
		value = static_cast<T>(any ? chance() : below(3));
	return made;
}

std::vector<BinRow> rows(std::size_t count, std::uint16_t last)
{
	std::vector<BinRow> made;
	for (std::size_t at = 0; at < count; at++)
		made.push_back({-5, std::int64_t{last} + static_cast<std::int64_t>(below(9)), chance() >> below(64),
				static_cast<std::uint32_t>(below(3)), static_cast<std::uint16_t>(below(last) + 1),
				static_cast<std::uint8_t>(below(66)), below(2) == 0});
	return made;
}

// A chain: each node's left child is a leaf. Some of its numbers are then exchanged for others.
std::unique_ptr<Runtime> damaged_trees(std::size_t nr_inputs)
{
	const std::size_t nr_trees = 1 + below(20);
	auto nr_leaves = numbers<std::uint8_t>(nr_trees, false);
	auto feature = numbers<std::uint8_t>(nr_trees * MOST_NODES, false);
	auto threshold = numbers<std::uint16_t>(nr_trees * MOST_NODES, true);
	std::vector<std::int8_t> left(nr_trees * MOST_NODES), right(nr_trees * MOST_NODES);
	for (std::size_t tree = 0; tree < nr_trees; tree++) {
		const int count = 2 + static_cast<int>(below(31));
		nr_leaves[tree] = static_cast<std::uint8_t>(count);
		for (int node = 0; node < count - 1; node++) {
			left[tree * MOST_NODES + node] = static_cast<std::int8_t>(-1 - node);
			right[tree * MOST_NODES + node] = static_cast<std::int8_t>(node + 2 < count ? node + 1
												    : -1 - (node + 1));
		}
	}
	for (std::size_t times = below(3); times; times--) {
		(below(2) ? left : right)[below(left.size())] = static_cast<std::int8_t>(chance());
		feature[below(feature.size())] = static_cast<std::uint8_t>(below(8) ? below(nr_inputs) : chance());
		if (below(4) == 0)
			nr_leaves[below(nr_trees)] = static_cast<std::uint8_t>(below(40));
	}
	if (below(10) == 0)
		threshold.resize(below(threshold.size()));
	const auto leaves = numbers<std::int16_t>(nr_trees * MOST_LEAVES, true);
	return make_trees(rows(nr_inputs, 255), {7, nr_leaves, feature, threshold, left, right, leaves});
}

std::unique_ptr<Runtime> damaged_oblivious(std::size_t nr_inputs)
{
	const std::size_t nr_trees = 1 + below(70), nr_levels = below(10);
	auto feature = numbers<std::uint8_t>(nr_trees * nr_levels, below(20) == 0);
	auto threshold = numbers<std::uint16_t>(nr_trees * nr_levels - (below(10) == 0 && nr_levels), true);
	auto leaves = numbers<std::int16_t>((nr_trees << nr_levels) - (below(10) == 0), true);
	return make_oblivious(rows(nr_inputs, 999), {7, nr_levels, feature, threshold, leaves});
}

std::unique_ptr<Runtime> damaged_net(std::size_t nr_inputs, bool is_step)
{
	const std::size_t nr_layers = 1 + below(3);
	std::vector<std::vector<std::int8_t>> weights;
	std::vector<std::vector<std::int32_t>> biases;
	std::vector<LayerArrays> layers;
	std::size_t before = nr_inputs;
	for (std::size_t layer = 0; layer < nr_layers; layer++) {
		const std::size_t units = layer + 1 == nr_layers ? 1 + below(5) : 1 + below(below(9) ? 128 : 140);
		weights.push_back(numbers<std::int8_t>(units * before + (below(30) == 0), true));
		biases.push_back(numbers<std::int32_t>(units, below(30) == 0));
		before = units;
	}
	for (std::size_t layer = 0; layer < nr_layers; layer++)
		layers.push_back({weights[layer], biases[layer]});
	if (is_step)
		return make_step(rows(nr_inputs, 255), layers, static_cast<int>(below(9)));
	return make_mlp(rows(nr_inputs, 255), layers,
			std::vector<int>(nr_layers - (below(10) != 0), static_cast<int>(below(14))));
}

std::unique_ptr<Runtime> damaged(std::size_t kind)
{
	const std::size_t nr_inputs = 3 + below(below(20) ? 8 : 40);
	switch (kind) {
	case 0:
		return damaged_trees(nr_inputs);
	case 1:
		return damaged_oblivious(nr_inputs);
	case 2:
		return damaged_net(nr_inputs, false);
	case 3:
		return damaged_net(nr_inputs, true);
	default:
		const std::size_t logits = below(6);
		const auto weights = numbers<std::int16_t>(logits * nr_inputs + (below(20) == 0), true);
		return make_linear(rows(nr_inputs, 65535), weights, numbers<std::int32_t>(logits, false));
	}
}

void run(const std::shared_ptr<Runtime> &runtime)
{
	const std::size_t nr_rows = 1 + below(150), width = runtime->nr_inputs();
	const auto values = numbers<std::int64_t>(nr_rows * width, below(2) == 0);
	std::vector<std::uint16_t> bins(nr_rows * width);
	std::vector<std::int32_t> accumulators(runtime->nr_accumulators()), logits(nr_rows * runtime->nr_logits());
	for (std::size_t at = 0; at < nr_rows; at++)
		runtime->quantise(values.data() + at * width, bins.data() + at * width);
	if (!runtime->within(bins.data(), nr_rows))
		std::abort();
	runtime->logits(bins.data(), nr_rows, logits.data());
	for (std::size_t at = 0; at < nr_rows; at++) {
		runtime->accumulate(bins.data() + at * width, accumulators.data());
		for (std::size_t logit = 0; logit < runtime->nr_logits(); logit++)
			if (accumulators[accumulators.size() - runtime->nr_logits() + logit]
			    != logits[at * runtime->nr_logits() + logit])
				std::abort();
	}
	std::vector<Column> columns(width, {below(10), below(2) ? Kind::Count : Kind::Load});
	Decider decider(runtime, columns, width <= Cache::MOST_BINS ? below(40) : 0);
	std::vector<float> rows(nr_rows * 10);
	for (float &value : rows)
		value = static_cast<float>(below(3));
	std::vector<std::uint8_t> labels(nr_rows);
	decider.decide(rows.data(), nr_rows, 10, labels.data());
}

}  // namespace

int main(int argc, char **argv)
{
	const long count = argc > 1 ? std::atol(argv[1]) : 100;
	long nr_built[5] = {}, nr_refused = 0;
	chance.seed(argc > 2 ? std::atol(argv[2]) : 1);
	for (long at = 0; at < count; at++) {
		try {
			std::shared_ptr<Runtime> made = damaged(at % 5);
			run(made);
			nr_built[at % 5]++;
		} catch (const BadModel &) {
			nr_refused++;
		}
	}
	std::printf("%ld %ld %ld %ld %ld %ld\n", nr_refused, nr_built[0], nr_built[1], nr_built[2], nr_built[3],
		    nr_built[4]);
	return 0;
}
