/* SPDX-License-Identifier: Apache-2.0 */
#include "model/dense.hpp"

#include <algorithm>
#include <cstring>

namespace schedtuna::model
{
namespace
{

constexpr std::size_t PAIR = 2, QUAD = 4;  // inputs that an instruction multiplies and adds at once
constexpr std::size_t PADDED = 16;	   // units are padded to so many, of zeros

std::size_t padded(std::size_t count, std::size_t to)
{
	return (count + to - 1) / to * to;
}

// Weights of groups of inputs: [group][unit, padded][input of the group].
template <typename Number>
void pack_groups(const LayerArrays &layer, std::size_t before, std::size_t group, Number *packed)
{
	const std::size_t units = layer.biases.size(), places = padded(units, PADDED);
	for (std::size_t unit = 0; unit < units; unit++)
		for (std::size_t input = 0; input < before; input++)
			packed[(input / group * places + unit) * group + input % group] = layer.weights[unit * before
													+ input];
}

// Weights of units: [unit][input, padded].
template <typename Number>
void pack_rows(const LayerArrays &layer, std::size_t before, std::size_t width, Number *packed)
{
	for (std::size_t unit = 0; unit < layer.biases.size(); unit++)
		std::copy_n(layer.weights.data() + unit * before, before, packed + unit * width);
}

}  // namespace

struct Dense::Code {
	static void portable(const Dense &layer, const Units *before, std::size_t nr_rows, std::int32_t *sums,
			     Units *units)
	{
		const bool is_last = layer.shift_ < 0;
		const std::int32_t half = is_last ? 0 : (1 << layer.shift_) >> 1;
		for (std::size_t row = 0; row < nr_rows; row++) {
			std::array<std::int16_t, MOST_UNITS> words;
			std::copy(before[row].values.begin(), before[row].values.end(), words.begin());
			const std::int16_t *weight = layer.words_.data();
			for (std::size_t unit = 0; unit < layer.nr_units_; unit++, weight += layer.width_) {
				std::int32_t sum = 0;
				for (std::size_t input = 0; input < layer.width_; input++)
					sum += weight[input] * words[input];
				sum += layer.biases_.data()[unit];
				if (sums)
					sums[row * (is_last ? layer.nr_units_ : MOST_UNITS) + unit] = sum;
				if (!is_last)
					units[row].values[unit] = static_cast<std::uint8_t>(
						std::clamp((sum + half) >> layer.shift_, 0, MOST_HIDDEN));
			}
		}
	}

#ifdef SCHEDTUNA_X86
	SCHEDTUNA_AVX2 static __m256i load(const void *from)
	{
		return _mm256_load_si256(static_cast<const __m256i *>(from));
	}

	SCHEDTUNA_AVX2 static void to_words(const Units &units, std::size_t count, std::int16_t *words)
	{
		for (std::size_t at = 0; at < count; at += 16)
			_mm256_store_si256(reinterpret_cast<__m256i *>(words + at),
					   _mm256_cvtepu8_epi16(_mm_load_si128(
						   reinterpret_cast<const __m128i *>(units.values.data() + at))));
	}

