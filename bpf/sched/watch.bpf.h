/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What happens by the clock. The watch bounds how long a task waits, keeps the picture of the machine fresh, and
 * leaves before the kernel throws the scheduler out; a helper in user space would starve with the rest. And
 * timer_kick's timers, one per LLC.
 */
#ifndef WATCH_BPF_H
#define WATCH_BPF_H

#include "place.bpf.h"

struct timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer);
} watch_timer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer);
} release_timer SEC(".maps");

__u32 is_releasing; /* the timer of quotas runs */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_LLCS);
	__type(key, __u32);
	__type(value, struct timer);
} kick_timers SEC(".maps");

/* Which of our places an LLC has: the one that it had, or a new one; 0 if there is none left. */
static __noinline __u32 place_of_llc(__s32 id)
{
	__u32 llc;

	bpf_for(llc, 0, nr_llcs)
	{
		struct llc_ctx *llcc = llc_ctx(llc);

		if (llcc && llcc->id == NO_LLC)
			llcc->id = id;
		if (llcc && llcc->id == id)
			return llc;
	}
	return 0;
}

/*
 * scx_bpf_now() for timers: where the TSC is not stable it stands still on a CPU that is idle, for as long as that is
 * so. How far it is ahead of bpf_ktime_get_ns() is noted whenever a task begins to run, but not more often than this.
 */
#define CLOCK_NOTED_NS (10 * NSEC_PER_MSEC)

static __always_inline void note_clock(__u64 now_ns)
{
	if (now_ns - clock_noted_ns < CLOCK_NOTED_NS)
		return;
	clock_noted_ns = now_ns;
	clock_ahead_ns = now_ns - bpf_ktime_get_ns();
}

static __always_inline __u64 timer_now(void)
{
	return clock_noted_ns ? bpf_ktime_get_ns() + clock_ahead_ns : scx_bpf_now();
}

/* The topology may change with hotplug: CPUs are put to their LLCs again and again. */
static __always_inline void refresh_topology(__s32 cpu, struct cpu_ctx *cpuc, bool first)
{
	const int *id = bpf_ksym_exists(&sd_llc_id) ? bpf_per_cpu_ptr(&sd_llc_id, cpu) : NULL;
	__u32 llc = place_of_llc(id && *id >= 0 ? *id : 0);
	struct llc_ctx *former = llc_ctx(cpuc->llc), *llcc = llc_ctx(llc);

	if (!llcc || (llc == cpuc->llc && !first))
		return;
	if (!first && former) {
		put_into_mask(former->cpus, cpu, false);
		former->nr_cpus -= !!former->nr_cpus;
	}
	put_into_mask(llcc->cpus, cpu, true);
	llcc->nr_cpus++;
	llcc->node = scx_bpf_cpu_node(cpu);
	cpuc->llc = llc;
}

static __always_inline void refresh_fast(__s32 cpu, struct cpu_ctx *cpuc, struct masks *all)
{
	__u32 key = cpu;
	__u8 *fast = bpf_map_lookup_elem(&tuna_fast_cpus, &key);

	if (!fast)
		return;
	cpuc->fast = *fast;
	put_into_mask(all->fast, cpu, cpuc->fast);
	put_into_mask(all->slow, cpu, !cpuc->fast);
}

/* Has the host run something else in place of this CPU for much of the time? Then nobody here is to blame. */
static __always_inline bool was_stolen(__s32 cpu, struct cpu_ctx *cpuc, __u64 passed_ns)
{
	const struct kernel_cpustat *stat = bpf_ksym_exists(&kernel_cpustat) ? bpf_per_cpu_ptr(&kernel_cpustat, cpu)
									     : NULL;
	__u64 steal, stolen;

	if (!stat)
		return false;
	steal = stat->cpustat[KERNEL(cpu_usage_stat, CPUTIME_STEAL) & 7];
	stolen = steal - cpuc->steal_ns;
	cpuc->steal_ns = steal;
	return stolen > passed_ns / 4;
}

static __always_inline __u64 waited_ns(struct task_struct *p, __u64 now_ns)
{
	struct task_ctx *tctx = task_ctx(p);

	if (!tctx)
		return overdue_ns; /* nothing is known of it: it goes first */
	return before(now_ns, tctx->queued_ns) ? 0 : now_ns - tctx->queued_ns;
}

static __always_inline bool is_behind_real_time(struct task_struct *p)
{
	struct cpu_ctx *cpuc = cpu_ctx(scx_bpf_task_cpu(p));

	return cpuc && cpuc->taken && is_pinned(p);
}

