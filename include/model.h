/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What a canonical model is inside the kernel, and what it is given and answers. docs/model-kernel.md says what
 * each means; Python has the same in src/schedtuna/model/kernel/tables.py, and asks the object's BTF before use.
 */
#ifndef MODEL_H
#define MODEL_H

#ifndef __bpf__ /* BPF programs have kernel_types.h */
#include <linux/types.h>
#endif

#define MODEL_INPUTS 16
#define MODEL_LOGITS 4
#define MODEL_TRACE_WORDS 192
#define MODEL_LAYOUT 1 /* changes with what is below */

/* How a value becomes a bin: docs/model-format.md. */
struct model_bins {
	__s64 lo;
	__s64 hi;
	__u64 multiplier; /* of linear bins; 0: logarithmic ones */
	__u32 base;
	__u16 last;
	__u16 shift;
};

/* What every table begins with. */
struct model_head {
	__u16 layout; /* MODEL_LAYOUT */
	__u16 zero;   /* what loops begin with that the verifier is not to count */
	__u32 nr_inputs;
	__u64 version; /* of the model: what decided, for whoever counts */
	struct model_bins bins[MODEL_INPUTS];
};

/* Where each input's rows start in a table, and how long a row is; both in bytes. */
struct model_rows {
	__u32 starts[MODEL_INPUTS];
	__u64 bytes;
};

struct model_values {
	__s64 values[MODEL_INPUTS];
};

struct model_decision {
	__s64 logits[MODEL_LOGITS];
};

/* The accumulators of one decision, as the executor has them. */
struct model_trace {
	__u64 bins[MODEL_INPUTS];
	__u64 words[MODEL_TRACE_WORDS];
	__s64 logits[MODEL_LOGITS];
};

#endif
