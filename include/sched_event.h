/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A scheduling event, as BPF programs write it, and as the readers of traces make it from other tools'
 * files. Python has the same in src/schedtuna/trace/schema.py, and the recorder compares it with the BTF
 * of the object that it loads.
 */
#ifndef SCHED_EVENT_H
#define SCHED_EVENT_H

#ifndef __bpf__ /* BPF programs have kernel_types.h */
#include <linux/types.h>
#endif

enum sched_event_type {
	EVENT_SWITCH = 1,     /* tid leaves the CPU, other_tid runs from now on */
	EVENT_WAKEUP = 2,     /* tid is runnable, other_tid was current where it was queued */
	EVENT_WAKEUP_NEW = 3, /* tid is runnable for the first time */
	EVENT_WAKING = 4,     /* tid is about to be woken by other_tid */
	EVENT_MIGRATE = 5,    /* tid moves from orig_cpu to target_cpu */
	EVENT_FORK = 6,	      /* tid is the child, other_tid the parent */
	EVENT_EXEC = 7,	      /* tid runs a new program, other_tid was its tid before */
	EVENT_EXIT = 8,	      /* tid is exiting */
};

/* Why a task left its CPU. */
enum sched_prev_state {
	PREV_PREEMPTED = 0, /* could have run on */
	PREV_RUNNABLE = 1,  /* could have run on, and was not preempted */
	PREV_SLEEPING = 2,
	PREV_BLOCKED = 3,
	PREV_IO = 4,
	PREV_STOPPED = 5,
	PREV_DEAD = 6,
	PREV_THROTTLED = 7, /* runnable, but its cgroup used up its quota */
	PREV_IDLE = 8,	    /* blocked, and counts for no load average */
};

/* Who wakes a task in WAKING: other_tid, or an interrupt that came while it ran. */
enum waker {
	WAKER_UNKNOWN = 0,
	WAKER_TASK = 1,
	WAKER_INTERRUPT = 2,
};

struct sched_event {
	__u64 timestamp_ns; /* CLOCK_MONOTONIC */
	__u32 tid;
	__u32 other_tid;
	__u32 aux; /* SWITCH: the kernel's prev_state; FORK: the child's tgid; EXEC, EXIT: tgid; WAKING: waker */
	__u16 cpu; /* where it was recorded */
	__u16 target_cpu;
	__u16 orig_cpu;
	__u8 type;
	__u8 prev_state;
	__s16 prio;	  /* of tid */
	__s16 other_prio; /* SWITCH: of other_tid */
};
#ifdef __cplusplus
#define _Static_assert static_assert
#endif
#define AT(field, offset) (__builtin_offsetof(struct sched_event, field) == (offset))
_Static_assert(AT(timestamp_ns, 0) && AT(tid, 8) && AT(other_tid, 12) && AT(aux, 16) && AT(cpu, 20)
		       && AT(target_cpu, 22) && AT(orig_cpu, 24) && AT(type, 26) && AT(prev_state, 27) && AT(prio, 28)
		       && AT(other_prio, 30) && sizeof(struct sched_event) == 32,
	       "EVENT_DTYPE is not so");
#undef AT
#ifdef __cplusplus
#undef _Static_assert
#endif

#endif
