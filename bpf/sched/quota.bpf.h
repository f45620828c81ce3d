/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cpu.max: how long the tasks of a cgroup, and of those below it, may run in each period. What a task runs is taken
 * from the quota of each group above it, at ticks and when it stops, so that a group may come into debt by a tick per
 * CPU, which the next periods pay. Tasks of a group that has nothing left wait in a queue of their own; a timer lets
 * them go when the next period has given them something. Who was held back for throttle_most_ns goes all the same, and
 * is counted: the kernel would otherwise take it for forgotten.
 */
#ifndef QUOTA_BPF_H
#define QUOTA_BPF_H

#include "order.bpf.h"

#define THROTTLED_QUEUE 0x50000ULL
#define MOST_QUOTAS 4096
#define NO_QUOTA_US (1ULL << 40) /* the kernel has ~0 for "max" */

bool scx_bpf_dsq_move_vtime(struct bpf_iter_scx_dsq *it__iter, struct task_struct *p, __u64 dsq_id, __u64 enq_flags)
	__ksym;
void scx_bpf_dsq_move_set_vtime(struct bpf_iter_scx_dsq *it__iter, __u64 vtime) __ksym;

/* A group's quota, at the place that the group's quota_slot says; 0 is nobody's. */
struct quota {
	struct bpf_spin_lock lock; /* of all that follows but `used` */
	__u32 used;
	__u64 quota_ns, period_ns, burst_ns;
	__u64 refill_at_ns; /* when the next period begins */
	__s64 left_ns;	    /* negative: in debt */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_QUOTAS);
	__type(key, __u32);
	__type(value, struct quota);
} quotas SEC(".maps");

__u32 nr_quotas;      /* groups that have one: without any nothing here costs more than a look at this */
__u32 quotas_changed; /* since the timer looked: whoever waits may be free */

static __always_inline struct quota *quota_at(__u32 slot)
{
	return slot ? bpf_map_lookup_elem(&quotas, &slot) : NULL;
}

static __noinline __u32 free_slot(void)
{
	__u32 slot;

	bpf_for(slot, 1, MOST_QUOTAS)
	{
		struct quota *quota = bpf_map_lookup_elem(&quotas, &slot);

		if (quota && !__sync_lock_test_and_set(&quota->used, 1))
			return slot;
	}
	return 0;
}

static __always_inline void drop_quota(struct group_ctx *group)
{
	struct quota *quota = quota_at(group->quota_slot);

	group->quota_slot = 0;
	if (!quota)
		return;
	quota->used = 0;
	__sync_fetch_and_add(&nr_quotas, -1);
	quotas_changed = 1;
}

static __always_inline void set_quota(struct group_ctx *group, __u64 period_us, __u64 quota_us, __u64 burst_us)
{
	__u32 slot = group->quota_slot;
	__u64 now_ns = bpf_ktime_get_ns();
	struct quota *quota;

	if (quota_us >= NO_QUOTA_US || !period_us) {
		drop_quota(group);
		return;
	}
	if (!slot) {
		slot = free_slot();
		if (!slot) {
			count(nr_no_storage);
			return;
		}
		__sync_fetch_and_add(&nr_quotas, 1);
	}
	quota = quota_at(slot);
	if (!quota)
		return;
	bpf_spin_lock(&quota->lock);
	quota->quota_ns = quota_us * NSEC_PER_USEC;
	quota->period_ns = period_us * NSEC_PER_USEC;
	quota->burst_ns = burst_us < NO_QUOTA_US ? burst_us * NSEC_PER_USEC : 0;
	quota->refill_at_ns = now_ns + quota->period_ns;
	quota->left_ns = quota->quota_ns;
	bpf_spin_unlock(&quota->lock);
	group->quota_slot = slot;
	quotas_changed = 1;
}

/* Take what was run, give what new periods bring; returns when there will be something again, 0: there is. */
static __always_inline __u64 use_quota(struct quota *quota, __u64 ran_ns, __u64 now_ns)
{
	__u64 until_ns = 0, periods;
	__s64 most;

	bpf_spin_lock(&quota->lock);
	quota->left_ns -= ran_ns;
	if (!before(now_ns, quota->refill_at_ns)) {
		periods = (now_ns - quota->refill_at_ns) / (quota->period_ns ?: 1) + 1;
		most = quota->quota_ns + quota->burst_ns;
		quota->left_ns += periods * quota->quota_ns;
		if (quota->left_ns > most)
			quota->left_ns = most;
		quota->refill_at_ns += periods * quota->period_ns;
	}
	if (quota->left_ns <= 0)
		until_ns = quota->refill_at_ns;
	bpf_spin_unlock(&quota->lock);
	return until_ns;
}

