/* SPDX-License-Identifier: Apache-2.0 */
// Linear models, nets of ReLU units, nets of step units. Sums are proven to fit before a model gets here; what is
// proven anew is that no index leaves its array and no addition its type.
#include "model/runtime.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

namespace schedtuna::model
{
namespace
{

constexpr std::size_t LANES = 32;  // units and inputs are padded to them: whole vectors
constexpr std::size_t MOST_BYTE = 255;
constexpr std::int32_t MOST_HIDDEN = 127;
constexpr std::int32_t MOST_BIAS = 1 << 28;
constexpr std::size_t BITS = 4;	 // of hidden units that are looked up together
constexpr std::size_t NR_PATTERNS = 1 << BITS;

std::size_t padded(std::size_t count)
{
	return (count + LANES - 1) / LANES * LANES;
}

void require_layers(const std::vector<LayerArrays> &layers, std::size_t nr_inputs, const std::vector<BinRow> &rows)
{
	require(layers.size() == 2 || layers.size() == 3, "a net has 1 or 2 hidden layers");
	for (const BinRow &row : rows)
		require(row.last <= MOST_BYTE, "a net's inputs are bytes");
	std::size_t before = nr_inputs;
	for (const LayerArrays &layer : layers) {
		const bool is_last = &layer == &layers.back();
		require(!layer.biases.empty() && layer.biases.size() <= (is_last ? MOST_LOGITS : MOST_UNITS),
			"a layer has too many units, or none");
		require(layer.weights.size() == layer.biases.size() * before,
			"a layer's arrays are of different sizes");
		for (const std::int32_t bias : layer.biases)
			require(bias > -MOST_BIAS && bias < MOST_BIAS, "a bias is too large");
		before = layer.biases.size();
	}
}

std::size_t accumulators_of(const std::vector<LayerArrays> &layers)
{
	std::size_t count = layers.back().biases.size();
	for (std::size_t layer = 0; layer + 1 < layers.size(); layer++)
		count += 2 * layers[layer].biases.size();
	return count;
}

class Linear final : public Runtime
{
      public:
	Linear(std::vector<BinRow> rows, std::span<const std::int16_t> weights, std::span<const std::int32_t> biases)
	    : Runtime(std::move(rows), biases.size(), biases.size()), weights_(weights.begin(), weights.end()),
	      biases_(biases.begin(), biases.end())
	{
		require(weights_.size() == nr_inputs() * nr_logits(), "weights and biases are of different sizes");
	}

	void accumulate(const std::uint16_t *bins, std::int32_t *accumulators) const override
	{
		logits(bins, 1, accumulators);
	}

	void logits(const std::uint16_t *bins, std::size_t nr_rows, std::int32_t *logits) const override
	{
		for (std::size_t at = 0; at < nr_rows; at++, bins += nr_inputs()) {
			const std::int16_t *weight = weights_.data();
			for (const std::int32_t bias : biases_) {
				std::int64_t sum = bias;
				for (std::size_t input = 0; input < nr_inputs(); input++)
					sum += std::int64_t{*weight++} * bins[input];
				*logits++ = static_cast<std::int32_t>(sum);
			}
		}
	}

      private:
	std::vector<std::int16_t> weights_;
	std::vector<std::int32_t> biases_;
};

struct Dense {
	std::size_t nr_units, width;	    // width: of a row of weights, padded by zeros
	std::vector<std::int16_t> weights;  // [unit][width]
	std::vector<std::int32_t> biases;

