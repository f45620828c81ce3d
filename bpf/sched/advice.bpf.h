/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The advisory channel: a program in user space is asked about tasks that fall asleep, and answers when it can. What
 * it says is checked when it comes (is it about this very task, and its last request? is it in time and within
 * bounds?) and again when it is used (may the task run there? is it still in time?). Nobody waits for it. Hints, by
 * tid and by cgroup, are kinds of tasks that stay until they are taken away.
 */
#ifndef ADVICE_BPF_H
#define ADVICE_BPF_H

#include "predict.bpf.h"
#include "scx_tuna_advice.h"

#define BPF_RB_FORCE_WAKEUP (1ULL << 1)

extern struct task_struct *bpf_task_from_pid(__s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TUNA_ADVICE_RING_BYTES);
} tuna_requests SEC(".maps");

struct tuna_request *request_layout; /* for user space to check */

#define ONE_VALUE(name, of)                       \
	struct {                                  \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, 1);           \
		__type(key, __u32);               \
		__type(value, struct of);         \
	} name SEC(".maps")

ONE_VALUE(tuna_advice, tuna_advice_control);
ONE_VALUE(tuna_advised, tuna_advice_stats);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TUNA_BATCH);
	__type(key, __u32);
	__type(value, struct tuna_answer);
} tuna_answers SEC(".maps");

/* What kind of tasks a cgroup and those below it have (enum tuna_class), by its id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} tuna_groups SEC(".maps");

/* Nonzero: tuna_classes or tuna_groups hold hints. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tuna_hinted SEC(".maps");

static __always_inline bool are_there_hints(void)
{
	__u32 zero = 0;
	__u64 *hinted = bpf_map_lookup_elem(&tuna_hinted, &zero);

	return hinted && *hinted;
}

/* One CPU's own: which requests it has made since it woke the program. */
struct asked_ctx {
	__u64 last_id;
	__u64 woken_ns;
	__u64 nr_pending;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct asked_ctx);
} asked_ctxs SEC(".maps");

__s32 least_used_cpu = -1; /* the watch looks */

static __always_inline struct tuna_advice_control *advice_control(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tuna_advice, &zero);
}

#define count_advice(counter)                                                                  \
	do {                                                                                   \
		__u32 zero_ = 0;                                                               \
		struct tuna_advice_stats *stats_ = bpf_map_lookup_elem(&tuna_advised, &zero_); \
                                                                                               \
		if (stats_)                                                                    \
			__sync_fetch_and_add(&stats_->counter, 1);                             \
	} while (0)

static __always_inline void fill_request(struct tuna_request *request, struct task_struct *p, struct task_ctx *tctx,
					 struct cpu_ctx *cpuc, struct llc_ctx *llcc, __s32 cpu, __u64 now_ns)
{
	const struct cpumask *idle = scx_bpf_get_idle_cpumask();
	__u32 nr_idle = bpf_cpumask_weight(idle);
	struct cpu_ctx *offered = cpu_ctx(least_used_cpu);

	scx_bpf_put_idle_cpumask(idle);
	request->start_time_ns = p->start_time;
	request->timestamp_ns = bpf_ktime_get_ns();
	request->tid = p->pid;
	request->cpu = cpu;
	request->offered_cpu = offered ? least_used_cpu : -1;
	request->nr_idle_cpus = nr_idle;
	request->nr_busy_cpus = nr_idle < nr_online ? nr_online - nr_idle : 0;
	request->src_load_permille = cpu_util(cpuc, now_ns) * 1000 / TUNA_ONE;
	request->dst_load_permille = offered ? cpu_util(offered, now_ns) * 1000 / TUNA_ONE : 0;
	request->reserved = 0;
	__builtin_memset(request->features, 0, sizeof(request->features));
	gather(request->features, p, tctx, llcc, cpuc->llc, false);
}

/* A task falls asleep: ask about it, unless that was done lately or nobody listens. */
static __always_inline void ask_advice(struct task_struct *p, struct task_ctx *tctx, struct cpu_ctx *cpuc,
				       struct llc_ctx *llcc, __s32 cpu, __u64 now_ns)
{
	struct tuna_advice_control *control = advice_control();
	struct asked_ctx *asked;
	struct tuna_request *request;
	__u64 at_ns, id, flags = BPF_RB_NO_WAKEUP;
	__u32 zero = 0;

	if (!control || !control->asked_until_ns)
		return;
	at_ns = bpf_ktime_get_ns();
	asked = bpf_map_lookup_elem(&asked_ctxs, &zero);
	if (!asked || !before(at_ns, control->asked_until_ns)
	    || (tctx->asked_ns && before(at_ns, tctx->asked_ns + control->period_ns)))
		return;
	request = bpf_ringbuf_reserve(&tuna_requests, sizeof(*request), 0);
	if (!request) {
		count_advice(nr_ring_full);
		return;
	}
	id = ++asked->last_id << 10 | ((__u32)bpf_get_smp_processor_id() & (TUNA_MOST_CPUS - 1));
	request->id = id;
	request->model_version = control->model_version;
	fill_request(request, p, tctx, cpuc, llcc, cpu, now_ns);
	tctx->asked_ns = at_ns;
	tctx->request_id = id;
	if (++asked->nr_pending >= TUNA_BATCH || !before(at_ns, asked->woken_ns + TUNA_BATCH_NS)) {
		asked->nr_pending = 0;
		asked->woken_ns = at_ns;
		flags = BPF_RB_FORCE_WAKEUP;
		count_advice(nr_batches);
	}
	bpf_ringbuf_submit(request, flags);
	count_advice(nr_requests);
}

