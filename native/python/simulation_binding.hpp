/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "sim/costs.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <map>
#include <vector>

namespace schedtuna::sim
{

using Numbers = std::map<std::string, std::int64_t>;

Costs costs_of(const Numbers &given);  // raises BadInput for a constant that there is not

// The records as bytes, which are not copied.
template <typename Record>
nanobind::ndarray<nanobind::numpy, std::uint8_t, nanobind::ndim<1>> bytes_of(std::vector<Record> taken)
{
	auto *kept = new std::vector<Record>(std::move(taken));
	nanobind::capsule owner(kept, [](void *p) noexcept { delete static_cast<std::vector<Record> *>(p); });
	if (kept->capacity() == 0)
		kept->reserve(1);
	return {kept->data(), {kept->size() * sizeof(Record)}, owner};
}

void bind_simulation(nanobind::module_ &m);
void bind_tables(nanobind::module_ &m);	 // what can be chosen: schedulers, their parameters, constants

}  // namespace schedtuna::sim
