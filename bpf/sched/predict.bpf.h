/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model inside: when a task is put into a queue, it says of which kind the task's burst will be, and how surely.
 * Who acts on that has a place earlier or later in order by at most a lead, and a slice to match. Run time is
 * charged as ever, and the watch serves who waits for long: a model changes order, not shares, and starves nobody.
 */
#ifndef PREDICT_BPF_H
#define PREDICT_BPF_H

#include "order.bpf.h"
#include "tables.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_ARRAY);
			__uint(max_entries, 1);
			__type(key, __u32);
			__type(value, struct tuna_model_control);
		});
} tuna_model SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tuna_model_stats);
} tuna_predicted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tuna_model_judged);
} tuna_judged SEC(".maps");

static __always_inline const struct tuna_model_control *model_control(void)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&tuna_model, &zero);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

static __always_inline struct tuna_model_judged *model_judged(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tuna_judged, &zero);
}

/* Once and for all: until user space sets another control, the scheduler itself decides. */
static __always_inline void give_up(struct tuna_model_judged *judged, __u64 version, __u64 reason)
{
	judged->at_ns = bpf_ktime_get_ns();
	judged->reason = reason;
	__sync_lock_test_and_set(&judged->version, version);
}

static __noinline bool is_valid_control(const struct tuna_model_control *control)
{
	__u32 i;

	bpf_for(i, 0, MODEL_INPUTS)
	{
		if (control->features[i] >= TUNA_NR_FEATURES)
			return false;
	}
	bpf_for(i, 0, TUNA_MOST_LABELS)
	{
		if (control->labels[i] >= TUNA_NR_KINDS)
			return false;
	}
	return control->mode < TUNA_NR_MODES && control->family < TUNA_NR_FAMILIES && control->period
	       && !(control->period & (control->period - 1)) && control->nr_inputs && control->nr_inputs <= MODEL_INPUTS
	       && control->nr_logits && control->nr_logits <= MODEL_LOGITS && control->logit_one
	       && control->lead_us <= TUNA_LEAD_US_MAX && control->pick && control->pick <= TUNA_MOST_PICKS;
}

/* This CPU's counters of a control; NULL: it is off, or given up. */
static __always_inline struct tuna_model_stats *stats_in_force(const struct tuna_model_control *control)
{
	struct tuna_model_judged *judged = model_judged();
	struct tuna_model_stats *stats;
	__u32 zero = 0;

	if (!control->version || !control->mode || !judged || judged->version == control->version)
		return NULL;
	stats = bpf_map_lookup_elem(&tuna_predicted, &zero);
	if (!stats)
		return NULL;
	if (stats->version != control->version) {
		if (!is_valid_control(control)) {
			give_up(judged, control->version, TUNA_MODEL_INVALID);
			return NULL;
		}
		__builtin_memset(stats, 0, sizeof(*stats));
		stats->version = control->version;
	}
	return stats;
}

static __always_inline __u8 kind_of_burst(const struct tuna_params *now, __u64 burst_ns)
{
	if (burst_ns < interactive_burst_ns)
		return TUNA_KIND_INTERACTIVE;
	return burst_ns < now->slice_us * NSEC_PER_USEC ? TUNA_KIND_NORMAL : TUNA_KIND_BATCH;
}

/* Are two the same, in the words that a model has? */
static __always_inline bool is_same_kind(const struct tuna_model_control *control, __u8 one, __u8 other)
{
	bool is_coarse = control->labels[0] != TUNA_KIND_NORMAL && control->labels[1] != TUNA_KIND_NORMAL
			 && control->labels[2] != TUNA_KIND_NORMAL && control->labels[3] != TUNA_KIND_NORMAL;

	if (is_coarse)
		return (one == TUNA_KIND_INTERACTIVE) == (other == TUNA_KIND_INTERACTIVE);
	return one == other;
}

struct task_features {
	__s64 values[TUNA_NR_FEATURES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct task_features);
} task_features SEC(".maps");

/* What a task looks like as it is put into the queue of an LLC. */
static __always_inline void gather(__s64 *values, struct task_struct *p, struct task_ctx *tctx, struct llc_ctx *llcc,
				   __u32 llc, bool was_woken)
{
	__u64 total = p->se.sum_exec_runtime;

	values[TUNA_NICE] = (__s64)p->static_prio - 120;
	values[TUNA_BURST_NS] = tctx->last_burst_ns;
	values[TUNA_MEAN_BURST_NS] = tctx->burst_ns;
	values[TUNA_ATTAINED_NS] = total - tctx->slept_at_ns;
	values[TUNA_CPU_TIME_NS] = total;
	values[TUNA_SLEEP_NS] = tctx->slept_ns;
	values[TUNA_WAKEUPS_PER_S] = tctx->wakeup_interval_ns ? 1000 * NSEC_PER_MSEC / tctx->wakeup_interval_ns : 0;
	values[TUNA_MEAN_DELAY_NS] = tctx->mean_delay_ns;
	values[TUNA_WEIGHT] = p->scx.weight;
	values[TUNA_NR_CPUS] = nr_cpu_ids;
	values[TUNA_LLC_NR_WAITING] = scx_bpf_dsq_nr_queued(LLC_QUEUE(llc));
	values[TUNA_LLC_BUSY_PERMILLE] = llcc->util * 1000 / TUNA_ONE;
	values[TUNA_WAS_WOKEN] = was_woken;
}

