/* SPDX-License-Identifier: GPL-2.0 */
/* What scx_tuna remembers: of tasks, of CPUs, of LLCs; and the names of its queues. */
#ifndef STATE_BPF_H
#define STATE_BPF_H

#include "compat.bpf.h"
#include "scx_tuna.h"
#include "scx_tuna_model.h"

#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL
#define MOST_LLCS 128
#define NO_LLC (-1)

/* Not parameters, but named: a loader may set them before and while it runs. */
volatile __u64 slice_floor_ns = 1 * NSEC_PER_MSEC;    /* no slice is scaled below */
volatile __u64 slice_lag_ns = 20 * NSEC_PER_MSEC;     /* credit of a sleeper of weight 100 */
volatile __u64 sticky_wait_ns = 500 * NSEC_PER_USEC;  /* sticky_cpu: how long it may wait on the previous CPU */
volatile __u64 kthread_stay_ns = 500 * NSEC_PER_USEC; /* stay_with_kthread: how long that may have run */
volatile __u64 util_half_life_ns = 32 * NSEC_PER_MSEC;
volatile __u64 kick_period_ns = 500 * NSEC_PER_USEC; /* of timer_kick's timer */
volatile __u64 watch_period_ns = 50 * NSEC_PER_MSEC;
volatile __u64 overdue_ns = 600 * NSEC_PER_MSEC; /* who has waited as long is put before all others */
volatile __u64 gpu_decay_ns = 1000 * NSEC_PER_MSEC;
volatile __u64 release_period_ns = 4 * NSEC_PER_MSEC;	 /* how often tasks are released whose group has quota again */
volatile __u64 throttle_most_ns = 4000 * NSEC_PER_MSEC;	 /* nobody is held back by cpu.max for longer */
volatile __u64 interactive_burst_ns = 2 * NSEC_PER_MSEC; /* who runs shorter between two sleeps is interactive */
const volatile __u32 leave_after_ms = 5000;		 /* a third of ops.timeout_ms */

/* Queues: one per LLC by vtime, one per LLC of overdue tasks, one per CPU of pinned ones, one for GPU feeders. */
#define LLC_QUEUE(llc) (0x10000ULL + (llc))
#define OVERDUE_QUEUE(llc) (0x20000ULL + (llc))
#define PINNED_QUEUE(cpu) (0x30000ULL + (cpu))
#define GPU_QUEUE 0x40000ULL

/* What a program in user space has said of a task: include/scx_tuna_advice.h. */
struct advice {
	__u64 expires_ns; /* 0: nothing */
	__s32 cpu;
	__u32 kind;
	__u32 slice_us;
};

struct task_ctx {
	struct bpf_spin_lock lock; /* of `advice`, which is set at any time */
	struct advice advice;
	__u64 request_id; /* of the last request about it; 0: there was none */
	__u64 asked_ns;
	__u64 vtime;	      /* weighted run time, comparable with the LLC's */
	__u64 run_start_ns;   /* its sum_exec_runtime when it was charged last */
	__u64 slept_at_ns;    /* its sum_exec_runtime when it slept last */
	__u64 burst_ns;	      /* mean run time between two sleeps */
	__u64 queued_ns;      /* since when it waits */
	__u64 group_worth;    /* what it is worth by its cgroup, in 1/GROUP_ONE */
	__u64 quota_start_ns; /* its sum_exec_runtime when that was charged to its groups' quotas last */
	__u64 throttled_ns;   /* since when it waits for quota */
	__u32 throttled_by;   /* the quota that has nothing left */
	__u64 last_burst_ns;  /* run time between its last two sleeps */
	__u64 slept_since_ns; /* when it fell asleep last, how long it slept, and when it was woken */
	__u64 slept_ns;
	__u64 woken_ns;
	__u64 wakeup_interval_ns; /* mean time between two wakeups; 0: it was never woken twice */
	__u64 mean_delay_ns;	  /* mean time from runnable to running */
	__s64 lead;	       /* in vtime: how much earlier in order it stands, as it is predicted; negative: later */
	__u32 llc;	       /* whose virtual time `vtime` is compared with */
	__u32 epoch;	       /* `epoch` below when that was so */
	__s32 cpu;	       /* where it ran last */
	__u32 predicted_under; /* the version of the control that `predicted` is of */
	bool was_woken;	       /* it was put into its queue because it was woken */
	bool opened_gpu;       /* of a process's first task: the process has opened a GPU's device */
	bool throttled;	       /* it has run out of quota while it ran, and is to stop */
	__u8 kind;	       /* enum tuna_kind that it is treated as; 0: as its history says */
	__u8 predicted;	       /* by the model, for the burst that is to come; 0: not */
	__u8 expected;	       /* by the scheduler itself, of the same */
};

