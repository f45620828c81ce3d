/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <nanobind/nanobind.h>

namespace schedtuna::scx
{

void bind_scx(nanobind::module_ &m);

}  // namespace schedtuna::scx
