/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What bpf/record/task_ends.bpf.c and src/schedtuna/record/ends.py tell each other. */
#ifndef TASK_ENDS_H
#define TASK_ENDS_H

#define MASK_BYTES 128 /* 1,024 CPUs */

/* Whose tasks, and of which groups it is told whether they are inside (0: of none). */
struct ends_wanted {
	__u32 root_tgid; /* the processes that descend from it; 0: none */
	__u32 pad;
	__u64 cpu_group;
	__u64 cpuset_group;
};

/* What a task had when it ended. Tasks that had the same are counted together. */
struct task_end {
	__u32 root_tgid;
	__u32 policy;
	__s32 nice;
	__s32 autogroup_nice;
	__u64 slice_ns;
	__u64 timer_slack_ns;
	__u8 in_cpu_group;
	__u8 in_cpuset_group;
	__u8 has_autogroup;
	__u8 pad[5];
	char comm[16];
	__u8 cpus[MASK_BYTES];
};

struct task_ends {
	__u64 cpu_time_ns;
	__u64 nr_tasks;
};

#endif
