/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the scheduler scx_tuna and user space share: its parameters, its counters, and why it leaves.
 * Python has the same in src/schedtuna/scheduler/tuna.py, and compares it with the BTF of the object.
 */
#ifndef SCX_TUNA_H
#define SCX_TUNA_H

#ifndef __bpf__ /* BPF programs have kernel_types.h */
#include <linux/types.h>
#endif

#define TUNA_MOST_CPUS 1024
#define TUNA_ONE 1024 /* a whole CPU, as SCHED_CAPACITY_SCALE */

#define TUNA_SLICE_US_MIN 1000
#define TUNA_SLICE_US_MAX 100000
#define TUNA_THRESHOLD_MIN 102 /* 0.1 of TUNA_ONE */

enum tuna_policy {
	TUNA_DEFAULT = 0,
	TUNA_PERFORMANCE = 1,
	TUNA_POWERSAVE = 2,
	TUNA_LATENCY = 3,
	TUNA_NR_POLICIES = 4,
};

/*
 * One assignment of the parameters: the value of an array of one element, which is never changed but
 * replaced in the map of maps `tuna_params`: element 0 is what is asked for, element 1 what was accepted before
 * and holds where the kernel's side refuses element 0.
 */
struct tuna_params {
	__u64 version;		  /* another one each time; 0: nothing was ever set */
	__u32 slice_us;		  /* TUNA_SLICE_US_MIN to _MAX */
	__u32 cpu_util_threshold; /* TUNA_THRESHOLD_MIN to TUNA_ONE */
	__u32 scheduling_policy;  /* enum tuna_policy */
	__u8 slice_lag_scaling;	  /* the switches are 0 or 1 */
	__u8 rr_sched;
	__u8 no_builtin_idle;
	__u8 local_pcpu;
	__u8 direct_dispatch;
	__u8 sticky_cpu;
	__u8 stay_with_kthread;
	__u8 native_priority;
	__u8 local_kthreads;
	__u8 no_wake_sync;
	__u8 aggressive_gpu_tasks;
	__u8 timer_kick;
};

/* What a CPU has decided under the parameters that it follows: the values of the per-CPU array `tuna_in_force`. */
struct tuna_in_force {
	__u64 version;	    /* the newest that it has seen */
	__u64 since_ns;	    /* CLOCK_MONOTONIC: when it saw it first */
	__u64 nr_decisions; /* select_cpu, enqueue and dispatch since then */
	__u64 nr_refused;   /* versions whose values were out of bounds */
	__u64 refused;	    /* 1: the newest is one of these, and what held before holds on */
};

/* Counters, of each CPU: the values of the per-CPU array `tuna_stats`. */
struct tuna_stats {
	__u64 nr_select_cpu;
	__u64 nr_enqueue;
	__u64 nr_dispatch;
	__u64 nr_direct;	   /* straight to a CPU's local queue, from select_cpu */
	__u64 nr_overtakings;	   /* ... though others waited in the queue of its LLC */
	__u64 nr_queued;	   /* into the queue of an LLC */
	__u64 nr_queued_pinned;	   /* into a CPU's queue of tasks that can run nowhere else */
	__u64 nr_queued_gpu;	   /* into the queue of tasks that feed a GPU */
	__u64 nr_overdue;	   /* had waited too long, and were put before all others */
	__u64 nr_stolen;	   /* taken from the queue of another LLC */
	__u64 nr_kept;		   /* ran on at the end of a slice, being first in order */
	__u64 nr_migrations;	   /* ran elsewhere than the time before */
	__u64 nr_same_cpu_wakeups; /* placed on the waker's CPU */
	__u64 nr_sync;		   /* placed there because the waker said that it sleeps */
	__u64 nr_sticky;	   /* placed on the busy CPU where it ran before */
	__u64 nr_with_kthread;	   /* placed behind the kernel thread on the CPU where it ran before */
	__u64 nr_kthread_head;	   /* bound kernel threads put to the head of the local queue */
	__u64 nr_own_idle;	   /* idle CPUs found in scx_tuna's own order */
	__u64 nr_packed;	   /* placed by the policy powersave */
	__u64 nr_above_threshold;  /* not direct, because the CPU is above cpu_util_threshold */
	__u64 nr_idle_kicks;	   /* from enqueue */
	__u64 nr_timer_kicks;	   /* of idle CPUs, from the timer */
	__u64 nr_timer_preempts;   /* from the timer: the slice was over */
	__u64 nr_preempt_kicks;	   /* from enqueue: for an interactive or pinned task */
	__u64 nr_credits;	   /* sleepers whose credit was cut to the cap */
	__u64 credit_ns;	   /* the sum of these caps */
	__u64 nr_gpu_runs;	   /* of tasks that feed a GPU */
	__u64 nr_gpu_fast_runs;	   /* ... on fast CPUs */
	__u64 nr_reenqueued;	   /* taken back from CPUs that real-time tasks hold */
	__u64 nr_throttled;	   /* put aside: a group has used up its cpu.max */
	__u64 nr_over_quota;	   /* ... and released without quota, having waited too long */
	__u64 nr_gpu_opens;	   /* a GPU's device was opened */
	__u64 nr_no_storage;	   /* tasks for which there was no memory: no history, plain order */
};

/* What kind of task it is: the values of the hash `tuna_classes`, by tid. */
enum tuna_class {
	TUNA_CLASS_NONE = 0,
	TUNA_CLASS_GPU = 1,
	TUNA_CLASS_BATCH = 2, /* hints: as enum tuna_kind of scx_tuna_model.h */
	TUNA_CLASS_NORMAL = 3,
	TUNA_CLASS_INTERACTIVE = 4,
};

/* Why it leaves by itself: the exit code in the kernel's scx_exit_info. */
enum tuna_exit {
	TUNA_EXIT_QUEUE = 1,  /* a task waited too long in one of its queues */
	TUNA_EXIT_LOCAL = 2,  /* ... in a CPU's local queue */
	TUNA_EXIT_RT = 3,     /* ... for a CPU that real-time tasks hold */
	TUNA_EXIT_TIMER = 4,  /* its watch stands still */
	TUNA_EXIT_PARAMS = 5, /* neither of the two sets of parameters is within bounds */
};

#endif
