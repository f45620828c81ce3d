/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Programs that run a model on rows that user space gives: to check a model on this kernel before it acts, and
 * to measure it. Run by bpf_prog_test_run with a repeat: each run takes the next row.
 *
 * Before this is included: model_table and model_run, the class's.
 */
#ifndef MODEL_PROGRAMS_BPF_H
#define MODEL_PROGRAMS_BPF_H

#include "models.bpf.h"
#include "words.bpf.h"

#define PAGE_BYTES 4096
#define LINE_WORDS 8 /* of a cache line */
#define OK 2	     /* XDP_PASS */

struct xdp_md;

__u32 next_row;
__u32 last_row;	      /* number of rows - 1, which is a power of two */
__u32 nr_other_pages; /* that are read between two decisions */
__u32 nr_undecided;   /* runs that found no model or no row */
__u64 other_sum;

/* Have BTF describe it, for user space to check. */
struct model_table *table_layout;

/* Arrays are as long as user space needs; it maps all but the counters into its memory. */
#define ROWS(map_name, map_type, value_type)                                            \
	struct {                                                                        \
		__uint(type, map_type);                                                 \
		__uint(map_flags, map_type == BPF_MAP_TYPE_ARRAY ? BPF_F_MMAPABLE : 0); \
		__uint(max_entries, 1);                                                 \
		__type(key, __u32);                                                     \
		__type(value, value_type);                                              \
	} map_name SEC(".maps")

struct other_page {
	__u64 words[PAGE_BYTES / 8];
};

ROWS(rows, BPF_MAP_TYPE_ARRAY, struct model_values);
ROWS(decisions, BPF_MAP_TYPE_ARRAY, struct model_decision);
ROWS(traces, BPF_MAP_TYPE_ARRAY, struct model_trace);
ROWS(times_ns, BPF_MAP_TYPE_ARRAY, __u64);
ROWS(others, BPF_MAP_TYPE_ARRAY, struct other_page);
ROWS(counters, BPF_MAP_TYPE_HASH, struct model_values);

static __always_inline __u32 take_row(void)
{
	return next_row++ & last_row;
}

static __always_inline int undecided(void)
{
	nr_undecided++;
	return OK;
}

/* What the others do besides deciding. */
SEC("xdp")
int base(struct xdp_md *ctx)
{
	__u32 row = take_row();
	const struct model_values *given = bpf_map_lookup_elem(&rows, &row);
	struct model_decision *decision = bpf_map_lookup_elem(&decisions, &row);

	if (!given || !decision)
		return undecided();
	decision->logits[0] = given->values[0];
	return OK;
}

/* From bins. */
SEC("xdp")
int decide_bins(struct xdp_md *ctx)
{
	__u32 row = take_row();
	const struct model_values *given = bpf_map_lookup_elem(&rows, &row);
	struct model_decision *decision = bpf_map_lookup_elem(&decisions, &row);
	const struct model_table *table = current_model();

	if (!given || !decision || !table)
		return undecided();
	model_run(table, (const __u64 *)given->values, decision, NULL);
	return OK;
}

static __always_inline int decide_from(const struct model_values *given, __u32 row)
{
	struct model_decision *decision = bpf_map_lookup_elem(&decisions, &row);
	const struct model_table *table = current_model();
	__u64 bins[MODEL_INPUTS];

	if (!given || !decision || !table)
		return undecided();
	quantise(&table->head, given->values, bins);
	model_run(table, bins, decision, NULL);
	return OK;
}

/* From values. */
SEC("xdp")
int decide(struct xdp_md *ctx)
{
	__u32 row = take_row();

	return decide_from(bpf_map_lookup_elem(&rows, &row), row);
}

/* From counters that are found by a key, as a scheduler finds a task's. */
SEC("xdp")
int decide_key(struct xdp_md *ctx)
{
	__u32 row = take_row();

	return decide_from(bpf_map_lookup_elem(&counters, &row), row);
}

/* Tells every accumulator. */
SEC("xdp")
int explain(struct xdp_md *ctx)
{
	__u32 row = take_row();
	const struct model_values *given = bpf_map_lookup_elem(&rows, &row);
	struct model_trace *trace = bpf_map_lookup_elem(&traces, &row);
	const struct model_table *table = current_model();
	__u64 bins[MODEL_INPUTS];

	if (!given || !trace || !table)
		return undecided();
	quantise(&table->head, given->values, bins);
	UNROLLED for (int i = 0; i < MODEL_INPUTS; i++) trace->bins[i] = bins[i];
	model_run(table, bins, (struct model_decision *)trace->logits, trace);
	return OK;
}

static long read_page(__u32 page, void *context)
{
	const struct other_page *other = bpf_map_lookup_elem(&others, &page);
	__u64 sum = 0;

	if (!other)
		return 1;
	UNROLLED for (int i = 0; i < PAGE_BYTES / 8; i += LINE_WORDS) sum += *(const volatile __u64 *)&other->words[i];
	other_sum += sum;
	return 0;
}

/* How long one decision takes after other data was read, from looking the table up to the logits. */
static __always_inline int time_one(int decides)
{
	__u32 row = take_row();
	const struct model_values *given = bpf_map_lookup_elem(&rows, &row);
	__u64 *took_ns = bpf_map_lookup_elem(&times_ns, &row);
	struct model_decision decision = {};
	__u64 bins[MODEL_INPUTS], begin_ns;

	if (!given || !took_ns)
		return undecided();
	bpf_loop(nr_other_pages, read_page, NULL, 0);
	UNROLLED for (int i = 0; i < MODEL_INPUTS; i += LINE_WORDS / 2)
		* (const volatile __s64 *)&given->values[i]; /* a task's counters are warm when it is decided on */
	begin_ns = bpf_ktime_get_ns();
	if (decides) {
		const struct model_table *table = current_model();

		if (!table)
			return undecided();
		quantise(&table->head, given->values, bins);
		model_run(table, bins, &decision, NULL);
		IN_MEMORY(&decision);
	}
	*took_ns = bpf_ktime_get_ns() - begin_ns;
	return OK;
}

SEC("xdp")
int time_cold(struct xdp_md *ctx)
{
	return time_one(1);
}

SEC("xdp")
int time_nothing(struct xdp_md *ctx)
{
	return time_one(0);
}

char LICENSE[] SEC("license") = "GPL";

#endif
