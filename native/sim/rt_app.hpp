/* SPDX-License-Identifier: Apache-2.0 */
// rt-app's JSON, which runs for real with rt-app 1.0 or schedtuna-player, as a Workload. docs/workload-files.md has the
// table of what is read and what it means.
#pragma once

#include "workload.hpp"

#include <string_view>

namespace schedtuna::sim
{

enum class Dialect : std::uint8_t {
	Extended,  // and what rt-app 1.0 lacks: pipes, forks, distributions, groups, ...
	RtApp,	   // nothing but what rt-app 1.0 runs
};

// `name` is what errors call the file. Raises BadInput ("NAME:LINE: tasks.worker.phases.p1.run: ...") for what is
// unknown, wrong, contradictory or can't end.
Workload parse_rt_app(std::string_view text, const std::string &name, Dialect dialect = Dialect::Extended);

}  // namespace schedtuna::sim