static __always_inline bool is_valid_answer(const struct tuna_answer *answer)
{
	return answer->cpu >= -1 && answer->cpu < (__s32)nr_cpu_ids && answer->kind < TUNA_NR_KINDS
	       && (!answer->slice_us
		   || (answer->slice_us >= TUNA_SLICE_US_MIN && answer->slice_us <= TUNA_SLICE_US_MAX));
}

/* An answer to the last request about this very task, in time: it holds until it expires or another one comes. */
static __always_inline bool take_answer(const struct tuna_answer *answer, struct task_struct *p)
{
	struct task_ctx *tctx = bpf_task_storage_get(&task_ctxs, p, NULL, 0);

	if (!tctx || !tctx->request_id) {
		count_advice(nr_unknown);
	} else if (p->start_time != answer->start_time_ns) {
		count_advice(nr_wrong_start);
	} else if (tctx->request_id != answer->id) {
		count_advice(nr_stale);
	} else {
		bpf_spin_lock(&tctx->lock);
		tctx->advice.expires_ns = answer->expires_ns;
		tctx->advice.cpu = answer->cpu;
		tctx->advice.kind = answer->kind;
		tctx->advice.slice_us = answer->slice_us;
		bpf_spin_unlock(&tctx->lock);
		count_advice(nr_taken);
		return true;
	}
	return false;
}

/* The program's answers, from tuna_answers. Returns 0, or 1 where more are given than there is room for. */
SEC("syscall")
int tuna_answer(struct tuna_answers_given *given)
{
	__u32 i, nr = given->nr, nr_taken = 0;

	if (nr > TUNA_BATCH)
		return 1;
	bpf_for(i, 0, nr)
	{
		struct tuna_answer *answer = bpf_map_lookup_elem(&tuna_answers, &i);
		struct task_struct *p;

		if (!answer)
			break;
		count_advice(nr_answers);
		if (!is_valid_answer(answer)) {
			count_advice(nr_invalid);
			continue;
		}
		if (!before(bpf_ktime_get_ns(), answer->expires_ns)) {
			count_advice(nr_late);
			continue;
		}
		p = bpf_task_from_pid(answer->tid);
		if (!p) {
			count_advice(nr_unknown);
			continue;
		}
		nr_taken += take_answer(answer, p);
		bpf_task_release(p);
	}
	given->nr_taken = nr_taken;
	return 0;
}

/* The advice that holds for a task, as a copy; false: none does. */
static __always_inline bool has_advice(struct task_ctx *tctx, struct advice *copy)
{
	__u64 expires_ns;

	if (!tctx || !tctx->advice.expires_ns) /* nobody but this task's own callbacks sets it to 0 */
		return false;
	bpf_spin_lock(&tctx->lock);
	*copy = tctx->advice;
	bpf_spin_unlock(&tctx->lock);
	if (before(bpf_ktime_get_ns(), copy->expires_ns))
		return true;
	expires_ns = copy->expires_ns;
	bpf_spin_lock(&tctx->lock);
	if (tctx->advice.expires_ns == expires_ns)
		tctx->advice.expires_ns = 0;
	bpf_spin_unlock(&tctx->lock);
	count_advice(nr_expired);
	return false;
}

static __always_inline __u8 kind_of_class(const __u32 *class)
{
	if (!class || *class < TUNA_CLASS_BATCH || *class > TUNA_CLASS_INTERACTIVE)
		return TUNA_KIND_NONE;
	return TUNA_KIND_BATCH + (*class - TUNA_CLASS_BATCH);
}

/* By tid, or by the nearest cgroup that there is a hint for, whether the cpu controller is on there or not. */
static __noinline __u32 hinted_kind(struct task_struct *p)
{
	__u32 tid = p->pid, kind = kind_of_class(bpf_map_lookup_elem(&tuna_classes, &tid));
	struct css_set *set = p->cgroups;
	struct cgroup *cgrp = set ? set->dfl_cgrp : NULL, *above;
	int level;

	if (kind || !cgrp)
		return kind;
	bpf_for(level, 0, MOST_LEVELS)
	{
		__u64 id;

		if (cgrp->level - level < 1)
			break;
		above = bpf_cgroup_ancestor(cgrp, cgrp->level - level);
		if (!above)
			break;
		id = above->kn->id;
		bpf_cgroup_release(above);
		kind = kind_of_class(bpf_map_lookup_elem(&tuna_groups, &id));
		if (kind)
			break;
	}
	return kind;
}

/* A task is queued: advice goes before hints, and both before the model. Returns the slice that is advised, or 0. */
static __always_inline __u64 follow_advice(const struct tuna_params *now, struct task_struct *p, struct task_ctx *tctx)
{
	struct advice advice;
	__u64 lead, slice = 0;
	__u8 kind = TUNA_KIND_NONE;

	if (now->rr_sched)
		return 0;
	if (has_advice(tctx, &advice) && (advice.kind || advice.slice_us)) {
		count_advice(nr_queued);
		kind = advice.kind;
		slice = advice.slice_us * NSEC_PER_USEC;
	} else if (are_there_hints()) {
		kind = hinted_kind(p);
		if (kind)
			count_advice(nr_hinted);
	}
	if (!kind)
		return slice;
	lead = now->slice_us * NSEC_PER_USEC * WEIGHT_DFL / task_weight(now, p, tctx);
	tctx->kind = kind;
	tctx->lead = kind == TUNA_KIND_INTERACTIVE ? (__s64)lead : kind == TUNA_KIND_BATCH ? -(__s64)lead : 0;
	return slice;
}

#endif
