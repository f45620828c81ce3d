/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What a task asks of the scheduler, at one moment: a record that the recorder and the simulator write.
 * Python has the same in src/schedtuna/trace/attributes.py.
 */
#ifndef TASK_ATTRIBUTES_H
#define TASK_ATTRIBUTES_H

#ifndef __bpf__ /* BPF programs have kernel_types.h */
#include <linux/types.h>
#endif

/* Why it was written. */
enum attribute_reason {
	ATTRIBUTE_SNAPSHOT = 0, /* the task was found so */
	ATTRIBUTE_FORK = 1,	/* it was born so */
	ATTRIBUTE_CHANGED = 2,
};

struct task_attributes {
	__u64 timestamp_ns;
	__u64 start_time_ns; /* (tid, start_time_ns) is a task's identity */
	__u64 slice_ns;	     /* asked for by sched_setattr; 0: none */
	__u32 tid;
	__u32 weight;  /* 1024 is nice 0 */
	__u32 cpu_set; /* the number of the set of CPUs that it may run on; 0: unknown */
	__s8 nice;
	__u8 policy; /* the kernel's number */
	__u8 reason;
	__u8 reserved;
	__u64 group_id; /* whose part of the CPU time it shares: sched_group.h; 0: unknown */
};
#ifdef __cplusplus
#define _Static_assert static_assert
#endif
#define AT(field, offset) (__builtin_offsetof(struct task_attributes, field) == (offset))
_Static_assert(AT(timestamp_ns, 0) && AT(start_time_ns, 8) && AT(slice_ns, 16) && AT(tid, 24) && AT(weight, 28)
		       && AT(cpu_set, 32) && AT(nice, 36) && AT(policy, 37) && AT(reason, 38) && AT(reserved, 39)
		       && AT(group_id, 40) && sizeof(struct task_attributes) == 48,
	       "ATTRIBUTE_DTYPE is not so");
#undef AT
#ifdef __cplusplus
#undef _Static_assert
#endif

#endif
