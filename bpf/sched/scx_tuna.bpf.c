/* SPDX-License-Identifier: GPL-2.0 */
/*
 * scx_tuna: a sched_ext scheduler whose fifteen parameters act at once, each for itself, and are counted.
 *
 * Theory of operation
 * ===================
 *
 * Queues. Every LLC has one queue, ordered by weighted run time (order.bpf.h), from which its CPUs take. A CPU
 * whose own LLC has nothing takes from the others. So no task waits where a CPU of any LLC has nothing to do, and
 * caches are left only then. Local queues, from which tasks can't be taken back, hold next to nothing: woken tasks
 * for which an idle CPU was found (place.bpf.h), what a CPU is about to run, and what a parameter puts there.
 *
 * Order. vtime grows by run time over weight. A sleeper's vtime is pulled up to the LLC's minus a credit, so that
 * sleep is not saved up. A task's place is its vtime plus what it will probably run until it sleeps, the mean of
 * what it ran before: who wakes often for little, which is what interactive tasks do, comes first without getting
 * more than its share. The LLC's own vtime is that of the task which was furthest when it began to run; who moves
 * to another LLC keeps its distance. A task runs on at the end of its slice if it is still first; else it goes
 * into the queue. Round robin (rr_sched) uses the same queues, with numbers of arrival as keys; at a flip, vtime
 * starts afresh behind the last key that was given out, so that neither kind is left behind the other.
 *
 * Bounds. Weights and credit alone bound no wait: nice 19 beside sixty of nice -20 would stand for minutes. The
 * watch (watch.bpf.h) walks the queues 20 times a second and moves who has waited for overdue_ns into a queue of
 * its own, which is served first, in the order of the waits, with the shortest slice. At 64 tasks per CPU and a
 * tick of 4 ms that is 0.6 + 0.05 + 64 * 0.004 s: less than a second. What overrides order elsewhere (pinned tasks
 * first, straight to idle CPUs, fast CPUs for feeders of the GPU) yields to that queue, too.
 *
 * Leaving. If the watch finds a task that waits for a third of what the kernel's own watchdog allows, something is
 * wrong here: it leaves by itself, with a reason (enum tuna_exit) and a dump, and the kernel's own scheduler takes
 * over. Time that the host took from a CPU excuses. If the watch itself stands still, `running` leaves. A task that
 * was never inserted anywhere can't be seen by either: the kernel's watchdog finds it.
 *
 * Real-time tasks. When one takes a CPU, what is in its local queue is queued anew, where other CPUs take it. A
 * task that is pinned there waits. Kernels from 7.0 on give sched_ext 5% of such a CPU; before, it is left with
 * TUNA_EXIT_RT.
 *
 * Parameters (params.bpf.h) are swapped whole, and every decision counts for the version that it was made under.
 * Where a parameter acts, -DNO_<PARAMETER> leaves its branch out, so that its test can be seen to fail.
 *
 * Cgroups. cpu.weight and cpu.idle are weights (group.bpf.h). cpu.max holds tasks back (quota.bpf.h), also the last
 * one of a CPU, which is why SCX_OPS_ENQ_LAST is set. 6.16 tells of neither quotas nor cpu.idle, 6.18 of quotas.
 *
 * Limits. Kernels before 6.16 lack scx_bpf_select_cpu_and: libbpf names it when it refuses to load there.
 */
#include "init.bpf.h"
#include "pick.bpf.h"
#include "queue.bpf.h"

char _license[] SEC("license") = "GPL";

/* tools/sched_ext/include/scx/user_exit_info.h: what a loader reads when the kernel has ended a scheduler. */
struct user_exit_info {
	int kind;
	__s64 exit_code;
	char reason[128];
	char msg[1024];
};
struct user_exit_info uei SEC(".data");
char uei_dump[32768] SEC(".data.uei_dump");

#define CALLBACK(name, args...) SEC("struct_ops/" #name) BPF_PROG(name, ##args)
#define SLEEPABLE(name, args...) SEC("struct_ops.s/" #name) BPF_PROG(name, ##args)

