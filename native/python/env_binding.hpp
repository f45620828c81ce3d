/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <nanobind/nanobind.h>

namespace schedtuna::env
{

void bind_env(nanobind::module_ &m);
void bind_migrate(nanobind::module_ &m);
void bind_futures(nanobind::module_ &m);

}  // namespace schedtuna::env