/* Put those before all others that wait for long; leave if somebody waits too long. */
static __noinline void watch_queue(__u64 queue, __u64 overdue_queue, __u64 now_ns, bool excused)
{
	struct task_struct *p;

	if (!scx_bpf_dsq_nr_queued(queue))
		return;
	bpf_for_each(scx_dsq, p, queue, 0)
	{
		__u64 waited = waited_ns(p, now_ns);

		if (!excused && waited > leave_after_ms * NSEC_PER_MSEC) {
			if (is_behind_real_time(p))
				leave(TUNA_EXIT_RT, "%s[%d] waits for CPU %d, which real-time tasks hold",
				      (__u64)p->comm, p->pid, scx_bpf_task_cpu(p));
			else
				leave(TUNA_EXIT_QUEUE, "%s[%d] waits for %llu ms in queue %llx", (__u64)p->comm, p->pid,
				      waited / NSEC_PER_MSEC, queue);
			return;
		}
		if (waited < overdue_ns || queue == overdue_queue)
			continue;
		scx_bpf_dsq_move_set_slice(&___it, slice_floor_ns);
		if (scx_bpf_dsq_move(&___it, p, overdue_queue, 0))
			count(nr_overdue);
	}
}

static __always_inline void watch_local(__s32 cpu, struct cpu_ctx *cpuc, __u64 now_ns, bool excused)
{
	__s32 nr_queued = scx_bpf_dsq_nr_queued(DSQ_LOCAL_ON(cpu));

	if (nr_queued <= 0) {
		cpuc->local_since_ns = 0;
		return;
	}
	if (cpuc->taken && bpf_ksym_exists(scx_bpf_dsq_reenq)) {
		count_by(nr_reenqueued, nr_queued);
		scx_bpf_dsq_reenq(DSQ_LOCAL_ON(cpu), 0);
	}
	if (!cpuc->local_since_ns || excused)
		cpuc->local_since_ns = now_ns;
	/* Next to nothing is in a local queue, and never for long, unless real-time tasks have the CPU. */
	if (cpuc->local_stamp_ns != cpuc->local_since_ns) { /* set by that CPU's clock, which may lag behind */
		cpuc->local_stamp_ns = cpuc->local_since_ns;
		cpuc->local_seen_ns = now_ns;
	}
	if (before(now_ns, cpuc->local_seen_ns + leave_after_ms * NSEC_PER_MSEC / (cpuc->taken ? 1 : 2)))
		return;
	if (cpuc->taken)
		leave(TUNA_EXIT_RT, "tasks wait for CPU %d, which real-time tasks hold", cpu);
	else
		leave(TUNA_EXIT_LOCAL, "%d tasks wait in the local queue of CPU %d", nr_queued, cpu);
}

static __always_inline void watch_cpus(__u64 now_ns, __u64 passed_ns, bool excused)
{
	struct masks *all = cpu_masks();
	const struct cpumask *online = scx_bpf_get_online_cpumask();
	__u64 least = ~0ULL;
	__u32 nr = 0, cpu;

	bpf_for(cpu, 0, nr_cpu_ids)
	{
		struct cpu_ctx *cpuc = cpu_ctx(cpu);
		struct llc_ctx *llcc;
		__u64 util;
		bool stolen;

		if (!cpuc || !all)
			continue;
		stolen = was_stolen(cpu, cpuc, passed_ns) || excused;
		refresh_topology(cpu, cpuc, false);
		refresh_fast(cpu, cpuc, all);
		nr += cpuc->fast;
		if (bpf_cpumask_test_cpu(cpu, online))
			watch_local(cpu, cpuc, now_ns, stolen);
		else
			cpuc->local_since_ns = 0; /* who waits there waits for a hotplug */
		watch_queue(PINNED_QUEUE(cpu), PINNED_QUEUE(cpu), now_ns, stolen);
		llcc = llc_ctx(cpuc->llc);
		util = cpu_util(cpuc, now_ns);
		if (llcc) {
			llcc->util_sum += util;
			llcc->nr_slow_sum += !cpuc->fast;
		}
		if (util < least && !cpuc->taken && bpf_cpumask_test_cpu(cpu, online)) {
			least = util;
			least_used_cpu = cpu;
		}
	}
	nr_online = bpf_cpumask_weight(online);
	scx_bpf_put_cpumask(online);
	nr_fast = nr;
}

static int kick(void *map, __u32 *llc, struct timer *timer);

static __always_inline void watch_llcs(const struct tuna_params *now, __u64 now_ns, bool excused)
{
	__u32 llc;

	bpf_for(llc, 0, nr_llcs)
	{
		struct llc_ctx *llcc = llc_ctx(llc);
		struct timer *timer = bpf_map_lookup_elem(&kick_timers, &llc);

		if (!llcc || !timer || !llcc->nr_cpus)
			continue;
		llcc->util = llcc->util_sum / llcc->nr_cpus;
		llcc->util_sum = 0;
		llcc->nr_slow = llcc->nr_slow_sum;
		llcc->nr_slow_sum = 0;
		watch_queue(LLC_QUEUE(llc), OVERDUE_QUEUE(llc), now_ns, excused);
		watch_queue(OVERDUE_QUEUE(llc), OVERDUE_QUEUE(llc), now_ns, excused);
		if (now->timer_kick && !llcc->kicking) {
			llcc->kicking = 1;
			bpf_timer_start(&timer->timer, kick_period_ns, 0);
		}
	}
	watch_queue(GPU_QUEUE, OVERDUE_QUEUE(0), now_ns, excused);
}

