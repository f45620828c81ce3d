/* SPDX-License-Identifier: Apache-2.0 */
// Models in their canonical form (docs/model-format.md), computed: of a row every accumulator, of many rows what
// decides. Nothing is allocated once a model is built.
#ifndef SCHEDTUNA_MODEL_RUNTIME_HPP
#define SCHEDTUNA_MODEL_RUNTIME_HPP

#include "model/vectors.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

namespace schedtuna::model
{

struct BadModel : std::invalid_argument {
	using std::invalid_argument::invalid_argument;
};

constexpr std::size_t MOST_INPUTS = 32;
constexpr std::size_t MOST_LOGITS = 4;
constexpr std::size_t MOST_TREES = 1024;
constexpr std::size_t MOST_UNITS = 128;
constexpr std::size_t MOST_LEAVES = 32;
constexpr std::size_t MOST_NODES = MOST_LEAVES - 1;
constexpr unsigned LINEAR_SHIFT = 47;

struct BinRow {
	std::int64_t lo, hi;
	std::uint64_t multiplier;
	std::uint32_t base;
	std::uint16_t last;
	std::uint8_t shift;
	bool is_log2;

	std::uint16_t bin(std::int64_t value) const;
};

inline std::uint16_t BinRow::bin(std::int64_t value) const
{
	const std::int64_t clamped = std::clamp(value, lo, hi);
	std::uint64_t found;

	if (is_log2) {
		const auto x = static_cast<std::uint64_t>(clamped);
		const unsigned logarithm = x ? std::bit_width(x) - 1 : 0;
		const unsigned step = logarithm > shift ? logarithm - shift : 0;
		found = (static_cast<std::uint64_t>(step) << shift) + (x >> step) - base;
	} else {
		const std::uint64_t distance = static_cast<std::uint64_t>(clamped) - static_cast<std::uint64_t>(lo);
		found = ((distance >> shift) * multiplier) >> LINEAR_SHIFT;
	}
	return found < last ? static_cast<std::uint16_t>(found) : last;
}

class Runtime
{
      public:
	virtual ~Runtime() = default;

	std::size_t nr_inputs() const
	{
		return rows_.size();
	}
	std::size_t nr_logits() const
	{
		return nr_logits_;
	}
	std::size_t nr_accumulators() const
	{
		return nr_accumulators_;
	}
	const BinRow &row(std::size_t input) const
	{
		return rows_[input];
	}

	void quantise(const std::int64_t *values, std::uint16_t *bins) const;
	// Whether no bin of these rows is beyond its input's last: what the functions below rely on.
	bool within(const std::uint16_t *bins, std::size_t nr_rows) const;
	virtual void accumulate(const std::uint16_t *bins, std::int32_t *accumulators) const = 0;
	virtual void logits(const std::uint16_t *bins, std::size_t nr_rows, std::int32_t *logits) const = 0;
	std::uint8_t label(const std::int32_t *logits) const;

      protected:
	Runtime(std::vector<BinRow> rows, std::size_t nr_logits, std::size_t nr_accumulators);

	std::vector<BinRow> rows_;

      private:
	std::size_t nr_logits_, nr_accumulators_;
};

// Arrays as a model's file has them, row-major.
struct TreeArrays {
	std::int32_t base;
	std::span<const std::uint8_t> nr_leaves;
	std::span<const std::uint8_t> feature;
	std::span<const std::uint16_t> threshold;
	std::span<const std::int8_t> left, right;
	std::span<const std::int16_t> leaves;
};

struct ObliviousArrays {
	std::int32_t base;
	std::size_t nr_levels;
	std::span<const std::uint8_t> feature;
	std::span<const std::uint16_t> threshold;
	std::span<const std::int16_t> leaves;
};

struct LayerArrays {
	std::span<const std::int8_t> weights;
	std::span<const std::int32_t> biases;
};

// Each throws BadModel where an array has another size than it should, or would lead outside another one.
// The processor has to have the vectors.
std::unique_ptr<Runtime> make_trees(std::vector<BinRow> rows, const TreeArrays &arrays,
				    Vectors vectors = best_vectors());
std::unique_ptr<Runtime> make_oblivious(std::vector<BinRow> rows, const ObliviousArrays &arrays,
					Vectors vectors = best_vectors());
std::unique_ptr<Runtime> make_linear(std::vector<BinRow> rows, std::span<const std::int16_t> weights,
				     std::span<const std::int32_t> biases);
std::unique_ptr<Runtime> make_mlp(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers,
				  const std::vector<int> &shifts, Vectors vectors = best_vectors());
std::unique_ptr<Runtime> make_step(std::vector<BinRow> rows, const std::vector<LayerArrays> &layers, int shift,
				   Vectors vectors = best_vectors());

inline void require(bool holds, const char *what)
{
	if (!holds)
		throw BadModel(what);
}

}  // namespace schedtuna::model

#endif
