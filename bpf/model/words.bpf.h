/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the executors of all families share. docs/model-kernel.md has the arithmetic and its proofs.
 *
 * Decisions do not branch on values: LLVM would turn (a - b) >> 63 into a branch, which is mispredicted
 * and doubles the verifier's paths, and would reorder sums over dozens of loads until the 512 bytes of stack are
 * full. PIN forbids both: the value is in a register here, and what is written before comes before.
 *
 * Offsets into a table are data, and a table may hold anything: each is cut to the table's size, so that the
 * verifier knows that no table, however damaged, makes a program read outside.
 */
#ifndef MODEL_WORDS_BPF_H
#define MODEL_WORDS_BPF_H

#include <bpf/bpf_helpers.h>
#include "model.h"

#define PIN(value) asm volatile("" : "+r"(value)::"memory")
#define IN_MEMORY(array) asm volatile("" ::"r"(array) : "memory")
#define UNROLLED _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable)")
/*
 * In a loop's head: the kernel ends it where it would go on for ever (may_goto, 6.9), so that the verifier goes
 * through the body once, not once per round. Spelled in bytes, for compilers that do not know it.
 */
#define MAY_GO_ON()                                                                                                  \
	({                                                                                                           \
		__label__ leave_, stay_;                                                                             \
		_Bool goes_ = 1;                                                                                     \
                                                                                                                     \
		asm volatile goto(                                                                                   \
			"1: .byte 0xe5; .byte 0; .long ((%l[leave_] - 1b - 8) / 8) & 0xffff; .short 0" :: ::leave_); \
		goto stay_;                                                                                          \
	leave_:                                                                                                      \
		goes_ = 0;                                                                                           \
	stay_:                                                                                                       \
		goes_;                                                                                               \
	})
/*
 * Paths meet here: the verifier keeps a state, which the second path that comes by ends at, after eight instructions
 * and two jumps at the earliest. These go to what follows anyway, and the kernel takes them out.
 */
#define MEET() \
	asm volatile("goto +0; goto +0; goto +0; goto +0; goto +0; goto +0; goto +0; goto +0; goto +0" ::: "memory")
/* Read anew, so that the verifier knows nothing of it: it would follow each value on its own. */
#define ANEW(count) (*(const volatile __u32 *)&(count))

/*
 * All ones where the value is negative as a signed number, else 0. Not to be and-ed with a constant: verifiers
 * since 6.18 follow both cases then.
 */
static __always_inline __u64 if_negative(__u64 value)
{
	PIN(value);
	value = (__s64)value >> 63;
	PIN(value);
	return value;
}

/* An accumulator, for whoever compares; costs nothing where `trace` is NULL. */
static __always_inline void tell(struct model_trace *trace, __u32 place, __u64 word)
{
	if (trace && place < MODEL_TRACE_WORDS)
		trace->words[place] = word;
}

/* Two lanes of 32 bits, + 2^31. */
static __always_inline void two_logits(struct model_decision *decision, int first, __u64 lanes)
{
	decision->logits[first] = (__s64)(lanes & 0xffffffff) - (1LL << 31);
	decision->logits[first + 1] = (__s64)(lanes >> 32) - (1LL << 31);
}

/* floor(log2(value)) of 1 to 2^63 - 1. */
static __always_inline __u64 log2_floor(__u64 value)
{
	__u64 logarithm = 0;

#define HALVE(power)                                       \
	{                                                  \
		__u64 shift_ = -(value >> (1 << (power))); \
                                                           \
		PIN(shift_);                               \
		shift_ = shift_ >> 63 << (power);          \
		PIN(shift_);                               \
		value >>= shift_;                          \
		logarithm += shift_;                       \
	}
	HALVE(5);
	HALVE(4);
	HALVE(3);
	HALVE(2);
#undef HALVE
	return logarithm + (0x3333333322221100ULL >> 4 * (value & 15) & 3);
}

/*
 * The bins of all inputs, MODEL_INPUTS of them; 0 for those that a model lacks. Values beyond the bounds are rare, and
 * an input's kind of bins is always the same: these branches are predicted, and their paths meet at once.
 */
static __always_inline void quantise(const struct model_head *head, const __s64 *values, __u64 *bins)
{
	__u64 next = *(const volatile __u16 *)&head->zero, i;

	UNROLLED for (i = 0; i < MODEL_INPUTS; i++) bins[i] = 0;
	IN_MEMORY(bins);
	do {
		const struct model_bins *rule;
		__s64 value;
		__u64 bin, room;

		i = next;
		PIN(i); /* keeps LLVM from counting in pointers, of which the verifier would not know how far they go */
		i &= MODEL_INPUTS - 1;
		next = i + 1;
		rule = &head->bins[i];
		value = values[i];
		if (value < rule->lo)
			value = rule->lo;
		if (value > rule->hi)
			value = rule->hi;
		MEET();
		if (rule->multiplier) {
			bin = ((__u64)(value - rule->lo) >> (rule->shift & 63)) * rule->multiplier >> 47;
		} else {
			__u64 octave = log2_floor((__u64)value >> (rule->shift & 63) | 1);

			bin = (octave << (rule->shift & 63)) + ((__u64)value >> octave) - rule->base;
		}
		PIN(bin);
		room = rule->last - bin;
		bin += room & if_negative(room);
		bins[i] = bin & 0xffff;
		IN_MEMORY(bins);
	} while (MAY_GO_ON() && next < MODEL_INPUTS && next < ANEW(head->nr_inputs));
	MEET();
}

/* The rows of a table that the bins choose. `size`: bytes that rows start in, a power of two. */
#define CHOOSE_ROWS(chosen, table_rows, nr_rows, bins, words, size)                             \
	UNROLLED for (int row_ = 0; row_ < (nr_rows); row_++)                                   \
	{                                                                                       \
		__u64 start_ = (table_rows)->starts[row_] + (bins)[row_] * (table_rows)->bytes; \
                                                                                                \
		start_ &= (size) - 8;                                                           \
		(chosen)[row_] = (const void *)(words) + start_;                                \
		IN_MEMORY(chosen);                                                              \
	}

/* Combine the words from `offset` (bytes) on of all chosen rows: sums op row, where op is &=, |= or +=. */
#define COMBINE(sums, op, chosen, nr_rows, offset, nr_words)                   \
	UNROLLED for (int row_ = 0; row_ < (nr_rows); row_++)                  \
	{                                                                      \
		const __u64 *words_ = (const void *)(chosen)[row_] + (offset); \
                                                                               \
		UNROLLED for (int word_ = 0; word_ < (nr_words); word_++)      \
		{                                                              \
			(sums)[word_] op words_[word_];                        \
			PIN((sums)[word_]);                                    \
		}                                                              \
	}

#endif
