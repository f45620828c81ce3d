/* SPDX-License-Identifier: Apache-2.0 */
// What trees are looked up by: for each bin of each input a row of masks, one mask of each tree.
#ifndef SCHEDTUNA_MODEL_MASKS_HPP
#define SCHEDTUNA_MODEL_MASKS_HPP

#include "model/vectors.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace schedtuna::model
{

constexpr std::uint32_t DE_BRUIJN = 0x077CB531;

// A bit of half a word as a number: times this, its upper five bits are its own.
constexpr std::size_t place_of(std::uint32_t mask)
{
	return mask * DE_BRUIJN >> 27;
}

template <typename Mask> struct alignas(64) Line {
	static constexpr std::size_t WIDTH = 64 / sizeof(Mask);
	Mask masks[WIDTH];
};

// The rows of one input: those that differ from the one before, and which one each bin has.
template <typename Mask> struct Table {
	std::size_t nr_lines = 0;  // of a row
	std::vector<std::uint16_t> which;
	std::vector<Line<Mask>> lines;	// [row][line of trees]

	void fill(const std::vector<std::vector<Mask>> &of_bins);

	const Line<Mask> *row(std::uint16_t bin) const
	{
		return &lines[which[bin] * nr_lines];
	}
};

template <typename Mask> struct Ensemble {
	std::span<const Table<Mask>> tables;  // of each input
	const std::int16_t *leaves;	      // [tree, padded to whole lines][leaf], and one more
	std::size_t nr_trees, nr_leaves;
};

// Add each row's leaves to its sum. The masks of plain trees are and-ed, those of oblivious ones or-ed.
template <typename Mask>
using AddTrees = void (*)(const Ensemble<Mask> &of, const std::uint16_t *bins, std::size_t nr_rows, std::int32_t *sums);

AddTrees<std::uint32_t> add_trees(Vectors vectors);
AddTrees<std::uint8_t> add_oblivious(Vectors vectors);

}  // namespace schedtuna::model

#endif
