/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the recorder knows of a task, and what it counts for it: records that BPF programs write. Python
 * has the same in src/schedtuna/trace/schema.py (task_row) and trace/aggregates/layout.py, and compares
 * them with the BTF of the object that it loads.
 */
#ifndef TASK_STATS_H
#define TASK_STATS_H

#include "sched_event.h"

/* Why a row was written. */
enum task_reason {
	TASK_SNAPSHOT = 0,
	TASK_FORK = 1,
	TASK_EXEC = 2,
	TASK_RENAME = 3,
	TASK_EXIT = 4,
	TASK_WAKEUP = 16, /* an event rather than a row: a task woke itself, with interrupts on */
	TASK_WAKING = 17,
};

/* What is known of a task at one moment. */
struct task_row {
	__u64 timestamp_ns;
	__u64 start_time_ns; /* (tid, start_time_ns) is a task's identity */
	__u64 cgroup_id;
	__u64 cpu_time_ns;
	__u64 schedstat_run_delay_ns; /* what a quota held it back is in it */
	__u64 nr_voluntary_switches;
	__u64 nr_involuntary_switches;
	__u32 tid;
	__u32 tgid;
	__u32 ppid;
	__u32 weight;	/* 1024 is nice 0 */
	__u64 slice_ns; /* 0: unknown */
	__s16 prio;
	__s16 static_prio; /* 120 + nice */
	__u8 policy;
	__u8 reason;
	__u16 cpu;
	__u32 flags;	 /* PF_* */
	__u32 other_tid; /* FORK: the parent; EXEC: the tid before; wakeups: the waker */
	char comm[16];
};

/*
 * Durations are counted in 128 buckets, 4 per factor of two: bucket b < 4 is [64 b, 64 (b + 1)) ns,
 * the others are [64 (4 + b % 4) 2^(b/4 - 1), 64 (5 + b % 4) 2^(b/4 - 1)) ns.
 */
#define NR_BUCKETS 128
#define BUCKET_SHIFT 6

enum delay_class {
	DELAY_WAKEUP = 0,    /* woken, to running */
	DELAY_PREEMPT = 1,   /* preempted, to running */
	DELAY_FIRST_RUN = 2, /* forked, to running */
	DELAY_THROTTLED = 3, /* held back by the cgroup's quota */
	NR_DELAY_CLASSES = 4,
};

#define TURNAROUND_SHIFT 6 /* turnarounds are counted in buckets that are 64 times as long: up to 9 hours */

#define TIME_SLICES 3 /* the histogram after those of the three delays */
#define NR_HISTOGRAMS 4

enum blocked_class {
	BLOCKED_SLEEP = 0, /* interruptible sleep, stopped, parked, idle */
	BLOCKED_WAIT = 1,  /* uninterruptible, not for IO */
	BLOCKED_IO = 2,
	NR_BLOCKED_CLASSES = 3,
};

enum migration_class {
	MIGRATED_SAME_LLC = 0,
	MIGRATED_CROSS_LLC = 1,
	MIGRATED_CROSS_NODE = 2,
	NR_MIGRATION_CLASSES = 3,
};

/* What happened to a task since the recorder met it. Times are of the runqueue's clock. */
struct task_stats {
	struct task_row task;		   /* filled in when the record leaves the kernel */
	__u64 met_ns;			   /* 0: not met yet */
	__u64 on_cpu_ns;		   /* since when it runs; 0: it does not */
	__u64 off_cpu_ns;		   /* when it stopped running */
	__u64 cpu_time_seen_ns;		   /* the kernel's sum_exec_runtime when it was last looked at */
	__u64 schedstat_run_delay_seen_ns; /* the kernel's run_delay when it stopped running */
	__u64 now_ns;			   /* filled in when the record leaves the kernel */
	__u64 queued_ns;		   /* since when it waits to run, likewise; 0: it does not */
	__u64 turnaround_ns;		   /* fork to exit; 0 while it lives */
	__u64 found_ns;			   /* when a snapshot found it running or waiting, not met yet; 0: none did */
	__u64 found_cpu_time_ns;	   /* the kernel's sum_exec_runtime then */
	__u64 found_run_delay_ns;	   /* the kernel's run_delay then, and how long it had waited */
	__u64 run_ns;			   /* as the kernel counts it: without what the hypervisor stole */
	__u64 nr_runs;
	__u64 schedstat_run_delay_ns; /* as the kernel counts it: all delays below, which are more exact */
	__u64 delay_ns[NR_DELAY_CLASSES];
	__u64 delay_max_ns[NR_DELAY_CLASSES];
	__u64 nr_delays[NR_DELAY_CLASSES];
	__u64 blocked_ns[NR_BLOCKED_CLASSES];
	__u64 nr_blocked[NR_BLOCKED_CLASSES];
	__u64 nr_migrations[NR_MIGRATION_CLASSES];
	__u64 nr_voluntary;
	__u64 nr_involuntary;
	__u32 waiting_for; /* 1 + PREV_*, why it stopped running; 0: unknown */
	__u32 flags;
	__u32 histograms[NR_HISTOGRAMS][NR_BUCKETS];
};

#define STATS_BORN 1 /* it was forked while recording */
#define STATS_DEAD 2

struct clock_offset {
	__u64 offset_ns; /* CLOCK_MONOTONIC minus the runqueue's clock */
	__u64 at_ns;	 /* when that was so, on the runqueue's clock; 0: not known yet */
};

/* One CPU's sums, for what belongs to no task. */
struct cpu_stats {
	__u64 nr_switches;
	__u64 idle_ns;
	__u64 idle_since_ns;
	__u64 nr_unrecorded; /* first or last runs of tasks for which there was no memory */
	__u64 nr_exits_lost; /* no room for an exiting task's statistics */
	struct clock_offset clock;
	__u64 turnaround_ns; /* of tasks that were forked and exited while recording, whether or not their exit was lost
			      */
	__u64 nr_turnarounds;
	__u64 turnaround_max_ns;
	__u64 pad[6];
	__u32 turnarounds[NR_BUCKETS];
};

#endif