	// `Count` times 8 units from the first on; `words` has the inputs.
	template <std::size_t Count>
	SCHEDTUNA_AVX2 static void pairs(const Dense &layer, const std::int16_t *words, std::size_t first,
					 std::int32_t *sums, Units &units)
	{
		const std::size_t places = padded(layer.nr_units_, PADDED);
		const std::int16_t *weights = layer.words_.data() + first * PAIR;
		__m256i sum[Count];
#pragma GCC unroll 8
		for (std::size_t at = 0; at < Count; at++)
			sum[at] = load(layer.biases_.data() + first + at * 8);
		for (std::size_t pair = 0; pair < layer.width_ / PAIR; pair++, weights += places * PAIR) {
			std::int32_t two;
			std::memcpy(&two, words + pair * PAIR, sizeof(two));
			const __m256i inputs = _mm256_set1_epi32(two);
#pragma GCC unroll 8
			for (std::size_t at = 0; at < Count; at++)
				sum[at] = _mm256_add_epi32(sum[at],
							   _mm256_madd_epi16(inputs, load(weights + at * 8 * PAIR)));
		}
		const __m256i half = _mm256_set1_epi32((1 << layer.shift_) >> 1);
		const __m128i shift = _mm_cvtsi32_si128(layer.shift_);
#pragma GCC unroll 8
		for (std::size_t at = 0; at < Count; at++) {
			if (sums)
				_mm256_storeu_si256(reinterpret_cast<__m256i *>(sums + first + at * 8), sum[at]);
			sum[at] = _mm256_sra_epi32(_mm256_add_epi32(sum[at], half), shift);
		}
		const __m256i most = _mm256_set1_epi8(MOST_HIDDEN);
#pragma GCC unroll 4
		for (std::size_t at = 0; at < Count; at += 2) {	 // packing saturates, and goes by halves of registers
			const __m256i words_of = _mm256_permute4x64_epi64(_mm256_packs_epi32(sum[at], sum[at + 1]),
									  0xd8);
			const __m256i bytes = _mm256_min_epu8(
				_mm256_permute4x64_epi64(_mm256_packus_epi16(words_of, words_of), 0xd8), most);
			_mm_store_si128(reinterpret_cast<__m128i *>(units.values.data() + first + at * 8),
					_mm256_castsi256_si128(bytes));
		}
	}

	SCHEDTUNA_AVX2 static void hidden_avx2(const Dense &layer, const Units *before, std::size_t nr_rows,
					       std::int32_t *sums, Units *units)
	{
		alignas(64) std::int16_t words[MOST_UNITS];
		for (std::size_t row = 0; row < nr_rows; row++) {
			std::size_t first = 0;
			to_words(before[row], layer.width_, words);
			for (; first + 64 <= layer.nr_units_; first += 64)
				pairs<8>(layer, words, first, sums, units[row]);
			for (; first < layer.nr_units_; first += PADDED)
				pairs<2>(layer, words, first, sums, units[row]);
			sums = sums ? sums + MOST_UNITS : nullptr;
		}
	}

