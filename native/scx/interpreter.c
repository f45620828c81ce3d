/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a scheduler's instructions as they are: where there is no compiler, and as an oracle for translated code, which
 * does the very same, trap for trap.
 */
#include "scx_code.h"

#define SCX_THIS function

/* What an arithmetic instruction does, with a register or a number as its second operand, 64 or 32 bits wide. */
#define ARITHMETIC(operation, wide, narrow)                                   \
	case (operation) | 0x0f: {                                            \
		const uint64_t a = *dst, b = r[one->src];                     \
		(void)a, *dst = (wide);                                       \
		break;                                                        \
	}                                                                     \
	case (operation) | 0x07: {                                            \
		const uint64_t a = *dst, b = one->imm;                        \
		(void)a, *dst = (wide);                                       \
		break;                                                        \
	}                                                                     \
	case (operation) | 0x0c: {                                            \
		const uint32_t a = (uint32_t)*dst, b = (uint32_t)r[one->src]; \
		(void)a, *dst = (uint32_t)(narrow);                           \
		break;                                                        \
	}                                                                     \
	case (operation) | 0x04: {                                            \
		const uint32_t a = (uint32_t)*dst, b = (uint32_t)one->imm;    \
		(void)a, *dst = (uint32_t)(narrow);                           \
		break;                                                        \
	}

#define COMPARISON(code, type, second, operator)         \
	case (code):                                     \
		if ((type) * dst operator(type)(second)) \
			goto jump;                       \
		break;

/* The same of a jump. */
#define JUMP(operation, wide, narrow, operator)                       \
	COMPARISON((operation) | 0x0d, wide, r[one->src], operator)   \
	COMPARISON((operation) | 0x05, wide, one->imm, operator)      \
	COMPARISON((operation) | 0x0e, narrow, r[one->src], operator) \
	COMPARISON((operation) | 0x06, narrow, one->imm, operator)

#define LOAD(code, type, extend)                                                                \
	case (code):                                                                            \
		SCX_LOAD(PLACE, *dst, type, extend, r[one->src] + (uint64_t)(int64_t)one->off); \
		break;

#define STORE(size, type)                                                                \
	case 0x63 | (size):                                                              \
		SCX_STORE(PLACE, type, *dst + (uint64_t)(int64_t)one->off, r[one->src]); \
		break;                                                                   \
	case 0x62 | (size):                                                              \
		SCX_STORE(PLACE, type, *dst + (uint64_t)(int64_t)one->off, one->imm);    \
		break;

#define PLACE ((uint32_t)(one - code))

static uint64_t moved(uint64_t value, int32_t bits)
{
	switch (bits) {
	case 8:
		return (uint64_t)(int64_t)(int8_t)value;
	case 16:
		return (uint64_t)(int64_t)(int16_t)value;
	case 32:
		return (uint64_t)(int64_t)(int32_t)value;
	default:
		return value;
	}
}

/* Both to little and to big endian, of a little-endian machine. */
static uint64_t swapped(const struct scx_instruction *one, uint64_t a)
{
	const int swaps = one->code != 0xd4;

	switch (one->imm) {
	case 16:
		return swaps ? __builtin_bswap16((uint16_t)a) : (uint16_t)a;
	case 32:
		return swaps ? __builtin_bswap32((uint32_t)a) : (uint32_t)a;
	default:
		return swaps ? __builtin_bswap64(a) : a;
	}
}

static uint64_t load(const struct scx_instruction *one, const uint8_t *at)
{
	switch (one->code & 0x18) {
	case 0x10:
		return SCX_READ(uint8_t, at);
	case 0x08:
		return SCX_READ(uint16_t, at);
	case 0x00:
		return SCX_READ(uint32_t, at);
	default:
		return SCX_READ(uint64_t, at);
	}
}

static void store(const struct scx_instruction *one, uint8_t *at, uint64_t value)
{
	switch (one->code & 0x18) {
	case 0x10:
		SCX_WRITE(uint8_t, at, value);
		break;
	case 0x08:
		SCX_WRITE(uint16_t, at, value);
		break;
	case 0x00:
		SCX_WRITE(uint32_t, at, value);
		break;
	default:
		SCX_WRITE(uint64_t, at, value);
	}
}

/* One thread runs a simulation: an atomic is a load and a store. */
static void atomic(const struct scx_instruction *one, uint8_t *at, uint64_t *r)
{
	const uint64_t value = r[one->src], old = load(one, at);
	const uint64_t expected = one->code & 0x18 ? r[0] : (uint32_t)r[0];

	switch (one->imm) {
	case 0xe1:
		store(one, at, value);
		r[one->src] = old;
		return;
	case 0xf1:
		if (old == expected)
			store(one, at, value);
		r[0] = old;
		return;
	}
	switch (one->imm & 0xf0) {
	case 0x00:
		store(one, at, old + value);
		break;
	case 0x40:
		store(one, at, old | value);
		break;
	case 0x50:
		store(one, at, old & value);
		break;
	default: /* 0xa0 */
		store(one, at, old ^ value);
	}
	if (one->imm & 1)
		r[one->src] = old;
}

