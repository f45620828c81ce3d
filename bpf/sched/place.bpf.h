/* SPDX-License-Identifier: GPL-2.0 */
/* Where does a woken task go? To a CPU's local queue at once (direct), or into a queue that CPUs take from. */
#ifndef PLACE_BPF_H
#define PLACE_BPF_H

#include "advice.bpf.h"
#include "devices.bpf.h"
#include "quota.bpf.h"

__u32 bpf_cpumask_first_and(const struct cpumask *src1, const struct cpumask *src2) __ksym;
__u32 bpf_cpumask_any_and_distribute(const struct cpumask *src1, const struct cpumask *src2) __ksym;
bool bpf_cpumask_intersects(const struct cpumask *src1, const struct cpumask *src2) __ksym;

struct wakeup {
	const struct tuna_params *now;
	struct task_struct *p;
	struct task_ctx *tctx;
	struct cpu_ctx *thisc, *prevc;
	__u64 now_ns, wake_flags;
	__s32 this_cpu, prev_cpu;
	bool prev_allowed, is_gpu;
	bool away;   /* from the fast CPUs, which feeders of the GPU use */
	bool direct; /* answer: into the local queue of the CPU that was found */
	bool idle;   /* answer: it is idle, and marked as taken */
};

static __always_inline bool has_no_local_tasks(__s32 cpu)
{
	return !scx_bpf_dsq_nr_queued(DSQ_LOCAL_ON(cpu));
}

/* Does somebody wait that this CPU would serve? */
static __always_inline bool others_wait(__s32 cpu, __u32 llc)
{
	return scx_bpf_dsq_nr_queued(LLC_QUEUE(llc)) || scx_bpf_dsq_nr_queued(PINNED_QUEUE(cpu))
	       || scx_bpf_dsq_nr_queued(OVERDUE_QUEUE(llc));
}

static __always_inline bool may_use(struct task_struct *p, struct bpf_cpumask *mask)
{
	return mask && bpf_cpumask_intersects(p->cpus_ptr, (const struct cpumask *)mask);
}

/* Does it feed a GPU, and may it run on a fast CPU? */
static __always_inline bool is_gpu_task(const struct tuna_params *now, struct task_struct *p)
{
#ifndef NO_AGGRESSIVE_GPU_TASKS
	struct masks *all = cpu_masks();
	__u32 tid = p->pid, *class;

	if (!now->aggressive_gpu_tasks || !nr_fast || !all || !may_use(p, all->fast))
		return false;
	class = bpf_map_lookup_elem(&tuna_classes, &tid);
	if (class && *class == TUNA_CLASS_GPU)
		return true;
	return has_opened_gpu(p);
#else
	return false;
#endif
}

/* Feeders of the GPU were runnable lately, so that fast CPUs are theirs. */
static __always_inline bool fast_are_taken(const struct tuna_params *now, __u64 now_ns)
{
#ifndef NO_AGGRESSIVE_GPU_TASKS
	return now->aggressive_gpu_tasks && nr_fast && gpu_seen_ns && before(now_ns, gpu_seen_ns + gpu_decay_ns);
#else
	return false;
#endif
}

static __always_inline __s32 pick_idle_within(struct wakeup *w, struct bpf_cpumask *within, __u64 flags)
{
	struct bpf_cpumask *scratch = w->thisc->scratch;

	if (!scratch || !within)
		return -1;
	if (!bpf_cpumask_and(scratch, w->p->cpus_ptr, (const struct cpumask *)within))
		return -1;
	return scx_bpf_pick_idle_cpu((const struct cpumask *)scratch, flags);
}

/* The first that is idle of those that the task may use within a mask, whole cores only or any. */
static __always_inline __s32 first_idle_within(struct wakeup *w, struct bpf_cpumask *within, bool whole)
{
	struct bpf_cpumask *scratch = w->thisc->scratch;
	const struct cpumask *idle;
	__u32 cpu = nr_cpu_ids;

	if (!scratch)
		return -1;
	idle = whole ? scx_bpf_get_idle_smtmask() : scx_bpf_get_idle_cpumask();
	if (!within)
		cpu = bpf_cpumask_first_and(w->p->cpus_ptr, idle);
	else if (bpf_cpumask_and(scratch, w->p->cpus_ptr, (const struct cpumask *)within))
		cpu = bpf_cpumask_first_and((const struct cpumask *)scratch, idle);
	scx_bpf_put_idle_cpumask(idle);
	return cpu < nr_cpu_ids && scx_bpf_test_and_clear_cpu_idle(cpu) ? (__s32)cpu : -1;
}

