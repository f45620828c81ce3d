/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trees as anybody would write them, level by level, to compare with. For benchmarks.
 *
 * A node is child << 32 | input << 16 | threshold; its second child follows the first. A leaf is its own first
 * child, and its threshold is never exceeded.
 */
#ifndef MODEL_WALK_BPF_H
#define MODEL_WALK_BPF_H

#include "words.bpf.h"

#define WALK_NODES 64 /* of a tree: 31 and 32 leaves */

struct model_walk {
	struct model_head head;
	__u32 nr_trees;
	__u32 nr_levels;
	__s64 start;
	__u64 nodes[WALK_TREES][WALK_NODES];
	__s32 leaves[WALK_TREES][WALK_NODES];
};

static __always_inline void run_walk(const struct model_walk *table, const __u64 *bins, struct model_decision *decision,
				     struct model_trace *trace)
{
	__s64 sum = table->start;

	ROLLED for (__u32 tree = 0; tree < WALK_TREES; tree++)
	{
		const __u64 *nodes = table->nodes[tree];
		__u64 at = 0;

		if (tree >= ANEW(table->nr_trees))
			break;
		ROLLED for (__u32 level = 0; level < WALK_LEVELS; level++)
		{
			__u64 node, room;

			if (level >= ANEW(table->nr_levels))
				break;
			node = nodes[at & (WALK_NODES - 1)];
			room = (node & 0xffff) - bins[node >> 16 & (WALK_INPUTS - 1)];
			PIN(room);
			at = (node >> 32) + (room >> 63);
		}
		sum += table->leaves[tree][at & (WALK_NODES - 1)];
		PIN(sum);
	}
	decision->logits[0] = sum;
}

#endif
