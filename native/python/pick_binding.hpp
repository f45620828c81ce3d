/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <nanobind/nanobind.h>

namespace schedtuna::sim
{

void bind_picks(nanobind::module_ &m);	// the rule of `fair`, set to what a kernel's queue held

}  // namespace schedtuna::sim