static __always_inline bool is_whole_idle(__s32 cpu)
{
	const struct cpumask *idle = scx_bpf_get_idle_smtmask();
	bool whole = bpf_cpumask_test_cpu(cpu, idle);

	scx_bpf_put_idle_cpumask(idle);
	return whole;
}

/* Own order: the previous CPU's core, then cores, then CPUs, of its LLC, its node, all; the first in number. */
static __noinline __s32 pick_own_idle(struct wakeup *w)
{
	struct llc_ctx *llcc = llc_ctx(w->prevc->llc);
	__s32 cpu;

	if (!llcc)
		return -1;
	if (w->prev_allowed && is_whole_idle(w->prev_cpu) && scx_bpf_test_and_clear_cpu_idle(w->prev_cpu))
		return w->prev_cpu;
	cpu = first_idle_within(w, llcc->cpus, true);
	if (cpu < 0)
		cpu = first_idle_within(w, llcc->node_cpus, true);
	if (cpu < 0)
		cpu = first_idle_within(w, NULL, true);
	if (cpu >= 0)
		return cpu;
	if (w->prev_allowed && scx_bpf_test_and_clear_cpu_idle(w->prev_cpu))
		return w->prev_cpu;
	cpu = first_idle_within(w, llcc->cpus, false);
	if (cpu < 0)
		cpu = first_idle_within(w, llcc->node_cpus, false);
	if (cpu < 0)
		cpu = first_idle_within(w, NULL, false);
	return cpu;
}

/* Full speed: whole cores that are fast, whole cores, fast CPUs, any. */
static __noinline __s32 pick_fast_idle(struct wakeup *w)
{
	struct masks *all = cpu_masks();
	__s32 cpu = -1;

	if (all && nr_fast)
		cpu = pick_idle_within(w, all->fast, KERNEL(scx_pick_idle_cpu_flags, SCX_PICK_IDLE_CORE));
	if (cpu < 0)
		cpu = scx_bpf_pick_idle_cpu(w->p->cpus_ptr, KERNEL(scx_pick_idle_cpu_flags, SCX_PICK_IDLE_CORE));
	if (cpu < 0 && all && nr_fast)
		cpu = pick_idle_within(w, all->fast, 0);
	if (cpu < 0)
		cpu = scx_bpf_pick_idle_cpu(w->p->cpus_ptr, 0);
	return cpu;
}

/* An idle CPU that the task may use, marked as taken; negative: there is none. */
static __always_inline __s32 pick_idle(struct wakeup *w)
{
	struct masks *all = cpu_masks();

	if (w->is_gpu)
		return all ? pick_idle_within(w, all->fast, 0) : -1;
	if (w->away)
		return all ? pick_idle_within(w, all->slow, 0) : -1;
#ifndef NO_SCHEDULING_POLICY
	if (w->now->scheduling_policy == TUNA_PERFORMANCE)
		return pick_fast_idle(w);
#endif
#ifndef NO_NO_BUILTIN_IDLE
	if (w->now->no_builtin_idle) {
		__s32 cpu = pick_own_idle(w);

		if (cpu >= 0)
			count(nr_own_idle);
		return cpu;
	}
#endif
	/* Whether the waker's CPU is a good place is decided here, so that no_wake_sync decides alone. */
	return select_idle_builtin(w->p, w->prev_cpu, w->wake_flags & ~KERNEL(scx_wake_flags, SCX_WAKE_SYNC));
}

/* powersave: the first CPU that is not used up; negative: all are. */
static __noinline __s32 pick_packed(struct wakeup *w)
{
	__u32 cpu;

	bpf_for(cpu, 0, nr_cpu_ids)
	{
		struct cpu_ctx *cpuc = cpu_ctx(cpu);

		if (!cpuc || !bpf_cpumask_test_cpu(cpu, w->p->cpus_ptr) || cpuc->taken)
			continue;
		if (is_above_threshold(w->now, cpuc, w->now_ns) || scx_bpf_dsq_nr_queued(DSQ_LOCAL_ON(cpu)) > 1)
			continue;
		w->idle = scx_bpf_test_and_clear_cpu_idle(cpu);
		return cpu;
	}
	return -1;
}

/* Will the previous CPU be free very soon? */
static __always_inline bool is_soon_free(struct wakeup *w)
{
	struct cpu_ctx *prevc = w->prevc;
	__u64 ran_ns;

	if (!prevc->run_since_ns || prevc->taken || !has_no_local_tasks(w->prev_cpu))
		return false;
	ran_ns = before(w->now_ns, prevc->run_since_ns) ? 0 : w->now_ns - prevc->run_since_ns;
	return prevc->run_burst_ns > ran_ns && prevc->run_burst_ns - ran_ns < sticky_wait_ns;
}

