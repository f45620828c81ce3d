/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which processes feed a GPU? Those that have opened its device, until they end. The program hangs at the kernel's
 * function that opens character devices, where the kernel has it under that name; a loader attaches it.
 */
#ifndef DEVICES_BPF_H
#define DEVICES_BPF_H

#include "state.bpf.h"

#define MINOR_BITS 20

/* Major numbers of GPUs' devices, as user space finds them by their drivers' names: the least minor that counts. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} tuna_gpus SEC(".maps");

SEC("?fentry/chrdev_open")
int BPF_PROG(tuna_device_open, struct inode *inode, struct file *file)
{
	__u32 device = inode->i_rdev, major = device >> MINOR_BITS;
	__u32 *least = bpf_map_lookup_elem(&tuna_gpus, &major);
	struct tuna_stats *own = own_stats();
	struct task_ctx *first;

	if (!least || (device & ((1U << MINOR_BITS) - 1)) < *least)
		return 0;
	first = task_ctx(bpf_get_current_task_btf()->group_leader);
	if (first)
		first->opened_gpu = true;
	if (own) /* callbacks may come in between */
		__sync_fetch_and_add(&own->nr_gpu_opens, 1);
	return 0;
}

static __always_inline bool has_opened_gpu(struct task_struct *p)
{
	struct task_ctx *first = task_ctx(p->group_leader);

	return first && first->opened_gpu;
}

#endif
