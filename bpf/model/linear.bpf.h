/* SPDX-License-Identifier: GPL-2.0 */
/* Weighted sums of the bins, one per logit. */
#ifndef MODEL_LINEAR_BPF_H
#define MODEL_LINEAR_BPF_H

#include "words.bpf.h"

struct model_linear {
	struct model_head head;
	__s64 starts[MODEL_LOGITS];
	__s64 weights[MODEL_INPUTS][MODEL_LOGITS];
};

static __always_inline void run_linear(const struct model_linear *table, const __u64 *bins,
				       struct model_decision *decision, struct model_trace *trace)
{
	__s64 sums[MODEL_LOGITS];

	UNROLLED for (int k = 0; k < MODEL_LOGITS; k++) sums[k] = table->starts[k];
	ROLLED for (__u32 i = 0; i < LINEAR_INPUTS; i++)
	{
		if (i >= ANEW(table->head.nr_inputs))
			break;
		UNROLLED for (int k = 0; k < MODEL_LOGITS; k++)
		{
			sums[k] += bins[i] * table->weights[i][k];
			PIN(sums[k]);
		}
	}
	UNROLLED for (int k = 0; k < MODEL_LOGITS; k++) decision->logits[k] = sums[k];
}

#endif
