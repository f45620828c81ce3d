/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Models: one executor for each family, in one geometry, and the tables that they read. A table is swapped whole,
 * as in models.bpf.h; it stands as a candidate until its own rows have given here what they should.
 */
#ifndef TABLES_BPF_H
#define TABLES_BPF_H

#include "state.bpf.h"

#define LINEAR_INPUTS 16
#define TREES_INPUTS 10 /* these are the classes trees_small, oblivious, mlp_small and step */
#define TREES_WORDS 50
#define TREES_BYTES (1 << 18)
#define OBLIVIOUS_INPUTS 10
#define OBLIVIOUS_WORDS 14
#define OBLIVIOUS_DEPTH 6
#define OBLIVIOUS_BYTES (1 << 19)
#define MLP_INPUTS 16
#define MLP_OUTPUTS 2
#define STEP_INPUTS 10
#define STEP_OUTPUTS 1
#define STEP_UNITS 64
#define STEP_BYTES (1 << 19)
#include "../model/linear.bpf.h"
#include "../model/mlp.bpf.h"
#include "../model/oblivious.bpf.h"
#include "../model/step.bpf.h"
#include "../model/trees.bpf.h"

struct model_scratch {
	struct model_values values;
	__u64 bins[MODEL_INPUTS];
	struct model_decision decision;
	__u64 units[MLP_WORDS]; /* of a net: too many for the stack below a callback that compares tasks */
};

/* What an executor is given and answers: callbacks, with interrupts off, use the first, checks the second. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct model_scratch);
} model_scratch SEC(".maps");

static __always_inline struct model_scratch *scratch_of(__u32 place)
{
	return bpf_map_lookup_elem(&model_scratch, &place);
}

/*
 * tuna_FAMILY, and decide_FAMILY: the table at a place decides on the scratch values of that place. Not static, so
 * that the verifier goes through each once, whoever calls. Returns 0, or 1 where there is no table or another one.
 * `run`: how it decides, by `table` and in `scratch`.
 */
#define FAMILY(name, run)                                                                        \
	struct name##_map {                                                                      \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                \
		__uint(max_entries, 1);                                                          \
		__uint(key_size, sizeof(__u32));                                                 \
		__uint(value_size, sizeof(struct model_##name));                                 \
	};                                                                                       \
	struct {                                                                                 \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                        \
		__uint(max_entries, 2);                                                          \
		__type(key, __u32);                                                              \
		__array(values, struct name##_map);                                              \
	} tuna_##name SEC(".maps");                                                              \
	struct model_##name *name##_layout; /* for user space to check */                        \
                                                                                                 \
	__noinline int decide_##name(__u32 place, __u64 version)                                 \
	{                                                                                        \
		struct model_scratch *scratch = scratch_of(place);                               \
		void *map = bpf_map_lookup_elem(&tuna_##name, &place);                           \
		__u32 zero = 0;                                                                  \
		const struct model_##name *table = map ? bpf_map_lookup_elem(map, &zero) : NULL; \
                                                                                                 \
		if (!scratch || !table || (version && table->head.version != version))           \
			return 1;                                                                \
		quantise(&table->head, scratch->values.values, scratch->bins);                   \
		run;                                                                             \
		return 0;                                                                        \
	}
#define RUN(name) run_##name(table, scratch->bins, &scratch->decision, NULL)
FAMILY(linear, RUN(linear))
FAMILY(trees, RUN(trees))
FAMILY(oblivious, RUN(oblivious))
FAMILY(mlp, run_mlp_in(table, scratch->bins, scratch->units, &scratch->decision, NULL))
FAMILY(step, RUN(step))

static __always_inline int decide_by(__u32 family, __u32 place, __u64 version)
{
	switch (family) {
	case TUNA_LINEAR:
		return decide_linear(place, version);
	case TUNA_TREES:
		return decide_trees(place, version);
	case TUNA_OBLIVIOUS:
		return decide_oblivious(place, version);
	case TUNA_MLP:
		return decide_mlp(place, version);
	case TUNA_STEP:
		return decide_step(place, version);
	default:
		return 1;
	}
}

/* A row through the very code that decides: user space compares what it gives. */
SEC("syscall")
int tuna_check(struct tuna_check *row)
{
	struct model_scratch *scratch = scratch_of(TUNA_CANDIDATE);
	int error;

	if (!scratch)
		return 1;
	UNROLLED for (int i = 0; i < MODEL_INPUTS; i++) scratch->values.values[i] = row->values[i];
	error = decide_by(row->family, TUNA_CANDIDATE, 0);
	UNROLLED for (int i = 0; i < MODEL_INPUTS; i++) row->bins[i] = scratch->bins[i];
	UNROLLED for (int i = 0; i < MODEL_LOGITS; i++) row->logits[i] = scratch->decision.logits[i];
	return error;
}

#endif