static __always_inline void note_local(struct cpu_ctx *cpuc, __u64 now_ns)
{
	if (!cpuc->local_since_ns)
		cpuc->local_since_ns = now_ns;
}

__s32 CALLBACK(tuna_select_cpu, struct task_struct *p, __s32 prev_cpu, __u64 wake_flags)
{
	__s32 this_cpu = bpf_get_smp_processor_id(), cpu;
	struct wakeup w = {
		.now = params_now(),
		.p = p,
		.tctx = task_ctx(p),
		.thisc = cpu_ctx(this_cpu),
		.prevc = cpu_ctx(prev_cpu),
		.now_ns = scx_bpf_now(),
		.wake_flags = wake_flags,
		.this_cpu = this_cpu,
		.prev_cpu = prev_cpu,
	};
	struct lack lack = {};
	struct cpu_ctx *cpuc;
	struct llc_ctx *llcc;

	count(nr_select_cpu);
	if (!w.now || !w.thisc || !w.prevc)
		return prev_cpu;
	if (lacks_quota(p, 0, &lack)) /* `enqueue` puts it aside */
		return prev_cpu;
	w.prev_allowed = bpf_cpumask_test_cpu(prev_cpu, p->cpus_ptr);
	w.is_gpu = is_gpu_task(w.now, p);
	w.away = !w.is_gpu && fast_are_taken(w.now, w.now_ns);
	cpu = choose(&w);
	if (cpu == this_cpu)
		count(nr_same_cpu_wakeups);
	cpuc = cpu_ctx(cpu);
	llcc = cpuc ? llc_ctx(cpuc->llc) : NULL;
	if (!w.direct || !llcc)
		return cpu;
	count(nr_direct);
	if (w.tctx) {
		w.tctx->lead = 0;
		w.tctx->kind = TUNA_KIND_NONE;
	}
	note_local(cpuc, w.now_ns);
	scx_bpf_dsq_insert(p, DSQ_LOCAL, slice_ns(w.now, llcc, cpuc->llc, TUNA_KIND_NONE), 0);
	return cpu;
}

void CALLBACK(tuna_enqueue, struct task_struct *p, __u64 enq_flags)
{
	const struct tuna_params *now = params_now();
	struct task_ctx *tctx = task_ctx(p);
	__s32 cpu = scx_bpf_task_cpu(p);
	struct cpu_ctx *cpuc = cpu_ctx(cpu);
	struct llc_ctx *llcc = cpuc ? llc_ctx(cpuc->llc) : NULL;
	__u64 now_ns = scx_bpf_now(), slice, key, advised_ns = 0;
	bool is_gpu, stays = false;

#ifdef BUG_NEVER_INSERTED
	if (!(p->flags & PF_KTHREAD) && p->nr_cpus_allowed == 1)
		return;
#endif
	count(nr_enqueue);
	if (!now || !cpuc || !llcc) { /* it can't be */
		scx_bpf_dsq_insert(p, DSQ_LOCAL, 20 * NSEC_PER_MSEC, enq_flags);
		return;
	}
	if (tctx && throttle(p, tctx, enq_flags))
		return;
	is_gpu = is_gpu_task(now, p);
	if (cpuc->fast && fast_are_taken(now, now_ns) && (!is_gpu || is_pinned(p))) {
		__s32 slow = away_from_fast(p);
		struct cpu_ctx *slowc = cpu_ctx(slow);
		struct llc_ctx *slow_llcc = slowc ? llc_ctx(slowc->llc) : NULL;

		stays = !slow_llcc;
		if (slow_llcc) {
			cpu = slow;
			cpuc = slowc;
			llcc = slow_llcc;
		}
	}
	if (tctx) {
		tctx->queued_ns = now_ns;
		tctx->group_worth = worth_of_task(p);
		tctx->was_woken = !!(enq_flags & ENQ(WAKEUP));
		predict(now, p, tctx, llcc, cpuc->llc);
		advised_ns = follow_advice(now, p, tctx);
	}
	slice = advised_ns ? judged_at_ticks(now, advised_ns)
			   : slice_ns(now, llcc, cpuc->llc, tctx ? tctx->kind : TUNA_KIND_NONE);
#ifndef NO_LOCAL_KTHREADS
	if (now->local_kthreads && is_bound_kthread(p) && !(enq_flags & ENQ(REENQ))) {
		count(nr_kthread_head);
		note_local(cpuc, now_ns);
		scx_bpf_dsq_insert(p, DSQ_LOCAL_ON(cpu), slice, enq_flags | ENQ(HEAD) | ENQ(PREEMPT));
		return;
	}
#endif
#ifdef BUG_STUCK_LOCAL
	if (p->static_prio == 139 && p->nr_cpus_allowed > 1) { /* nice 19 */
		cpuc = cpu_ctx(1);
		if (cpuc)
			note_local(cpuc, now_ns);
		scx_bpf_dsq_insert(p, DSQ_LOCAL_ON(1), ~0ULL, enq_flags);
		return;
	}
#endif
	key = queue_key(now, p, tctx, llcc, cpuc->llc);
#ifndef NO_LOCAL_PCPU
	stays = stays || (now->local_pcpu && is_pinned(p));
#endif
	if (stays) {
		enqueue_pinned(now, p, cpu, cpuc, slice, key, enq_flags);
		return;
	}
	if (is_gpu) {
		enqueue_gpu(p, slice, key, now_ns, enq_flags);
		return;
	}
	count(nr_queued);
	insert_vtime(p, LLC_QUEUE(cpuc->llc), slice, key, enq_flags);
	if (enq_flags & ENQ(LAST)) /* it had no quota when its CPU looked for somebody, and has some again */
		scx_bpf_kick_cpu(scx_bpf_task_cpu(p), 0);
	else
		kick_for(now, p, tctx, cpu, cpuc, now_ns, enq_flags);
}

