/* SPDX-License-Identifier: Apache-2.0 */
// Why a CPU idles under `fair` while a task waits on another one.
#pragma once

#include "types.hpp"

#include <array>
#include <string_view>

namespace schedtuna::sim
{

class Simulation;

enum class IdleReason : std::uint8_t {
	LeavingIdle,
	Affinity,
	OnTheirWay,
	Interval,
	NewidleSkipped,
	OtherBalancer,
	Balanced,
	NotMovable,
};

struct IdleReasonRow {
	std::string_view name, help;
};

// By IdleReason. The first that holds is told; from the fourth on: how it ended when the CPU last looked for tasks in
// the smallest domain in which one waits.
inline constexpr std::array IDLE_REASONS{
	IdleReasonRow{"leaving_idle", "it was woken up, and leaves its idle state"},
	IdleReasonRow{"affinity", "none of those who wait may run there"},
	IdleReasonRow{"on_their_way", "those who wait are queued on CPUs that leave their idle state for them"},
	IdleReasonRow{"interval",
		      "when it last looked, no CPU had two tasks; it will when its balancing interval is over"},
	IdleReasonRow{"newidle_skipped",
		      "to look before it went idle had brought little so far, and was left out this time (NI_RANDOM)"},
	IdleReasonRow{"other_balancer", "another CPU of its group is the one that looks"},
	IdleReasonRow{"balanced", "the loads differed by too little for a task to be moved"},
	IdleReasonRow{
		"not_movable",
		"tasks of the busiest CPU were bound, ran, had run a moment ago (cache-hot), or were not eligible"},
};

using IdleTimes = std::array<Ns, IDLE_REASONS.size()>;

// Go on as Simulation::run() does, and tell for how long CPUs idled meanwhile, for each reason; summed over CPUs.
// Raises BadInput unless the scheduler is `fair`.
IdleTimes explain_idle(Simulation &simulation, Ns until);

}  // namespace schedtuna::sim
