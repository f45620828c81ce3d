/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A group of tasks that share CPU time as one (the kernel's task_group), as it was at one moment: a record that the
 * recorder writes. Python has the same in src/schedtuna/trace/groups.py.
 */
#ifndef SCHED_GROUP_H
#define SCHED_GROUP_H

#ifndef __bpf__ /* BPF programs have kernel_types.h */
#include <linux/types.h>
#endif

/* Of an id: it is no control group, but a session's autogroup, whose number the other bits are. */
#define SCHED_GROUP_AUTOGROUP (1ULL << 62)

struct sched_group {
	__u64 timestamp_ns;
	__u64 id;	 /* a control group's, or an autogroup's */
	__u64 parent_id; /* 0: it is the root */
	__u32 shares;	 /* 1024: as much as a task of nice 0, cpu.weight 100 */
	__u32 reserved;
};
#ifdef __cplusplus
#define _Static_assert static_assert
#endif
#define AT(field, offset) (__builtin_offsetof(struct sched_group, field) == (offset))
_Static_assert(AT(timestamp_ns, 0) && AT(id, 8) && AT(parent_id, 16) && AT(shares, 24) && AT(reserved, 28)
		       && sizeof(struct sched_group) == 32,
	       "GROUP_DTYPE is not so");
#undef AT
#ifdef __cplusplus
#undef _Static_assert
#endif

#endif
