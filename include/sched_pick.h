/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A pick of the fair class as BPF writes it: a row that tells of the queue, followed by one row per
 * candidate, the chosen one first. Both rows have one size, so that they share a ring. Python has the
 * same in src/schedtuna/trace/picks.py.
 */
#ifndef SCHED_PICK_H
#define SCHED_PICK_H

#ifndef __bpf__ /* BPF programs have kernel_types.h */
#include <linux/types.h>
#endif

#define MOST_CANDIDATES 128 /* of a pick that are written */
#define MOST_LEVELS 3	    /* from the chosen task's own queue upwards */

enum sched_pick_row {
	PICK_QUEUE = 1,
	PICK_CANDIDATE = 2,
};

enum sched_pick_flag {
	PICK_TRUNCATED = 1, /* there were more candidates than MOST_CANDIDATES */
	PICK_KEPT = 2,	    /* the entity that was chosen ran before, too: another task of that group did */
};

enum sched_candidate_flag {
	CANDIDATE_DELAYED = 1,	    /* it sleeps, and stays queued until its lag is gone */
	CANDIDATE_CUSTOM_SLICE = 2, /* its slice was asked for by sched_setattr */
	CANDIDATE_GROUP = 4,	    /* a group of tasks */
	CANDIDATE_PREV = 8,	    /* the task that ran before, or a group with it */
	CANDIDATE_BUDDY = 16,	    /* cfs_rq->next, to be preferred */
};

struct sched_pick {
	__u64 timestamp_ns;   /* CLOCK_MONOTONIC */
	__u64 zero_vruntime;  /* what the queue's sums are relative to */
	__s64 sum_w_vruntime; /* the kernel's own, over the tree: weight * (vruntime - zero_vruntime) */
	__u64 sum_weight;     /* likewise: weight */
	__u32 tid;	      /* of the task that runs next */
	__u32 prev_tid;
	__u32 nr_queued;
	__u32 queue; /* a number that stands for the cfs_rq, as long as the recorder runs */
	__u8 kind;   /* PICK_QUEUE */
	__u8 level;  /* 0: the task's own queue; 1: the one that its group is queued on; ... */
	__u8 flags;
	__u8 reserved;
	__u16 nr_candidates; /* rows that follow */
	__u16 cpu;
};

struct sched_candidate {
	__u64 vruntime;
	__u64 deadline;
	__u64 slice_ns;
	__u64 vprot; /* of one that ran last or runs next: its slice is protected until vruntime gets here */
	__u64 cpu_time_ns;
	__u32 weight; /* scale_load_down(): 1024 is nice 0 */
	__u32 tid;    /* of a group: the number of its queue */
	__u8 kind;    /* PICK_CANDIDATE */
	__u8 flags;
	__u8 reserved[6];
};
#ifdef __cplusplus
#define _Static_assert static_assert
#endif
#define AT(field, offset) (__builtin_offsetof(struct sched_pick, field) == (offset))
_Static_assert(AT(timestamp_ns, 0) && AT(zero_vruntime, 8) && AT(sum_w_vruntime, 16) && AT(sum_weight, 24)
		       && AT(tid, 32) && AT(prev_tid, 36) && AT(nr_queued, 40) && AT(queue, 44) && AT(kind, 48)
		       && AT(level, 49) && AT(flags, 50) && AT(reserved, 51) && AT(nr_candidates, 52) && AT(cpu, 54)
		       && sizeof(struct sched_pick) == 56,
	       "PICK_DTYPE is not so");
#undef AT
#define AT(field, offset) (__builtin_offsetof(struct sched_candidate, field) == (offset))
_Static_assert(AT(vruntime, 0) && AT(deadline, 8) && AT(slice_ns, 16) && AT(vprot, 24) && AT(cpu_time_ns, 32)
		       && AT(weight, 40) && AT(tid, 44) && AT(kind, 48) && AT(flags, 49) && AT(reserved, 50)
		       && sizeof(struct sched_candidate) == sizeof(struct sched_pick),
	       "CANDIDATE_DTYPE is not so");
#undef AT
#ifdef __cplusplus
#undef _Static_assert
#endif

#endif
