/* SPDX-License-Identifier: Apache-2.0 */
// Trees without walking them: each bin of each input has a row of masks, a bit for each leaf whose box it lies in.
// And-ed over the inputs, one bit of each tree is left. Of oblivious trees a mask has the bits of the leaf's number.
#include "model/masks.hpp"
#include "model/runtime.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace schedtuna::model
{
namespace
{

template <typename Mask> std::size_t padded(std::size_t nr_trees)
{
	constexpr std::size_t width = Line<Mask>::WIDTH;
	return (nr_trees + width - 1) / width * width;
}

template <typename Mask> class Masked : public Runtime
{
      public:
	Masked(std::vector<BinRow> rows, std::size_t nr_trees, std::int32_t base, std::size_t nr_leaves,
	       AddTrees<Mask> add)
	    : Runtime(std::move(rows), 1, nr_trees + 1), nr_trees_(nr_trees), base_(base), nr_leaves_(nr_leaves),
	      tables_(nr_inputs()), leaves_(padded<Mask>(nr_trees) * nr_leaves + 1), add_(add)
	{
	}

	void logits(const std::uint16_t *bins, std::size_t nr_rows, std::int32_t *logits) const override
	{
		std::fill(logits, logits + nr_rows, base_);
		add_({tables_, leaves_.data(), nr_trees_, nr_leaves_}, bins, nr_rows, logits);
	}

      protected:
	std::size_t nr_lines() const
	{
		return padded<Mask>(nr_trees_) / Line<Mask>::WIDTH;
	}

	std::size_t nr_trees_;
	std::int32_t base_;
	std::size_t nr_leaves_;
	std::vector<Table<Mask>> tables_;
	std::vector<std::int16_t> leaves_;  // [tree][place], and one more, as two are read at once

      private:
	AddTrees<Mask> add_;
};

constexpr auto LEAF_OF_PLACE = [] {
	std::array<std::uint8_t, MOST_LEAVES> numbers{};
	for (std::uint8_t leaf = 0; leaf < MOST_LEAVES; leaf++)
		numbers[place_of(1U << leaf)] = leaf;
	return numbers;
}();

struct Box {
	std::array<std::uint32_t, MOST_INPUTS> low{}, high{};
};

// The boxes of one tree's leaves; throws where the arrays are no tree.
class Boxes
{
      public:
	Boxes(const TreeArrays &arrays, std::size_t tree, std::size_t nr_inputs)
	    : arrays_(arrays), first_(tree * MOST_NODES), nr_leaves_(arrays.nr_leaves[tree]), nr_inputs_(nr_inputs)
	{
		require(nr_leaves_ >= 1 && nr_leaves_ <= MOST_LEAVES, "a tree has 1 to 32 leaves");
		Box all;
		all.high.fill(UINT16_MAX);
		visit(nr_leaves_ > 1 ? 0 : -1, all);
		require(seen_ == (nr_leaves_ == MOST_LEAVES ? UINT32_MAX : (1U << nr_leaves_) - 1),
			"a leaf has no parent");
	}

	std::uint32_t mask(std::size_t input, std::uint32_t bin) const
	{
		std::uint32_t found = 0;
		for (std::size_t leaf = 0; leaf < nr_leaves_; leaf++)
			if (boxes_[leaf].low[input] <= bin && bin <= boxes_[leaf].high[input])
				found |= 1U << leaf;
		return found;
	}

      private:
	void visit(int node, const Box &box)
	{
		if (node < 0) {
			const auto leaf = static_cast<std::size_t>(-1 - node);
			require(leaf < nr_leaves_ && !(seen_ >> leaf & 1), "a leaf has two parents, or is none");
			seen_ |= 1U << leaf;
			boxes_[leaf] = box;
			return;
		}
		require(static_cast<std::size_t>(node) < nr_leaves_ - 1, "a child is no node of its tree");
		const std::size_t at = first_ + static_cast<std::size_t>(node), input = arrays_.feature[at];
		require(input < nr_inputs_, "a tree looks at an input that is not there");
		const int left = arrays_.left[at], right = arrays_.right[at];
		require((left < 0 || left > node) && (right < 0 || right > node), "a child comes before its parent");
		Box below = box, above = box;
		below.high[input] = std::min<std::uint32_t>(below.high[input], arrays_.threshold[at]);
		above.low[input] = std::max<std::uint32_t>(above.low[input], arrays_.threshold[at] + 1U);
		visit(left, below);
		visit(right, above);
	}

	const TreeArrays &arrays_;
	std::size_t first_, nr_leaves_, nr_inputs_;
	std::uint32_t seen_ = 0;
	std::array<Box, MOST_LEAVES> boxes_{};
};

class Trees final : public Masked<std::uint32_t>
{
      public:
	Trees(std::vector<BinRow> rows, const TreeArrays &arrays, Vectors vectors)
	    : Masked(std::move(rows), arrays.nr_leaves.size(), arrays.base, MOST_LEAVES, add_trees(vectors))
	{
		std::vector<Boxes> boxes;
		for (std::size_t tree = 0; tree < nr_trees_; tree++) {
			boxes.emplace_back(arrays, tree, nr_inputs());
			for (std::size_t leaf = 0; leaf < MOST_LEAVES; leaf++)
				leaves_[tree * MOST_LEAVES + place_of(1U << leaf)] = arrays.leaves[tree * MOST_LEAVES
												   + leaf];
		}
		for (std::size_t input = 0; input < nr_inputs(); input++) {
			std::vector<std::vector<std::uint32_t>> of_bins;
			for (std::uint32_t bin = 0; bin <= row(input).last; bin++) {
				of_bins.emplace_back(nr_lines() * WIDTH, 1);
				for (std::size_t tree = 0; tree < nr_trees_; tree++)
					of_bins.back()[tree] = boxes[tree].mask(input, bin);
			}
			tables_[input].fill(of_bins);
		}
	}

	void accumulate(const std::uint16_t *bins, std::int32_t *accumulators) const override
	{
		std::int32_t sum = base_;
		for (std::size_t tree = 0; tree < nr_trees_; tree++) {
			std::uint32_t mask = UINT32_MAX;
			for (std::size_t input = 0; input < nr_inputs(); input++) {
				mask &= tables_[input].row(bins[input])[tree / WIDTH].masks[tree % WIDTH];
			}
			sum += leaves_[tree * MOST_LEAVES + place_of(mask)];
			accumulators[tree] = LEAF_OF_PLACE[place_of(mask)];
		}
		accumulators[nr_trees_] = sum;
	}

      private:
	static constexpr std::size_t WIDTH = Line<std::uint32_t>::WIDTH;
};

class Oblivious final : public Masked<std::uint8_t>
{
      public:
	Oblivious(std::vector<BinRow> rows, const ObliviousArrays &arrays, Vectors vectors)
	    : Masked(std::move(rows), arrays.feature.size() / arrays.nr_levels, arrays.base,
		     std::size_t{1} << arrays.nr_levels, add_oblivious(vectors))
	{
		for (const std::uint8_t feature : arrays.feature)
			require(feature < nr_inputs(), "a tree looks at an input that is not there");
		std::copy(arrays.leaves.begin(), arrays.leaves.end(), leaves_.begin());
		for (std::size_t input = 0; input < nr_inputs(); input++) {
			std::vector<std::vector<std::uint8_t>> of_bins;
			for (std::uint32_t bin = 0; bin <= row(input).last; bin++) {
				of_bins.emplace_back(nr_lines() * WIDTH, 0);
				for (std::size_t at = 0; at < arrays.feature.size(); at++)
					if (arrays.feature[at] == input && bin > arrays.threshold[at])
						of_bins.back()[at / arrays.nr_levels] |= 1U << (at % arrays.nr_levels);
			}
			tables_[input].fill(of_bins);
		}
	}

	void accumulate(const std::uint16_t *bins, std::int32_t *accumulators) const override
	{
		std::int32_t sum = base_;
		for (std::size_t tree = 0; tree < nr_trees_; tree++) {
			std::size_t leaf = 0;
			for (std::size_t input = 0; input < nr_inputs(); input++) {
				leaf |= tables_[input].row(bins[input])[tree / WIDTH].masks[tree % WIDTH];
			}
			sum += leaves_[tree * nr_leaves_ + leaf];
			accumulators[tree] = static_cast<std::int32_t>(leaf);
		}
		accumulators[nr_trees_] = sum;
	}

      private:
	static constexpr std::size_t WIDTH = Line<std::uint8_t>::WIDTH;
};

}  // namespace

std::unique_ptr<Runtime> make_trees(std::vector<BinRow> rows, const TreeArrays &arrays, Vectors vectors)
{
	const std::size_t nr_trees = arrays.nr_leaves.size(), nodes = nr_trees * MOST_NODES;
	require(nr_trees >= 1 && nr_trees <= MOST_TREES, "a model has 1 to 1024 trees");
	require(arrays.feature.size() == nodes && arrays.threshold.size() == nodes && arrays.left.size() == nodes
			&& arrays.right.size() == nodes && arrays.leaves.size() == nr_trees * MOST_LEAVES,
		"trees' arrays are of different sizes");
	return std::make_unique<Trees>(std::move(rows), arrays, vectors);
}

std::unique_ptr<Runtime> make_oblivious(std::vector<BinRow> rows, const ObliviousArrays &arrays, Vectors vectors)
{
	require(arrays.nr_levels >= 1 && arrays.nr_levels <= 8, "an oblivious tree has 1 to 8 levels");
	const std::size_t nr_trees = arrays.feature.size() / arrays.nr_levels;
	require(nr_trees >= 1 && nr_trees <= MOST_TREES, "a model has 1 to 1024 trees");
	require(arrays.feature.size() == nr_trees * arrays.nr_levels && arrays.threshold.size() == arrays.feature.size()
			&& arrays.leaves.size() == nr_trees << arrays.nr_levels,
		"trees' arrays are of different sizes");
	return std::make_unique<Oblivious>(std::move(rows), arrays, vectors);
}

}  // namespace schedtuna::model
