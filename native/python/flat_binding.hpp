/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <nanobind/nanobind.h>

namespace schedtuna::sim
{

void bind_flat(nanobind::module_ &m);  // workloads from flat arrays

}  // namespace schedtuna::sim
