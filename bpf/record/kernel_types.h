/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's types, as far as these programs look into them. Every field is found by CO-RE in the
 * running kernel, so only names and types matter here, not order or size; no vmlinux.h is needed.
 */
#ifndef KERNEL_TYPES_H
#define KERNEL_TYPES_H

#include "../basic_types.h"

/* include/linux/sched.h: bits of a task's state */
#define TASK_INTERRUPTIBLE 0x0001
#define TASK_UNINTERRUPTIBLE 0x0002
#define TASK_STOPPED_OR_TRACED 0x000c
#define TASK_EXITED 0x0030 /* EXIT_DEAD, EXIT_ZOMBIE */
#define TASK_PARKED 0x0040
#define TASK_DEAD 0x0080
#define TASK_NOLOAD 0x0400

/* include/linux/sched.h: task_struct.flags */
#define PF_EXITING 0x00000004

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_info {
	unsigned long pcount;
	unsigned long long run_delay;
	unsigned long long last_arrival;
	unsigned long long last_queued;
};

struct load_weight {
	unsigned long weight;
};

struct rq {
	__u64 clock;
	__u64 clock_task;
};

struct rb_node {
	struct rb_node *rb_right;
	struct rb_node *rb_left;
};

struct rb_root {
	struct rb_node *rb_node;
};

struct rb_root_cached {
	struct rb_root rb_root;
};

struct cfs_rq {
	struct rq *rq;
	int throttle_count;
	unsigned int nr_queued;
	__s64 sum_w_vruntime;
	__u64 sum_weight;
	__u64 zero_vruntime;
	struct rb_root_cached tasks_timeline;
	struct sched_entity *next;
};

struct sched_entity {
	struct load_weight load;
	struct rb_node run_node;
	__u64 deadline;
	unsigned char on_rq;
	unsigned char sched_delayed;
	unsigned char custom_slice;
	__u64 exec_start;
	__u64 sum_exec_runtime;
	__u64 vruntime;
	__s64 vlag;
	__u64 slice;
	struct sched_entity *parent;
	struct cfs_rq *cfs_rq;
	struct cfs_rq *my_q;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[16];
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

enum bpf_func_id {
	BPF_FUNC_task_pt_regs = 175,
};

enum cgroup_subsys_id {
	cpuset_cgrp_id = 0, /* the running kernel's numbers are looked up */
	cpu_cgrp_id = 1,
};

struct cpumask {
	unsigned long bits[1]; /* as many as NR_CPUS needs */
};

struct autogroup {
	unsigned long id;
	int nice;
};

struct task_group {
	struct cgroup_subsys_state css;
	unsigned long shares;
	struct task_group *parent;
	struct autogroup *autogroup;
};

struct upid {
	int nr;
};

struct pid {
	struct upid numbers[1];
};

enum pid_type {
	PIDTYPE_SID = 3,
};

struct signal_struct {
	struct autogroup *autogroup;
	struct pid *pids[4];
};

struct thread_info {
	__u32 cpu;
};

struct pt_regs {
	unsigned long orig_ax;
};

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int __state;
	unsigned int flags;
	unsigned int on_cpu; /* a byte in newer kernels: only of unsigned numbers libbpf adjusts the size */
	int prio;
	int static_prio;
	unsigned int policy;
	int nr_cpus_allowed;
	struct cpumask cpus_mask;
	int pid;
	int tgid;
	unsigned in_iowait : 1;
	bool throttled;
	struct sched_entity se;
	struct task_group *sched_task_group;
	struct sched_info sched_info;
	unsigned long nvcsw;
	unsigned long nivcsw;
	__u64 start_time;
	__u64 timer_slack_ns;
	struct signal_struct *signal;
	struct task_struct *real_parent;
	struct css_set *cgroups;
	char comm[16];
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif
