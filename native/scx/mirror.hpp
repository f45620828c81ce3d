/* SPDX-License-Identifier: Apache-2.0 */
// The kernel's structures as programs see them, in a namespace of their own.
#pragma once

#include <cstdint>
#include <stdint.h>

namespace schedtuna::scx::mirror
{

#include "scx_mirror.h"

inline constexpr u32 PF_IDLE = 0x00000002, PF_EXITING = 0x00000004, PF_KTHREAD = 0x00200000;
inline constexpr u32 STATE_RUNNING = 0, STATE_INTERRUPTIBLE = 1, STATE_DEAD = 0x80, STATE_WAKING = 0x200;

// A task with what belongs to it alone. Programs have no name for what is behind the first member.
struct task {
	task_struct seen;
	mm_struct mm;
	u64 id;	 // sim::TaskId
};

struct group {
	cgroup seen;
	kernfs_node node;
	css_set set;
	u64 id;	 // sim::GroupId
};

}  // namespace schedtuna::scx::mirror