void CALLBACK(tuna_dispatch, __s32 cpu, struct task_struct *prev)
{
	const struct tuna_params *now = params_now();
	struct cpu_ctx *cpuc = cpu_ctx(cpu);
	struct llc_ctx *llcc = cpuc ? llc_ctx(cpuc->llc) : NULL;
	__u64 now_ns = scx_bpf_now();
	bool runnable = prev && (prev->scx.flags & (__u32)KERNEL(scx_ent_flags, SCX_TASK_QUEUED));
	bool gpu_only;

	if (runnable && nr_quotas) {
		struct task_ctx *tctx = task_ctx(prev);

		runnable = !tctx || !tctx->throttled;
	}
	count(nr_dispatch);
	if (!now || !cpuc || !llcc)
		return;
#ifdef BUG_NEVER_CONSUMED
	return;
#endif
	note_local(cpuc, now_ns);
	if (scx_bpf_dsq_move_to_local(OVERDUE_QUEUE(cpuc->llc)))
		return;
	gpu_only = cpuc->fast && fast_are_taken(now, now_ns);
	if (gpu_only && scx_bpf_dsq_move_to_local(GPU_QUEUE))
		return;
	if (may_pinned_go_first(cpuc, cpuc->llc) && scx_bpf_dsq_move_to_local(PINNED_QUEUE(cpu)))
		return;
	if (!gpu_only) {
		if (runnable && is_first(now, prev, cpu, cpuc)) {
			run_on(now, prev, cpuc, llcc, now_ns);
			return;
		}
		if (take_best(now, cpu, cpuc->llc) || scx_bpf_dsq_move_to_local(LLC_QUEUE(cpuc->llc)))
			return;
	}
	if (scx_bpf_dsq_move_to_local(PINNED_QUEUE(cpu)))
		return;
	if (!gpu_only && !runnable && take_from_others(cpuc->llc))
		return;
	if (!gpu_only && scx_bpf_dsq_move_to_local(GPU_QUEUE))
		return;
	/* What was queued before they came, where no other CPU of the LLC could take it. */
	if (gpu_only && !llcc->nr_slow && scx_bpf_dsq_move_to_local(LLC_QUEUE(cpuc->llc)))
		return;
	if (runnable)
		run_on(now, prev, cpuc, llcc, now_ns);
}