/* How long is a tick of the kernel? */
static __always_inline void measure_tick(__u64 now_ns)
{
	__u64 jiffies = bpf_jiffies64();

	if (!tick_since_jiffies) {
		tick_since_jiffies = jiffies;
		tick_since_ns = now_ns;
	} else if (jiffies - tick_since_jiffies >= 50) {
		tick_ns = (now_ns - tick_since_ns) / (jiffies - tick_since_jiffies);
	}
}

/* While a group has a quota, a timer lets tasks go that have waited for it. */
static int release(void *map, __u32 *key, struct timer *timer)
{
	const struct tuna_params *now = params_held();

	bpf_rcu_read_lock();
	if (now)
		release_throttled(now);
	bpf_rcu_read_unlock();
	if (nr_quotas || scx_bpf_dsq_nr_queued(THROTTLED_QUEUE) > 0)
		bpf_timer_start(&timer->timer, release_period_ns, 0);
	else
		is_releasing = 0;
	return 0;
}

static __always_inline void watch_quotas(void)
{
	__u32 zero = 0;
	struct timer *timer = bpf_map_lookup_elem(&release_timer, &zero);

	if (!timer || is_releasing || !nr_quotas)
		return;
	is_releasing = 1;
	bpf_timer_start(&timer->timer, release_period_ns, 0);
}

static int watch(void *map, __u32 *key, struct timer *timer)
{
	const struct tuna_params *now = params_held();
	__u64 now_ns = timer_now(), passed_ns = now_ns - watch_at_ns;
	bool excused = passed_ns > 4 * watch_period_ns; /* the timer itself came late: the whole machine stood still */

	watch_at_ns = now_ns;
	measure_tick(now_ns);
	bpf_rcu_read_lock(); /* until 6.17 the verifier takes it for sleepable, as `init`, which sets it */
	watch_cpus(now_ns, passed_ns, excused);
	if (now)
		watch_llcs(now, now_ns, excused);
	judge_model();
	watch_quotas();
	bpf_rcu_read_unlock();
#ifndef BUG_TIMER_DEAD
	bpf_timer_start(&timer->timer, watch_period_ns, 0);
#endif
	return 0;
}

/* Kick the idle CPUs of an LLC if somebody waits there, and end slices that are over. */
static int kick(void *map, __u32 *llc, struct timer *timer)
{
	const struct tuna_params *now = params_held();
	struct llc_ctx *llcc = llc_ctx(*llc);
	__u64 now_ns = timer_now();
	__u32 cpu;

	if (!llcc)
		return 0;
#ifdef NO_TIMER_KICK
	llcc->kicking = 0;
	return 0;
#endif
	if (!now || !now->timer_kick) {
		llcc->kicking = 0;
		return 0;
	}
	bpf_for(cpu, 0, nr_cpu_ids)
	{
		struct cpu_ctx *cpuc = cpu_ctx(cpu);

		if (!cpuc || cpuc->llc != *llc || cpuc->taken)
			continue;
		if (!others_wait(cpu, *llc) && has_no_local_tasks(cpu))
			continue;
		if (!cpuc->run_since_ns) {
			scx_bpf_kick_cpu(cpu, KICK(IDLE));
			count(nr_timer_kicks);
		} else if (before(cpuc->run_since_ns + cpuc->run_slice_ns, now_ns + kick_period_ns / 2)) {
			scx_bpf_kick_cpu(cpu, KICK(PREEMPT));
			count(nr_timer_preempts);
		}
	}
	bpf_timer_start(&timer->timer, kick_period_ns, 0);
	return 0;
}

/*
 * Does the watch look? Asked whenever a task begins to run: who has lost the timer would otherwise not know. After
 * a pause of the whole machine the timer may come a moment late, so that it gets a second more.
 */
static __always_inline void watch_the_watch(__u64 now_ns)
{
	if (!watch_at_ns || before(now_ns, watch_at_ns + leave_after_ms * NSEC_PER_MSEC)) {
		watch_missed_ns = 0;
		return;
	}
	if (!watch_missed_ns)
		watch_missed_ns = now_ns;
	else if (before(watch_missed_ns + 1000 * NSEC_PER_MSEC, now_ns))
		leave(TUNA_EXIT_TIMER, "the watch stands still for %llu ms", (now_ns - watch_at_ns) / NSEC_PER_MSEC);
}

#endif