uint64_t scx_interpret(struct scx_instance *I, uint32_t function, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4,
		       uint64_t r5)
{
	const struct scx_function *row = &I->object->functions[function];
	const struct scx_instruction *const code = row->instructions, *const end = code + row->nr_instructions;
	uint8_t *const B = I->memory;
	const uint64_t limit = I->limit, frame = I->stack + SCX_FRAME_BYTES;
	uint64_t r[11] = {0, r1, r2, r3, r4, r5, 0, 0, 0, 0, frame};
	uint64_t *const covered = I->covered;
	uint32_t may = 0;

	if (!code) {
		scx_set_trap(I, SCX_TRAP_REFERENCE, function, 0, SCX_FUNCTION_REFERENCE + function);
		return 0;
	}
	if (SCX_UNLIKELY(frame > SCX_STACK + SCX_STACK_BYTES)) {
		scx_set_trap(I, SCX_TRAP_STACK, function, 0, 0);
		return 0;
	}
	I->stack = frame;
	SCX_BURN(0);
	for (const struct scx_instruction *one = code; one < end; one++) {
		uint64_t *const dst = &r[one->dst];

		if (SCX_UNLIKELY(covered && one->block))
			covered[one->block - 1]++;
		switch (one->code) {
			ARITHMETIC(0x00, a + b, a + b)
			ARITHMETIC(0x10, a - b, a - b)
			ARITHMETIC(0x20, a * b, a * b)
			ARITHMETIC(0x30, one->off ? scx_sdiv64(a, b) : scx_div64(a, b),
				   one->off ? scx_sdiv32(a, b) : scx_div32(a, b))
			ARITHMETIC(0x40, a | b, a | b)
			ARITHMETIC(0x50, a & b, a & b)
			ARITHMETIC(0x60, a << (b & 63), a << (b & 31))
			ARITHMETIC(0x70, a >> (b & 63), a >> (b & 31))
			ARITHMETIC(0x90, one->off ? scx_smod64(a, b) : scx_mod64(a, b),
				   one->off ? scx_smod32(a, b) : scx_mod32(a, b))
			ARITHMETIC(0xa0, a ^ b, a ^ b)
			ARITHMETIC(0xb0, moved(b, one->off), moved(b, one->off))
			ARITHMETIC(0xc0, (uint64_t)((int64_t)a >> (b & 63)), (uint32_t)((int32_t)a >> (b & 31)))
			JUMP(0x10, uint64_t, uint32_t, ==)
			JUMP(0x20, uint64_t, uint32_t, >)
			JUMP(0x30, uint64_t, uint32_t, >=)
			JUMP(0x40, uint64_t, uint32_t, &)
			JUMP(0x50, uint64_t, uint32_t, !=)
			JUMP(0x60, int64_t, int32_t, >)
			JUMP(0x70, int64_t, int32_t, >=)
			JUMP(0xa0, uint64_t, uint32_t, <)
			JUMP(0xb0, uint64_t, uint32_t, <=)
			JUMP(0xc0, int64_t, int32_t, <)
			JUMP(0xd0, int64_t, int32_t, <=)
			LOAD(0x61, uint32_t, uint64_t)
			LOAD(0x69, uint16_t, uint64_t)
			LOAD(0x71, uint8_t, uint64_t)
			LOAD(0x79, uint64_t, uint64_t)
			LOAD(0x81, int32_t, int64_t)
			LOAD(0x89, int16_t, int64_t)
			LOAD(0x91, int8_t, int64_t)
			STORE(0x00, uint32_t)
			STORE(0x08, uint16_t)
			STORE(0x10, uint8_t)
			STORE(0x18, uint64_t)
		case 0x87:
			*dst = 0 - *dst;
			break;
		case 0x84:
			*dst = (uint32_t)(0 - *dst);
			break;
		case 0xd4:
		case 0xdc:
		case 0xd7:
			*dst = swapped(one, *dst);
			break;
		case 0x18: /* a 64-bit load, of two slots */
			*dst = one->imm;
			one++;
			break;
		case SCX_OWN_SYMBOL: /* it has two slots, as the load that it was */
			*dst = I->symbols[one->imm];
			one++;
			break;
		case 0xc3:
		case 0xcb:
		case 0xd3:
		case 0xdb: {
			const uint64_t base = one->imm == 0x100 ? r[one->src] : *dst;
			const uint64_t address = base + (uint64_t)(int64_t)one->off;
			if (one->imm == 0x100) { /* load-acquire */
				SCX_CHECK_LOAD(PLACE, address);
				*dst = load(one, B + address);
				break;
			}
			SCX_CHECK_STORE(PLACE, address);
			if (one->imm == 0x110) /* store-release */
				store(one, B + address, r[one->src]);
			else
				atomic(one, B + address, r);
			break;
		}
		case 0x05:
			goto jump;
		case 0xe5: /* may_goto */
			if (may++ >= SCX_MAY_GOTO_LIMIT)
				goto jump;
			break;
		case SCX_OWN_CALL: {
			const scx_code target = I->object->targets[one->imm];
			if (SCX_UNLIKELY(!target))
				SCX_TRAP(CALL, PLACE, one->imm);
			for (int32_t k = one->off + 1; k <= 5; k++)
				r[k] = 0;
			r[0] = target(I, r[1], r[2], r[3], r[4], r[5]);
			r[1] = r[2] = r[3] = r[4] = r[5] = 0;
			break;
		}
		case SCX_OWN_CALL_LOCAL:
			r[0] = scx_run(I, (uint32_t)one->imm, r[1], r[2], r[3], r[4], r[5]);
			r[1] = r[2] = r[3] = r[4] = r[5] = 0;
			break;
		case 0x95: /* exit */
			I->stack = frame - SCX_FRAME_BYTES;
			return r[0];
		default:
			SCX_TRAP(UNKNOWN, PLACE, one->imm);
		}
		continue;
	jump:
		if (one->off < 0)
			SCX_BURN(PLACE);
		one += one->off;
	}
	scx_set_trap(I, SCX_TRAP_REFERENCE, function, row->nr_instructions, 0); /* it runs over its end */
trapped:
	I->stack = frame - SCX_FRAME_BYTES;
	return 0;
}
