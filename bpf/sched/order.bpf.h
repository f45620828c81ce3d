/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In which order do tasks run, and for how long? A task's vtime grows by the time that it ran, divided by its
 * weight. Its place in a queue is its vtime and what it is expected to run until it sleeps: who sleeps soon is
 * served early (its deadline, where fairness is the same). Who slept may lag behind the others by a credit, not
 * more.
 */
#ifndef ORDER_BPF_H
#define ORDER_BPF_H

#include "group.bpf.h"
#include "params.bpf.h"

#define NICE_0 100	/* the kernel's weight of nice 0 */
#define WEIGHT_DFL 6400 /* ours: finer, because many tasks may share what their group is worth */

/* 256 * log2(value), from the highest bit and a straight line between powers of two. */
static __always_inline __u32 log2_256(__u32 value)
{
	__u32 highest = 31 - __builtin_clz(value | 1);

	return (highest << 8) + (((__u64)value << 8 >> highest) - 256);
}

/*
 * A task's weight; 100 is nice 0. The kernel's go from 1 to 10,000, in which one nice level is a factor of 1.25.
 * Compressed, as 1 + log2, nice 0 has 1.7 times as much as nice 10, and nobody 15 times as much as another.
 */
static __always_inline __u64 task_weight(const struct tuna_params *now, struct task_struct *p, struct task_ctx *tctx)
{
	__u64 weight = p->scx.weight ?: 1;

#ifndef NO_NATIVE_PRIORITY
	if (!now->native_priority)
#endif
		weight = NICE_0 * (256 + log2_256(weight)) / (256 + log2_256(NICE_0));
	weight = weight * WEIGHT_DFL / NICE_0;
	if (tctx && tctx->group_worth)
		weight = weight * tctx->group_worth / GROUP_ONE;
	return weight ?: 1;
}

/* A value that decays to half with every half-life; a straight line in between. */
static __always_inline __u64 decayed(__u64 value, __u64 passed_ns, __u64 half_life_ns)
{
	__u64 halves = passed_ns / half_life_ns;

	if (halves >= 32)
		return 0;
	value >>= halves;
	return value - value * (passed_ns - halves * half_life_ns) / half_life_ns / 2;
}

/* A CPU's utilisation by our tasks until now, 0 to TUNA_ONE. */
static __always_inline __u64 cpu_util(struct cpu_ctx *cpuc, __u64 now_ns)
{
	__u64 passed_ns = before(now_ns, cpuc->util_at_ns) ? 0 : now_ns - cpuc->util_at_ns;
	__u64 half_life_ns = util_half_life_ns ?: 1;

	if (cpuc->run_since_ns)
		return TUNA_ONE - decayed(TUNA_ONE - cpuc->util, passed_ns, half_life_ns);
	return decayed(cpuc->util, passed_ns, half_life_ns);
}

static __always_inline void note_util(struct cpu_ctx *cpuc, __u64 now_ns)
{
	cpuc->util = cpu_util(cpuc, now_ns);
	cpuc->util_at_ns = now_ns;
}

static __always_inline bool is_above_threshold(const struct tuna_params *now, struct cpu_ctx *cpuc, __u64 now_ns)
{
#ifndef NO_CPU_UTIL_THRESHOLD
	return cpu_util(cpuc, now_ns) > now->cpu_util_threshold;
#else
	return false;
#endif
}

/*
 * The kernel judges slices at ticks, the first of which comes when a tick has almost passed: what is asked for is half
 * a tick short of whole ticks, so that it ends at the nearest. With timer_kick the timer ends it when it is over.
 */
static __always_inline __u64 judged_at_ticks(const struct tuna_params *now, __u64 slice)
{
	__u64 ticks = (slice + tick_ns / 2) / (tick_ns ?: 1);

#ifndef NO_TIMER_KICK
	if (now->timer_kick)
		return slice;
#endif
	return (ticks ?: 1) * tick_ns - tick_ns / 2;
}

/*
 * The slice of a task that is put into a queue now, by the kind that a model says it is of. Waiting tasks are counted
 * per CPU of the LLC.
 */
