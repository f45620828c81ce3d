/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A scheduler that logs what the kernel's functions answer, and what the answer depends on: which CPUs are idle, what
 * is in its queues, what is left of slices. Each CPU has a queue in order of arrival and one by virtual time, whose
 * tasks are that CPU's: so all that happens to a queue happens under that CPU's lock, and in the log's order. Compiled
 * by the tests, which put the simulated kernel into each logged state and ask it the same
 * (tests/native/scx_answers.cpp).
 */
typedef unsigned int __u32;
typedef int __s32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef _Bool bool;

#include "scx_answers.h"

#define SEC(name) __attribute__((section(name), used))
#define KFUNC __attribute__((section(".ksyms"), weak))
#define KERNEL_TYPE __attribute__((preserve_access_index))
#define PF_EXITING 4
#define PICK_IDLE_CORE 1
#define ITER_REV (1 << 16)

struct cpumask {
	unsigned long bits[1];
} KERNEL_TYPE;

struct sched_entity {
	__u64 sum_exec_runtime;
} KERNEL_TYPE;

struct sched_ext_entity {
	__u64 slice;
	__u32 flags;
} KERNEL_TYPE;

struct task_struct {
	int pid;
	__u32 flags;
	int nr_cpus_allowed;
	unsigned short migration_disabled;
	const struct cpumask *cpus_ptr;
	struct sched_entity se;
	struct sched_ext_entity scx;
} KERNEL_TYPE;

struct sched_ext_ops {
	__s32 (*select_cpu)(struct task_struct *p, __s32 prev_cpu, __u64 wake_flags);
	void (*enqueue)(struct task_struct *p, __u64 enq_flags);
	void (*dispatch)(__s32 cpu, struct task_struct *prev);
	void (*runnable)(struct task_struct *p, __u64 enq_flags);
	void (*running)(struct task_struct *p);
	void (*tick)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	void (*quiescent)(struct task_struct *p, __u64 deq_flags);
	void (*update_idle)(__s32 cpu, bool idle);
	__s32 (*init)(void);
	__u64 flags;
	__u64 hotplug_seq;
	__u32 timeout_ms;
	char name[128];
};

struct scx_bpf_dsq_insert_vtime_args {
	__u64 dsq_id, slice, vtime, enq_flags;
} KERNEL_TYPE;

struct scx_bpf_select_cpu_and_args {
	__s32 prev_cpu;
	__u64 wake_flags, flags;
} KERNEL_TYPE;

struct bpf_iter_scx_dsq {
	__u64 opaque[6];
} __attribute__((aligned(8)));

extern __s32 scx_bpf_create_dsq(__u64 dsq_id, __s32 node) KFUNC;
extern __s32 scx_bpf_select_cpu_dfl(struct task_struct *p, __s32 prev_cpu, __u64 wake_flags, bool *is_idle) KFUNC;
extern __s32 __scx_bpf_select_cpu_and(struct task_struct *p, const struct cpumask *allowed,
				      struct scx_bpf_select_cpu_and_args *args) KFUNC;
extern __s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, __u64 flags) KFUNC;
extern __s32 scx_bpf_pick_any_cpu(const struct cpumask *allowed, __u64 flags) KFUNC;
extern bool scx_bpf_test_and_clear_cpu_idle(__s32 cpu) KFUNC;
extern const struct cpumask *scx_bpf_get_idle_cpumask(void) KFUNC;
extern const struct cpumask *scx_bpf_get_idle_smtmask(void) KFUNC;
extern void scx_bpf_put_idle_cpumask(const struct cpumask *mask) KFUNC;
extern void scx_bpf_dsq_insert(struct task_struct *p, __u64 dsq, __u64 slice, __u64 flags) KFUNC;
extern bool __scx_bpf_dsq_insert_vtime(struct task_struct *p, struct scx_bpf_dsq_insert_vtime_args *args) KFUNC;
extern bool scx_bpf_dsq_move_to_local(__u64 dsq) KFUNC;
extern __s32 scx_bpf_dsq_nr_queued(__u64 dsq) KFUNC;
extern __s32 scx_bpf_task_cpu(const struct task_struct *p) KFUNC;
extern int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, __u64 dsq, __u64 flags) KFUNC;
extern struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) KFUNC;
extern void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) KFUNC;
static void *(*const lookup)(void *map, const void *key) = (void *)1;
static __u32 (*const processor)(void) = (void *)8;
static struct task_struct *(*const current_task)(void) = (void *)158;

struct {
	int (*type)[2]; /* array, which user space maps */
	int (*map_flags)[1024];
	int (*max_entries)[ROOM];
	__u32 *key;
	struct scx_answer *value;
} records SEC(".maps");

