/* SPDX-License-Identifier: Apache-2.0 */
// Linear models, nets of ReLU units, nets of step units. Sums are proven to fit before a model gets here; what is
// proven anew is that no index leaves its array and no addition its type.
#include "model/dense.hpp"
#include "model/runtime.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace schedtuna::model
{
namespace
{

constexpr std::size_t LANES = 32;  // units are padded to them: whole vectors
constexpr std::size_t MOST_BYTE = 255;
constexpr std::int32_t MOST_BIAS = 1 << 28;
constexpr std::size_t TOGETHER = 16;  // rows
constexpr std::size_t BITS = 4;	      // of hidden units that are looked up together
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

class Mlp final : public Runtime
{
      public:
	Mlp(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers, const std::vector<int> &shifts,
	    Vectors vectors)
	    : Runtime(std::move(rows), layers.back().biases.size(), accumulators_of(layers))
	{
		std::size_t before = nr_inputs();
		for (std::size_t number = 0; number < layers.size(); number++) {
			const bool is_last = number == shifts.size();
			layers_.emplace_back(layers[number], before, vectors, is_last ? -1 : shifts[number]);
			before = layers_.back().nr_units();
		}
	}

	void accumulate(const std::uint16_t *bins, std::int32_t *accumulators) const override
	{
		Units before{}, after{};
		std::array<std::int32_t, MOST_UNITS> sums;
		std::copy_n(bins, nr_inputs(), before.values.begin());
		for (const Dense &layer : layers_) {
			layer.run(&before, 1, sums.data(), &after);
			accumulators = std::copy_n(sums.data(), layer.nr_units(), accumulators);
			if (&layer != &layers_.back())
				accumulators = std::copy_n(after.values.data(), layer.nr_units(), accumulators);
			before = after;
		}
	}

	// Some rows together, layer by layer: the processor then works at several of them at once.
	void logits(const std::uint16_t *bins, std::size_t nr_rows, std::int32_t *logits) const override
	{
		Units even[TOGETHER], odd[TOGETHER];
		for (std::size_t first = 0; first < nr_rows; first += TOGETHER) {
			const std::size_t count = std::min(TOGETHER, nr_rows - first);
			std::fill_n(even, count, Units{});
			std::fill_n(odd, count, Units{});
			for (std::size_t at = 0; at < count; at++, bins += nr_inputs())
				std::copy_n(bins, nr_inputs(), even[at].values.begin());
			layers_[0].run(even, count, nullptr, odd);
			layers_[1].run(odd, count, layers_.size() == 2 ? logits : nullptr, even);
			if (layers_.size() > 2)
				layers_[2].run(even, count, logits, nullptr);
			logits += count * nr_logits();
		}
	}

      private:
	std::vector<Dense> layers_;
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

// Sums of a row; the bits of units, the first one lowest: whether its sum is not negative.
struct Signs {
	std::uint64_t words[MOST_UNITS / 64];
};
using LookUp = void (*)(const LookedUp &, const std::uint8_t *, std::uint16_t *, Signs &);

void look_up_portable(const LookedUp &layer, const std::uint8_t *values, std::uint16_t *sums, Signs &signs)
{
	const std::size_t width = layer.width;
	std::copy_n(layer.biases.data(), width, sums);
	const std::uint16_t *table = layer.terms.data();
	for (std::size_t key = 0; key < layer.nr_keys; key++, table += layer.nr_values * width) {
		const std::uint16_t *row = table + values[key] * width;
		for (std::size_t unit = 0; unit < width; unit++)
			sums[unit] = static_cast<std::uint16_t>(sums[unit] + row[unit]);
	}
	signs = {};
	for (std::size_t unit = 0; unit < width; unit++)
		signs.words[unit / 64] |= std::uint64_t{(~sums[unit] >> 15 & 1U)} << (unit % 64);
}

#ifdef SCHEDTUNA_X86
SCHEDTUNA_AVX2 inline __m256i load(const std::uint16_t *from)
{
	return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
}

// `Count` times 32 units from the first on, in two registers each.
template <std::size_t Count>
SCHEDTUNA_AVX2 inline void look_up_some(const LookedUp &layer, const std::uint8_t *values, std::size_t first,
					std::uint16_t *sums, Signs &signs)
{
	const std::uint16_t *table = layer.terms.data() + first;
	__m256i sum[2 * Count];
#pragma GCC unroll 4
	for (std::size_t at = 0; at < 2 * Count; at++)
		sum[at] = load(layer.biases.data() + first + at * 16);
	for (std::size_t key = 0; key < layer.nr_keys; key++, table += layer.nr_values * layer.width) {
		const std::uint16_t *row = table + values[key] * layer.width;
#pragma GCC unroll 4
		for (std::size_t at = 0; at < 2 * Count; at++)
			sum[at] = _mm256_add_epi16(sum[at], load(row + at * 16));
	}
#pragma GCC unroll 2
	for (std::size_t at = 0; at < Count; at++) {
		const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(sum[2 * at], sum[2 * at + 1]), 0xd8);
		const auto bits = ~static_cast<std::uint32_t>(_mm256_movemask_epi8(bytes));
		const std::size_t unit = first + at * 32;
		signs.words[unit / 64] |= std::uint64_t{bits} << (unit % 64);
		_mm256_storeu_si256(reinterpret_cast<__m256i *>(sums + unit), sum[2 * at]);
		_mm256_storeu_si256(reinterpret_cast<__m256i *>(sums + unit + 16), sum[2 * at + 1]);
	}
}

SCHEDTUNA_AVX2 void look_up_avx2(const LookedUp &layer, const std::uint8_t *values, std::uint16_t *sums, Signs &signs)
{
	std::size_t first = 0;
	signs = {};
	for (; first + 64 <= layer.width; first += 64)
		look_up_some<2>(layer, values, first, sums, signs);
	if (first < layer.width)
		look_up_some<1>(layer, values, first, sums, signs);
}
#endif

LookUp look_up([[maybe_unused]] Vectors vectors)
{
#ifdef SCHEDTUNA_X86
	if (vectors != Vectors::Portable)
		return look_up_avx2;
#endif
	return look_up_portable;
}

// Bytes of 0 and 1 of bits.
void spread(const Signs &signs, std::size_t nr_units, Units &units)
{
	constexpr std::uint64_t each = 0x0101010101010101, own = 0x8040201008040201;
	for (std::size_t first = 0; first < nr_units; first += 8) {
		const std::uint64_t byte = signs.words[first / 64] >> (first % 64) & 0xff;
		// Byte k keeps bit k; adding 0x7f, 0x7e ... moves it to bit 7, whatever it was.
		const std::uint64_t kept = byte * each & own;
		const std::uint64_t ones = (((kept & ~(each << 7)) + (each * 0x7f)) | kept) >> 7 & each;
		std::memcpy(units.values.data() + first, &ones, sizeof(ones));
	}
}

class StepNet final : public Runtime
{
      public:
	StepNet(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers, int shift, Vectors vectors)
	    : Runtime(std::move(rows), layers.back().biases.size(), accumulators_of(layers)),
	      look_up_(look_up(vectors)), last_(layers.back(), layers[layers.size() - 2].biases.size(), vectors)
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
		std::array<std::uint8_t, MOST_UNITS> keys;
		std::array<std::uint16_t, MOST_UNITS> sums;
		Signs signs;
		Units units{};
		std::copy_n(bins, nr_inputs(), keys.begin());
		for (std::size_t number = 0; number < layers_.size(); number++) {
			const LookedUp &layer = layers_[number];
			look_up_(layer, keys.data(), sums.data(), signs);
			if (number + 1 < layers_.size())
				for (std::size_t key = 0; key < MOST_UNITS / BITS; key++)
					keys[key] = signs.words[key / 16] >> (key % 16 * BITS) & (NR_PATTERNS - 1);
			if (accumulators) {
				for (std::size_t unit = 0; unit < layer.nr_units; unit++)
					*accumulators++ = static_cast<std::int16_t>(sums[unit]);
				for (std::size_t unit = 0; unit < layer.nr_units; unit++)
					*accumulators++ = signs.words[unit / 64] >> (unit % 64) & 1;
			}
		}
		spread(signs, layers_.back().nr_units, units);
		last_.run(&units, 1, accumulators ? accumulators : logits, nullptr);
	}

	std::vector<LookedUp> layers_;
	LookUp look_up_;
	Dense last_;
};

}  // namespace

std::unique_ptr<Runtime> make_linear(std::vector<BinRow> rows, std::span<const std::int16_t> weights,
				     std::span<const std::int32_t> biases)
{
	return std::make_unique<Linear>(std::move(rows), weights, biases);
}

std::unique_ptr<Runtime> make_mlp(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers,
				  const std::vector<int> &shifts, Vectors vectors)
{
	require_layers(layers, rows.size(), rows);
	require(shifts.size() + 1 == layers.size(), "a net has a shift for each hidden layer");
	for (const int shift : shifts)
		require(shift >= 0 && shift <= 12, "a shift is 0 to 12");
	return std::make_unique<Mlp>(std::move(rows), layers, shifts, vectors);
}

std::unique_ptr<Runtime> make_step(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers, int shift,
				   Vectors vectors)
{
	require_layers(layers, rows.size(), rows);
	require(shift >= 0 && shift <= 7, "a shift is 0 to 7");
	return std::make_unique<StepNet>(std::move(rows), layers, shift, vectors);
}

}  // namespace schedtuna::model
