// SPDX-License-Identifier: GPL-2.0
/*
 * What a live agent looks at each interval: one short record per thread of user space, and who else sets
 * what threads ask of the scheduler. Nothing runs per switch or wakeup: the iterator reads what the
 * kernel has counted anyway, and setting attributes is rare.
 */
#include "group_id.bpf.h"
#include "sensed.h"

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define MOST_CPU_WORDS 128    /* CONFIG_NR_CPUS is at most 8192 */

const volatile __u32 agent_tgid = 0;   /* what it sets itself is no news */
const volatile __u32 nr_cpu_words = 1; /* that hold a bit for each CPU there may be */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} touches SEC(".maps");

__u64 nr_touches_lost = 0;
struct sensed_touch *sensed_touch_layout; /* has BTF describe it, for user space to check */
struct sensed_task *sensed_task_layout;

static __always_inline __u64 hash_cpus(struct task_struct *task)
{
	const unsigned long *words = (const unsigned long *)&task->cpus_mask;
	__u64 hash = 14695981039346656037ULL, word;
	__u32 i;

	for (i = 0; i < MOST_CPU_WORDS && i < nr_cpu_words; i++) {
		word = 0;
		bpf_probe_read_kernel(&word, sizeof(word), words + i);
		hash = (hash ^ word) * 1099511628211ULL;
		hash ^= hash >> 29;
	}
	return hash;
}

/* The root group is none: its tasks share with all other groups, one by one. */
static __always_inline __u64 shared_group(struct task_struct *task)
{
	struct task_group *group = task_group_of(task);

	return group && BPF_CORE_READ(group, parent) ? group_id(group) : 0;
}

SEC("iter/task")
int sense(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct sensed_task row = {};

	if (!task || task->flags & PF_KTHREAD)
		return 0;
	row.start_time_ns = task->start_time;
	row.cgroup_id = task_cgroup_id(task);
	row.sched_group = shared_group(task);
	row.session = BPF_CORE_READ(task, signal, pids[PIDTYPE_SID], numbers[0].nr);
	row.cpu_time_ns = task->se.sum_exec_runtime;
	row.run_delay_ns = bpf_core_field_exists(task->sched_info) ? task->sched_info.run_delay : 0;
	row.nr_voluntary = task->nvcsw;
	row.nr_involuntary = task->nivcsw;
	row.slice_ns = task_custom_slice_ns(task);
	row.cpus_hash = hash_cpus(task);
	row.tid = task->pid;
	row.tgid = task->tgid;
	row.ppid = BPF_CORE_READ(task, real_parent, tgid);
	row.weight = task->se.load.weight >> 10; /* scale_load_down() */
	row.nr_cpus_allowed = task->nr_cpus_allowed;
	row.nice = task->static_prio - 120;
	row.policy = task->policy;
	bpf_probe_read_kernel_str(row.comm, sizeof(row.comm), task->comm);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

static __always_inline int touched(struct task_struct *task, __u16 reach)
{
	__u64 actor = bpf_get_current_pid_tgid();
	struct sensed_touch *touch;

	if (task->flags & PF_KTHREAD || actor >> 32 == agent_tgid)
		return 0;
	touch = bpf_ringbuf_reserve(&touches, sizeof(*touch), 0);
	if (!touch) {
		__sync_fetch_and_add(&nr_touches_lost, 1);
		return 0;
	}
	touch->timestamp_ns = bpf_ktime_get_ns();
	touch->start_time_ns = task->start_time;
	touch->slice_ns = task_custom_slice_ns(task);
	touch->tid = task->pid;
	touch->actor_tid = actor;
	touch->actor_tgid = actor >> 32;
	touch->nice = task->static_prio - 120;
	touch->policy = task->policy;
	touch->reach = reach;
	bpf_get_current_comm(touch->actor_comm, sizeof(touch->actor_comm));
	bpf_ringbuf_submit(touch, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("fexit/set_user_nice")
int BPF_PROG(after_nice, struct task_struct *task)
{
	return touched(task, TOUCH_NICE);
}

SEC("fexit/__sched_setscheduler")
int BPF_PROG(after_setscheduler, struct task_struct *task)
{
	return touched(task, TOUCH_SEEN);
}

/*
 * Where nobody may attach to functions: system calls, as they begin. Whether one succeeds, and on which
 * thread a number of a process group or a user falls, is not known: so they only name who it may have been.
 */
struct call_context {
	__u64 unused;
	long nr;
	__u64 arguments[6];
};

static __always_inline int called(__u32 tid, __u16 reach)
{
	__u64 actor = bpf_get_current_pid_tgid();
	struct sensed_touch *touch;

	if (actor >> 32 == agent_tgid)
		return 0;
	touch = bpf_ringbuf_reserve(&touches, sizeof(*touch), 0);
	if (!touch) {
		__sync_fetch_and_add(&nr_touches_lost, 1);
		return 0;
	}
	touch->timestamp_ns = bpf_ktime_get_ns();
	touch->start_time_ns = 0;
	touch->slice_ns = 0;
	touch->tid = tid ? tid : (__u32)actor;
	touch->actor_tid = actor;
	touch->actor_tgid = actor >> 32;
	touch->nice = 0;
	touch->policy = 0;
	touch->reach = reach;
	bpf_get_current_comm(touch->actor_comm, sizeof(touch->actor_comm));
	bpf_ringbuf_submit(touch, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp/syscalls/sys_enter_setpriority")
int before_setpriority(struct call_context *ctx)
{
	return called(ctx->arguments[1], ctx->arguments[0] ? TOUCH_MANY : TOUCH_CALL);
}

SEC("tp/syscalls/sys_enter_sched_setscheduler")
int before_setscheduler(struct call_context *ctx)
{
	return called(ctx->arguments[0], TOUCH_CALL);
}

SEC("tp/syscalls/sys_enter_sched_setattr")
int before_setattr(struct call_context *ctx)
{
	return called(ctx->arguments[0], TOUCH_CALL);
}

char LICENSE[] SEC("license") = "GPL";