	SCHEDTUNA_AVX2 static void last_avx2(const Dense &layer, const Units *before, std::size_t nr_rows,
					     std::int32_t *sums, Units *)
	{
		alignas(64) std::int16_t words[MOST_UNITS];
		for (std::size_t row = 0; row < nr_rows; row++) {
			to_words(before[row], layer.width_, words);
			for (std::size_t unit = 0; unit < layer.nr_units_; unit++) {
				const std::int16_t *weights = layer.words_.data() + unit * layer.width_;
				__m256i sum = _mm256_setzero_si256();
				for (std::size_t at = 0; at < layer.width_; at += 16)
					sum = _mm256_add_epi32(sum,
							       _mm256_madd_epi16(load(words + at), load(weights + at)));
				__m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum),
							     _mm256_extracti128_si256(sum, 1));
				four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
				four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
				*sums++ = _mm_cvtsi128_si32(four) + layer.biases_.data()[unit];
			}
		}
	}

	// `Count` times 16 units from the first on.
	template <std::size_t Count>
	SCHEDTUNA_AVX512 static void quads(const Dense &layer, const Units &before, std::size_t first,
					   std::int32_t *sums, Units &units)
	{
		const std::size_t places = padded(layer.nr_units_, PADDED);
		const std::int8_t *weights = layer.bytes_.data() + first * QUAD;
		__m512i sum[Count];
#pragma GCC unroll 4
		for (std::size_t at = 0; at < Count; at++)
			sum[at] = _mm512_load_si512(layer.biases_.data() + first + at * 16);
		for (std::size_t quad = 0; quad < layer.width_ / QUAD; quad++, weights += places * QUAD) {
			std::int32_t four;
			std::memcpy(&four, before.values.data() + quad * QUAD, sizeof(four));
			const __m512i inputs = _mm512_set1_epi32(four);
#pragma GCC unroll 4
			for (std::size_t at = 0; at < Count; at++)
				sum[at] = _mm512_dpbusd_epi32(sum[at], inputs,
							      _mm512_load_si512(weights + at * 16 * QUAD));
		}
		const __m512i half = _mm512_set1_epi32((1 << layer.shift_) >> 1);
		const __m128i shift = _mm_cvtsi32_si128(layer.shift_);
#pragma GCC unroll 4
		for (std::size_t at = 0; at < Count; at++) {
			if (sums)
				_mm512_storeu_si512(sums + first + at * 16, sum[at]);
			const __m512i rounded = _mm512_sra_epi32(_mm512_add_epi32(sum[at], half), shift);
			const __m512i clamped = _mm512_min_epi32(_mm512_max_epi32(rounded, _mm512_setzero_si512()),
								 _mm512_set1_epi32(MOST_HIDDEN));
			_mm_store_si128(reinterpret_cast<__m128i *>(units.values.data() + first + at * 16),
					_mm512_cvtepi32_epi8(clamped));
		}
	}

	SCHEDTUNA_AVX512 static void hidden_avx512(const Dense &layer, const Units *before, std::size_t nr_rows,
						   std::int32_t *sums, Units *units)
	{
		for (std::size_t row = 0; row < nr_rows; row++) {
			std::size_t first = 0;
			for (; first + 64 <= layer.nr_units_; first += 64)
				quads<4>(layer, before[row], first, sums, units[row]);
			for (; first < layer.nr_units_; first += PADDED)
				quads<1>(layer, before[row], first, sums, units[row]);
			sums = sums ? sums + MOST_UNITS : nullptr;
		}
	}

	SCHEDTUNA_AVX512 static void last_avx512(const Dense &layer, const Units *before, std::size_t nr_rows,
						 std::int32_t *sums, Units *)
	{
		for (std::size_t row = 0; row < nr_rows; row++)
			for (std::size_t unit = 0; unit < layer.nr_units_; unit++) {
				const std::int8_t *weights = layer.bytes_.data() + unit * layer.width_;
				__m512i sum = _mm512_setzero_si512();
				for (std::size_t at = 0; at < layer.width_; at += 64)
					sum = _mm512_dpbusd_epi32(sum,
								  _mm512_load_si512(before[row].values.data() + at),
								  _mm512_load_si512(weights + at));
				*sums++ = _mm512_reduce_add_epi32(sum) + layer.biases_.data()[unit];
			}
	}
#endif
};

Dense::Dense(const LayerArrays &layer, std::size_t before, [[maybe_unused]] Vectors vectors, int shift)
    : nr_units_(layer.biases.size()), width_(padded(before, PADDED)), shift_(shift), biases_(MOST_UNITS),
      run_(Code::portable)
{
	std::copy(layer.biases.begin(), layer.biases.end(), biases_.data());
#ifdef SCHEDTUNA_X86
	const std::size_t places = padded(nr_units_, PADDED);
	const bool is_last = shift < 0;
	if (vectors == Vectors::Avx512) {
		width_ = padded(before, is_last ? 64 : QUAD);
		bytes_ = AlignedArray<std::int8_t>(is_last ? nr_units_ * width_ : places * width_);
		if (is_last)
			pack_rows(layer, before, width_, bytes_.data());
		else
			pack_groups(layer, before, QUAD, bytes_.data());
		run_ = is_last ? Code::last_avx512 : Code::hidden_avx512;
		return;
	}
	if (vectors == Vectors::Avx2) {
		width_ = padded(before, is_last ? 16 : PAIR);
		words_ = AlignedArray<std::int16_t>(is_last ? nr_units_ * width_ : places * width_);
		if (is_last)
			pack_rows(layer, before, width_, words_.data());
		else
			pack_groups(layer, before, PAIR, words_.data());
		run_ = is_last ? Code::last_avx2 : Code::hidden_avx2;
		return;
	}
#endif
	words_ = AlignedArray<std::int16_t>(nr_units_ * width_);
	pack_rows(layer, before, width_, words_.data());
}

}  // namespace schedtuna::model
