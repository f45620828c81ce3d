// SPDX-License-Identifier: GPL-2.0
/*
 * What did each task of a process tree have when it ended, and for how much CPU time had it run?
 *
 * Nothing runs while the tasks do: one program per exit, and a short one per fork. An attribute counts
 * for all of a task's CPU time as it was at the end, so a change for a part of its life is not seen.
 */
#include "compat.bpf.h"
#include "task_ends.h"

#define MAX_DEPTH 128 /* of a process below the root */
#define MAX_LEVELS 32 /* of a control group */
#define LONGEST_TICK_NS 10000000

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ends_wanted);
} wanted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct task_end);
	__type(value, struct task_ends);
} ends SEC(".maps");

/* Of each CPU: how far CLOCK_MONOTONIC is ahead of its runqueue's clock of tasks. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* number of CPUs */
	__type(key, __u32);
	__type(value, __u64);
} ahead SEC(".maps");

const volatile __u32 mask_bytes = 8; /* of a CPU mask: the kernel leaves bits of CPUs that can't be undefined */

__u64 lost_ns = 0; /* CPU time of tasks that found no room */

static __always_inline bool descends(struct task_struct *task, __u32 root_tgid)
{
	struct task_struct *parent = task;
	int i;

	for (i = 0; i < MAX_DEPTH; i++) {
		parent = parent->real_parent;
		if (!parent || parent->pid <= 1)
			return false;
		if ((__u32)parent->tgid == root_tgid)
			return true;
	}
	return false;
}

static __always_inline bool inside(struct task_struct *task, int subsystem, __u64 group)
{
	struct cgroup_subsys_state *css;
	int i;

	if (!group)
		return false;
	css = BPF_CORE_READ(task, cgroups, subsys[subsystem & 15]);
	for (i = 0; i < MAX_LEVELS && css; i++) {
		if (BPF_CORE_READ(css, cgroup, kn, id) == group)
			return true;
		css = BPF_CORE_READ(css, parent);
	}
	return false;
}

/* The kernel's own sum lacks what came after the last tick: all of it, of a task that saw none. */
static __always_inline __u64 cpu_time_ns(struct task_struct *task)
{
	__u32 cpu = bpf_get_smp_processor_id();
	__u64 *offset_ns = bpf_map_lookup_elem(&ahead, &cpu);
	__s64 rest_ns = 0;

	if (offset_ns && *offset_ns)
		rest_ns = bpf_ktime_get_ns() - *offset_ns - task->se.exec_start;
	if (rest_ns < 0)
		rest_ns = 0;
	if (rest_ns > LONGEST_TICK_NS)
		rest_ns = LONGEST_TICK_NS;
	return task->se.sum_exec_runtime + rest_ns + 1;
}

static __always_inline void read_mask(struct task_end *end, struct task_struct *task)
{
	__u32 size = mask_bytes;

	if (size > bpf_core_field_size(task->cpus_mask))
		size = bpf_core_field_size(task->cpus_mask);
	bpf_probe_read_kernel(end->cpus, size < MASK_BYTES ? size : MASK_BYTES, &task->cpus_mask);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct task_end end = {};
	struct task_ends *found, fresh = {};
	struct ends_wanted *want;
	__u32 zero = 0;

	want = bpf_map_lookup_elem(&wanted, &zero);
	if (!want || !want->root_tgid || !descends(task, want->root_tgid))
		return 0;
	end.root_tgid = want->root_tgid;
	end.policy = task->policy;
	end.nice = task->static_prio - 120;
	end.slice_ns = task_slice_ns(task);
	end.timer_slack_ns = task->timer_slack_ns;
	if (bpf_core_field_exists(task->signal->autogroup)) {
		end.has_autogroup = 1;
		end.autogroup_nice = BPF_CORE_READ(task, signal, autogroup, nice);
	}
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, cpu_cgrp_id))
		end.in_cpu_group = inside(task, bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id),
					  want->cpu_group);
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, cpuset_cgrp_id))
		end.in_cpuset_group = inside(task, bpf_core_enum_value(enum cgroup_subsys_id, cpuset_cgrp_id),
					     want->cpuset_group);
	bpf_probe_read_kernel_str(end.comm, sizeof(end.comm), task->comm);
	read_mask(&end, task);
	fresh.cpu_time_ns = cpu_time_ns(task);
	fresh.nr_tasks = 1;
	found = bpf_map_lookup_elem(&ends, &end);
	if (!found && !bpf_map_update_elem(&ends, &end, &fresh, BPF_NOEXIST))
		return 0;
	if (!found)
		found = bpf_map_lookup_elem(&ends, &end); /* another CPU was first */
	if (!found) {
		__sync_fetch_and_add(&lost_ns, fresh.cpu_time_ns);
		return 0;
	}
	__sync_fetch_and_add(&found->cpu_time_ns, fresh.cpu_time_ns);
	__sync_fetch_and_add(&found->nr_tasks, 1);
	return 0;
}

/* The new task's runqueue has just read its clock. */
SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
	__u32 cpu = task_cpu(task);
	__u64 *offset_ns = bpf_map_lookup_elem(&ahead, &cpu);

	if (offset_ns)
		*offset_ns = bpf_ktime_get_ns() - task->se.cfs_rq->rq->clock_task;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
