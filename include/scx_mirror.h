/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What a scheduler sees of the kernel in the simulator: the structures and members that the simulated machine keeps.
 * A BPF object's accesses are moved to these members by name (CO-RE); one that is not here is told by name where it is
 * executed, and ends the run. So whatever is here must be true: a member that nobody keeps up to date is a wrong
 * answer.
 *
 * Python reads this very file (src/schedtuna/sim/bpf/mirror.py), so it is plain: structures of members, one a line;
 * the types below, structures from above, and arrays of one dimension. A pointer is an address in the block:
 * SCX_POINTER(struct x) NAME.
 */
#ifndef SCX_MIRROR_H
#define SCX_MIRROR_H

#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#define SCX_POINTER(type) u64
#define SCX_MASK_WORDS 16 /* 1,024 CPUs */

struct cpumask {
	u64 bits[SCX_MASK_WORDS];
};

struct bpf_cpumask {
	struct cpumask cpumask;
	u32 usage;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	SCX_POINTER(struct kernfs_node) kn;
	s32 level;
};

struct css_set {
	SCX_POINTER(struct cgroup) dfl_cgrp;
};

struct mm_struct {
	u64 total_vm;
};

struct sched_entity {
	u64 sum_exec_runtime;
};

struct sched_ext_entity {
	u64 slice;
	u64 dsq_vtime;
	u32 weight;
	u32 flags;
	s32 sticky_cpu;
	u64 ddsp_dsq_id;
	u64 ddsp_enq_flags;
};

struct task_struct {
	u32 __state;
	u32 flags;
	s32 on_cpu;
	s32 on_rq;
	s32 prio;
	s32 static_prio;
	s32 normal_prio;
	u32 policy;
	s32 wake_cpu;
	s32 recent_used_cpu;
	s32 nr_cpus_allowed;
	u16 migration_disabled;
	SCX_POINTER(struct cpumask) cpus_ptr;
	struct cpumask cpus_mask;
	s32 pid;
	s32 tgid;
	SCX_POINTER(struct mm_struct) mm;
	SCX_POINTER(struct task_struct) real_parent;
	SCX_POINTER(struct task_struct) group_leader;
	SCX_POINTER(struct css_set) cgroups;
	u64 utime;
	u64 stime;
	u64 nvcsw;
	u64 nivcsw;
	u64 start_time;
	SCX_POINTER(struct mempolicy) mempolicy; /* NULL: no task asked for memory of a node */
	u8 comm[16];
	struct sched_entity se;
	struct sched_ext_entity scx;
};

struct rq {
	SCX_POINTER(struct task_struct) curr;
	s32 cpu;
	u32 nr_running;
	u64 clock;
	u64 clock_task; /* as without CONFIG_IRQ_TIME_ACCOUNTING */
	u64 clock_pelt; /* as where all CPUs are alike and at full speed */
	u64 lost_idle_time;
};

/* Of a CPU, in ns: time of tasks (CPUTIME_USER) and idle time (CPUTIME_IDLE); the machine has no other. */
struct kernel_cpustat {
	u64 cpustat[10];
};

struct scx_init_task_args {
	u8 fork;
	SCX_POINTER(struct cgroup) cgroup;
};

struct scx_exit_task_args {
	u8 cancelled;
};

/* Groups of a load have a weight, no bandwidth and no cpu.idle. */
struct scx_cgroup_init_args {
	u32 weight;
	u64 bw_period_us;
	u64 bw_quota_us;
	u64 bw_burst_us;
	u8 sched_idle;
};

struct scx_exit_info {
	s32 kind;
	s32 exit_cpu;
	s64 exit_code;
	SCX_POINTER(u8) reason;
	SCX_POINTER(u8) msg;
	SCX_POINTER(u8) dump;
};

/* What programs fill in for the kernel, laid out as the kernel has it. */
struct scx_bpf_dsq_insert_vtime_args {
	u64 dsq_id;
	u64 slice;
	u64 vtime;
	u64 enq_flags;
};

struct scx_bpf_select_cpu_and_args {
	s32 prev_cpu;
	u64 wake_flags;
	u64 flags;
};

struct bpf_perf_event_value {
	u64 counter;
	u64 enabled;
	u64 running;
};

struct atomic_t { /* the kernel's typedef */
	s32 counter;
};

#endif
