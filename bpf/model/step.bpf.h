/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Nets of two hidden layers whose units are 1 or 0, by tables: a word holds the sums of four units in lanes of
 * 16 bits, an input's row for a bin what it adds to each unit, a later layer's row what eight units of the
 * layer before add together. 2^15 is added to each lane at the start, so that bit 15 says that a unit is 1.
 *
 * Geometry: STEP_INPUTS, STEP_UNITS (a multiple of 16) in each hidden layer, STEP_OUTPUTS
 * (of two logits each), STEP_BYTES of first rows.
 */
#ifndef MODEL_STEP_BPF_H
#define MODEL_STEP_BPF_H

#include "words.bpf.h"

#define STEP_GROUP 4 /* words at a time: 16 units, two of the next layer's rows */
#define STEP_WORDS (STEP_UNITS / 4)
#define STEP_ROWS (STEP_UNITS / 8)

struct model_step {
	struct model_head head;
	struct model_rows rows;
	__u64 starts3[STEP_OUTPUTS]; /* two logits each, in lanes of 32 bits; + 2^31 */
	__u64 starts[2][STEP_WORDS]; /* of both hidden layers */
	__u64 third[STEP_ROWS][256][STEP_OUTPUTS];
	__u64 second[STEP_ROWS][256][STEP_WORDS];
	__u64 first[STEP_BYTES / 8 + STEP_WORDS];
};

/* Bit 15 of each of four lanes, as a number below 16. */
static __always_inline __u64 four_signs(__u64 lanes)
{
	return ((lanes >> 15 & 0x0001000100010001ULL) * 0x0000200040008001ULL >> 45) & 15;
}

/* Adds up a layer's chosen rows; units[k] becomes the units 8k to 8k + 7. */
#define STEP_LAYER(units, layer, rows, nr_rows)                                                                       \
	ROLLED for (__u32 group = 0; group < STEP_WORDS / STEP_GROUP; group++)                                        \
	{                                                                                                             \
		__u64 sums[STEP_GROUP];                                                                               \
                                                                                                                      \
		UNROLLED for (int k = 0; k < STEP_GROUP; k++) sums[k] = table->starts[layer][group * STEP_GROUP + k]; \
		COMBINE(sums, +=, rows, nr_rows, group * STEP_GROUP * 8, STEP_GROUP);                                 \
		UNROLLED for (int k = 0; k < STEP_GROUP; k += 2)                                                      \
		{                                                                                                     \
			(units)[(group * STEP_GROUP + k) / 2] = four_signs(sums[k]) | four_signs(sums[k + 1]) << 4;   \
			IN_MEMORY(units);                                                                             \
		}                                                                                                     \
		UNROLLED for (int k = 0; k < STEP_GROUP; k++)                                                         \
			tell(trace, (layer) * STEP_WORDS + group * STEP_GROUP + k, sums[k]);                          \
	}

static __always_inline void run_step(const struct model_step *table, const __u64 *bins, struct model_decision *decision,
				     struct model_trace *trace)
{
	const void *rows[STEP_INPUTS > STEP_ROWS ? STEP_INPUTS : STEP_ROWS];
	__u64 out[STEP_OUTPUTS];
	__u8 units[STEP_ROWS];

	CHOOSE_ROWS(rows, &table->rows, STEP_INPUTS, bins, table->first, STEP_BYTES);
	STEP_LAYER(units, 0, rows, STEP_INPUTS);
	UNROLLED for (int row = 0; row < STEP_ROWS; row++)
	{
		tell(trace, 2 * STEP_WORDS + row, units[row]);
		rows[row] = table->second[row][units[row]];
		IN_MEMORY(rows);
	}
	STEP_LAYER(units, 1, rows, STEP_ROWS);
	UNROLLED for (int k = 0; k < STEP_OUTPUTS; k++) out[k] = table->starts3[k];
	UNROLLED for (int row = 0; row < STEP_ROWS; row++)
	{
		tell(trace, 2 * STEP_WORDS + STEP_ROWS + row, units[row]);
		UNROLLED for (int k = 0; k < STEP_OUTPUTS; k++)
		{
			out[k] += table->third[row][units[row]][k];
			PIN(out[k]);
		}
	}
	UNROLLED for (int k = 0; k < STEP_OUTPUTS; k++) two_logits(decision, 2 * k, out[k]);
}

#endif
