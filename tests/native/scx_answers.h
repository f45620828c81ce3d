/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What a guest's kernel answered, and what that depended on: one record per callback and question. Written by
 * tests/kernel/bpf/answers.bpf.c, read by tests/native/scx_answers.cpp.
 */
#ifndef SCX_ANSWERS_H
#define SCX_ANSWERS_H

#define MAX_CPUS 16
#define LISTED 8
#define SLICE_NS 6000000ull
#define ARRIVAL_QUEUE 100ull /* + CPU */
#define VTIME_QUEUE 200ull

enum {
	ANSWER_IDLE = 1, /* asked for an idle CPU, in select_cpu() */
	ANSWER_DIRECT,	 /* inserted into a local queue there: it comes in when it is runnable */
	ANSWER_ENQUEUE,
	ANSWER_DISPATCH,
	ANSWER_RUNNABLE,
	ANSWER_RUNNING,
	ANSWER_TICK,
	ANSWER_STOPPING,
	ANSWER_QUIESCENT,
	NR_ANSWERS
};
enum { SELECT_CPU_DFL, SELECT_CPU_AND, PICK_IDLE, PICK_IDLE_WHOLE, PICK_ANY, TEST_AND_CLEAR, NR_IDLE_FUNCTIONS };
enum { INTO_LOCAL, INTO_ARRIVAL, INTO_VTIME };

struct scx_answer {
	__u32 kind, which;
	__s32 pid, cpu;	     /* of dispatch(): prev, or 0 */
	__u64 slice, ran_ns; /* of the task, as it was when the callback began */
	__u64 given_slice, vtime, flags;
	__u64 idle, cores, idle_after, cores_after, allowed, wake_flags;
	__s32 prev, answer, nr_local;
	unsigned char is_idle, exits, is_pinned, is_stable; /* exits: the task, or who wakes it up */
	__s32 nr_arrival, nr_vtime, moved, is_queued;	    /* moved: from the first or second queue, or 0 */
	__s32 arrival[LISTED], by_vtime[LISTED], reversed[LISTED];
};

#endif
