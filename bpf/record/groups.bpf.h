/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The groups that tasks share CPU time in: each is told of when a task is first seen in it or below it, and again
 * when its shares are found changed.
 */
#ifndef GROUPS_BPF_H
#define GROUPS_BPF_H

#include "group_id.bpf.h"

#define MOST_GROUP_LEVELS 32

/* id -> shares, of those that were told. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 13); /* the others are told again and again, which readers bear */
	__type(key, __u64);
	__type(value, __u32);
} told_groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} groups SEC(".maps");

__u64 nr_groups_lost = 0;
struct sched_group *sched_group_layout; /* has BTF describe it, for user space to check */

static __always_inline void tell_group(struct task_group *group, struct task_group *parent)
{
	__u64 id = group_id(group);
	__u32 shares = BPF_CORE_READ(group, shares) >> 10; /* scale_load_down() */
	__u32 *told = bpf_map_lookup_elem(&told_groups, &id);
	struct sched_group *record;

	if (told && *told == shares)
		return;
	record = bpf_ringbuf_reserve(&groups, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(&nr_groups_lost, 1);
		return;
	}
	*record = (struct sched_group){
		.timestamp_ns = bpf_ktime_get_ns(),
		.id = id,
		.parent_id = group_id(parent),
		.shares = shares,
	};
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	bpf_map_update_elem(&told_groups, &id, &shares, 0);
}

static __always_inline void tell_groups(struct task_struct *task)
{
	struct task_group *group = task_group_of(task), *parent;
	int level;

	for (level = 0; level < MOST_GROUP_LEVELS && group; level++) {
		parent = BPF_CORE_READ(group, parent);
		tell_group(group, parent);
		group = parent;
	}
}

#endif
