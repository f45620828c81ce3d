/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trees by box masks: bit k of an input's row for a bin says whether that bin lies in the interval that leaf k
 * has of this input. The leaves of a tree share the space out, so the AND over all inputs leaves exactly one
 * bit in each half word. Multiplying by a de Bruijn number and keeping the five highest bits numbers those bits
 * without a count of zeros; leaf values are stored in that order.
 *
 * Geometry: TREES_INPUTS, TREES_WORDS (a multiple of TREES_GROUP; two trees each), TREES_BYTES of rows.
 */
#ifndef MODEL_TREES_BPF_H
#define MODEL_TREES_BPF_H

#include "words.bpf.h"

#define TREES_GROUP 5 /* words at a time: as many as there are registers for */
#define TREES_LEAVES 32
#define DE_BRUIJN 0x077cb531u

struct model_trees {
	struct model_head head;
	struct model_rows rows;
	__u32 nr_groups;
	__u32 reserved;
	__u64 start;				    /* the model's own, less the offset of the leaves */
	__u16 leaves[TREES_WORDS][2][TREES_LEAVES]; /* + 2^15, so that none is negative */
	__u64 masks[TREES_BYTES / 8 + TREES_WORDS];
};

static __always_inline void run_trees(const struct model_trees *table, const __u64 *bins,
				      struct model_decision *decision, struct model_trace *trace)
{
	const void *rows[TREES_INPUTS];
	__u64 sum = table->start;

	CHOOSE_ROWS(rows, &table->rows, TREES_INPUTS, bins, table->masks, TREES_BYTES);
	ROLLED for (__u32 group = 0; group < TREES_WORDS / TREES_GROUP; group++)
	{
		const __u16 *leaves = table->leaves[group * TREES_GROUP][0];
		__u64 boxes[TREES_GROUP];

		if (group >= ANEW(table->nr_groups))
			break;
		UNROLLED for (int k = 0; k < TREES_GROUP; k++) boxes[k] = ~0ULL;
		COMBINE(boxes, &=, rows, TREES_INPUTS, group * TREES_GROUP * 8, TREES_GROUP);
		UNROLLED for (int k = 0; k < TREES_GROUP; k++)
		{
			__u32 first = boxes[k], second = boxes[k] >> 32;

			tell(trace, group * TREES_GROUP + k, boxes[k]);
			first *= DE_BRUIJN;
			second *= DE_BRUIJN;
			sum += leaves[2 * k * TREES_LEAVES + (first >> 27)];
			PIN(sum);
			sum += leaves[(2 * k + 1) * TREES_LEAVES + (second >> 27)];
			PIN(sum);
		}
	}
	decision->logits[0] = sum;
}

#endif
