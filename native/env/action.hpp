/* SPDX-License-Identifier: Apache-2.0 */
// Which actions there are: whole numbers from 0 on.
#pragma once

#include "sim/types.hpp"

#include <cstdint>
#include <string>

namespace schedtuna::env
{

// Raises BadInput: there is no such action.
inline std::uint32_t known_action(std::int64_t action, std::uint32_t nr_actions)
{
	if (action < 0 || action >= nr_actions)
		throw sim::BadInput("action " + std::to_string(action) + ": expected 0 to "
				    + std::to_string(nr_actions - 1));
	return static_cast<std::uint32_t>(action);
}

}  // namespace schedtuna::env
