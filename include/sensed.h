/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the live agent senses: records that BPF programs write. Python has the same in
 * src/schedtuna/record/sense.py, and compares them with the BTF of the object that it loads.
 */
#ifndef SENSED_H
#define SENSED_H

#ifndef __bpf__ /* BPF programs have kernel_types.h */
#include <linux/types.h>
#endif

/* A thread of user space, and what the kernel has counted of it since it was forked. */
struct sensed_task {
	__u64 start_time_ns; /* (tid, start_time_ns) is a task's identity */
	__u64 cgroup_id;
	__u64 cpu_time_ns;
	__u64 run_delay_ns; /* the kernel's schedstat has it so */
	__u64 nr_voluntary;
	__u64 nr_involuntary;
	__u64 slice_ns;	   /* asked for by sched_setattr; 0: none */
	__u64 cpus_hash;   /* alike where the sets of CPUs allowed are alike */
	__u64 sched_group; /* that it shares CPU time in, as in sched_group.h; 0: the root, or unknown */
	__u32 tid;
	__u32 tgid;
	__u32 ppid;
	__u32 weight; /* 1024 is nice 0 */
	__u32 nr_cpus_allowed;
	__u32 session; /* its leader's number */
	__s8 nice;
	__u8 policy; /* the kernel's number */
	__u16 reserved;
	char comm[16];
	__u32 unused; /* no padding that is not 0 */
};

/* What is known of a touch. */
enum touch_reach {
	TOUCH_SEEN = 0, /* the thread has these values now */
	TOUCH_CALL = 1, /* somebody is about to set something of tid: no values, no start time */
	TOUCH_MANY = 2, /* or of all threads of a process group or a user */
	TOUCH_NICE = 3, /* seen, and only the nice value was set */
};

/* Somebody set what a thread of user space asks of the scheduler. */
struct sensed_touch {
	__u64 timestamp_ns;
	__u64 start_time_ns;
	__u64 slice_ns;
	__u32 tid;
	__u32 actor_tid;
	__u32 actor_tgid;
	__s8 nice;
	__u8 policy;
	__u16 reach; /* enum touch_reach */
	char actor_comm[16];
};

/* One CPU's sums of delays: wakeup, preempt, first run, as enum delay_class counts them. */
#define NR_SUMMED_DELAYS 3

struct cpu_delays {
	__u64 delay_ns[NR_SUMMED_DELAYS];
	__u64 nr_delays[NR_SUMMED_DELAYS];
	__u64 reserved[2];
	__u32 histograms[NR_SUMMED_DELAYS][128]; /* buckets as in task_stats.h */
};

#endif