/* What cpufreq is asked for, where the policy has an opinion. */
static __always_inline void set_speed(const struct tuna_params *now, __s32 cpu, struct cpu_ctx *cpuc)
{
	__u32 perf = TUNA_ONE;

#ifndef NO_SCHEDULING_POLICY
	if (now->scheduling_policy == TUNA_POWERSAVE)
		perf = cpuc->util < TUNA_ONE * 4 / 5 ? (cpuc->util * 5 / 4 & ~127ULL) + 128 : TUNA_ONE;
#endif
	if (perf > TUNA_ONE)
		perf = TUNA_ONE;
	if (perf == cpuc->perf || (!cpuc->perf && perf == TUNA_ONE && now->scheduling_policy != TUNA_PERFORMANCE))
		return;
	cpuc->perf = perf;
	scx_bpf_cpuperf_set(cpu, perf);
}

void CALLBACK(tuna_running, struct task_struct *p)
{
	const struct tuna_params *now = params_held();
	struct task_ctx *tctx = task_ctx(p);
	__s32 cpu = scx_bpf_task_cpu(p); /* not always this one */
	struct cpu_ctx *cpuc = cpu_ctx(cpu);
	struct llc_ctx *llcc = cpuc ? llc_ctx(cpuc->llc) : NULL;
	__u64 now_ns = scx_bpf_now();

	if (!now || !llcc)
		return;
	note_clock(now_ns);
	watch_the_watch(now_ns);
	note_util(cpuc, now_ns);
	cpuc->run_since_ns = now_ns;
	cpuc->run_slice_ns = p->scx.slice;
	cpuc->run_burst_ns = tctx ? tctx->burst_ns : 0;
	cpuc->run_kthread = is_bound_kthread(p);
	cpuc->run_pinned = is_pinned(p);
	cpuc->local_since_ns = has_no_local_tasks(cpu) ? 0 : now_ns;
	set_speed(now, cpu, cpuc);
	cpuc->run_gpu = is_gpu_task(now, p);
	if (cpuc->run_gpu) {
		gpu_seen_ns = now_ns;
		count(nr_gpu_runs);
		if (cpuc->fast)
			count(nr_gpu_fast_runs);
	}
	if (!tctx)
		return;
	if (tctx->cpu != cpu && tctx->cpu >= 0)
		count(nr_migrations);
	tctx->cpu = cpu;
	if (before(tctx->queued_ns, now_ns))
		tctx->mean_delay_ns = (3 * tctx->mean_delay_ns + now_ns - tctx->queued_ns) / 4;
	tctx->run_start_ns = tctx->quota_start_ns = p->se.sum_exec_runtime;
	join_llc(tctx, llcc, cpuc->llc);
	if (before(llcc->vtime, tctx->vtime))
		llcc->vtime = tctx->vtime;
}

/* The quotas of its groups are used up, also by other CPUs: it stops, and `enqueue` puts it aside. */
void CALLBACK(tuna_tick, struct task_struct *p)
{
	struct task_ctx *tctx;
	struct lack lack = {};

	if (!nr_quotas)
		return;
	tctx = task_ctx(p);
	if (!tctx || !lacks_quota(p, uncharged_ns(p, tctx), &lack))
		return;
	tctx->throttled = true;
	set_slice(p, 0);
}

void CALLBACK(tuna_runnable, struct task_struct *p, __u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx(p);
	__u64 now_ns = scx_bpf_now();

	count_in_groups(p, 1);
	if (!tctx)
		return;
	tctx->group_worth = worth_of_task(p);
	tctx->queued_ns = now_ns;
	if (!(enq_flags & ENQ(WAKEUP)))
		return;
	if (tctx->slept_since_ns && before(tctx->slept_since_ns, now_ns))
		tctx->slept_ns = now_ns - tctx->slept_since_ns;
	if (tctx->woken_ns && before(tctx->woken_ns, now_ns))
		tctx->wakeup_interval_ns = tctx->wakeup_interval_ns
						   ? (3 * tctx->wakeup_interval_ns + now_ns - tctx->woken_ns) / 4
						   : now_ns - tctx->woken_ns;
	tctx->woken_ns = now_ns;
}