static __always_inline __u64 slice_ns(const struct tuna_params *now, struct llc_ctx *llcc, __u32 llc, __u8 kind)
{
#ifndef NO_SLICE_US
	__u64 slice = now->slice_us * NSEC_PER_USEC;
#else
	__u64 slice = 20000 * NSEC_PER_USEC;
#endif
	__u32 nr_cpus = llcc->nr_cpus ?: 1;
	__u32 nr_waiting = (scx_bpf_dsq_nr_queued(LLC_QUEUE(llc)) + nr_cpus - 1) / nr_cpus;

#ifndef NO_RR_SCHED
	if (now->rr_sched)
		return judged_at_ticks(now, slice);
#endif
#ifndef NO_SCHEDULING_POLICY
	if (now->scheduling_policy == TUNA_LATENCY)
		slice /= 2;
#endif
	if (nr_waiting > 1)
		slice /= nr_waiting;
	if (kind == TUNA_KIND_INTERACTIVE)
		slice /= 2;
	else if (kind == TUNA_KIND_BATCH && slice <= TUNA_SLICE_US_MAX * NSEC_PER_USEC / 2)
		slice *= 2;
	return judged_at_ticks(now, slice > slice_floor_ns ? slice : slice_floor_ns);
}

/* Charge a task for what it has run since it was charged last. */
static __always_inline void charge(const struct tuna_params *now, struct task_struct *p, struct task_ctx *tctx)
{
	__u64 total = p->se.sum_exec_runtime;

	tctx->vtime += (total - tctx->run_start_ns) * WEIGHT_DFL / task_weight(now, p, tctx);
	tctx->run_start_ns = total;
}

/* Make a task's vtime comparable with that of an LLC. */
static __always_inline void join_llc(struct task_ctx *tctx, struct llc_ctx *llcc, __u32 llc)
{
	struct llc_ctx *former = llc_ctx(tctx->llc);

	if (tctx->epoch != epoch)
		tctx->vtime = llcc->vtime;
	else if (tctx->llc != llc && former)
		tctx->vtime += llcc->vtime - former->vtime;
	tctx->llc = llc;
	tctx->epoch = epoch;
}

/* What a task is expected to run until it sleeps, in vtime; who does not sleep is expected to use its slice. */
static __always_inline __u64 expected(const struct tuna_params *now, struct task_ctx *tctx, __u64 weight)
{
	__u64 most = now->slice_us * NSEC_PER_USEC;

	return (tctx->burst_ns < most ? tctx->burst_ns : most) * WEIGHT_DFL / weight;
}

/* The place of a task in the queue of an LLC. */
static __always_inline __u64 queue_key(const struct tuna_params *now, struct task_struct *p, struct task_ctx *tctx,
				       struct llc_ctx *llcc, __u32 llc)
{
	__u64 weight, credit, key;

#ifndef NO_RR_SCHED
	if (now->rr_sched)
		return __sync_fetch_and_add(&llcc->last_key, 1) + 1;
#endif
	if (!tctx)
		return llcc->vtime;
	join_llc(tctx, llcc, llc);
	weight = task_weight(now, p, tctx);
	credit = slice_lag_ns * weight / WEIGHT_DFL;
#ifndef NO_SLICE_LAG_SCALING
	if (now->slice_lag_scaling)
		credit = credit * llcc->util / TUNA_ONE;
#endif
	if (before(tctx->vtime, llcc->vtime - credit)) {
		tctx->vtime = llcc->vtime - credit;
		count(nr_credits);
		count_by(credit_ns, credit);
	}
	key = tctx->vtime + expected(now, tctx, weight) - tctx->lead;
	if (before(llcc->last_key, key))
		llcc->last_key = key;
	return key;
}

/* Who runs only shortly whenever it is woken, as a model says or its history. */
static __always_inline bool is_interactive(struct task_ctx *tctx)
{
	if (tctx->kind)
		return tctx->kind == TUNA_KIND_INTERACTIVE;
	return tctx->burst_ns < interactive_burst_ns;
}

#endif
