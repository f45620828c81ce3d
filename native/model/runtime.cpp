/* SPDX-License-Identifier: Apache-2.0 */
#include "model/runtime.hpp"

#include <algorithm>
#include <utility>

namespace schedtuna::model
{

Runtime::Runtime(std::vector<BinRow> rows, std::size_t nr_logits, std::size_t nr_accumulators)
    : rows_(std::move(rows)), nr_logits_(nr_logits), nr_accumulators_(nr_accumulators)
{
	require(!rows_.empty() && rows_.size() <= MOST_INPUTS, "a model has 1 to 32 inputs");
	require(nr_logits >= 1 && nr_logits <= MOST_LOGITS, "a model has 1 to 4 logits");
	for (const BinRow &row : rows_)
		require(row.lo < row.hi && row.shift < 64, "an input's bins are none");
}

void Runtime::quantise(const std::int64_t *values, std::uint16_t *bins) const
{
	for (std::size_t input = 0; input < rows_.size(); input++)
		bins[input] = rows_[input].bin(values[input]);
}

bool Runtime::within(const std::uint16_t *bins, std::size_t nr_rows) const
{
	for (std::size_t at = 0; at < nr_rows; at++, bins += rows_.size())
		for (std::size_t input = 0; input < rows_.size(); input++)
			if (bins[input] > rows_[input].last)
				return false;
	return true;
}

std::uint8_t Runtime::label(const std::int32_t *logits) const
{
	if (nr_logits_ == 1)
		return logits[0] > 0;
	return static_cast<std::uint8_t>(std::max_element(logits, logits + nr_logits_) - logits);
}

}  // namespace schedtuna::model