char _license[] SEC("license") = "GPL";
const volatile __u64 __SCX_DSQ_LOCAL __attribute__((weak));
const volatile __u64 __SCX_ENQ_PREEMPT __attribute__((weak));
__u64 nr_records, nr_wakes, nr_moves, nr_changes; /* the last one: of the masks of idle CPUs */

static __attribute__((always_inline)) struct scx_answer *note(__u32 kind, struct task_struct *p, __s32 cpu)
{
	__u32 place = __sync_fetch_and_add(&nr_records, 1);
	struct scx_answer *to = lookup(&records, &place);

	if (!to)
		return 0;
	to->kind = kind;
	to->pid = p ? p->pid : 0;
	to->cpu = cpu;
	if (p) {
		to->exits = (p->flags & PF_EXITING) != 0;
		to->slice = p->scx.slice;
		to->ran_ns = p->se.sum_exec_runtime;
	}
	return to;
}

static __attribute__((always_inline)) __u64 idle_cpus(void)
{
	const struct cpumask *mask = scx_bpf_get_idle_cpumask();
	__u64 bits = mask->bits[0];

	scx_bpf_put_idle_cpumask(mask);
	return bits;
}

static __attribute__((always_inline)) __u64 idle_cores(void)
{
	const struct cpumask *mask = scx_bpf_get_idle_smtmask();
	__u64 bits = mask->bits[0];

	scx_bpf_put_idle_cpumask(mask);
	return bits;
}

/* Between two equal counts nobody but this program has touched the masks. */
SEC("struct_ops/answers_select_cpu") __s32 answers_select_cpu(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	__s32 prev = (__s32)ctx[1], cpu = -1;
	__u64 which = __sync_fetch_and_add(&nr_wakes, 1) % NR_IDLE_FUNCTIONS;
	__u64 changes = __sync_fetch_and_add(&nr_changes, 1), idle = idle_cpus(), cores = idle_cores(), after;
	bool is_idle = 0;
	struct scx_answer *r;

	if (which == SELECT_CPU_DFL) {
		cpu = scx_bpf_select_cpu_dfl(p, prev, ctx[2], &is_idle);
	} else if (which == SELECT_CPU_AND) {
		struct scx_bpf_select_cpu_and_args args = {prev, ctx[2], 0};

		cpu = __scx_bpf_select_cpu_and(p, p->cpus_ptr, &args);
		is_idle = cpu >= 0;
	} else if (which == PICK_IDLE) {
		cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
		is_idle = cpu >= 0;
	} else if (which == PICK_IDLE_WHOLE) {
		cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, PICK_IDLE_CORE);
		is_idle = cpu >= 0;
	} else if (which == PICK_ANY) {
		cpu = scx_bpf_pick_any_cpu(p->cpus_ptr, 0);
	} else {
		is_idle = scx_bpf_test_and_clear_cpu_idle(prev);
		cpu = prev;
	}
	after = idle_cpus();
	r = note(ANSWER_IDLE, p, (__s32)processor());
	if (r) {
		struct task_struct *waker = current_task();

		r->which = which;
		r->idle = idle;
		r->cores = cores;
		r->idle_after = after;
		r->cores_after = idle_cores();
		r->allowed = p->cpus_ptr->bits[0];
		r->wake_flags = ctx[2];
		r->prev = prev;
		r->answer = cpu;
		r->is_idle = is_idle;
		r->nr_local = scx_bpf_dsq_nr_queued(__SCX_DSQ_LOCAL);
		r->exits = (waker->flags & PF_EXITING) != 0;
		r->is_pinned = p->nr_cpus_allowed == 1 || p->migration_disabled;
		r->is_stable = nr_changes == changes + 1;
	}
	__sync_fetch_and_add(&nr_changes, 1);
	if (cpu < 0)
		cpu = prev;
	if (is_idle) {
		r = note(ANSWER_DIRECT, p, cpu);
		if (r)
			r->given_slice = SLICE_NS;
		scx_bpf_dsq_insert(p, __SCX_DSQ_LOCAL, SLICE_NS, 0);
	}
	return cpu;
}

SEC("struct_ops/answers_enqueue") int answers_enqueue(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	__s32 cpu = scx_bpf_task_cpu(p);
	struct scx_answer *r = note(ANSWER_ENQUEUE, p, cpu);
	struct scx_bpf_dsq_insert_vtime_args args = {};
	__u64 slice = SLICE_NS + (p->pid & 7) * 1000000;

	if (r) {
		r->given_slice = slice;
		r->flags = ctx[1];
	}
	if (r && nr_wakes % 16 == 3) {
		r->which = INTO_LOCAL;
		scx_bpf_dsq_insert(p, __SCX_DSQ_LOCAL, slice, ctx[1] | __SCX_ENQ_PREEMPT);
		return 0;
	}
	if (p->pid & 1) {
		if (r)
			r->which = INTO_ARRIVAL;
		scx_bpf_dsq_insert(p, ARRIVAL_QUEUE + cpu, slice, ctx[1]);
		return 0;
	}
	args.dsq_id = VTIME_QUEUE + cpu;
	args.slice = slice;
	args.vtime = (p->se.sum_exec_runtime >> 20) + (p->pid & 6); /* coarse: some are equal */
	args.enq_flags = ctx[1];
	if (r) {
		r->which = INTO_VTIME;
		r->vtime = args.vtime;
	}
	__scx_bpf_dsq_insert_vtime(p, &args);
	return 0;
}

