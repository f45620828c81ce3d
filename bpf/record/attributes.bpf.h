/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tasks ask of the scheduler: nice value, policy, slice, CPUs, their group; when they are born, and when that
 * changes.
 *
 * Every change goes through one of a few functions, whose ends are seen (fexit). Where nobody may attach to
 * functions, system calls are looked at instead: what a task changed of itself is told at once, and that
 * something was changed is counted, for the reader to look at all tasks. Nothing is done per switch. Records
 * that repeat what is known are left to the reader.
 */
#ifndef ATTRIBUTES_BPF_H
#define ATTRIBUTES_BPF_H

#include "compat.bpf.h"
#include "filter.bpf.h"
#include "groups.bpf.h"
#include "task_attributes.h"

#define MOST_CPU_WORDS 128 /* CONFIG_NR_CPUS is at most 8192 */

struct attributes_record {
	struct task_attributes task;
	__u64 cpus[MOST_CPU_WORDS]; /* nr_cpu_words are written */
};

const volatile __u32 nr_cpu_words = 1; /* that hold a bit for each CPU there may be */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 21);
} attributes SEC(".maps");

__u64 nr_attributes_lost = 0;
__u64 nr_change_calls = 0;
struct attributes_record found; /* of the iterator, which runs once at a time */

#define ATTRIBUTES_BYTES (sizeof(struct task_attributes) + nr_cpu_words * sizeof(__u64))

static __always_inline void fill_attributes(struct attributes_record *record, struct task_struct *task, __u8 reason)
{
	record->task = (struct task_attributes){
		.timestamp_ns = bpf_ktime_get_ns(),
		.start_time_ns = task->start_time,
		.slice_ns = task_custom_slice_ns(task),
		.tid = task->pid,
		.weight = task->se.load.weight >> 10, /* scale_load_down() */
		.nice = task->static_prio - 120,
		.policy = task->policy,
		.reason = reason,
		.group_id = group_id(task_group_of(task)),
	};
	tell_groups(task);
	bpf_probe_read_kernel(record->cpus, nr_cpu_words * sizeof(__u64), &task->cpus_mask);
}

static __always_inline void emit_attributes(struct task_struct *task, __u8 reason)
{
	struct attributes_record *record;

	if (!task_wanted(task))
		return;
	record = bpf_ringbuf_reserve(&attributes, ATTRIBUTES_BYTES, 0);
	if (!record) {
		__sync_fetch_and_add(&nr_attributes_lost, 1);
		return;
	}
	fill_attributes(record, task, reason);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

SEC("fexit/set_user_nice")
int BPF_PROG(after_nice, struct task_struct *task)
{
	emit_attributes(task, ATTRIBUTE_CHANGED);
	return 0;
}

SEC("fexit/__sched_setscheduler")
int BPF_PROG(after_setscheduler, struct task_struct *task)
{
	emit_attributes(task, ATTRIBUTE_CHANGED);
	return 0;
}

/* Under the runqueue's lock. */
SEC("fexit/set_cpus_allowed_common")
int BPF_PROG(after_affinity, struct task_struct *task)
{
	emit_attributes(task, ATTRIBUTE_CHANGED);
	return 0;
}

/* Into another control group, or a session of its own. */
SEC("fexit/sched_move_task")
int BPF_PROG(after_move, struct task_struct *task)
{
	if (!(task->flags & PF_EXITING)) /* each leaves its session's group when it exits */
		emit_attributes(task, ATTRIBUTE_CHANGED);
	return 0;
}

SEC("fexit/sched_group_set_shares")
int BPF_PROG(after_shares, struct task_group *group)
{
	tell_group(group, BPF_CORE_READ(group, parent));
	return 0;
}

static __always_inline int after_call(void)
{
	emit_attributes(bpf_get_current_task_btf(), ATTRIBUTE_CHANGED);
	__sync_fetch_and_add(&nr_change_calls, 1);
	return 0;
}

SEC("tp/syscalls/sys_exit_setpriority")
int after_setpriority_call(void *ctx)
{
	return after_call();
}

SEC("tp/syscalls/sys_exit_sched_setscheduler")
int after_setscheduler_call(void *ctx)
{
	return after_call();
}

SEC("tp/syscalls/sys_exit_sched_setattr")
int after_setattr_call(void *ctx)
{
	return after_call();
}

SEC("tp/syscalls/sys_exit_sched_setaffinity")
int after_setaffinity_call(void *ctx)
{
	return after_call();
}

SEC("tp/syscalls/sys_exit_setsid")
int after_setsid_call(void *ctx)
{
	return after_call();
}

/* Of whom it tells, the looker finds out. */
SEC("raw_tp/cgroup_attach_task")
int after_attach_call(void *ctx)
{
	__sync_fetch_and_add(&nr_change_calls, 1);
	return 0;
}

SEC("iter/task")
int found_attributes(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (!task || !task_wanted(task))
		return 0;
	fill_attributes(&found, task, ATTRIBUTE_SNAPSHOT);
	bpf_seq_write(ctx->meta->seq, &found, ATTRIBUTES_BYTES);
	return 0;
}

#endif
