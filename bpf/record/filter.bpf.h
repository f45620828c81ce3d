/* SPDX-License-Identifier: GPL-2.0 */
/* Which tasks are recorded? The constants are set before loading: what is off costs nothing. */
#ifndef FILTER_BPF_H
#define FILTER_BPF_H

#include "compat.bpf.h"

const volatile __u32 recorder_tgid = 0;	   /* is never recorded */
const volatile __u32 wanted_tgid = 0;	   /* 0: any */
const volatile __u64 wanted_cgroup_id = 0; /* 0: any; descendants are wanted, too */
const volatile __s32 wanted_cgroup_level = 0;
const volatile bool filter_comm = false;
const volatile char wanted_comm[16] = {};
const volatile __u32 sample_1_in = 1;
const volatile bool filter_tree = false; /* the processes in tree_roots and their descendants */

/* tgid -> 1. Processes forked from these are added; a number that is used again leaves. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 18);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} tree_tgids SEC(".maps");

static __always_inline bool comm_wanted(struct task_struct *task)
{
	char comm[16] = {};
	int i;

	bpf_probe_read_kernel_str(comm, sizeof(comm), task->comm);
#pragma unroll
	for (i = 0; i < 16; i++) {
		if (comm[i] != wanted_comm[i])
			return false;
		if (!comm[i])
			break;
	}
	return true;
}

/* Every task has the same chance, the threads of one process apart from each other. */
static __always_inline bool sampled(__u32 tid)
{
	return ((__u64)(tid * 2654435761u) * sample_1_in) >> 32 == 0;
}

static __always_inline bool task_wanted(struct task_struct *task)
{
	__u32 tgid = task->tgid;

	if (tgid == recorder_tgid)
		return false;
	if (wanted_tgid && tgid != wanted_tgid)
		return false;
	if (sample_1_in > 1 && (!task->pid || !sampled(task->pid)))
		return false;
	if (filter_tree && !bpf_map_lookup_elem(&tree_tgids, &tgid))
		return false;
	if (wanted_cgroup_id && !task_below_cgroup(task, wanted_cgroup_id, wanted_cgroup_level))
		return false;
	return !filter_comm || comm_wanted(task);
}

static __always_inline bool filtering(void)
{
	return wanted_tgid || wanted_cgroup_id || filter_comm || filter_tree || sample_1_in > 1;
}

static __always_inline void tree_fork(struct task_struct *parent, struct task_struct *child)
{
	__u32 parent_tgid = parent->tgid, tgid = child->tgid;
	__u8 one = 1;

	if (!filter_tree || tgid == parent_tgid)
		return;
	if (bpf_map_lookup_elem(&tree_tgids, &parent_tgid))
		bpf_map_update_elem(&tree_tgids, &tgid, &one, 0);
	else
		bpf_map_delete_elem(&tree_tgids, &tgid);
}

#endif