	Dense(const LayerArrays &layer, std::size_t before)
	    : nr_units(layer.biases.size()), width(padded(before)), weights(nr_units * width),
	      biases(layer.biases.begin(), layer.biases.end())
	{
		for (std::size_t unit = 0; unit < nr_units; unit++)
			std::copy_n(layer.weights.data() + unit * before, before, weights.data() + unit * width);
	}
};

// What a layer takes: sums of 16-bit products, which vectors add in pairs.
using Units = std::array<std::int16_t, MOST_UNITS>;

SCHEDTUNA_VECTORS void dense_sums(const Dense &layer, const std::int16_t *units, std::int32_t *sums)
{
	const std::int16_t *weight = layer.weights.data();
	const std::size_t width = layer.width;
	for (std::size_t unit = 0; unit < layer.nr_units; unit++, weight += width) {
		std::int32_t sum = 0;
		for (std::size_t index = 0; index < width; index++)
			sum += weight[index] * units[index];
		sums[unit] = sum + layer.biases[unit];
	}
}

class Mlp final : public Runtime
{
      public:
	Mlp(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers, const std::vector<int> &shifts)
	    : Runtime(std::move(rows), layers.back().biases.size(), accumulators_of(layers)), shifts_(shifts)
	{
		std::size_t before = nr_inputs();
		for (const LayerArrays &layer : layers) {
			layers_.emplace_back(layer, before);
			before = layers_.back().nr_units;
		}
	}

	void accumulate(const std::uint16_t *bins, std::int32_t *accumulators) const override
	{
		run(bins, accumulators, nullptr);
	}

	void logits(const std::uint16_t *bins, std::size_t nr_rows, std::int32_t *logits) const override
	{
		for (std::size_t at = 0; at < nr_rows; at++)
			run(bins + at * nr_inputs(), nullptr, logits + at * nr_logits());
	}

      private:
	void run(const std::uint16_t *bins, std::int32_t *accumulators, std::int32_t *logits) const
	{
		Units units{};
		std::array<std::int32_t, MOST_UNITS> sums;
		std::copy_n(bins, nr_inputs(), units.begin());
		for (std::size_t number = 0; number < layers_.size(); number++) {
			const Dense &layer = layers_[number];
			dense_sums(layer, units.data(), sums.data());
			if (accumulators)
				accumulators = std::copy_n(sums.data(), layer.nr_units, accumulators);
			if (number == shifts_.size()) {
				if (logits)
					std::copy_n(sums.data(), layer.nr_units, logits);
				return;
			}
			const int shift = shifts_[number], half = (1 << shift) >> 1;
			units.fill(0);
			for (std::size_t unit = 0; unit < layer.nr_units; unit++)
				units[unit] = static_cast<std::int16_t>(
					std::clamp((sums[unit] + half) >> shift, 0, MOST_HIDDEN));
			if (accumulators)
				accumulators = std::copy_n(units.data(), layer.nr_units, accumulators);
		}
	}

	std::vector<Dense> layers_;
	std::vector<int> shifts_;
};

// A layer whose sums are looked up and added, 16 bits each: proven to fit, so what wraps on the way comes back.
struct LookedUp {
	std::size_t nr_units, width, nr_keys, nr_values;
	std::vector<std::uint16_t> terms;   // [key][value][width]
	std::vector<std::uint16_t> biases;  // [width]; padded units are never 1

	LookedUp(std::size_t nr_units_, std::size_t nr_keys_, std::size_t nr_values_,
		 std::span<const std::int32_t> biases_)
	    : nr_units(nr_units_), width(padded(nr_units_)), nr_keys(nr_keys_), nr_values(nr_values_),
	      terms(nr_keys * nr_values * width), biases(width, 0xffff)
	{
		std::copy(biases_.begin(), biases_.end(), biases.begin());
	}
	std::uint16_t &term(std::size_t key, std::size_t value, std::size_t unit)
	{
		return terms[(key * nr_values + value) * width + unit];
	}
};

SCHEDTUNA_VECTORS void looked_up_sums(const LookedUp &layer, const std::uint8_t *values, std::uint16_t *sums)
{
	const std::size_t width = layer.width;
	std::copy_n(layer.biases.data(), width, sums);
	const std::uint16_t *table = layer.terms.data();
	for (std::size_t key = 0; key < layer.nr_keys; key++, table += layer.nr_values * width) {
		const std::uint16_t *row = table + values[key] * width;
		for (std::size_t unit = 0; unit < width; unit++)
			sums[unit] = static_cast<std::uint16_t>(sums[unit] + row[unit]);
	}
}

class StepNet final : public Runtime
{
      public:
	StepNet(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers, int shift)
	    : Runtime(std::move(rows), layers.back().biases.size(), accumulators_of(layers)),
	      last_(layers.back(), layers[layers.size() - 2].biases.size())
	{
		first_layer(layers.front(), shift);
		if (layers.size() == 3)
			second_layer(layers[1]);
	}