static __always_inline bool is_behind_kthread(struct wakeup *w)
{
	struct cpu_ctx *prevc = w->prevc;

	return prevc->run_kthread && prevc->run_since_ns && !prevc->taken && has_no_local_tasks(w->prev_cpu)
	       && before(w->now_ns, prevc->run_since_ns + kthread_stay_ns);
}

static __always_inline bool is_sync(struct wakeup *w)
{
	struct task_struct *waker = bpf_get_current_task_btf();

	return (w->wake_flags & KERNEL(scx_wake_flags, SCX_WAKE_SYNC)) && !(waker->flags & PF_EXITING)
	       && w->thisc->run_since_ns && !w->thisc->taken;
}

/* The busy CPU for whose local queue there is a reason; negative: for none. */
static __always_inline __s32 pick_busy(struct wakeup *w)
{
	bool sync = is_sync(w);

#ifndef NO_NO_WAKE_SYNC
	sync = sync && !w->now->no_wake_sync;
#endif
#ifndef NO_STAY_WITH_KTHREAD
	if (w->now->stay_with_kthread && w->prev_allowed && !(w->away && w->prevc->fast) && is_behind_kthread(w)) {
		count(nr_with_kthread);
		return w->prev_cpu;
	}
#endif
	if (sync && bpf_cpumask_test_cpu(w->this_cpu, w->p->cpus_ptr) && !(w->away && w->thisc->fast)
	    && has_no_local_tasks(w->this_cpu) && !others_wait(w->this_cpu, w->thisc->llc)) {
		count(nr_sync);
		return w->this_cpu;
	}
#ifndef NO_STICKY_CPU
	if (w->now->sticky_cpu && w->prev_allowed && !(w->away && w->prevc->fast) && is_soon_free(w)) {
		count(nr_sticky);
		return w->prev_cpu;
	}
#endif
	return -1;
}

/* Where advice says, if the task may run there; straight to it if it is idle, and nobody is overtaken. */
static __always_inline __s32 pick_advised(struct wakeup *w)
{
	struct advice advice;
	struct cpu_ctx *cpuc;

	if (!has_advice(w->tctx, &advice) || advice.cpu < 0)
		return -1;
	cpuc = cpu_ctx(advice.cpu);
	if (!cpuc || !bpf_cpumask_test_cpu(advice.cpu, w->p->cpus_ptr) || cpuc->taken) {
		count_advice(nr_not_allowed);
		return -1;
	}
	count_advice(nr_placed);
	if (!others_wait(advice.cpu, cpuc->llc)) {
		w->idle = scx_bpf_test_and_clear_cpu_idle(advice.cpu);
		w->direct = w->idle;
	}
	return advice.cpu;
}

/* Where to: returns a CPU, and sets `direct` and `idle`. */
static __always_inline __s32 choose(struct wakeup *w)
{
	struct cpu_ctx *cpuc;
	__s32 cpu = w->is_gpu || w->away ? -1 : pick_advised(w);

	if (cpu >= 0)
		return cpu;
#ifndef NO_SCHEDULING_POLICY
	if (w->now->scheduling_policy == TUNA_POWERSAVE && !w->is_gpu && !w->away) {
		cpu = pick_packed(w);
		if (cpu >= 0) {
			count(nr_packed);
			w->direct = true;
			return cpu;
		}
	}
#endif
	if (!w->is_gpu)
		cpu = pick_busy(w);
	if (cpu >= 0) {
		w->direct = true;
		return cpu;
	}
	cpu = pick_idle(w);
	w->idle = cpu >= 0;
	if (!w->idle)
		cpu = w->prev_cpu;
	cpuc = cpu_ctx(cpu);
	if (!cpuc || !(w->idle || w->prev_allowed))
		return cpu;
	if (is_above_threshold(w->now, cpuc, w->now_ns)) {
		count(nr_above_threshold);
		return cpu;
	}
	w->direct = w->idle;
	if (others_wait(cpu, cpuc->llc)) {
		w->direct = false;
#ifndef NO_DIRECT_DISPATCH
		if (w->now->direct_dispatch && has_no_local_tasks(cpu) && !cpuc->taken && !(w->away && cpuc->fast)
		    && (w->idle || !w->is_gpu)) {
			w->direct = true;
			count(nr_overtakings);
		}
#endif
	}
	return cpu;
}

#endif