void CALLBACK(tuna_quiescent, struct task_struct *p, __u64 deq_flags)
{
	count_in_groups(p, -1);
}

/* How much pinned tasks ran while others waited, and others while pinned ones did. */
static __always_inline void note_share(struct cpu_ctx *cpuc, __s32 cpu, __u64 ran_ns)
{
	if (cpuc->run_pinned && scx_bpf_dsq_nr_queued(LLC_QUEUE(cpuc->llc)))
		cpuc->pinned_ns += ran_ns;
	else if (!cpuc->run_pinned)
		cpuc->others_ns += ran_ns;
	if (cpuc->pinned_ns + cpuc->others_ns > 200 * NSEC_PER_MSEC) {
		cpuc->pinned_ns /= 2;
		cpuc->others_ns /= 2;
	}
}

void CALLBACK(tuna_stopping, struct task_struct *p, bool runnable)
{
	const struct tuna_params *now = params_held();
	struct task_ctx *tctx = task_ctx(p);
	__s32 cpu = scx_bpf_task_cpu(p);
	struct cpu_ctx *cpuc = cpu_ctx(cpu);
	struct llc_ctx *llcc = cpuc ? llc_ctx(cpuc->llc) : NULL;
	__u64 now_ns = scx_bpf_now(), total = p->se.sum_exec_runtime, burst;
	bool asks = false;

	if (!now || !cpuc)
		return;
	note_util(cpuc, now_ns);
	if (cpuc->run_since_ns && before(cpuc->run_since_ns, now_ns))
		note_share(cpuc, cpu, now_ns - cpuc->run_since_ns);
	cpuc->run_since_ns = 0;
	cpuc->run_kthread = false;
	if (!tctx)
		return;
	if (nr_quotas) {
		struct lack lack = {};

		charge_quotas(p, uncharged_ns(p, tctx), &lack);
	}
	charge(now, p, tctx);
	burst = total - tctx->slept_at_ns;
	tctx->queued_ns = now_ns;
	if (!runnable) {
		note_outcome(now, tctx, burst);
		asks = true;
		tctx->slept_since_ns = now_ns;
		tctx->last_burst_ns = burst;
		tctx->burst_ns = (3 * tctx->burst_ns + burst) / 4;
		tctx->slept_at_ns = total;
	} else if (tctx->burst_ns < burst) {
		tctx->burst_ns = burst;
	}
	if (asks && llcc)
		ask_advice(p, tctx, cpuc, llcc, cpu, now_ns);
}

/* Core scheduling asks which of two tasks on sibling CPUs goes first. */
bool CALLBACK(tuna_core_sched_before, struct task_struct *a, struct task_struct *b)
{
	struct task_ctx *of_a = task_ctx(a), *of_b = task_ctx(b);

	return of_a && of_b && of_a->llc == of_b->llc && before(of_a->vtime, of_b->vtime);
}

/* Never refuses: without memory for its history a task has none, and a fork does not fail for it. */
__s32 CALLBACK(tuna_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *tctx = bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!tctx) {
		count(nr_no_storage);
		return 0;
	}
	tctx->cpu = -1;
	tctx->epoch = epoch - 1; /* it begins at the LLC's vtime */
	tctx->burst_ns = 2 * interactive_burst_ns;
	tctx->run_start_ns = tctx->slept_at_ns = p->se.sum_exec_runtime;
	return 0;
}

void CALLBACK(tuna_enable, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx(p);

	if (tctx)
		tctx->run_start_ns = tctx->slept_at_ns = p->se.sum_exec_runtime;
}

