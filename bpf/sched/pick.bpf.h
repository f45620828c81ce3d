/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pick=K: the model is asked when a CPU takes a task, about the first K in order, and not when they are queued. What it
 * sees is as of now, such as how many wait and how long a task has run of late; it pays with K decisions for one task.
 */
#ifndef PICK_BPF_H
#define PICK_BPF_H

#include "predict.bpf.h"

/*
 * What stands first by order and lead, as far as it was looked. On the stack it would be too much for kernels before
 * 7.0: the frames of a callback, of these functions and of an executor have 512 bytes together.
 */
struct best {
	__u64 key;
	__s32 tid;	      /* 0: nobody yet */
	__u32 left;	      /* so many are still to be looked at */
	bool is_first;	      /* nobody who may run here stands before it */
	struct verdict found; /* of whoever is compared */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct best);
} tuna_best SEC(".maps");

static __always_inline struct best *best_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tuna_best, &zero);
}

/* Compare a task with the best so far; false: enough were compared. */
static __noinline bool compare(const struct tuna_params *now, struct task_struct *p, __s32 cpu, __u32 llc)
{
	const struct tuna_model_control *control = model_control();
	struct tuna_model_stats *stats = control ? stats_in_force(control) : NULL;
	struct llc_ctx *llcc = llc_ctx(llc);
	struct task_ctx *tctx = task_ctx(p);
	struct best *best = best_of_cpu();
	__u64 key = p->scx.dsq_vtime;

	if (!stats || !llcc || !best || !best->left)
		return false;
	best->left--;
	if (!may_run_on(p, cpu))
		return true;
	stats->nr_walked++;
	if (tctx && ask_model(control, stats, now, p, tctx, llcc, llc, &best->found)) {
		key -= lead_of(control, now, p, tctx, &best->found);
		tctx->kind = best->found.kind;
	}
	if (best->tid && !before(key, best->key))
		return true;
	best->is_first = !best->tid;
	best->tid = p->pid;
	best->key = key;
	return true;
}

/* Compare the first few; returns the best one's number, or 0: nobody, or whoever is first in order anyway. */
static __noinline __s32 best_of_first(const struct tuna_params *now, __s32 cpu, __u32 llc)
{
	const struct tuna_model_control *control = model_control();
	struct tuna_model_stats *stats = control ? stats_in_force(control) : NULL;
	struct best *best = best_of_cpu();
	struct task_struct *p;

	if (!stats || !best || control->mode != TUNA_MODEL_ACT || control->pick < 2 || now->rr_sched
	    || scx_bpf_dsq_nr_queued(LLC_QUEUE(llc)) < 2)
		return 0;
	stats->nr_picks++;
	best->tid = 0;
	best->left = control->pick;
	bpf_for_each(scx_dsq, p, LLC_QUEUE(llc), 0)
	{
		if (!compare(now, p, cpu, llc))
			break;
	}
	best = best_of_cpu();
	return best && !best->is_first ? best->tid : 0;
}

/* Take a task of the first few in the queue of an LLC by its number. */
static __noinline bool take(const struct tuna_params *now, __s32 cpu, __u32 llc, __s32 tid)
{
	const struct tuna_model_control *control = model_control();
	struct tuna_model_stats *stats = control ? stats_in_force(control) : NULL;
	__u32 left = TUNA_MOST_PICKS;
	struct task_struct *p;

	bpf_for_each(scx_dsq, p, LLC_QUEUE(llc), 0)
	{
		struct llc_ctx *llcc = llc_ctx(llc);
		struct task_ctx *tctx = task_ctx(p);

		if (!left)
			break;
		left--;
		if (p->pid != tid)
			continue;
		if (llcc && tctx)
			scx_bpf_dsq_move_set_slice(&___it, slice_ns(now, llcc, llc, tctx->kind));
		if (!scx_bpf_dsq_move(&___it, p, DSQ_LOCAL_ON(cpu), 0))
			return false;
		if (stats) {
			stats->nr_picked++;
			stats->nr_acted++;
		}
		return true;
	}
	return false;
}

static __always_inline bool take_best(const struct tuna_params *now, __s32 cpu, __u32 llc)
{
	__s32 tid = best_of_first(now, cpu, llc);

	return tid && take(now, cpu, llc, tid);
}

#endif
