/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's types, as far as its sched_ext schedulers look into them. Fields and enumerators are found by
 * CO-RE in the running kernel: only names and kinds matter here; no vmlinux.h is needed.
 */
#ifndef SCHED_KERNEL_TYPES_H
#define SCHED_KERNEL_TYPES_H

#include "../basic_types.h"

#define CLOCK_MONOTONIC 1

/* include/linux/sched.h: task_struct.flags */
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000

struct bpf_timer {
	__u64 __opaque[2];
} __attribute__((aligned(8)));

struct bpf_iter_scx_dsq {
	__u64 __opaque[6];
} __attribute__((aligned(8)));

struct bpf_spin_lock {
	__u32 val;
};

struct bpf_iter_num {
	__u64 __opaque[1];
} __attribute__((aligned(8)));

/* The operations that a scheduler fills; libbpf finds the members by their names. */
struct task_struct;
struct cpumask;
struct cgroup;
struct scx_init_task_args;
struct scx_exit_info;
struct file;
struct scx_dump_ctx;
struct scx_cpu_acquire_args;
struct scx_cpu_release_args;
struct scx_cgroup_init_args;

struct sched_ext_ops {
	__s32 (*select_cpu)(struct task_struct *p, __s32 prev_cpu, __u64 wake_flags);
	void (*enqueue)(struct task_struct *p, __u64 enq_flags);
	void (*dispatch)(__s32 cpu, struct task_struct *prev);
	void (*tick)(struct task_struct *p);
	void (*runnable)(struct task_struct *p, __u64 enq_flags);
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	void (*quiescent)(struct task_struct *p, __u64 deq_flags);
	bool (*core_sched_before)(struct task_struct *a, struct task_struct *b);
	__s32 (*init_task)(struct task_struct *p, struct scx_init_task_args *args);
	void (*enable)(struct task_struct *p);
	void (*cpu_acquire)(__s32 cpu, struct scx_cpu_acquire_args *args);
	void (*cpu_release)(__s32 cpu, struct scx_cpu_release_args *args);
	void (*cpu_online)(__s32 cpu);
	void (*cpu_offline)(__s32 cpu);
	void (*dump)(struct scx_dump_ctx *ctx);
	void (*dump_task)(struct scx_dump_ctx *ctx, struct task_struct *p);
	__s32 (*cgroup_init)(struct cgroup *cgrp, struct scx_cgroup_init_args *args);
	void (*cgroup_exit)(struct cgroup *cgrp);
	void (*cgroup_move)(struct task_struct *p, struct cgroup *from, struct cgroup *to);
	void (*cgroup_set_weight)(struct cgroup *cgrp, __u32 weight);
	void (*cgroup_set_bandwidth)(struct cgroup *cgrp, __u64 period_us, __u64 quota_us,
				     __u64 burst_us);		 /* not in 6.16 */
	void (*cgroup_set_idle)(struct cgroup *cgrp, bool idle); /* not in 6.18 */
	__s32 (*init)(void);
	void (*exit)(struct scx_exit_info *info);
	__u64 flags;
	__u32 timeout_ms;
	__u32 exit_dump_len;
	__u64 hotplug_seq;
	char name[128];
};

enum scx_exit_kind {
	SCX_EXIT_ERROR = 1024,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct cpumask {
	unsigned long bits[1]; /* as many as NR_CPUS needs */
};

struct bpf_cpumask {
	struct cpumask cpumask;
};

struct sched_entity {
	__u64 sum_exec_runtime;
};

struct sched_ext_entity {
	__u32 flags;
	__u32 weight;
	unsigned long runnable_at; /* jiffies: since when it waits */
	__u64 slice;
	__u64 dsq_vtime;
};

struct inode {
	__u32 i_rdev; /* 12 bits of a major number, 20 of a minor one */
};

struct css_set {
	struct cgroup *dfl_cgrp; /* of the unified hierarchy */
};

struct task_struct {
	unsigned int flags;
	int prio;
	int static_prio;
	const struct cpumask *cpus_ptr;
	int nr_cpus_allowed;
	unsigned short migration_disabled;
	int pid;
	__u64 start_time;
	struct sched_entity se;
	struct sched_ext_entity scx;
	char comm[16];
	struct css_set *cgroups;
	struct task_struct *group_leader;
};

struct kernel_cpustat {
	__u64 cpustat[10];
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
};

struct scx_init_task_args {
	bool fork;
	struct cgroup *cgroup;
};

struct scx_cgroup_init_args {
	__u32 weight;
	__u64 bw_period_us;
	__u64 bw_quota_us;
	__u64 bw_burst_us;
	bool sched_idle;
};

struct scx_exit_info {
	enum scx_exit_kind kind;
	__s64 exit_code;
	const char *reason;
	char *msg;
	char *dump;
};

/* __scx_bpf_dsq_insert_vtime and __scx_bpf_select_cpu_and: more arguments than fit into registers */
struct scx_bpf_dsq_insert_vtime_args {
	__u64 dsq_id;
	__u64 slice;
	__u64 vtime;
	__u64 enq_flags;
};

struct scx_bpf_select_cpu_and_args {
	__s32 prev_cpu;
	__u64 wake_flags;
	__u64 flags;
};

#pragma clang attribute pop

/* The running kernel's numbers are looked up; these are those of Linux 7.3. */
enum scx_dsq_id_flags {
	SCX_DSQ_LOCAL = 0x8000000000000002ULL,
	SCX_DSQ_LOCAL_ON = 0xc000000000000000ULL,
};
enum scx_enq_flags {
	SCX_ENQ_WAKEUP = 0x1ULL,
	SCX_ENQ_HEAD = 0x10000ULL,
	SCX_ENQ_CPU_SELECTED = 0x100000ULL,
	SCX_ENQ_PREEMPT = 0x100000000ULL,
	SCX_ENQ_REENQ = 0x10000000000ULL,
	SCX_ENQ_LAST = 0x20000000000ULL,
};
enum scx_deq_flags {
	SCX_DEQ_SLEEP = 0x1ULL,
	SCX_DEQ_CORE_SCHED_EXEC = 0x100000000ULL,
};
enum scx_kick_flags {
	SCX_KICK_IDLE = 1,
	SCX_KICK_PREEMPT = 2,
};
enum scx_pick_idle_cpu_flags {
	SCX_PICK_IDLE_CORE = 1,
};
enum scx_wake_flags {
	SCX_WAKE_SYNC = 0x10,
};
enum scx_ent_flags {
	SCX_TASK_QUEUED = 1,
};
enum cpu_usage_stat {
	CPUTIME_STEAL = 7,
};
/* Of ops.flags, which is filled in by the compiler; the kernel's interface to schedulers. */
enum scx_ops_flags {
	SCX_OPS_ENQ_LAST = 1 << 1,
	SCX_OPS_ENQ_EXITING = 1 << 2,
	SCX_OPS_ENQ_MIGRATION_DISABLED = 1 << 4,
	SCX_OPS_ALLOW_QUEUED_WAKEUP = 1 << 5,
};

#endif
