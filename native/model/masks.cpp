/* SPDX-License-Identifier: Apache-2.0 */
// A row's masks are combined in registers, as many lines at a time as there are some for; leaves are then added one
// by one: reading them through a vector of addresses costs as much on most processors.
#include "model/masks.hpp"

#include "model/runtime.hpp"

#include <algorithm>
#include <cstring>

namespace schedtuna::model
{

template <typename Mask> void Table<Mask>::fill(const std::vector<std::vector<Mask>> &of_bins)
{
	const std::vector<Mask> *last = nullptr;
	std::size_t nr_rows = 0;
	nr_lines = of_bins.front().size() / Line<Mask>::WIDTH;
	for (const std::vector<Mask> &row : of_bins) {
		if (!last || row != *last) {
			lines.resize(++nr_rows * nr_lines);
			std::memcpy(&lines[(nr_rows - 1) * nr_lines], row.data(), row.size() * sizeof(Mask));
		}
		last = &row;
		which.push_back(static_cast<std::uint16_t>(nr_rows - 1));
	}
}

template struct Table<std::uint32_t>;
template struct Table<std::uint8_t>;

namespace
{

constexpr std::size_t MOST_LINES = 8;  // of a block

template <typename Mask> using Rows = const Line<Mask> *[MOST_INPUTS];

template <typename Mask> inline void find_rows(const Ensemble<Mask> &of, const std::uint16_t *bins, Rows<Mask> &rows)
{
	for (std::size_t input = 0; input < of.tables.size(); input++)
		rows[input] = of.tables[input].row(bins[input]);
}

inline std::int32_t sum_of_leaves(const std::int16_t *leaves, const std::uint8_t *places, std::size_t nr_trees,
				  std::size_t nr_leaves)
{
	std::int32_t sum = 0;
	for (std::size_t tree = 0; tree < nr_trees; tree++)
		sum += leaves[tree * nr_leaves + places[tree]];
	return sum;
}

void add_trees_portable(const Ensemble<std::uint32_t> &of, const std::uint16_t *bins, std::size_t nr_rows,
			std::int32_t *sums)
{
	constexpr std::size_t width = Line<std::uint32_t>::WIDTH;
	const std::size_t inputs = of.tables.size();
	Rows<std::uint32_t> rows;
	for (std::size_t at = 0; at < nr_rows; at++, bins += inputs) {
		std::int32_t sum = 0;
		find_rows(of, bins, rows);
		for (std::size_t line = 0; line * width < of.nr_trees; line++) {
			Line<std::uint32_t> masks = rows[0][line];
			for (std::size_t input = 1; input < inputs; input++)
				for (std::size_t tree = 0; tree < width; tree++)
					masks.masks[tree] &= rows[input][line].masks[tree];
			const std::int16_t *leaves = of.leaves + line * width * of.nr_leaves;
			for (std::size_t tree = 0; tree < width; tree++)
				sum += leaves[tree * of.nr_leaves + place_of(masks.masks[tree])];
		}
		sums[at] += sum;
	}
}

void add_oblivious_portable(const Ensemble<std::uint8_t> &of, const std::uint16_t *bins, std::size_t nr_rows,
			    std::int32_t *sums)
{
	constexpr std::size_t width = Line<std::uint8_t>::WIDTH;
	const std::size_t inputs = of.tables.size();
	Rows<std::uint8_t> rows;
	for (std::size_t at = 0; at < nr_rows; at++, bins += inputs) {
		std::int32_t sum = 0;
		find_rows(of, bins, rows);
		for (std::size_t line = 0; line * width < of.nr_trees; line++) {
			Line<std::uint8_t> masks = rows[0][line];
			for (std::size_t input = 1; input < inputs; input++)
				for (std::size_t tree = 0; tree < width; tree++)
					masks.masks[tree] |= rows[input][line].masks[tree];
			sum += sum_of_leaves(of.leaves + line * width * of.nr_leaves, masks.masks,
					     std::min(width, of.nr_trees - line * width), of.nr_leaves);
		}
		sums[at] += sum;
	}
}

#ifdef SCHEDTUNA_X86

SCHEDTUNA_AVX2 inline __m256i load(const void *from)
{
	return _mm256_load_si256(static_cast<const __m256i *>(from));
}

SCHEDTUNA_AVX2 void add_trees_avx2(const Ensemble<std::uint32_t> &of, const std::uint16_t *bins, std::size_t nr_rows,
				   std::int32_t *sums)
{
	constexpr std::size_t width = Line<std::uint32_t>::WIDTH;
	const std::size_t inputs = of.tables.size();
	const __m256i factor = _mm256_set1_epi32(DE_BRUIJN);
	Rows<std::uint32_t> rows;
	alignas(64) std::uint32_t places[width];
	for (std::size_t at = 0; at < nr_rows; at++, bins += inputs) {
		std::int32_t sum = 0;
		find_rows(of, bins, rows);
		for (std::size_t line = 0; line * width < of.nr_trees; line++) {
			__m256i low = load(rows[0][line].masks), high = load(rows[0][line].masks + 8);
			for (std::size_t input = 1; input < inputs; input++) {
				low = _mm256_and_si256(low, load(rows[input][line].masks));
				high = _mm256_and_si256(high, load(rows[input][line].masks + 8));
			}
			low = _mm256_srli_epi32(_mm256_mullo_epi32(low, factor), 27);
			high = _mm256_srli_epi32(_mm256_mullo_epi32(high, factor), 27);
			_mm256_store_si256(reinterpret_cast<__m256i *>(places), low);
			_mm256_store_si256(reinterpret_cast<__m256i *>(places + 8), high);
			const std::int16_t *leaves = of.leaves + line * width * MOST_LEAVES;
#pragma GCC unroll 16
			for (std::size_t tree = 0; tree < width; tree++)
				sum += leaves[tree * MOST_LEAVES + places[tree]];
		}
		sums[at] += sum;
	}
}

SCHEDTUNA_AVX2 void add_oblivious_avx2(const Ensemble<std::uint8_t> &of, const std::uint16_t *bins, std::size_t nr_rows,
				       std::int32_t *sums)
{
	constexpr std::size_t width = Line<std::uint8_t>::WIDTH;
	const std::size_t inputs = of.tables.size();
	Rows<std::uint8_t> rows;
	alignas(64) std::uint8_t places[width];
	for (std::size_t at = 0; at < nr_rows; at++, bins += inputs) {
		find_rows(of, bins, rows);
		for (std::size_t line = 0; line * width < of.nr_trees; line++) {
			__m256i low = load(rows[0][line].masks), high = load(rows[0][line].masks + 32);
			for (std::size_t input = 1; input < inputs; input++) {
				low = _mm256_or_si256(low, load(rows[input][line].masks));
				high = _mm256_or_si256(high, load(rows[input][line].masks + 32));
			}
			_mm256_store_si256(reinterpret_cast<__m256i *>(places), low);
			_mm256_store_si256(reinterpret_cast<__m256i *>(places + 32), high);
			sums[at] += sum_of_leaves(of.leaves + line * width * of.nr_leaves, places,
						  std::min(width, of.nr_trees - line * width), of.nr_leaves);
		}
	}
}

// The leaves of `Lines` lines from one on.
template <std::size_t Lines>
SCHEDTUNA_AVX512 inline __m512i leaves_of(const Ensemble<std::uint32_t> &of, const Rows<std::uint32_t> &rows,
					  std::size_t first)
{
	constexpr std::size_t width = Line<std::uint32_t>::WIDTH;
	const __m512i factor = _mm512_set1_epi32(DE_BRUIJN);
	const __m512i tree = _mm512_slli_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
					       5);
	__m512i masks[Lines], sum = _mm512_setzero_si512();
#pragma GCC unroll 8
	for (std::size_t line = 0; line < Lines; line++)
		masks[line] = _mm512_load_si512(rows[0] + first + line);
	for (std::size_t input = 1; input < of.tables.size(); input++)
#pragma GCC unroll 8
		for (std::size_t line = 0; line < Lines; line++)
			masks[line] = _mm512_and_si512(masks[line], _mm512_load_si512(rows[input] + first + line));
#pragma GCC unroll 8
	for (std::size_t line = 0; line < Lines; line++) {
		const __m512i place = _mm512_srli_epi32(_mm512_mullo_epi32(masks[line], factor), 27);
		const __m512i pairs = _mm512_i32gather_epi32(_mm512_add_epi32(place, tree),
							     of.leaves + (first + line) * width * MOST_LEAVES, 2);
		sum = _mm512_add_epi32(sum, _mm512_srai_epi32(_mm512_slli_epi32(pairs, 16), 16));
	}
	return sum;
}

SCHEDTUNA_AVX512 void add_trees_avx512(const Ensemble<std::uint32_t> &of, const std::uint16_t *bins,
				       std::size_t nr_rows, std::int32_t *sums)
{
	constexpr std::size_t width = Line<std::uint32_t>::WIDTH;
	const std::size_t inputs = of.tables.size(), nr_lines = (of.nr_trees + width - 1) / width;
	Rows<std::uint32_t> rows;
	for (std::size_t at = 0; at < nr_rows; at++, bins += inputs) {
		__m512i sum = _mm512_setzero_si512();
		std::size_t line = 0;
		find_rows(of, bins, rows);
		for (; line + MOST_LINES <= nr_lines; line += MOST_LINES)
			sum = _mm512_add_epi32(sum, leaves_of<MOST_LINES>(of, rows, line));
		if (nr_lines & 4) {
			sum = _mm512_add_epi32(sum, leaves_of<4>(of, rows, line));
			line += 4;
		}
		if (nr_lines & 2) {
			sum = _mm512_add_epi32(sum, leaves_of<2>(of, rows, line));
			line += 2;
		}
		if (nr_lines & 1)
			sum = _mm512_add_epi32(sum, leaves_of<1>(of, rows, line));
		sums[at] += _mm512_reduce_add_epi32(sum);
	}
}

#endif

}  // namespace

AddTrees<std::uint32_t> add_trees([[maybe_unused]] Vectors vectors)
{
#ifdef SCHEDTUNA_X86
	if (vectors == Vectors::Avx512)
		return add_trees_avx512;
	if (vectors == Vectors::Avx2)
		return add_trees_avx2;
#endif
	return add_trees_portable;
}

AddTrees<std::uint8_t> add_oblivious([[maybe_unused]] Vectors vectors)
{
#ifdef SCHEDTUNA_X86
	if (vectors != Vectors::Portable)
		return add_oblivious_avx2;
#endif
	return add_oblivious_portable;
}

}  // namespace schedtuna::model