static __attribute__((always_inline)) void list(__s32 *pids, __u64 dsq, __u64 flags, int most)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;

	bpf_iter_scx_dsq_new(&it, dsq, flags);
	for (int i = 0; i < most; i++) {
		p = bpf_iter_scx_dsq_next(&it);
		if (!p)
			break;
		pids[i] = p->pid;
	}
	bpf_iter_scx_dsq_destroy(&it);
}

SEC("struct_ops/answers_dispatch") int answers_dispatch(__u64 *ctx)
{
	struct task_struct *prev = (void *)ctx[1];
	__s32 cpu = (__s32)ctx[0];
	__u64 first = ARRIVAL_QUEUE + cpu, second = VTIME_QUEUE + cpu, swapped = __sync_fetch_and_add(&nr_moves, 1) & 1;
	struct scx_answer *r = note(ANSWER_DISPATCH, prev, cpu);
	bool moved;

	if (r) {
		r->which = swapped;
		r->is_queued = prev && prev->scx.flags & 1;
		r->nr_arrival = scx_bpf_dsq_nr_queued(first);
		r->nr_vtime = scx_bpf_dsq_nr_queued(second);
		list(r->arrival, first, 0, LISTED);
		list(r->by_vtime, second, 0, LISTED);
		list(r->reversed, second, ITER_REV, LISTED);
	}
	if (swapped) {
		first = second;
		second = ARRIVAL_QUEUE + cpu;
	}
	moved = scx_bpf_dsq_move_to_local(first);
	if (r)
		r->moved = moved ? 1 : 0;
	if (!moved) {
		moved = scx_bpf_dsq_move_to_local(second);
		if (r)
			r->moved = moved ? 2 : 0;
	}
	return 0;
}

SEC("struct_ops/answers_runnable") int answers_runnable(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];

	note(ANSWER_RUNNABLE, p, scx_bpf_task_cpu(p));
	return 0;
}

SEC("struct_ops/answers_running") int answers_running(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];

	note(ANSWER_RUNNING, p, scx_bpf_task_cpu(p));
	return 0;
}

SEC("struct_ops/answers_tick") int answers_tick(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];

	note(ANSWER_TICK, p, scx_bpf_task_cpu(p));
	return 0;
}

SEC("struct_ops/answers_stopping") int answers_stopping(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct scx_answer *r = note(ANSWER_STOPPING, p, scx_bpf_task_cpu(p));

	if (r)
		r->is_queued = (bool)ctx[1];
	return 0;
}

SEC("struct_ops/answers_quiescent") int answers_quiescent(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct scx_answer *r = note(ANSWER_QUIESCENT, p, scx_bpf_task_cpu(p));

	if (r)
		r->flags = ctx[1];
	return 0;
}

SEC("struct_ops/answers_update_idle") int answers_update_idle(__u64 *ctx)
{
	__sync_fetch_and_add(&nr_changes, 1);
	return 0;
}

SEC("struct_ops.s/answers_init") __s32 answers_init(__u64 *ctx)
{
	__s32 failed = 0;

	for (int cpu = 0; cpu < MAX_CPUS && !failed; cpu++) {
		failed = scx_bpf_create_dsq(ARRIVAL_QUEUE + cpu, -1);
		if (!failed)
			failed = scx_bpf_create_dsq(VTIME_QUEUE + cpu, -1);
	}
	return failed;
}

SEC(".struct_ops.link")
struct sched_ext_ops answers_ops = {
	.select_cpu = (void *)answers_select_cpu,
	.enqueue = (void *)answers_enqueue,
	.dispatch = (void *)answers_dispatch,
	.runnable = (void *)answers_runnable,
	.running = (void *)answers_running,
	.tick = (void *)answers_tick,
	.stopping = (void *)answers_stopping,
	.quiescent = (void *)answers_quiescent,
	.update_idle = (void *)answers_update_idle,
	.init = (void *)answers_init,
	.flags = 1, /* SCX_OPS_KEEP_BUILTIN_IDLE */
	.timeout_ms = 20000,
	.name = "answers",
};
