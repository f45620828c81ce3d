/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything in which kernels differ. Fields are probed, never versions; what cannot be probed from
 * here is a constant that user space sets after looking at the kernel's BTF.
 */
#ifndef COMPAT_BPF_H
#define COMPAT_BPF_H

#include "kernel_types.h"
#include "sched_event.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/*
 * sched_switch tells the state that prev leaves in since fa2c3254d7cf ("sched/tracing: Don't re-read
 * p->state when emitting sched_switch event", 5.18); before, a wakeup on another CPU may have changed
 * it already. User space counts the arguments of btf_trace_sched_switch.
 */
const volatile bool switch_has_prev_state = false;

/* 2f064a59a11f ("sched: Change task_struct::state", 5.14) renamed the field. */
struct task_struct___before_5_14 {
	volatile long state;
} __attribute__((preserve_access_index));

static __always_inline __u32 task_state(struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return task->__state;
	return BPF_CORE_READ((struct task_struct___before_5_14 *)(void *)task, state);
}

/* bcf9033e5449 ("sched: move CPU field back into thread_info if THREAD_INFO_IN_TASK=y", 5.16). */
struct task_struct___before_5_16 {
	unsigned int cpu;
} __attribute__((preserve_access_index));

static __always_inline __u16 task_cpu(struct task_struct *task)
{
	if (bpf_core_field_exists(task->thread_info.cpu))
		return task->thread_info.cpu;
	return BPF_CORE_READ((struct task_struct___before_5_16 *)(void *)task, cpu);
}

/* Without CONFIG_SMP there was no field, and while this runs no other task did. */
static __always_inline bool task_on_cpu(struct task_struct *task)
{
	return bpf_core_field_exists(task->on_cpu) && task->on_cpu;
}

/*
 * e1fad12dcb66 ("sched/fair: Switch to task based throttle model", 6.18): the task itself is marked.
 * Before, all tasks of the throttled hierarchy stay queued where they do not run.
 */
static __always_inline bool task_throttled(struct task_struct *task)
{
	struct cfs_rq *cfs_rq = task->se.cfs_rq;

	if (bpf_core_field_exists(task->throttled))
		return task->throttled;
	if (!bpf_core_field_exists(cfs_rq->throttle_count))
		return false;
	return cfs_rq && cfs_rq->throttle_count > 0;
}

/*
 * The clock of the runqueue that a task is on, which the kernel's own accounting uses; fresh at a
 * context switch. cfs_rq->rq needs CONFIG_FAIR_GROUP_SCHED; user space checks that it is there.
 */
static __always_inline __u64 rq_clock(struct task_struct *task)
{
	return task->se.cfs_rq->rq->clock;
}

/* 147f3efaa241 ("sched/fair: Implement an EEVDF-like scheduling policy", 6.6). */
static __always_inline __u64 task_slice_ns(struct task_struct *task)
{
	return bpf_core_field_exists(task->se.slice) ? task->se.slice : 0;
}

/* 857b158dc5e8 ("sched/eevdf: Use sched_attr::sched_runtime to set request/slice suggestion", 6.12). */
static __always_inline __u64 task_custom_slice_ns(struct task_struct *task)
{
	return bpf_core_field_exists(task->se.custom_slice) && task->se.custom_slice ? task->se.slice : 0;
}

/*
 * Where the protection of the running entity's slice ends: a field since 6.17, at first in a union with
 * vlag; before, vlag took the deadline there.
 */
struct sched_entity___vprot {
	__u64 vprot;
} __attribute__((preserve_access_index));

static __always_inline __u64 entity_vprot(struct sched_entity *se)
{
	struct sched_entity___vprot *newer = (void *)se;

	if (bpf_core_field_exists(newer->vprot))
		return newer->vprot;
	return BPF_CORE_READ(se, vlag);
}

/*
 * The sums of a queue had other names before "sched/fair: Rename cfs_rq::avg_load to cfs_rq::sum_weight" and
 * its neighbours, which stable releases took, too. User space checks that one of the names is there.
 */
struct cfs_rq___former {
	__s64 avg_vruntime;
	__u64 avg_load;
	__u64 min_vruntime;
} __attribute__((preserve_access_index));

static __always_inline __u64 queue_zero_vruntime(struct cfs_rq *queue)
{
	if (bpf_core_field_exists(queue->zero_vruntime))
		return queue->zero_vruntime;
	return BPF_CORE_READ((struct cfs_rq___former *)(void *)queue, min_vruntime);
}

static __always_inline __s64 queue_sum_w_vruntime(struct cfs_rq *queue)
{
	if (bpf_core_field_exists(queue->sum_w_vruntime))
		return queue->sum_w_vruntime;
	return BPF_CORE_READ((struct cfs_rq___former *)(void *)queue, avg_vruntime);
}

static __always_inline __u64 queue_sum_weight(struct cfs_rq *queue)
{
	if (bpf_core_field_exists(queue->sum_weight))
		return queue->sum_weight;
	return BPF_CORE_READ((struct cfs_rq___former *)(void *)queue, avg_load);
}

/*
 * Does the current task wake another, or an interrupt that came while it ran? An interrupt of the kernel has a
 * stack of its own (x86), one of user space runs on the task's, above registers that no system call left.
 * preempt_count would say it, but a kernel without CONFIG_KALLSYMS_ALL gives programs none.
 * `on_stack` is an address on the stack of whoever calls the tracepoint.
 */
#define STACK_BYTES (16 << 10) /* THREAD_SIZE without KASAN */

static __always_inline __u32 waking_context(void *on_stack)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 address = 0, depth;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return WAKER_UNKNOWN;
	bpf_probe_read_kernel(&address, sizeof(address), &on_stack);
	depth = address - (__u64)BPF_CORE_READ(task, stack);
	if (depth >= STACK_BYTES)
		return WAKER_INTERRUPT;
	return (__s64)((struct pt_regs *)bpf_task_pt_regs(task))->orig_ax == -1 ? WAKER_INTERRUPT : WAKER_TASK;
}

