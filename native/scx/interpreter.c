/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a scheduler's instructions as they are: where there is no compiler, and as an oracle for translated code, which
 * does the very same, trap for trap.
 */
#include "scx_code.h"

enum { LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 };

#define SCX_THIS function

static uint64_t arithmetic(const struct scx_instruction *one, uint64_t a, uint64_t b)
{
	const int wide = (one->code & 7) == ALU64, is_signed = one->off == 1;
	const unsigned shift = b & (wide ? 63 : 31);

	switch (one->code & 0xf0) {
	case 0x00:
		return a + b;
	case 0x10:
		return a - b;
	case 0x20:
		return a * b;
	case 0x30:
		if (wide)
			return is_signed ? scx_sdiv64(a, b) : scx_div64(a, b);
		return is_signed ? scx_sdiv32(a, b) : scx_div32(a, b);
	case 0x40:
		return a | b;
	case 0x50:
		return a & b;
	case 0x60:
		return a << shift;
	case 0x70:
		return wide ? a >> shift : (uint32_t)a >> shift;
	case 0x80:
		return 0 - a;
	case 0x90:
		if (wide)
			return is_signed ? scx_smod64(a, b) : scx_mod64(a, b);
		return is_signed ? scx_smod32(a, b) : scx_mod32(a, b);
	case 0xa0:
		return a ^ b;
	case 0xb0:
		switch (one->off) {
		case 8:
			return (uint64_t)(int64_t)(int8_t)b;
		case 16:
			return (uint64_t)(int64_t)(int16_t)b;
		case 32:
			return (uint64_t)(int64_t)(int32_t)b;
		}
		return b;
	default: /* 0xc0 */
		return wide ? (uint64_t)((int64_t)a >> shift) : (uint64_t)((int32_t)a >> shift);
	}
}

/* Both to little and to big endian, of a little-endian machine. */
static uint64_t swapped(const struct scx_instruction *one, uint64_t a)
{
	const int swaps = (one->code & 8) || (one->code & 7) == ALU64;

	switch (one->imm) {
	case 16:
		return swaps ? __builtin_bswap16((uint16_t)a) : (uint16_t)a;
	case 32:
		return swaps ? __builtin_bswap32((uint32_t)a) : (uint32_t)a;
	default:
		return swaps ? __builtin_bswap64(a) : a;
	}
}

static int is_taken(const struct scx_instruction *one, uint64_t a, uint64_t b)
{
	int64_t sa = (int64_t)a, sb = (int64_t)b;

	if ((one->code & 7) == JMP32) {
		sa = (int32_t)a;
		sb = (int32_t)b;
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	switch (one->code & 0xf0) {
	case 0x00:
		return 1;
	case 0x10:
		return a == b;
	case 0x20:
		return a > b;
	case 0x30:
		return a >= b;
	case 0x40:
		return (a & b) != 0;
	case 0x50:
		return a != b;
	case 0x60:
		return sa > sb;
	case 0x70:
		return sa >= sb;
	case 0xa0:
		return a < b;
	case 0xb0:
		return a <= b;
	case 0xc0:
		return sa < sb;
	default: /* 0xd0 */
		return sa <= sb;
	}
}

static uint64_t load(const struct scx_instruction *one, const uint8_t *at)
{
	const int extends = (one->code & 0xe0) == 0x80;

	switch (one->code & 0x18) {
	case 0x10:
		return extends ? (uint64_t)(int64_t)SCX_READ(int8_t, at) : SCX_READ(uint8_t, at);
	case 0x08:
		return extends ? (uint64_t)(int64_t)SCX_READ(int16_t, at) : SCX_READ(uint16_t, at);
	case 0x00:
		return extends ? (uint64_t)(int64_t)SCX_READ(int32_t, at) : SCX_READ(uint32_t, at);
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
	const struct scx_instruction *code = row->instructions;
	uint8_t *const B = I->memory;
	const uint64_t limit = I->limit, frame = I->stack + SCX_FRAME_BYTES;
	uint64_t r[11] = {0, r1, r2, r3, r4, r5, 0, 0, 0, 0, frame};
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
	for (uint32_t place = 0; place < row->nr_instructions; place++) {
		const struct scx_instruction *one = &code[place];
		const uint64_t second = one->code & 8 ? r[one->src] : one->imm;
		const int64_t off = one->off;
		uint64_t address;

		if (one->block && SCX_UNLIKELY(I->covered))
			I->covered[one->block - 1]++;
		switch (one->code) {
		case SCX_OWN_UNKNOWN:
			SCX_TRAP(UNKNOWN, place, one->imm);
		case SCX_OWN_SYMBOL:
			r[one->dst] = I->symbols[one->imm];
			place++; /* it has two slots, as the load that it was */
			continue;
		case SCX_OWN_CALL: {
			const scx_code target = I->object->targets[one->imm];
			if (SCX_UNLIKELY(!target))
				SCX_TRAP(CALL, place, one->imm);
			for (int64_t k = off + 1; k <= 5; k++)
				r[k] = 0;
			r[0] = target(I, r[1], r[2], r[3], r[4], r[5]);
			r[1] = r[2] = r[3] = r[4] = r[5] = 0;
			continue;
		}
		case SCX_OWN_CALL_LOCAL:
			r[0] = scx_run(I, (uint32_t)one->imm, r[1], r[2], r[3], r[4], r[5]);
			r[1] = r[2] = r[3] = r[4] = r[5] = 0;
			continue;
		case 0x95: /* exit */
			I->stack = frame - SCX_FRAME_BYTES;
			return r[0];
		case 0x18:
			r[one->dst] = one->imm;
			place++;
			continue;
		}
		switch (one->code & 7) {
		case ALU:
		case ALU64: {
			uint64_t value;
			if ((one->code & 0xf0) == 0xd0)
				value = swapped(one, r[one->dst]);
			else
				value = arithmetic(one, r[one->dst], second);
			if ((one->code & 7) == ALU && (one->code & 0xf0) != 0xd0)
				value = (uint32_t)value;
			r[one->dst] = value;
			break;
		}
		case LDX:
			address = r[one->src] + (uint64_t)off;
			SCX_CHECK_LOAD(place, address);
			r[one->dst] = load(one, B + address);
			break;
		case ST:
			address = r[one->dst] + (uint64_t)off;
			SCX_CHECK_STORE(place, address);
			store(one, B + address, one->imm);
			break;
		case STX:
			address = r[one->dst] + (uint64_t)off;
			if ((one->code & 0xe0) == 0x60 || one->imm == 0x110) {
				SCX_CHECK_STORE(place, address);
				store(one, B + address, r[one->src]);
			} else if (one->imm == 0x100) { /* load-acquire: from src */
				address = r[one->src] + (uint64_t)off;
				SCX_CHECK_LOAD(place, address);
				r[one->dst] = load(one, B + address);
			} else {
				SCX_CHECK_STORE(place, address);
				atomic(one, B + address, r);
			}
			break;
		default: /* jumps */
			if ((one->code & 0xf0) == 0xe0 ? may++ < SCX_MAY_GOTO_LIMIT
						       : !is_taken(one, r[one->dst], second))
				break;
			if (off < 0)
				SCX_BURN(place);
			place += (uint32_t)one->off;
		}
	}
	scx_set_trap(I, SCX_TRAP_REFERENCE, function, row->nr_instructions, 0); /* it runs over its end */
trapped:
	I->stack = frame - SCX_FRAME_BYTES;
	return 0;
}
