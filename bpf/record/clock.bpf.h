/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two clocks: CLOCK_MONOTONIC, which takes a call, and the runqueue's clock (sched_clock), which is a
 * load but may be stale. Their offset is measured where both are known.
 *
 * The runqueue's clock is read when schedule() begins and when a task is queued. But when a wakeup
 * preempts, rq_clock_skip_update() has schedule() keep the time of the wakeup, so that the way to the
 * switch (leaving idle, an interrupt, a preemption) seems to take no time.
 */
#ifndef CLOCK_BPF_H
#define CLOCK_BPF_H

#include "compat.bpf.h"
#include "task_stats.h"

/* A stale clock makes the offset seem larger, never smaller; and the clocks drift, but slowly. */
static __always_inline void compare_clocks(struct clock_offset *offset, __u64 clock_ns, __u64 monotonic_ns)
{
	__u64 offset_ns = monotonic_ns - clock_ns;
	__u64 limit_ns = offset->offset_ns + ((clock_ns - offset->at_ns) >> 10);

	if (offset->at_ns && (__s64)(offset_ns - limit_ns) > 0)
		offset_ns = limit_ns;
	offset->offset_ns = offset_ns;
	offset->at_ns = clock_ns;
}

#endif
