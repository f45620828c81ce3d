/* SPDX-License-Identifier: Apache-2.0 */
// What can be set about the kernel's fair class, and what of it is not simulated.
#pragma once

#include "types.hpp"

#include <array>
#include <string_view>

namespace schedtuna::sim
{

// One row per name of FAIR_PARAMETERS; all are integers, so that one table sets them.
struct FairParams {
	std::int64_t version = 618;  // 616: a task is protected until its deadline; 618: for the shortest queued slice
	std::int64_t base_slice_us = 700;
	std::int64_t migration_cost_us = 500;
	std::int64_t run_to_parity = 1;
	std::int64_t place_lag = 1;
	std::int64_t place_deadline_initial = 1;
	std::int64_t place_rel_deadline = 1;
	std::int64_t delay_dequeue = 1;
	std::int64_t delay_zero = 1;
	std::int64_t preempt_short = 1;
	std::int64_t wakeup_preemption = 1;
	std::int64_t next_buddy = 0;
	std::int64_t pick_buddy = 1;
	std::int64_t hrtick = 0;

	// Set while the machine is known (Fair::init()).
	Ns base_slice_ns = 700'000;  // base_slice_us * (1 + log2(min(CPUs, 8)))
	Ns tick_ns = 4'000'000;
};

struct FairParameter {
	std::string_view name;
	std::int64_t FairParams::*field;
	std::int64_t low, high;
	std::string_view help;
};

inline constexpr std::array FAIR_PARAMETERS{
	FairParameter{"version", &FairParams::version, 616, 618,
		      "kernel whose rules of preemption hold: 616 (6.16) or 618 (6.18.44)"},
	FairParameter{"base_slice_us", &FairParams::base_slice_us, 100, 100'000,
		      "slice of a task without its own, before it is scaled by 1 + log2(min(CPUs, 8))"},
	FairParameter{"migration_cost_us", &FairParams::migration_cost_us, 0, 100'000,
		      "a task that ran within this time is cache-hot: balancing leaves it where it is at first"},
	FairParameter{"run_to_parity", &FairParams::run_to_parity, 0, 1,
		      "RUN_TO_PARITY: keep the current task for the shortest slice of its queue"},
	FairParameter{"place_lag", &FairParams::place_lag, 0, 1, "PLACE_LAG: a task keeps its lag while it sleeps"},
	FairParameter{"place_deadline_initial", &FairParams::place_deadline_initial, 0, 1,
		      "PLACE_DEADLINE_INITIAL: a new task begins with half a slice"},
	FairParameter{"place_rel_deadline", &FairParams::place_rel_deadline, 0, 1,
		      "PLACE_REL_DEADLINE: a migrated task keeps the distance to its deadline"},
	FairParameter{"delay_dequeue", &FairParams::delay_dequeue, 0, 1,
		      "DELAY_DEQUEUE: a task that sleeps with negative lag stays queued until it is eligible"},
	FairParameter{"delay_zero", &FairParams::delay_zero, 0, 1, "DELAY_ZERO: a delayed task gains no positive lag"},
	FairParameter{"preempt_short", &FairParams::preempt_short, 0, 1,
		      "PREEMPT_SHORT: a shorter slice breaks the current task's protection"},
	FairParameter{"wakeup_preemption", &FairParams::wakeup_preemption, 0, 1,
		      "WAKEUP_PREEMPTION: tasks that wake up may preempt"},
	FairParameter{"next_buddy", &FairParams::next_buddy, 0, 1, "NEXT_BUDDY: prefer the task that woke up last"},
	FairParameter{"pick_buddy", &FairParams::pick_buddy, 0, 1, "PICK_BUDDY: obey a buddy while it is eligible"},
	FairParameter{"hrtick", &FairParams::hrtick, 0, 1, "HRTICK: end slices by a timer instead of at ticks"},
};

struct LeftOut {
	std::string_view name, why;
};

// What the kernel's class has and this one doesn't. A load or a trace that needs one of these can't be simulated.
inline constexpr std::array LEFT_OUT{
	LeftOut{"quota", "cpu.max: no throttling of groups"},
	LeftOut{"uclamp", "no utilisation clamps"},
	LeftOut{"cpu.idle", "no idle groups; SCHED_IDLE tasks are simulated"},
	LeftOut{"numa_balancing", "no task follows its memory to another node, and no page follows a task"},
	LeftOut{"numa_distances", "nodes are equally far from each other: one level of NUMA domains"},
	LeftOut{"capacity", "CPUs are of one capacity: no misfit migration, no asymmetric packing"},
	LeftOut{"energy", "no energy-aware placement"},
	LeftOut{"frequency", "load averages aren't scaled by frequency"},
	LeftOut{"core_scheduling", "no core cookies"},
	LeftOut{"other_classes", "no deadline, real-time or ext tasks, and no fair server: fair tasks have the CPU"},
	LeftOut{"cluster", "no cluster domains between core and LLC"},
	LeftOut{"util_est", "placement and balancing read util_avg without its estimate for tasks that wake up"},
	LeftOut{"newidle_cost", "a CPU that becomes idle looks for tasks however long it will be idle"},
	LeftOut{"imbalanced", "no extra moves for groups whose imbalance comes from pinned tasks"},
	LeftOut{"exec_balance", "exec() doesn't balance"},
	LeftOut{"isolation", "no isolcpus, no nohz_full, no cpusets but a task's affinity"},
};

}  // namespace schedtuna::sim
