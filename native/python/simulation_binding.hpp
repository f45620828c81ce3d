/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "sim/costs.hpp"

#include <nanobind/nanobind.h>

#include <map>

namespace schedtuna::sim
{

using Numbers = std::map<std::string, std::int64_t>;

Costs costs_of(const Numbers &given);  // raises BadInput for a constant that there is not

void bind_simulation(nanobind::module_ &m);
void bind_tables(nanobind::module_ &m);	 // what can be chosen: schedulers, their parameters, constants

}  // namespace schedtuna::sim
