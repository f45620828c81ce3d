/* SPDX-License-Identifier: Apache-2.0 */
// A feature's bin as a number from 0 to 1, by the least value of each bin.
#pragma once

#include "sim/types.hpp"

#include <array>

namespace schedtuna::env
{

using sim::Ns;

class Encoder
{
      public:
	Encoder() = default;
	// Ascending, the first bin's not among them. Raises BadInput.
	explicit Encoder(std::vector<Ns> edges);

	const std::vector<Ns> &edges() const
	{
		return edges_;
	}
	std::uint32_t bin(Ns value) const
	{
		std::uint32_t bin = value < 0 ? 0 : start_[octant(value)];
		while (bin < edges_.size() && value >= edges_[bin])
			bin++;
		return bin;
	}
	float operator()(Ns value) const
	{
		auto small = static_cast<std::uint64_t>(value - LEAST);
		if (small < small_.size())
			return small_[small];
		if (value < 0 || !is_plain_) [[unlikely]]
			return floats_[bin(value)];
		const Octant &at = octants_[octant(value)];
		return at.numbers[value >= at.edge];  // no branch: nobody could foretell it
	}

      private:
	struct Octant {
		Ns edge = sim::NEVER;
		float numbers[2] = {};	// below the edge, and from there on
	};

	// An eighth of an octave: values in an earlier one are smaller.
	static std::uint32_t octant(Ns value)
	{
		if (value < 8)
			return static_cast<std::uint32_t>(value);
		auto octave = static_cast<std::uint32_t>(63 - __builtin_clzll(static_cast<unsigned long long>(value)));
		return octave * 8 - 16 + static_cast<std::uint32_t>(value >> (octave - 3) & 7);
	}

	std::vector<Ns> edges_;
	std::vector<float> floats_{0};
	static constexpr std::size_t NR_OCTANTS = 488;	 // up to that of the greatest value
	std::array<std::uint16_t, NR_OCTANTS> start_{};	 // the bin of the least value of each octant
	// What is the same, without a search: small values, and octants, where none has more than one edge.
	static constexpr Ns LEAST = -32;
	std::array<float, 160> small_{};
	std::array<Octant, NR_OCTANTS> octants_{};
	bool is_plain_ = true;
};

}  // namespace schedtuna::env