struct lack {
	__u64 until_ns;
	__u32 slot; /* of a group that has nothing left; 0: there is none */
};

/* Charge what a task has run to the groups above it; says whether one of them has nothing left. */
static __noinline void charge_quotas(struct task_struct *p, __u64 ran_ns, struct lack *lack)
{
	__u64 now_ns = bpf_ktime_get_ns();
	struct cgroup *cgrp, *above;
	struct group_ctx *group;
	int level;

	if (!bpf_ksym_exists(scx_bpf_task_cgroup))
		return;
	cgrp = scx_bpf_task_cgroup(p);
	bpf_for(level, 0, MOST_LEVELS)
	{
		struct quota *quota;
		__u64 until_ns;
		__u32 slot;

		if (cgrp->level - level < 1)
			break;
		above = bpf_cgroup_ancestor(cgrp, cgrp->level - level);
		if (!above)
			break;
		group = group_ctx(above);
		bpf_cgroup_release(above);
		slot = group ? group->quota_slot : 0;
		quota = quota_at(slot);
		if (!quota)
			continue;
		until_ns = use_quota(quota, ran_ns, now_ns);
		if (until_ns && !before(until_ns, lack->until_ns)) {
			lack->until_ns = until_ns;
			lack->slot = slot;
		}
	}
	bpf_cgroup_release(cgrp);
}

/* What it has run since it was charged last. */
static __always_inline __u64 uncharged_ns(struct task_struct *p, struct task_ctx *tctx)
{
	__u64 total = p->se.sum_exec_runtime, ran_ns = total - tctx->quota_start_ns;

	tctx->quota_start_ns = total;
	return ran_ns;
}

/* May a task run by the quotas of its groups? Who exits may: others wait for its end. */
static __always_inline bool lacks_quota(struct task_struct *p, __u64 ran_ns, struct lack *lack)
{
	if (!nr_quotas)
		return false;
	charge_quotas(p, ran_ns, lack);
	return lack->slot && !(p->flags & PF_EXITING);
}

/* A task that may not run waits here; true: it does. */
static __always_inline bool throttle(struct task_struct *p, struct task_ctx *tctx, __u64 enq_flags)
{
	struct lack lack = {};

	tctx->throttled = false;
	if (!lacks_quota(p, 0, &lack))
		return false;
	count(nr_throttled);
	tctx->throttled_by = lack.slot;
	tctx->throttled_ns = bpf_ktime_get_ns();
	insert_vtime(p, THROTTLED_QUEUE, slice_floor_ns, lack.until_ns, enq_flags);
	return true;
}

/* Let those go, in order, whose groups may run again. */
static __always_inline void release_throttled(const struct tuna_params *now)
{
	__u64 now_ns = bpf_ktime_get_ns();
	bool all = __sync_lock_test_and_set(&quotas_changed, 0);
	struct task_struct *p;

	bpf_for_each(scx_dsq, p, THROTTLED_QUEUE, 0)
	{
		struct task_ctx *tctx = task_ctx(p);
		struct cpu_ctx *cpuc = cpu_ctx(scx_bpf_task_cpu(p));
		struct llc_ctx *llcc = cpuc ? llc_ctx(cpuc->llc) : NULL;
		struct quota *quota = tctx ? quota_at(tctx->throttled_by) : NULL;
		bool late = !tctx || !before(now_ns, tctx->throttled_ns + throttle_most_ns);
		__s32 idle;

		if (!llcc)
			continue;
		if (!late && !all && before(now_ns, p->scx.dsq_vtime))
			break;
		if (!late && quota && quota->used && use_quota(quota, 0, now_ns))
			continue;
		if (tctx)
			tctx->queued_ns = scx_bpf_now();
		scx_bpf_dsq_move_set_slice(&___it, slice_ns(now, llcc, cpuc->llc, TUNA_KIND_NONE));
		scx_bpf_dsq_move_set_vtime(&___it, queue_key(now, p, tctx, llcc, cpuc->llc));
		if (!scx_bpf_dsq_move_vtime(&___it, p, LLC_QUEUE(cpuc->llc), 0))
			continue;
		if (late)
			count(nr_over_quota);
		idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
		if (idle >= 0)
			scx_bpf_kick_cpu(idle, KICK(IDLE));
	}
}

#endif
