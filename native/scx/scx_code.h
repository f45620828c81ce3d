/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What translated code and the interpreter do alike: accesses within the block, arithmetic as BPF has it, traps.
 * Around these are `I`, the instance; `B`, its memory; `limit`; and the label `trapped`.
 */
#ifndef SCX_CODE_H
#define SCX_CODE_H

#include "scx_object.h"

#define SCX_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SCX_MAY_GOTO_LIMIT 8388608u /* BPF_MAX_LOOPS, as may_goto has it */

#define SCX_TRAP(reason, instruction, detail)                                      \
	do {                                                                       \
		scx_set_trap(I, SCX_TRAP_##reason, SCX_THIS, instruction, detail); \
		goto trapped;                                                      \
	} while (0)

/* Once for each call of a function and each jump back. */
#define SCX_BURN(instruction)                           \
	do {                                            \
		if (SCX_UNLIKELY(!I->fuel))             \
			SCX_TRAP(FUEL, instruction, 0); \
		I->fuel--;                              \
	} while (0)

#define SCX_READ(type, at)                                      \
	({                                                      \
		type value_;                                    \
		__builtin_memcpy(&value_, (at), sizeof value_); \
		value_;                                         \
	})
#define SCX_WRITE(type, at, value)                              \
	do {                                                    \
		type value_ = (type)(value);                    \
		__builtin_memcpy((at), &value_, sizeof value_); \
	} while (0)

#define SCX_CHECK_LOAD(instruction, address)                  \
	do {                                                  \
		if (SCX_UNLIKELY((address) >= limit))         \
			SCX_TRAP(LOAD, instruction, address); \
	} while (0)
#define SCX_CHECK_STORE(instruction, address)                                 \
	do {                                                                  \
		if (SCX_UNLIKELY((address) - SCX_STACK >= limit - SCX_STACK)) \
			SCX_TRAP(STORE, instruction, address);                \
	} while (0)

/* dst = *(type *)address, extended as `extend` says. */
#define SCX_LOAD(instruction, dst, type, extend, address)          \
	do {                                                       \
		const uint64_t at_ = (address);                    \
		SCX_CHECK_LOAD(instruction, at_);                  \
		(dst) = (uint64_t)(extend)SCX_READ(type, B + at_); \
	} while (0)
#define SCX_STORE(instruction, type, address, value) \
	do {                                         \
		const uint64_t at_ = (address);      \
		SCX_CHECK_STORE(instruction, at_);   \
		SCX_WRITE(type, B + at_, value);     \
	} while (0)

/* Atomics: a simulation has one thread. `old` is what was there. */
#define SCX_ATOMIC(instruction, type, address, update)    \
	do {                                              \
		const uint64_t at_ = (address);           \
		SCX_CHECK_STORE(instruction, at_);        \
		const type old = SCX_READ(type, B + at_); \
		update;                                   \
	} while (0)

/* Of translated code alone: SCX_THIS is its index in `functions`, F the end of its frame in memory. */
#define SCX_PARAMETERS struct scx_instance *I, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5
#define SCX_ENTER                                                                \
	uint8_t *const B = I->memory;                                            \
	const uint64_t limit = I->limit, r10 = I->stack + SCX_FRAME_BYTES;       \
	uint8_t *const F = B + r10;                                              \
	uint64_t r0 = 0, r6 = 0, r7 = 0, r8 = 0, r9 = 0;                         \
	uint32_t may = 0;                                                        \
	(void)F, (void)may, (void)limit, (void)r6, (void)r7, (void)r8, (void)r9; \
	if (SCX_UNLIKELY(r10 > SCX_STACK + SCX_STACK_BYTES)) {                   \
		scx_set_trap(I, SCX_TRAP_STACK, SCX_THIS, 0, 0);                 \
		return 0;                                                        \
	}                                                                        \
	I->stack = r10;                                                          \
	SCX_BURN(0)
#define SCX_LEAVE(value)                          \
	do {                                      \
		I->stack = r10 - SCX_FRAME_BYTES; \
		return (value);                   \
	} while (0)
#ifdef SCX_COVERAGE
#define SCX_BLOCK(k)                     \
	do {                             \
		if (I->covered)          \
			I->covered[k]++; \
	} while (0)
#else
#define SCX_BLOCK(k) (void)0
#endif

/* Division as BPF has it: by zero gives 0, the rest then is what was divided. */
static inline uint64_t scx_div64(uint64_t a, uint64_t b)
{
	return b ? a / b : 0;
}
static inline uint64_t scx_mod64(uint64_t a, uint64_t b)
{
	return b ? a % b : a;
}
static inline uint64_t scx_div32(uint32_t a, uint32_t b)
{
	return b ? a / b : 0;
}
static inline uint64_t scx_mod32(uint32_t a, uint32_t b)
{
	return b ? a % b : a;
}
static inline uint64_t scx_sdiv64(uint64_t a, uint64_t b)
{
	return !b ? 0 : b == UINT64_MAX ? 0 - a : (uint64_t)((int64_t)a / (int64_t)b);
}
static inline uint64_t scx_smod64(uint64_t a, uint64_t b)
{
	return !b ? a : b == UINT64_MAX ? 0 : (uint64_t)((int64_t)a % (int64_t)b);
}
static inline uint64_t scx_sdiv32(uint32_t a, uint32_t b)
{
	return !b ? 0 : b == UINT32_MAX ? 0 - a : (uint32_t)((int32_t)a / (int32_t)b);
}
static inline uint64_t scx_smod32(uint32_t a, uint32_t b)
{
	return !b ? a : b == UINT32_MAX ? 0 : (uint32_t)((int32_t)a % (int32_t)b);
}

#endif