/* A task of a higher class takes a CPU: what waits there is queued anew. */
void CALLBACK(tuna_cpu_release, __s32 cpu, struct scx_cpu_release_args *args)
{
	struct cpu_ctx *cpuc = cpu_ctx(cpu);

	if (cpuc)
		cpuc->taken = true;
	count_by(nr_reenqueued, scx_bpf_reenqueue_local());
}

void CALLBACK(tuna_cpu_acquire, __s32 cpu, struct scx_cpu_acquire_args *args)
{
	struct cpu_ctx *cpuc = cpu_ctx(cpu);

	if (cpuc)
		cpuc->taken = false;
}

/* With these two the kernel does not end the scheduler at a hotplug; the watch looks at the topology anyway. */
void CALLBACK(tuna_cpu_online, __s32 cpu)
{
	struct cpu_ctx *cpuc = cpu_ctx(cpu);

	if (cpuc) {
		cpuc->run_since_ns = 0;
		cpuc->taken = false;
		cpuc->perf = 0;
	}
}

void CALLBACK(tuna_cpu_offline, __s32 cpu)
{
	struct cpu_ctx *cpuc = cpu_ctx(cpu);

	if (cpuc)
		cpuc->run_since_ns = 0;
}

__s32 CALLBACK(tuna_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	struct group_ctx *group = bpf_cgrp_storage_get(&group_ctxs, cgrp, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!group) {
		count(nr_no_storage);
		return 0;
	}
	group->asked = args->weight;
	if (bpf_core_field_exists(args->sched_idle))
		group->idle = args->sched_idle;
	group->weight = group->idle ? IDLE_WEIGHT : group->asked * GROUP_UNIT;
	if (bpf_core_field_exists(args->bw_quota_us))
		set_quota(group, args->bw_period_us, args->bw_quota_us, args->bw_burst_us);
	return 0;
}

void CALLBACK(tuna_cgroup_exit, struct cgroup *cgrp)
{
	struct group_ctx *group = group_ctx(cgrp);

	if (group)
		drop_quota(group);
}

void CALLBACK(tuna_cgroup_set_bandwidth, struct cgroup *cgrp, __u64 period_us, __u64 quota_us, __u64 burst_us)
{
	struct group_ctx *group = group_ctx(cgrp);

	if (group)
		set_quota(group, period_us, quota_us, burst_us);
}

void CALLBACK(tuna_cgroup_set_idle, struct cgroup *cgrp, bool idle)
{
	struct group_ctx *group = group_ctx(cgrp);

	if (!group)
		return;
	group->idle = idle;
	reweigh(cgrp, group);
}

void CALLBACK(tuna_cgroup_set_weight, struct cgroup *cgrp, __u32 weight)
{
	struct group_ctx *group = group_ctx(cgrp);

	if (!group)
		return;
	group->asked = weight;
	reweigh(cgrp, group);
}

void CALLBACK(tuna_dump, struct scx_dump_ctx *dctx)
{
	__u64 now_ns = scx_bpf_now();
	__u32 llc;

	dump("watch %llu ms ago, epoch %u, fast CPUs %u\n", (now_ns - watch_at_ns) / NSEC_PER_MSEC, epoch, nr_fast);
	bpf_for(llc, 0, nr_llcs)
	{
		struct llc_ctx *llcc = llc_ctx(llc);

		if (llcc && llcc->nr_cpus)
			dump("LLC %d: %u CPUs, vtime %llu, utilisation %llu, %d queued, %d overdue\n", llcc->id,
			     llcc->nr_cpus, llcc->vtime, llcc->util, scx_bpf_dsq_nr_queued(LLC_QUEUE(llc)),
			     scx_bpf_dsq_nr_queued(OVERDUE_QUEUE(llc)));
	}
}

void CALLBACK(tuna_dump_task, struct scx_dump_ctx *dctx, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx(p);

	if (tctx)
		dump("vtime %llu in LLC place %u, burst %llu us, queued %llu ms ago", tctx->vtime, tctx->llc,
		     tctx->burst_ns / NSEC_PER_USEC, (scx_bpf_now() - tctx->queued_ns) / NSEC_PER_MSEC);
}

