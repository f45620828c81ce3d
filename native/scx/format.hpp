/* SPDX-License-Identifier: Apache-2.0 */
// Text as bpf_bprintf writes it: a format, and one word per argument.
#pragma once

#include "core.hpp"

namespace schedtuna::scx
{

// `size` is of the arguments, in bytes.
std::string formatted(Core &core, std::uint64_t format, std::uint64_t arguments, std::uint32_t size);

}  // namespace schedtuna::scx
