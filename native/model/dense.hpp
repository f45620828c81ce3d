/* SPDX-License-Identifier: Apache-2.0 */
// A layer of a net: sums of products of bytes, exact in 32 bits, and the units that they become. Weights lie as the
// vectors want them: units beside each other, of as many inputs as an instruction takes at once, so that no sum is
// added up across a register; but for the last layer's few.
#ifndef SCHEDTUNA_MODEL_DENSE_HPP
#define SCHEDTUNA_MODEL_DENSE_HPP

#include "model/runtime.hpp"
#include "model/vectors.hpp"

#include <array>

namespace schedtuna::model
{

constexpr std::int32_t MOST_HIDDEN = 127;

// What a layer takes and gives of a row. What is beyond its units has no weight.
struct alignas(64) Units {
	std::array<std::uint8_t, MOST_UNITS> values;
};

template <typename Number> class AlignedArray
{
      public:
	explicit AlignedArray(std::size_t size = 0) : lines_((size * sizeof(Number) + 63) / 64)
	{
	}
	Number *data()
	{
		return reinterpret_cast<Number *>(lines_.data());
	}
	const Number *data() const
	{
		return reinterpret_cast<const Number *>(lines_.data());
	}

      private:
	struct alignas(64) Bytes {
		unsigned char bytes[64];
	};
	std::vector<Bytes> lines_;
};

class Dense
{
      public:
	// `before`: units of the layer before. `shift`: of the rounding; of a layer whose sums are the logits, none.
	Dense(const LayerArrays &layer, std::size_t before, Vectors vectors, int shift = -1);

	// Of rows the units that they become, and the sums [row][nr_units(), of hidden layers MOST_UNITS]; of hidden
	// layers, null is none.
	void run(const Units *before, std::size_t nr_rows, std::int32_t *sums, Units *units) const
	{
		run_(*this, before, nr_rows, sums, units);
	}
	std::size_t nr_units() const
	{
		return nr_units_;
	}

	struct Code;  // what runs a layer, for each kind of vectors

      private:
	friend struct Code;
	using Run = void (*)(const Dense &, const Units *, std::size_t, std::int32_t *, Units *);

	std::size_t nr_units_;
	std::size_t width_;  // inputs, padded to whole groups, or in rows to whole vectors
	int shift_;
	AlignedArray<std::int8_t> bytes_;    // AVX-512
	AlignedArray<std::int16_t> words_;   // all others
	AlignedArray<std::int32_t> biases_;  // padded to MOST_UNITS
	Run run_;
};

}  // namespace schedtuna::model

#endif
