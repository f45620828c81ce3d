/* SPDX-License-Identifier: GPL-2.0 */
/* Which group a task shares CPU time in, by a number: a control group's, or an autogroup's. */
#ifndef GROUP_ID_BPF_H
#define GROUP_ID_BPF_H

#include "compat.bpf.h"
#include "sched_group.h"

static __always_inline __u64 group_id(struct task_group *group)
{
	struct autogroup *autogroup = NULL;

	if (!group)
		return 0;
	if (bpf_core_field_exists(group->autogroup))
		autogroup = BPF_CORE_READ(group, autogroup);
	if (autogroup)
		return SCHED_GROUP_AUTOGROUP | BPF_CORE_READ(autogroup, id);
	return BPF_CORE_READ(group, css.cgroup, kn, id);
}

/* A kernel without CONFIG_CGROUP_SCHED has no groups: 0, unknown. */
static __always_inline struct task_group *task_group_of(struct task_struct *task)
{
	return bpf_core_field_exists(task->sched_task_group) ? BPF_CORE_READ(task, sched_task_group) : NULL;
}

#endif
