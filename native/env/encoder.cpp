/* SPDX-License-Identifier: Apache-2.0 */
#include "encoder.hpp"

#include <algorithm>

namespace schedtuna::env
{

Encoder::Encoder(std::vector<Ns> edges) : edges_(std::move(edges))
{
	if (edges_.empty() || edges_.size() > 65'535 || !std::is_sorted(edges_.begin(), edges_.end()))
		throw sim::BadInput("the edges of a feature's bins ascend, and there are 1 to 65,535");
	floats_.clear();
	for (std::size_t bin = 0; bin <= edges_.size(); bin++)
		floats_.push_back(static_cast<float>(bin) / static_cast<float>(edges_.size()));
	for (std::uint32_t i = 0; i < start_.size(); i++) {
		Ns least = i < 8 ? i : static_cast<Ns>(8 | (i & 7)) << ((i + 16) / 8 - 3);
		start_[i] = static_cast<std::uint16_t>(std::upper_bound(edges_.begin(), edges_.end(), least)
						       - edges_.begin());
	}
	for (std::uint32_t i = 0; i < octants_.size(); i++) {
		std::size_t bin = start_[i], next = i + 1 < start_.size() ? start_[i + 1] : edges_.size();
		is_plain_ &= next <= bin + 1;
		octants_[i] = {bin < edges_.size() ? edges_[bin] : sim::NEVER,
			       {floats_[bin], floats_[std::min(bin + 1, edges_.size())]}};
	}
	for (std::size_t i = 0; i < small_.size(); i++)
		small_[i] = floats_[bin(LEAST + static_cast<Ns>(i))];
}

}  // namespace schedtuna::env
