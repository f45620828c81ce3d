/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The weights of cgroups (cpu.weight, cpu.idle), flat: a task's weight is its own, times what its group is worth, over
 * the number of the group's tasks that are runnable. What a group below another one is worth is its part of that one,
 * among the siblings that have something to run. A task of the root group stands beside whole groups, as the kernel's
 * own scheduler has it.
 */
#ifndef GROUP_BPF_H
#define GROUP_BPF_H

#include "state.bpf.h"

#define MOST_LEVELS 8
#define GROUP_UNIT 64  /* of a weight of 1 */
#define IDLE_WEIGHT 19 /* of cpu.idle: 3 of 1024, as the kernel's own scheduler has it */

struct cgroup *scx_bpf_task_cgroup(struct task_struct *p) __ksym __weak;
struct cgroup *bpf_cgroup_ancestor(struct cgroup *cgrp, int level) __ksym __weak;
void bpf_cgroup_release(struct cgroup *cgrp) __ksym __weak;

struct group_ctx {
	__u64 asked;	       /* cpu.weight */
	__u64 weight;	       /* that, or that of cpu.idle, in 1/GROUP_UNIT */
	__u64 counted;	       /* the weight that its parent counts: 0 while nothing below it is runnable */
	__u64 nr_runnable;     /* tasks in it and below it */
	__u64 nr_own;	       /* tasks in it alone */
	__u64 children_weight; /* of the groups right below it that have something to run */
	__u32 idle;	       /* cpu.idle */
	__u32 quota_slot;      /* of its cpu.max: quota.bpf.h; 0: it has none */
};

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct group_ctx);
} group_ctxs SEC(".maps");

static __always_inline struct group_ctx *group_ctx(struct cgroup *cgrp)
{
	return bpf_cgrp_storage_get(&group_ctxs, cgrp, NULL, 0);
}

/* A group has something to run, or nothing any more: its parent counts its weight accordingly. */
static __always_inline void count_weight(struct group_ctx *group, struct group_ctx *parent, __u64 weight)
{
	__u64 former = __sync_lock_test_and_set(&group->counted, weight);

	__sync_fetch_and_add(&parent->children_weight, weight - former);
}

/* A group's weight or cpu.idle was set. */
static __noinline void reweigh(struct cgroup *cgrp, struct group_ctx *group)
{
	struct group_ctx *parent;
	struct cgroup *above;

	group->weight = group->idle ? IDLE_WEIGHT : group->asked * GROUP_UNIT;
	above = group->counted && cgrp->level > 0 ? bpf_cgroup_ancestor(cgrp, cgrp->level - 1) : NULL;
	if (!above)
		return;
	parent = group_ctx(above);
	if (parent)
		count_weight(group, parent, group->weight);
	bpf_cgroup_release(above);
}

/* A task becomes runnable (1) or not (-1). */
static __always_inline void count_in_groups(struct task_struct *p, __s64 change)
{
	struct cgroup *cgrp, *above;
	struct group_ctx *group, *parent;
	int level;

	if (!bpf_ksym_exists(scx_bpf_task_cgroup))
		return;
	cgrp = scx_bpf_task_cgroup(p);
	group = group_ctx(cgrp);
	if (group)
		__sync_fetch_and_add(&group->nr_own, change);
	bpf_for(level, 0, MOST_LEVELS)
	{
		__u64 before_it;

		if (!group || cgrp->level - level < 1)
			break;
		before_it = __sync_fetch_and_add(&group->nr_runnable, change);
		above = bpf_cgroup_ancestor(cgrp, cgrp->level - level - 1);
		if (!above)
			break;
		parent = group_ctx(above);
		bpf_cgroup_release(above);
		if (parent && before_it + change == 0)
			count_weight(group, parent, 0);
		else if (parent && before_it == 0)
			count_weight(group, parent, group->weight);
		group = parent;
	}
	bpf_cgroup_release(cgrp);
}

/* What each runnable task of a group is worth, in 1/GROUP_ONE of a task of the root group of its weight. */
#define GROUP_ONE (100 * GROUP_UNIT)

static __always_inline __u64 worth_of_task(struct task_struct *p)
{
	struct cgroup *cgrp, *above;
	struct group_ctx *group, *parent;
	__u64 worth = 0, nr_own;
	int level;

	if (!bpf_ksym_exists(scx_bpf_task_cgroup))
		return GROUP_ONE;
	cgrp = scx_bpf_task_cgroup(p);
	group = group_ctx(cgrp);
	if (!group || cgrp->level < 1) {
		bpf_cgroup_release(cgrp);
		return GROUP_ONE;
	}
	nr_own = group->nr_own ?: 1;
	worth = group->weight;
	bpf_for(level, 1, MOST_LEVELS)
	{
		if (cgrp->level - level < 1)
			break;
		above = bpf_cgroup_ancestor(cgrp, cgrp->level - level);
		if (!above)
			break;
		parent = group_ctx(above);
		bpf_cgroup_release(above);
		if (!parent)
			break;
		worth = worth * parent->weight / (parent->children_weight ?: parent->weight ?: 1);
	}
	bpf_cgroup_release(cgrp);
	return worth / nr_own ?: 1;
}

#endif
