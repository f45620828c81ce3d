/* SPDX-License-Identifier: GPL-2.0 */
/* What is known of a task: why it leaves its CPU, and its row of the task table. */
#ifndef TASK_BPF_H
#define TASK_BPF_H

#include "compat.bpf.h"
#include "task_stats.h"

static __always_inline __u8 prev_state_class(bool preempt, struct task_struct *prev, __u32 state)
{
	if (preempt || !state)
		return task_throttled(prev) ? PREV_THROTTLED : preempt ? PREV_PREEMPTED : PREV_RUNNABLE;
	if (state & (TASK_DEAD | TASK_EXITED))
		return PREV_DEAD;
	if (state & TASK_STOPPED_OR_TRACED)
		return PREV_STOPPED;
	if (state & (TASK_NOLOAD | TASK_PARKED))
		return PREV_IDLE;
	if (BPF_CORE_READ_BITFIELD(prev, in_iowait))
		return PREV_IO;
	return state & TASK_UNINTERRUPTIBLE ? PREV_BLOCKED : PREV_SLEEPING;
}

/* What is behind the name is 0, not what was there before: names are compared as a whole. */
static __always_inline void read_comm(struct task_row *row, const char *comm)
{
	__builtin_memset(row->comm, 0, sizeof(row->comm));
	bpf_probe_read_kernel_str(row->comm, sizeof(row->comm), comm);
}

static __always_inline void fill_task_row(struct task_row *row, struct task_struct *task, __u64 timestamp_ns,
					  __u8 reason)
{
	row->timestamp_ns = timestamp_ns;
	row->start_time_ns = task->start_time;
	row->cgroup_id = task_cgroup_id(task);
	row->cpu_time_ns = task->se.sum_exec_runtime;
	row->schedstat_run_delay_ns = bpf_core_field_exists(task->sched_info) ? task->sched_info.run_delay : 0;
	row->nr_voluntary_switches = task->nvcsw;
	row->nr_involuntary_switches = task->nivcsw;
	row->tid = task->pid;
	row->tgid = task->tgid;
	row->ppid = BPF_CORE_READ(task, real_parent, tgid);
	row->weight = task->se.load.weight >> 10; /* scale_load_down() */
	row->slice_ns = task_slice_ns(task);
	row->prio = task->prio;
	row->static_prio = task->static_prio;
	row->policy = task->policy;
	row->reason = reason;
	row->cpu = task_cpu(task);
	row->flags = task->flags;
	row->other_tid = 0;
	read_comm(row, task->comm);
}

#endif
