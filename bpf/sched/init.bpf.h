/* SPDX-License-Identifier: GPL-2.0 */
/* What there has to be before the first task comes: masks, queues, timers, and where each CPU belongs. */
#ifndef INIT_BPF_H
#define INIT_BPF_H

#include "watch.bpf.h"

static __always_inline int make_mask(struct bpf_cpumask **place)
{
	struct bpf_cpumask *mask = bpf_cpumask_create();

	if (!mask)
		return -12; /* ENOMEM */
	mask = bpf_kptr_xchg(place, mask);
	if (mask)
		bpf_cpumask_release(mask);
	return 0;
}

static __noinline int init_cpus(void)
{
	int error = 0;
	__u32 cpu;

	bpf_for(cpu, 0, nr_cpu_ids)
	{
		struct cpu_ctx *cpuc = cpu_ctx(cpu);

		error = cpuc ? make_mask(&cpuc->scratch) : -12;
		if (!error)
			error = scx_bpf_create_dsq(PINNED_QUEUE(cpu), -1);
		if (error)
			break;
	}
	return error;
}

static __noinline int init_llcs(void)
{
	int error = 0;
	__u32 llc;

	bpf_for(llc, 0, nr_llcs)
	{
		struct llc_ctx *llcc = llc_ctx(llc);
		struct timer *timer = bpf_map_lookup_elem(&kick_timers, &llc);

		if (!llcc || !timer)
			return -12;
		llcc->id = NO_LLC;
		error = make_mask(&llcc->cpus) ?: make_mask(&llcc->node_cpus);
		if (!error)
			error = scx_bpf_create_dsq(LLC_QUEUE(llc), -1);
		if (!error)
			error = scx_bpf_create_dsq(OVERDUE_QUEUE(llc), -1);
		if (!error)
			error = bpf_timer_init(&timer->timer, &kick_timers, CLOCK_MONOTONIC);
		if (!error)
			error = bpf_timer_set_callback(&timer->timer, kick);
		if (error)
			break;
	}
	return error;
}

static __noinline void init_topology(void)
{
	__u32 cpu;

	bpf_for(cpu, 0, nr_cpu_ids)
	{
		struct cpu_ctx *cpuc = cpu_ctx(cpu);

		if (cpuc)
			refresh_topology(cpu, cpuc, true);
	}
	bpf_for(cpu, 0, nr_cpu_ids)
	{
		struct cpu_ctx *cpuc = cpu_ctx(cpu);
		struct llc_ctx *llcc;
		__u32 llc;

		if (!cpuc)
			continue;
		bpf_for(llc, 0, nr_llcs)
		{
			llcc = llc_ctx(llc);
			if (llcc && llcc->node == scx_bpf_cpu_node(cpu))
				put_into_mask(llcc->node_cpus, cpu, true);
		}
	}
}

#endif