/* Where CONFIG_CGROUP_SCHED is on v1, the group that matters is the one of the cpu controller. */
const volatile bool cpu_controller_is_v1 = false;

static __always_inline struct cgroup *task_cgroup(struct task_struct *task)
{
	if (cpu_controller_is_v1 && bpf_core_enum_value_exists(enum cgroup_subsys_id, cpu_cgrp_id)) {
		int id = bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id);

		return BPF_CORE_READ(task, cgroups, subsys[id & 15], cgroup);
	}
	return BPF_CORE_READ(task, cgroups, dfl_cgrp);
}

static __always_inline __u64 task_cgroup_id(struct task_struct *task)
{
	return BPF_CORE_READ(task_cgroup(task), kn, id);
}

/* 7f203bc89eb6 ("cgroup: Replace cgroup->ancestor_ids[] with ->ancestors[]", 6.1). */
struct cgroup___before_6_1 {
	__u64 ancestor_ids[16];
} __attribute__((preserve_access_index));

/* Whether a task is in the cgroup `id`, which is `level` levels below the root, or below it. */
static __always_inline bool task_below_cgroup(struct task_struct *task, __u64 id, int level)
{
	struct cgroup *cgroup = task_cgroup(task);

	if (BPF_CORE_READ(cgroup, level) < level)
		return false;
	if (bpf_core_field_exists(cgroup->ancestors)) {
		struct cgroup *ancestor = NULL;

		bpf_core_read(&ancestor, sizeof(ancestor),
			      (void *)cgroup + bpf_core_field_offset(cgroup->ancestors) + level * 8);
		return BPF_CORE_READ(ancestor, kn, id) == id;
	} else {
		struct cgroup___before_6_1 *old = (void *)cgroup;
		__u64 ancestor_id = 0;

		bpf_core_read(&ancestor_id, sizeof(ancestor_id),
			      (void *)cgroup + bpf_core_field_offset(old->ancestor_ids) + level * 8);
		return ancestor_id == id;
	}
}

#endif