/* The model's inputs, of the features; false: one is outside of the range. */
static __noinline bool choose_inputs(const struct tuna_model_control *control, const __s64 *values,
				     struct model_scratch *scratch)
{
	__u32 i;

	bpf_for(i, 0, MODEL_INPUTS)
	{
		__s64 value;

		if (i >= control->nr_inputs)
			break;
		value = values[control->features[i] & (TUNA_NR_FEATURES - 1)];
		if (value < control->lo[i] || value > control->hi[i])
			return false;
		scratch->values.values[i] = value;
	}
	return true;
}

struct verdict {
	__u8 kind;
	__s64 grade; /* TUNA_MODEL_ONE: a whole lead earlier; negative: later */
};

/* One logit is as sure as it is large; of several, the largest is. */
static __always_inline struct verdict read_decision(const struct tuna_model_control *control,
						    const struct model_decision *decision)
{
	struct verdict found = {};
	__s64 logit = decision->logits[0];
	__u64 size;

	if (control->nr_logits == 1) {
		found.kind = control->labels[logit > 0];
		size = (logit < 0 ? -logit : logit) * TUNA_MODEL_ONE / control->logit_one;
		if (size > TUNA_MODEL_ONE)
			size = TUNA_MODEL_ONE;
	} else {
		found.kind = control->labels[0];
		UNROLLED for (__u32 k = 1; k < MODEL_LOGITS; k++)
		{
			if (k < control->nr_logits && decision->logits[k] > logit) {
				logit = decision->logits[k];
				found.kind = control->labels[k];
			}
		}
		size = TUNA_MODEL_ONE;
	}
	if (found.kind == TUNA_KIND_INTERACTIVE)
		found.grade = size;
	else if (found.kind == TUNA_KIND_BATCH)
		found.grade = -(__s64)size;
	return found;
}

static __always_inline void count_verdict(const struct tuna_model_control *control, struct tuna_model_stats *stats,
					  struct task_ctx *tctx, const struct verdict *found, __u8 expects)
{
	stats->nr_decided++;
	stats->nr_agreed += is_same_kind(control, found->kind, expects);
	stats->nr_batch += found->kind == TUNA_KIND_BATCH;
	stats->nr_normal += found->kind == TUNA_KIND_NORMAL;
	stats->nr_interactive += found->kind == TUNA_KIND_INTERACTIVE;
	tctx->predicted = found->kind;
	tctx->expected = expects;
	tctx->predicted_under = control->version;
}

/* Decides, and counts the time of one decision of sixteen; nonzero: there is no such table. */
static __always_inline int decide_timed(const struct tuna_model_control *control, struct tuna_model_stats *stats)
{
	bool timed = !(stats->nr_decided & 15);
	__u64 began_ns = timed ? bpf_ktime_get_ns() : 0, took_ns;
	int error = decide_by(control->family, TUNA_IN_FORCE, control->model_version);

	if (!timed || error)
		return error;
	took_ns = bpf_ktime_get_ns() - began_ns;
	stats->nr_timed++;
	stats->timed_ns += took_ns;
	stats->nr_over_budget += control->budget_ns && took_ns > control->budget_ns;
	return 0;
}

/* Asks the model about a task that waits, or is about to, in the queue of an LLC; false: it has nothing to say. */
static __always_inline bool ask_model(const struct tuna_model_control *control, struct tuna_model_stats *stats,
				      const struct tuna_params *now, struct task_struct *p, struct task_ctx *tctx,
				      struct llc_ctx *llcc, __u32 llc, struct verdict *found)
{
	struct model_scratch *scratch = scratch_of(TUNA_IN_FORCE);
	struct task_features *features;
	__u32 zero = 0;

	features = bpf_map_lookup_elem(&task_features, &zero);
	if (!scratch || !features)
		return false;
	gather(features->values, p, tctx, llcc, llc, tctx->was_woken);
	if (!choose_inputs(control, features->values, scratch)) {
		stats->nr_out_of_range++;
		return false;
	}
	if (decide_timed(control, stats)) {
		stats->nr_no_table++;
		return false;
	}
	*found = read_decision(control, &scratch->decision);
	count_verdict(control, stats, tctx, found, kind_of_burst(now, tctx->burst_ns));
	return true;
}

/* How much earlier in order a task stands by a verdict, in vtime; negative: later. */
static __always_inline __s64 lead_of(const struct tuna_model_control *control, const struct tuna_params *now,
				     struct task_struct *p, struct task_ctx *tctx, const struct verdict *found)
{
	__u64 lead = (found->grade < 0 ? -found->grade : found->grade) * control->lead_us * NSEC_PER_USEC
		     / TUNA_MODEL_ONE;

