/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The advisory channel of scx_tuna: what it asks a program in user space about tasks that fall asleep, and what that
 * answers. Advice is in force when the task is placed or queued next; the scheduler never waits for it. Python has the
 * same in src/schedtuna/scheduler/tuna_advice.py, and compares it with the BTF of the object.
 */
#ifndef SCX_TUNA_ADVICE_H
#define SCX_TUNA_ADVICE_H

#include "scx_tuna_model.h"

#define TUNA_BATCH 32	      /* requests that wake the program, or */
#define TUNA_BATCH_NS 1000000 /* the first one after so long */
#define TUNA_ADVICE_RING_BYTES (1 << 18)

/* The one value of the array `tuna_advice`. A program that is gone does not renew, and is asked no more. */
struct tuna_advice_control {
	__u64 asked_until_ns; /* CLOCK_MONOTONIC */
	__u64 period_ns;      /* of one task, no request follows another earlier */
	__u64 model_version;  /* told in each request */
};

/* A record of the ring buffer `tuna_requests`. */
struct tuna_request {
	__u64 id;	     /* of one CPU's requests in ascending order, never 0 */
	__u64 start_time_ns; /* of the task: tells it from another one of the same tid */
	__u64 timestamp_ns;  /* CLOCK_MONOTONIC */
	__u64 model_version;
	__u32 tid;
	__s32 cpu;	   /* where it ran */
	__s32 offered_cpu; /* the one that is used least; -1: none is known yet */
	__u32 nr_idle_cpus;
	__u32 nr_busy_cpus;
	__u32 src_load_permille;
	__u32 dst_load_permille;
	__u32 reserved;
	__s64 features[TUNA_NR_FEATURES]; /* enum tuna_feature */
};

/* An element of the array `tuna_answers`, which the program tuna_answer goes through. */
struct tuna_answer {
	__u64 id; /* of the request */
	__u64 start_time_ns;
	__u64 expires_ns; /* CLOCK_MONOTONIC */
	__u32 tid;
	__s32 cpu;	/* where to; -1: no opinion */
	__u32 kind;	/* enum tuna_kind; 0: no opinion */
	__u32 slice_us; /* TUNA_SLICE_US_MIN to _MAX; 0: no opinion */
};

/* The context of tuna_answer. */
struct tuna_answers_given {
	__u32 nr; /* at most TUNA_BATCH */
	__u32 nr_taken;
};

/* The one value of the array `tuna_advised`; exact, whoever counts. */
struct tuna_advice_stats {
	__u64 nr_requests;
	__u64 nr_ring_full; /* not asked: the program does not read */
	__u64 nr_batches;   /* the program was woken */
	__u64 nr_answers;
	__u64 nr_taken;
	__u64 nr_unknown;     /* answers about a task that is gone, or was never asked about */
	__u64 nr_wrong_start; /* ... about another task of this tid */
	__u64 nr_stale;	      /* ... to another request than the task's last */
	__u64 nr_late;	      /* ... that had expired when they came */
	__u64 nr_invalid;     /* ... out of bounds */
	__u64 nr_placed;      /* advice followed when a task was placed */
	__u64 nr_queued;      /* ... when it was queued */
	__u64 nr_expired;     /* advice that had expired when the task was placed or queued */
	__u64 nr_not_allowed; /* advised CPUs that the task may not use: nothing that it may not is done */
	__u64 nr_hinted;      /* tasks queued by the kind that a hint says they are of */
};

#endif
