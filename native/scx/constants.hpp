/* SPDX-License-Identifier: Apache-2.0 */
// The kernel's numbers that programs and the core exchange: its versions differ in them, so they are set by name from
// the same BTF as the object's own. The initial ones are 7.3's.
#pragma once

#include <cstdint>
#include <string_view>

namespace schedtuna::scx
{

#define SCHEDTUNA_SCX_CONSTANTS(X)            \
	X(SCX_SLICE_DFL, 20'000'000)          \
	X(SCX_SLICE_INF, ~0ull)               \
	X(SCX_DSQ_FLAG_BUILTIN, 1ull << 63)   \
	X(SCX_DSQ_INVALID, 1ull << 63)        \
	X(SCX_DSQ_GLOBAL, 1ull << 63 | 1)     \
	X(SCX_DSQ_LOCAL, 1ull << 63 | 2)      \
	X(SCX_DSQ_LOCAL_ON, 3ull << 62)       \
	X(SCX_DSQ_LOCAL_CPU_MASK, 0xffffffff) \
	X(SCX_ENQ_WAKEUP, 1)                  \
	X(SCX_ENQ_HEAD, 0x10000)              \
	X(SCX_ENQ_CPU_SELECTED, 0x100000)     \
	X(SCX_ENQ_PREEMPT, 1ull << 32)        \
	X(SCX_ENQ_REENQ, 1ull << 40)          \
	X(SCX_ENQ_LAST, 1ull << 41)           \
	X(SCX_DEQ_SLEEP, 1)                   \
	X(SCX_DEQ_SCHED_CHANGE, 1ull << 33)   \
	X(SCX_WAKE_FORK, 4)                   \
	X(SCX_WAKE_TTWU, 8)                   \
	X(SCX_WAKE_SYNC, 0x10)                \
	X(SCX_KICK_IDLE, 1)                   \
	X(SCX_KICK_PREEMPT, 2)                \
	X(SCX_KICK_WAIT, 4)                   \
	X(SCX_PICK_IDLE_CORE, 1)              \
	X(SCX_DSQ_ITER_REV, 1 << 16)          \
	X(SCX_OPS_KEEP_BUILTIN_IDLE, 1)       \
	X(SCX_OPS_ENQ_LAST, 2)                \
	X(SCX_OPS_ENQ_EXITING, 4)             \
	X(SCX_TASK_QUEUED, 1)                 \
	X(SCX_TASK_IN_CUSTODY, 2)             \
	X(SCX_TASK_ENABLED, 0x400)            \
	X(SCX_CPUPERF_ONE, 1024)              \
	X(SCX_EXIT_UNREG_BPF, 0x41)           \
	X(SCX_EXIT_ERROR, 0x400)              \
	X(SCX_EXIT_ERROR_BPF, 0x401)          \
	X(SCX_EXIT_ERROR_STALL, 0x402)

struct Constants {
#define X(name, initial) std::uint64_t name = initial;
	SCHEDTUNA_SCX_CONSTANTS(X)
#undef X
};

struct ConstantRow {
	std::string_view name;
	std::uint64_t Constants::*field;
};

inline constexpr ConstantRow CONSTANT_TABLE[] = {
#define X(name, initial) {#name, &Constants::name},
	SCHEDTUNA_SCX_CONSTANTS(X)
#undef X
};

}  // namespace schedtuna::scx