	lead = lead * WEIGHT_DFL / task_weight(now, p, tctx);
	return found->grade < 0 ? -(__s64)lead : (__s64)lead;
}

/* A task is put into the queue of an LLC: how does it stand in order, by its lead and kind? */
static __always_inline void predict(const struct tuna_params *now, struct task_struct *p, struct task_ctx *tctx,
				    struct llc_ctx *llcc, __u32 llc)
{
	const struct tuna_model_control *control = model_control();
	struct tuna_model_stats *stats;
	struct verdict found;

	tctx->lead = 0;
	tctx->kind = TUNA_KIND_NONE;
	stats = control ? stats_in_force(control) : NULL;
	if (!stats || now->rr_sched)
		return;
	if (stats->nr_seen++ & (control->period - 1) && control->mode == TUNA_MODEL_SHADOW)
		return;
	if (control->mode == TUNA_MODEL_ACT && control->pick > 1) /* it is asked when a CPU takes one */
		return;
	if (!ask_model(control, stats, now, p, tctx, llcc, llc, &found) || control->mode != TUNA_MODEL_ACT)
		return;
	stats->nr_acted++;
	tctx->lead = lead_of(control, now, p, tctx, &found);
	tctx->kind = found.kind;
}

/* A burst ended: who was right about it? */
static __always_inline void note_outcome(const struct tuna_params *now, struct task_ctx *tctx, __u64 burst_ns)
{
	const struct tuna_model_control *control = model_control();
	struct tuna_model_stats *stats;
	__u8 predicted = tctx->predicted, was;

	tctx->predicted = TUNA_KIND_NONE;
	if (!predicted || !control || tctx->predicted_under != (__u32)control->version)
		return;
	stats = stats_in_force(control);
	if (!stats)
		return;
	was = kind_of_burst(now, burst_ns);
	stats->nr_outcomes++;
	stats->nr_right += is_same_kind(control, predicted, was);
	stats->nr_scheduler_right += is_same_kind(control, tctx->expected, was);
}

/* Sum what the model is judged by over all CPUs. */
static __always_inline void sum_measures(struct tuna_window *sums, __u64 version)
{
	__u32 zero = 0, cpu;

	bpf_for(cpu, 0, nr_cpu_ids)
	{
		struct tuna_model_stats *of_cpu = bpf_map_lookup_percpu_elem(&tuna_predicted, &zero, cpu);

		if (!of_cpu || of_cpu->version != version)
			continue;
		sums[TUNA_MEASURE_TIME].total += of_cpu->nr_timed;
		sums[TUNA_MEASURE_TIME].bad += of_cpu->nr_over_budget;
		sums[TUNA_MEASURE_RANGE].total += of_cpu->nr_decided + of_cpu->nr_out_of_range;
		sums[TUNA_MEASURE_RANGE].bad += of_cpu->nr_out_of_range;
		sums[TUNA_MEASURE_OUTCOME].total += of_cpu->nr_outcomes;
		sums[TUNA_MEASURE_OUTCOME].bad += of_cpu->nr_scheduler_right - of_cpu->nr_right;
	}
}

/* Is a window full, and too much in it bad? A full one ends here. */
static __always_inline bool is_bad(struct tuna_window *window, const struct tuna_window *sum, __u64 size,
				   __u64 most_permille)
{
	__u64 total = sum->total - window->total;
	__s64 bad = sum->bad - window->bad;

	if (total < size)
		return false;
	*window = *sum;
	return bad > 0 && bad * 1000 > (__s64)(total * most_permille);
}

/* The watch asks 20 times a second whether the model is still what it was made to be. */
static __noinline void judge_model(void)
{
	const struct tuna_model_control *control = model_control();
	struct tuna_model_judged *judged = model_judged();
	struct tuna_window sums[TUNA_NR_MEASURES] = {};
	bool slow, outside, worse;
	__u64 version;

	if (!control || !judged || !control->mode)
		return;
	version = control->version;
	if (judged->version == version)
		return;
	if (judged->windows_version != version) {
		judged->windows_version = version;
		__builtin_memset(judged->windows, 0, sizeof(judged->windows));
	}
	sum_measures(sums, version);
	slow = is_bad(&judged->windows[TUNA_MEASURE_TIME], &sums[TUNA_MEASURE_TIME], 64, 500);
	outside = is_bad(&judged->windows[TUNA_MEASURE_RANGE], &sums[TUNA_MEASURE_RANGE], 256,
			 control->most_out_permille);
	worse = is_bad(&judged->windows[TUNA_MEASURE_OUTCOME], &sums[TUNA_MEASURE_OUTCOME], 256,
		       control->worse_permille);
	if (slow && control->budget_ns)
		give_up(judged, version, TUNA_MODEL_SLOW);
	else if (outside && control->most_out_permille)
		give_up(judged, version, TUNA_MODEL_OUT_OF_RANGE);
	else if (worse && control->worse_permille)
		give_up(judged, version, TUNA_MODEL_WORSE);
}

#endif
