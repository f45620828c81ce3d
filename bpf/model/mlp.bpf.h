/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Nets of two hidden layers of ReLU units, up to 16-64-64-4, with weights from -127 to 127 as data.
 *
 * A word holds three lanes of 21 bits. First layer, broadcast: a lane is a unit, an input times a word of
 * weights adds to three units; signed sums are right modulo 2^64 as long as each fits its lane in the end.
 * Second layer, dot form: the units of the first, packed three to a word, times a word of weights in reversed
 * order have a sum of three products in their highest lane, and what is below is known not to carry into it.
 * Third: as the first, in lanes of 32 bits.
 *
 * Geometry: MLP_INPUTS (even), MLP_OUTPUTS (of two logits each). MLP_WHOLE: as for all inputs and 64 units in both
 * hidden layers, whatever there are: faster for those, slower for narrow nets.
 */
#ifndef MODEL_MLP_BPF_H
#define MODEL_MLP_BPF_H

#include "words.bpf.h"

#define MLP_UNITS 64
#define MLP_GROUP 4			   /* words, or units of the second layer, at a time */
#define MLP_BLOCKS 6			   /* of MLP_GROUP words of the first layer: 72 lanes */
#define MLP_WORDS (MLP_BLOCKS * MLP_GROUP) /* of the first layer's units */
#define MLP_USED_WORDS 22		   /* ... that can hold one: 64 units of 3 lanes */
#define MLP_ROUNDS (MLP_UNITS / MLP_GROUP)
#define MLP_LANE 21
#define MLP_ONES 0x0000040000200001ULL /* 1 in each lane */

struct model_mlp {
	struct model_head head;
	__u32 nr_pairs;	 /* of inputs */
	__u32 nr_blocks; /* of the first layer */
	__u32 nr_fours;	 /* of its words */
	__u32 nr_rounds; /* of the second layer */
	__u32 first_shift;
	__u32 over_shift;   /* MLP_LANE - 1 - first_shift: the bit that a unit over 127 sets in ... */
	__u64 over;	    /* ... the sum of it and this, in each lane */
	__u64 first_mask;   /* the bits of a lane that are left after the shift */
	__u64 second_shift; /* with what brings the highest lane down */
	__u64 starts1[MLP_WORDS];
	__u64 weights1[MLP_BLOCKS][MODEL_INPUTS][MLP_GROUP];
	__u64 starts2[MLP_UNITS];
	__u64 weights2[MLP_ROUNDS][MLP_WORDS][MLP_GROUP];
	__u64 weights3[MLP_UNITS][MLP_OUTPUTS];
	__u64 starts3[MLP_OUTPUTS];
};

/* sums += value times the next words of weights. */
#define ADD_PRODUCTS(sums, value, weights)                      \
	{                                                       \
		__u64 value_ = (value);                         \
                                                                \
		UNROLLED for (int k_ = 0; k_ < MLP_GROUP; k_++) \
		{                                               \
			(sums)[k_] += value_ * (weights)[k_];   \
			PIN((sums)[k_]);                        \
		}                                               \
	}

/* clamp((sum + half) >> shift, 0, 127) in each lane; half is in the sums already, and 2^20, too. */
static __always_inline __u64 relu_lanes(const struct model_mlp *table, __u64 lanes)
{
	__u64 positive = lanes >> (MLP_LANE - 1) & MLP_ONES, over;

	lanes &= (positive << (MLP_LANE - 1)) - positive;
	lanes = lanes >> (table->first_shift & 31) & table->first_mask;
	over = (lanes + table->over) >> (table->over_shift & 31) & MLP_ONES;
	return (lanes | ((over << 7) - over)) & (MLP_ONES * 127);
}

static __always_inline __u64 relu_dot(const struct model_mlp *table, __u64 sum)
{
	__u64 value = (__s64)(sum << 1) >> (table->second_shift & 63);
	__u64 room;

	value &= ~if_negative(value);
	room = 127 - value;
	return value + (room & if_negative(room));
}