	void accumulate(const std::uint16_t *bins, std::int32_t *accumulators) const override
	{
		run(bins, accumulators, nullptr);
	}

	void logits(const std::uint16_t *bins, std::size_t nr_rows, std::int32_t *logits) const override
	{
		for (std::size_t at = 0; at < nr_rows; at++)
			run(bins + at * nr_inputs(), nullptr, logits + at * nr_logits());
	}

      private:
	void first_layer(const LayerArrays &layer, int shift)
	{
		const std::int32_t half = (1 << shift) >> 1;
		LookedUp made(layer.biases.size(), nr_inputs(), MOST_BYTE + 1, layer.biases);
		for (std::size_t input = 0; input < nr_inputs(); input++)
			for (std::int32_t bin = 0; bin <= static_cast<std::int32_t>(MOST_BYTE); bin++)
				for (std::size_t unit = 0; unit < made.nr_units; unit++)
					made.term(input, bin, unit) = static_cast<std::uint16_t>(
						(layer.weights[unit * nr_inputs() + input] * bin + half) >> shift);
		layers_.push_back(std::move(made));
	}

	void second_layer(const LayerArrays &layer)
	{
		const std::size_t before = layers_.front().nr_units;
		LookedUp made(layer.biases.size(), (before + BITS - 1) / BITS, NR_PATTERNS, layer.biases);
		for (std::size_t index = 0; index < before; index++)
			for (std::size_t pattern = 0; pattern < NR_PATTERNS; pattern++)
				if (pattern >> (index % BITS) & 1)
					for (std::size_t unit = 0; unit < made.nr_units; unit++)
						made.term(index / BITS, pattern, unit) += static_cast<std::uint16_t>(
							layer.weights[unit * before + index]);
		layers_.push_back(std::move(made));
	}

	void run(const std::uint16_t *bins, std::int32_t *accumulators, std::int32_t *logits) const
	{
		std::array<std::uint8_t, MOST_UNITS> keys{};
		std::array<std::uint16_t, MOST_UNITS> sums;
		Units units{};
		std::copy_n(bins, nr_inputs(), keys.begin());
		for (const LookedUp &layer : layers_) {
			looked_up_sums(layer, keys.data(), sums.data());
			units.fill(0);
			for (std::size_t unit = 0; unit < layer.nr_units; unit++)
				units[unit] = static_cast<std::int16_t>(~sums[unit] >> 15 & 1);
			for (std::size_t key = 0; key < MOST_UNITS / BITS; key++) {
				const std::int16_t *bit = units.data() + key * BITS;
				keys[key] = static_cast<std::uint8_t>(bit[0] | bit[1] << 1 | bit[2] << 2 | bit[3] << 3);
			}
			if (accumulators) {
				for (std::size_t unit = 0; unit < layer.nr_units; unit++)
					*accumulators++ = static_cast<std::int16_t>(sums[unit]);
				accumulators = std::copy_n(units.data(), layer.nr_units, accumulators);
			}
		}
		dense_sums(last_, units.data(), accumulators ? accumulators : logits);
	}

	std::vector<LookedUp> layers_;
	Dense last_;
};

}  // namespace

std::unique_ptr<Runtime> make_linear(std::vector<BinRow> rows, std::span<const std::int16_t> weights,
				     std::span<const std::int32_t> biases)
{
	return std::make_unique<Linear>(std::move(rows), weights, biases);
}

std::unique_ptr<Runtime> make_mlp(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers,
				  const std::vector<int> &shifts)
{
	require_layers(layers, rows.size(), rows);
	require(shifts.size() + 1 == layers.size(), "a net has a shift for each hidden layer");
	for (const int shift : shifts)
		require(shift >= 0 && shift <= 12, "a shift is 0 to 12");
	return std::make_unique<Mlp>(std::move(rows), layers, shifts);
}

std::unique_ptr<Runtime> make_step(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers, int shift)
{
	require_layers(layers, rows.size(), rows);
	require(shift >= 0 && shift <= 7, "a shift is 0 to 7");
	return std::make_unique<StepNet>(std::move(rows), layers, shift);
}

}  // namespace schedtuna::model