struct cpu_ctx {
	__u64 run_since_ns; /* the running task's start; 0: none of ours runs */
	__u64 run_slice_ns;
	__u64 run_burst_ns;
	__u64 util; /* 0 to TUNA_ONE, as of util_at_ns */
	__u64 util_at_ns;
	__u64 local_stamp_ns; /* the next one, as the watch has seen it, and when it saw it first, by its own clock */
	__u64 local_seen_ns;
	__u64 local_since_ns; /* when the oldest task was put into the local queue; 0: it is empty */
	__u64 steal_ns;	      /* what the host had taken when the watch looked last */
	__u64 pinned_ns;      /* run by pinned tasks, and by others while pinned ones waited; halved now and then */
	__u64 others_ns;
	__u32 llc;
	__u32 perf;	  /* what cpufreq was asked for; 0: nothing yet */
	bool run_kthread; /* a kernel thread that is bound here runs */
	bool run_pinned;
	bool run_gpu;
	bool taken; /* a task of a higher class runs */
	bool fast;
	struct bpf_cpumask __kptr *scratch; /* of whoever decides on this CPU, with interrupts off */
};

struct llc_ctx {
	__u64 vtime;	/* that of the task that was furthest when it began to run */
	__u64 last_key; /* the largest that was ever queued */
	__u64 util;	/* mean of its CPUs, 0 to TUNA_ONE */
	__u64 util_sum;
	__u32 nr_cpus;
	__u32 nr_slow; /* of them, that are not fast, and as the watch counts them */
	__u32 nr_slow_sum;
	__s32 id; /* sd_llc_id of its CPUs; NO_LLC: this place is free */
	__s32 node;
	__u32 kicking; /* its timer runs */
	struct bpf_cpumask __kptr *cpus;
	struct bpf_cpumask __kptr *node_cpus; /* of the node that it is on */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TUNA_MOST_CPUS);
	__type(key, __u32);
	__type(value, struct cpu_ctx);
} cpu_ctxs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_LLCS);
	__type(key, __u32);
	__type(value, struct llc_ctx);
} llc_ctxs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tuna_stats);
} tuna_stats SEC(".maps");

/* Which CPUs are fast: 1 for each. User space fills it in; the watch reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TUNA_MOST_CPUS);
	__type(key, __u32);
	__type(value, __u8);
} tuna_fast_cpus SEC(".maps");

/* What kind of task it is, by tid, as user space says (enum tuna_class). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} tuna_classes SEC(".maps");

struct masks {
	struct bpf_cpumask __kptr *fast;
	struct bpf_cpumask __kptr *slow;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct masks);
} masks SEC(".maps");

__u32 nr_cpu_ids, nr_llcs, nr_fast, nr_online;
__u32 epoch;	   /* counts flips of rr_sched: who is of an earlier one starts afresh in the order */
__u32 order_is_rr; /* what rr_sched was at the last of them */
__u64 watch_at_ns; /* when the watch looked last, and when it was missed first since then */
__u64 watch_missed_ns;
__u64 clock_noted_ns, clock_ahead_ns; /* of timer_now */
__u64 tick_ns = 4 * NSEC_PER_MSEC;    /* the watch measures it, from here on: */
__u64 tick_since_ns, tick_since_jiffies;
__u64 gpu_seen_ns; /* when a feeder of the GPU was runnable last */

static __always_inline bool before(__u64 a, __u64 b)
{
	return (__s64)(a - b) < 0;
}

static __always_inline struct task_ctx *task_ctx(struct task_struct *p)
{
	return bpf_task_storage_get(&task_ctxs, p, NULL, 0);
}

static __always_inline struct cpu_ctx *cpu_ctx(__s32 cpu)
{
	__u32 key = cpu;

	return bpf_map_lookup_elem(&cpu_ctxs, &key);
}

static __always_inline struct llc_ctx *llc_ctx(__u32 llc)
{
	return bpf_map_lookup_elem(&llc_ctxs, &llc);
}

static __always_inline struct tuna_stats *own_stats(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tuna_stats, &zero);
}

/* Tracing programs share the counters of a CPU with nobody: callbacks run with interrupts off. */
#define count_by(counter, number)                     \
	do {                                          \
		struct tuna_stats *own = own_stats(); \
                                                      \
		if (own)                              \
			own->counter += (number);     \
	} while (0)
#define count(counter) count_by(counter, 1)

static __always_inline struct masks *cpu_masks(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&masks, &zero);
}

/* The verifier wants one read of the pointer to a mask, checked and used. */
static __always_inline void put_into_mask(struct bpf_cpumask *mask, __u32 cpu, bool in)
{
	if (!mask)
		return;
	if (in)
		bpf_cpumask_set_cpu(cpu, mask);
	else
		bpf_cpumask_clear_cpu(cpu, mask);
}

static __always_inline bool is_pinned(struct task_struct *p)
{
	return p->nr_cpus_allowed == 1 || is_migration_disabled(p);
}

static __always_inline bool may_run_on(struct task_struct *p, __s32 cpu)
{
	return bpf_cpumask_test_cpu(cpu, p->cpus_ptr) && !(is_migration_disabled(p) && scx_bpf_task_cpu(p) != cpu);
}

static __always_inline bool is_bound_kthread(struct task_struct *p)
{
	return (p->flags & PF_KTHREAD) && p->nr_cpus_allowed == 1;
}

#endif