__s32 SLEEPABLE(tuna_init)
{
	struct masks *all = cpu_masks();
	struct timer *timer, *releaser;
	__u32 zero = 0;
	int error;

	nr_cpu_ids = scx_bpf_nr_cpu_ids();
	if (nr_cpu_ids > TUNA_MOST_CPUS) {
		fail("%u CPUs; at most %u are supported", nr_cpu_ids, TUNA_MOST_CPUS);
		return -7; /* E2BIG */
	}
	nr_llcs = nr_cpu_ids < MOST_LLCS ? nr_cpu_ids : MOST_LLCS;
	set_defaults();
	timer = bpf_map_lookup_elem(&watch_timer, &zero);
	releaser = bpf_map_lookup_elem(&release_timer, &zero);
	if (!all || !timer || !releaser)
		return -12;
	error = make_mask(&all->fast) ?: make_mask(&all->slow);
	error = error ?: init_cpus();
	error = error ?: init_llcs();
	error = error ?: scx_bpf_create_dsq(GPU_QUEUE, -1);
	error = error ?: bpf_timer_init(&timer->timer, &watch_timer, CLOCK_MONOTONIC);
	error = error ?: bpf_timer_set_callback(&timer->timer, watch);
	error = error ?: scx_bpf_create_dsq(THROTTLED_QUEUE, -1);
	error = error ?: bpf_timer_init(&releaser->timer, &release_timer, CLOCK_MONOTONIC);
	error = error ?: bpf_timer_set_callback(&releaser->timer, release);
	if (error)
		return error;
	bpf_rcu_read_lock();
	init_topology();
	bpf_rcu_read_unlock();
	watch_at_ns = scx_bpf_now();
	return bpf_timer_start(&timer->timer, watch_period_ns, 0);
}

void CALLBACK(tuna_exit, struct scx_exit_info *info)
{
	bpf_probe_read_kernel_str(uei.reason, sizeof(uei.reason), info->reason);
	bpf_probe_read_kernel_str(uei.msg, sizeof(uei.msg), info->msg);
	bpf_probe_read_kernel_str(uei_dump, sizeof(uei_dump), info->dump);
	uei.exit_code = info->exit_code;
	__sync_lock_test_and_set(&uei.kind, info->kind); /* last: whoever reads it finds the rest there */
}

SEC(".struct_ops.link")
struct sched_ext_ops scx_tuna = {
	.select_cpu = (void *)tuna_select_cpu,
	.enqueue = (void *)tuna_enqueue,
	.dispatch = (void *)tuna_dispatch,
	.running = (void *)tuna_running,
	.stopping = (void *)tuna_stopping,
	.core_sched_before = (void *)tuna_core_sched_before,
	.tick = (void *)tuna_tick,
	.runnable = (void *)tuna_runnable,
	.quiescent = (void *)tuna_quiescent,
	.cgroup_init = (void *)tuna_cgroup_init,
	.cgroup_exit = (void *)tuna_cgroup_exit,
	.cgroup_set_weight = (void *)tuna_cgroup_set_weight,
	.cgroup_set_bandwidth = (void *)tuna_cgroup_set_bandwidth,
	.cgroup_set_idle = (void *)tuna_cgroup_set_idle,
	.init_task = (void *)tuna_init_task,
	.enable = (void *)tuna_enable,
	.cpu_acquire = (void *)tuna_cpu_acquire,
	.cpu_release = (void *)tuna_cpu_release,
	.cpu_online = (void *)tuna_cpu_online,
	.cpu_offline = (void *)tuna_cpu_offline,
	.dump = (void *)tuna_dump,
	.dump_task = (void *)tuna_dump_task,
	.init = (void *)tuna_init,
	.exit = (void *)tuna_exit,
	.flags = SCX_OPS_ENQ_LAST | SCX_OPS_ENQ_EXITING | SCX_OPS_ENQ_MIGRATION_DISABLED | SCX_OPS_ALLOW_QUEUED_WAKEUP,
	.timeout_ms = 15000,
	.name = "scx_tuna",
};