/* `hidden`: memory for the units of the first layer, MLP_WORDS long. */
static __always_inline void run_mlp_in(const struct model_mlp *table, const __u64 *bins, __u64 *hidden,
				       struct model_decision *decision, struct model_trace *trace)
{
	__u64 out[MLP_OUTPUTS];

	UNROLLED for (int word = 0; word < MLP_WORDS; word++) hidden[word] = 0;
	IN_MEMORY(hidden);
	UNROLLED for (int j = 0; j < MLP_OUTPUTS; j++) out[j] = table->starts3[j];
	ROLLED for (__u32 block = 0; block < MLP_BLOCKS; block++)
	{
		const __u64 *weights = table->weights1[block][0];
		__u64 sums[MLP_GROUP];

#ifndef MLP_WHOLE
		if (block >= ANEW(table->nr_blocks))
			break;
#endif
		UNROLLED for (int k = 0; k < MLP_GROUP; k++) sums[k] = table->starts1[block * MLP_GROUP + k];
		ROLLED for (__u32 pair = 0; pair < MLP_INPUTS / 2; pair++)
		{
#ifndef MLP_WHOLE
			if (pair >= ANEW(table->nr_pairs))
				break;
#endif
			ADD_PRODUCTS(sums, bins[2 * pair], weights);
			ADD_PRODUCTS(sums, bins[2 * pair + 1], weights + MLP_GROUP);
			weights += 2 * MLP_GROUP;
		}
		UNROLLED for (int k = 0; k < MLP_GROUP; k++)
		{
			tell(trace, block * MLP_GROUP + k, sums[k]);
			hidden[block * MLP_GROUP + k] = relu_lanes(table, sums[k]);
			tell(trace, MLP_WORDS + block * MLP_GROUP + k, hidden[block * MLP_GROUP + k]);
		}
		IN_MEMORY(hidden);
	}
	ROLLED for (__u32 round = 0; round < MLP_ROUNDS; round++)
	{
		const __u64 *weights = table->weights2[round][0];
		__u64 sums[MLP_GROUP];

#ifndef MLP_WHOLE
		if (round >= ANEW(table->nr_rounds))
			break;
#endif
		UNROLLED for (int k = 0; k < MLP_GROUP; k++) sums[k] = table->starts2[round * MLP_GROUP + k];
#ifdef MLP_WHOLE
		UNROLLED for (int word = 0; word < MLP_USED_WORDS; word++)
			ADD_PRODUCTS(sums, hidden[word], weights + word * MLP_GROUP);
#else
		ROLLED for (__u32 four = 0; four < MLP_WORDS / 4; four++)
		{
			if (four >= ANEW(table->nr_fours))
				break;
			UNROLLED for (int k = 0; k < 4; k++)
				ADD_PRODUCTS(sums, hidden[4 * four + k], weights + k * MLP_GROUP);
			weights += 4 * MLP_GROUP;
		}
#endif
		UNROLLED for (int k = 0; k < MLP_GROUP; k++)
		{
			__u64 unit = relu_dot(table, sums[k]);

			tell(trace, 2 * MLP_WORDS + round * MLP_GROUP + k, sums[k]);
			tell(trace, 2 * MLP_WORDS + MLP_UNITS + round * MLP_GROUP + k, unit);
			UNROLLED for (int j = 0; j < MLP_OUTPUTS; j++)
			{
				out[j] += unit * table->weights3[round * MLP_GROUP + k][j];
				PIN(out[j]);
			}
		}
	}
	UNROLLED for (int j = 0; j < MLP_OUTPUTS; j++) two_logits(decision, 2 * j, out[j]);
}

static __always_inline void run_mlp(const struct model_mlp *table, const __u64 *bins, struct model_decision *decision,
				    struct model_trace *trace)
{
	__u64 hidden[MLP_WORDS];

	run_mlp_in(table, bins, hidden, decision, trace);
}

#endif
