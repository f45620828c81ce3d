/* SPDX-License-Identifier: GPL-2.0 */
/* Who is woken for a task that was queued, and who goes on, or is taken, when a CPU needs one. */
#ifndef QUEUE_BPF_H
#define QUEUE_BPF_H

#include "watch.bpf.h"

/* A fast CPU would not take it: of those that are not, one that is idle. */
static __always_inline __s32 pick_idle_slow(struct task_struct *p)
{
	struct cpu_ctx *thisc = cpu_ctx(bpf_get_smp_processor_id());
	struct masks *all = cpu_masks();
	struct bpf_cpumask *scratch = thisc ? thisc->scratch : NULL, *slow = all ? all->slow : NULL;

	if (!scratch || !slow || !bpf_cpumask_and(scratch, p->cpus_ptr, (const struct cpumask *)slow))
		return -1;
	return scx_bpf_pick_idle_cpu((const struct cpumask *)scratch, 0);
}

/* Wake an idle CPU for a task that was queued; an interactive one may preempt. */
static __always_inline void kick_for(const struct tuna_params *now, struct task_struct *p, struct task_ctx *tctx,
				     __s32 cpu, struct cpu_ctx *cpuc, __u64 now_ns, __u64 enq_flags)
{
	__s32 idle = -1;

#ifndef NO_TIMER_KICK
	if (now->timer_kick)
		return;
#endif
	if (is_pinned(p))
		idle = scx_bpf_test_and_clear_cpu_idle(cpu) ? cpu : -1;
#ifndef NO_SCHEDULING_POLICY
	else if (now->scheduling_policy == TUNA_POWERSAVE && !is_above_threshold(now, cpuc, now_ns))
		return;
#endif
	else if (fast_are_taken(now, now_ns))
		idle = pick_idle_slow(p);
	else
		idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (idle >= 0) {
		scx_bpf_kick_cpu(idle, KICK(IDLE));
		count(nr_idle_kicks);
		return;
	}
#ifndef NO_SCHEDULING_POLICY
	if (now->scheduling_policy == TUNA_LATENCY && (enq_flags & ENQ(WAKEUP)) && tctx && is_interactive(tctx)
	    && cpuc->run_since_ns && cpuc->run_burst_ns >= interactive_burst_ns) {
		scx_bpf_kick_cpu(cpu, KICK(PREEMPT));
		count(nr_preempt_kicks);
	}
#endif
}

/* Pinned tasks have had no more than the others that waited beside them. */
static __always_inline bool may_pinned_go_first(struct cpu_ctx *cpuc, __u32 llc)
{
	return cpuc->pinned_ns <= cpuc->others_ns || !scx_bpf_dsq_nr_queued(LLC_QUEUE(llc));
}

/* local_pcpu: into the CPU's own queue; what runs there yields to it as far as the share of pinned tasks goes. */
static __always_inline void enqueue_pinned(const struct tuna_params *now, struct task_struct *p, __s32 cpu,
					   struct cpu_ctx *cpuc, __u64 slice, __u64 key, __u64 enq_flags)
{
	count(nr_queued_pinned);
	insert_vtime(p, PINNED_QUEUE(cpu), slice, key, enq_flags);
	if (cpuc->run_since_ns && !cpuc->run_pinned && (enq_flags & ENQ(WAKEUP))
	    && may_pinned_go_first(cpuc, cpuc->llc)) {
		scx_bpf_kick_cpu(cpu, KICK(PREEMPT));
		count(nr_preempt_kicks);
		return;
	}
#ifndef NO_TIMER_KICK
	if (now->timer_kick)
		return;
#endif
	scx_bpf_kick_cpu(cpu, KICK(IDLE));
	count(nr_idle_kicks);
}

