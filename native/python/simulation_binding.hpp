/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <nanobind/nanobind.h>

namespace schedtuna::sim
{

void bind_simulation(nanobind::module_ &m);
void bind_tables(nanobind::module_ &m);	 // what can be chosen: schedulers, their parameters, constants

}  // namespace schedtuna::sim
