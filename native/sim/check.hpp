/* SPDX-License-Identifier: Apache-2.0 */
// Is a workload one that a machine can run?
#pragma once

#include "workload.hpp"

namespace schedtuna::sim
{

// Raises BadInput with the task's, program's or group's name, and what is allowed.
void check_workload(const Workload &workload, std::uint32_t nr_cpus);
// The same of a value that SetNice, SetPolicy or SetSlice sets; `where` begins the message.
void check_attribute(Op op, Ns value, const std::string &where);

}  // namespace schedtuna::sim
