/* SPDX-License-Identifier: Apache-2.0 */
// The only binding: translates between Python and the simulator, and holds no logic.
#include "sim/types.hpp"

#include <nanobind/nanobind.h>

namespace nb = nanobind;

NB_MODULE(_native, m)
{
	nb::exception<schedtuna::sim::BadInput>(m, "BadInputError");
}