/* A fast CPU that a task may use and on which no feeder of a GPU runs; negative: there is none. */
static __noinline __s32 find_yielding(struct task_struct *p)
{
	__u32 cpu;

	bpf_for(cpu, 0, nr_cpu_ids)
	{
		struct cpu_ctx *cpuc = cpu_ctx(cpu);

		if (cpuc && cpuc->fast && cpuc->run_since_ns && !cpuc->run_gpu && !cpuc->taken
		    && bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			return cpu;
	}
	return -1;
}

/* A feeder of a GPU: an idle fast CPU takes it, or one yields where another task runs. */
static __always_inline void enqueue_gpu(struct task_struct *p, __u64 slice, __u64 key, __u64 now_ns, __u64 enq_flags)
{
	struct masks *all = cpu_masks();
	struct bpf_cpumask *fast = all ? all->fast : NULL;
	__s32 cpu = -1;

	gpu_seen_ns = now_ns;
	count(nr_queued_gpu);
	insert_vtime(p, GPU_QUEUE, slice, key, enq_flags);
	if (fast)
		cpu = scx_bpf_pick_idle_cpu((const struct cpumask *)fast, 0);
	if (cpu >= 0) {
		scx_bpf_kick_cpu(cpu, KICK(IDLE));
		return;
	}
	cpu = enq_flags & ENQ(WAKEUP) ? find_yielding(p) : -1;
	if (cpu >= 0) {
		scx_bpf_kick_cpu(cpu, KICK(PREEMPT));
		count(nr_preempt_kicks);
	}
}

/*
 * Where a task is queued that fast CPUs don't take while feeders of a GPU have them: at a CPU that is not fast;
 * negative: it may use none, and fast CPUs have to serve it.
 */
static __always_inline __s32 away_from_fast(struct task_struct *p)
{
	struct masks *all = cpu_masks();
	struct bpf_cpumask *slow = all ? all->slow : NULL;
	__u32 cpu = nr_cpu_ids;

	if (slow && !is_pinned(p))
		cpu = bpf_cpumask_any_and_distribute(p->cpus_ptr, (const struct cpumask *)slow);
	return cpu < nr_cpu_ids ? (__s32)cpu : -1;
}

/* Is the task that runs still first in order? Then it may go on. */
static __noinline bool is_first(const struct tuna_params *now, struct task_struct *prev, __s32 cpu,
				struct cpu_ctx *cpuc)
{
	struct task_ctx *tctx = task_ctx(prev);
	struct task_struct *p;
	__u64 key;

#ifndef NO_RR_SCHED
	if (now->rr_sched)
		return false;
#endif
	if (!tctx || tctx->epoch != epoch || tctx->llc != cpuc->llc)
		return false;
	charge(now, prev, tctx);
	key = tctx->vtime + expected(now, tctx, task_weight(now, prev, tctx)) - tctx->lead;
	bpf_for_each(scx_dsq, p, LLC_QUEUE(cpuc->llc), 0)
	{
		if (may_run_on(p, cpu))
			return before(key, p->scx.dsq_vtime);
	}
	return true;
}

static __always_inline void run_on(const struct tuna_params *now, struct task_struct *prev, struct cpu_ctx *cpuc,
				   struct llc_ctx *llcc, __u64 now_ns)
{
	struct task_ctx *tctx = task_ctx(prev);
	__u64 slice = slice_ns(now, llcc, cpuc->llc, tctx ? tctx->kind : TUNA_KIND_NONE);

	count(nr_kept);
	note_util(cpuc, now_ns);
	cpuc->run_since_ns = now_ns;
	cpuc->run_slice_ns = slice;
	set_slice(prev, slice);
}

/* Take from the queues of the other LLCs, from the next one on. */
static __always_inline bool take_from_others(__u32 own)
{
	__u32 step;

	bpf_for(step, 1, nr_llcs)
	{
		__u32 llc = own + step < nr_llcs ? own + step : own + step - nr_llcs;

		if (scx_bpf_dsq_move_to_local(OVERDUE_QUEUE(llc)) || scx_bpf_dsq_move_to_local(LLC_QUEUE(llc))) {
			count(nr_stolen);
			return true;
		}
	}
	return false;
}

#endif
