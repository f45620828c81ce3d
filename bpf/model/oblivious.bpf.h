/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Oblivious trees: all nodes of one level ask the same, so the answers are the leaf's number. An input's row for
 * a bin holds, one byte per tree, the bits of the levels that ask for this input; the OR over all inputs is the
 * numbers of the leaves of eight trees a word.
 *
 * Geometry: OBLIVIOUS_INPUTS, OBLIVIOUS_WORDS (a multiple of OBLIVIOUS_GROUP; eight trees each),
 * OBLIVIOUS_DEPTH (at most 8), OBLIVIOUS_BYTES of rows.
 */
#ifndef MODEL_OBLIVIOUS_BPF_H
#define MODEL_OBLIVIOUS_BPF_H

#include "words.bpf.h"

#define OBLIVIOUS_GROUP 7 /* words at a time */
#define OBLIVIOUS_LEAVES (1 << OBLIVIOUS_DEPTH)

struct model_oblivious {
	struct model_head head;
	struct model_rows rows;
	__u32 nr_groups;
	__u32 reserved;
	__u64 start;					    /* the model's own, less the offset of the leaves */
	__u16 leaves[OBLIVIOUS_WORDS][8][OBLIVIOUS_LEAVES]; /* + 2^15, so that none is negative */
	__u64 answers[OBLIVIOUS_BYTES / 8 + OBLIVIOUS_WORDS];
};

static __always_inline void run_oblivious(const struct model_oblivious *table, const __u64 *bins,
					  struct model_decision *decision, struct model_trace *trace)
{
	const void *rows[OBLIVIOUS_INPUTS];
	__u64 sum = table->start;

	CHOOSE_ROWS(rows, &table->rows, OBLIVIOUS_INPUTS, bins, table->answers, OBLIVIOUS_BYTES);
	ROLLED for (__u32 group = 0; group < OBLIVIOUS_WORDS / OBLIVIOUS_GROUP; group++)
	{
		const __u16 *leaves = table->leaves[group * OBLIVIOUS_GROUP][0];
		__u64 numbers[OBLIVIOUS_GROUP];

		if (group >= ANEW(table->nr_groups))
			break;
		UNROLLED for (int k = 0; k < OBLIVIOUS_GROUP; k++) numbers[k] = 0;
		COMBINE(numbers, |=, rows, OBLIVIOUS_INPUTS, group * OBLIVIOUS_GROUP * 8, OBLIVIOUS_GROUP);
		UNROLLED for (int k = 0; k < OBLIVIOUS_GROUP; k++)
		{
			tell(trace, group * OBLIVIOUS_GROUP + k, numbers[k]);
			UNROLLED for (int tree = 0; tree < 8; tree++)
			{
				__u64 number = numbers[k] >> 8 * tree & (OBLIVIOUS_LEAVES - 1);

				PIN(number);
				sum += leaves[(8 * k + tree) * OBLIVIOUS_LEAVES + number];
				PIN(sum);
			}
		}
	}
	decision->logits[0] = sum;
}

#endif
