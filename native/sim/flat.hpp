/* SPDX-License-Identifier: Apache-2.0 */
// A Workload from flat arrays: how a recorded trace, with millions of steps, becomes one.
#pragma once

#include "workload.hpp"

#include <string_view>

namespace schedtuna::sim
{

// Rows of the arrays; numpy's side is src/schedtuna/sim/flat.py, which gives numbers and names to their fields.
struct FlatStep {
	Ns amount;
	std::uint32_t object;
	std::uint8_t op, flags;
	std::uint16_t reserved;
};

struct FlatTask {
	Ns start_ns, slice_ns;
	std::uint32_t nr_steps;	 // of its own program: the next ones in the array of steps
	std::uint32_t group, cpu_set, first_cpu;
	std::int8_t nice;
	std::uint8_t policy, is_kthread, reserved[5];
};

struct FlatInterruption {
	Ns start_ns, length_ns;
	std::uint32_t cpu, reserved;
};

struct FlatWorkload {
	std::string_view steps, tasks, interruptions;  // rows, one behind the other
	std::vector<std::string> names;		       // of the tasks
	std::vector<std::vector<CpuId>> cpu_sets;
	std::vector<GroupDef> groups;	 // without the root
	std::uint32_t nr_mailboxes = 0;	 // pipes that are never full
	Ns duration_ns = NEVER;
};

// Raises BadInput where the arrays don't fit together; what is in them is checked as everybody's (check.hpp).
Workload from_flat(const FlatWorkload &flat);

}  // namespace schedtuna::sim
