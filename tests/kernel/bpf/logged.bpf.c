/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A scheduler by virtual time that logs every callback: what it was given, what it read of the state that CPUs share,
 * what the kernel's functions answered, and what it decided. Compiled by the tests, which feed a guest's log to its
 * translation.
 */
typedef unsigned int __u32;
typedef int __s32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef _Bool bool;

#define SEC(name) __attribute__((section(name), used))
#define KFUNC __attribute__((section(".ksyms"), weak))
#define KERNEL_TYPE __attribute__((preserve_access_index))
#define SHARED 7

struct sched_ext_entity {
	__u64 dsq_vtime;
	__u32 weight;
} KERNEL_TYPE;

struct task_struct {
	int pid;
	struct sched_ext_entity scx;
} KERNEL_TYPE;

struct sched_ext_ops {
	__s32 (*select_cpu)(struct task_struct *p, __s32 prev_cpu, __u64 wake_flags);
	void (*enqueue)(struct task_struct *p, __u64 enq_flags);
	void (*dispatch)(__s32 cpu, struct task_struct *prev);
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	void (*enable)(struct task_struct *p);
	__s32 (*init_task)(struct task_struct *p, void *args);
	__s32 (*init)(void);
	__u64 hotplug_seq;
	__u32 timeout_ms;
	char name[128];
};

struct scx_bpf_dsq_insert_vtime_args {
	__u64 dsq_id, slice, vtime, enq_flags;
} KERNEL_TYPE;

extern __s32 scx_bpf_create_dsq(__u64 dsq_id, __s32 node) KFUNC;
extern __s32 scx_bpf_select_cpu_dfl(struct task_struct *p, __s32 prev_cpu, __u64 wake_flags, bool *is_idle) KFUNC;
extern void scx_bpf_dsq_insert___v1(struct task_struct *p, __u64 dsq, __u64 slice, __u64 flags) KFUNC;
extern bool scx_bpf_dsq_insert___v2(struct task_struct *p, __u64 dsq, __u64 slice, __u64 flags) KFUNC;
extern bool __scx_bpf_dsq_insert_vtime(struct task_struct *p, struct scx_bpf_dsq_insert_vtime_args *args) KFUNC;
extern void scx_bpf_dsq_insert_vtime(struct task_struct *p, __u64 dsq, __u64 slice, __u64 vtime, __u64 flags) KFUNC;
extern bool scx_bpf_dsq_move_to_local___v1(__u64 dsq) KFUNC;
extern bool scx_bpf_dsq_move_to_local___v2(__u64 dsq, __u64 flags) KFUNC;
extern bool scx_bpf_task_set_dsq_vtime(struct task_struct *p, __u64 vtime) KFUNC;
extern __u64 scx_bpf_now(void) KFUNC;
static void *(*const lookup)(void *map, const void *key) = (void *)1;
static long (*const update)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static void *(*const storage)(void *map, void *task, void *value, __u64 flags) = (void *)156;

struct record {
	__u32 operation;
	__s32 pid;
	__u64 given[3];
	__u64 shared;
	__u64 decided[3];
};

struct history {
	__u64 start, total;
	__u32 wakes, pad;
};

struct {
	int (*type)[29]; /* task storage */
	int (*map_flags)[1];
	int *key;
	struct history *value;
} histories SEC(".maps");

struct {
	int (*type)[1]; /* hash */
	int (*max_entries)[8192];
	__u32 *key;
	__u64 *value;
} runs SEC(".maps");

struct {
	int (*type)[2]; /* array, which user space maps */
	int (*map_flags)[1024];
	int (*max_entries)[ROOM];
	__u32 *key;
	struct record *value;
} records SEC(".maps");

char _license[] SEC("license") = "GPL";
const volatile __u64 __SCX_DSQ_LOCAL __attribute__((weak));
volatile __u64 slice_ns SEC(".data") = 5000000;
volatile __u64 bonus_ns SEC(".data") = 2000000;
volatile __u64 vtime_now;
__u64 nr_records;

static __attribute__((noinline)) int note(struct record *made)
{
	__u32 place = __sync_fetch_and_add(&nr_records, 1);
	struct record *to = lookup(&records, &place);

	if (to)
		*to = *made;
	return 0;
}

SEC("struct_ops/logged_select_cpu") __s32 logged_select_cpu(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct record r = {1, p->pid, {(__s32)ctx[1], ctx[2]}, 0, {}};
	bool is_idle = 0;
	__s32 cpu = scx_bpf_select_cpu_dfl(p, (__s32)ctx[1], ctx[2], &is_idle);

	if (is_idle) {
		r.decided[1] = slice_ns;
		if (scx_bpf_dsq_insert___v2)
			scx_bpf_dsq_insert___v2(p, __SCX_DSQ_LOCAL, r.decided[1], 0);
		else
			scx_bpf_dsq_insert___v1(p, __SCX_DSQ_LOCAL, r.decided[1], 0);
	}
	r.given[2] = is_idle;
	r.decided[0] = cpu;
	note(&r);
	return cpu;
}

SEC("struct_ops/logged_enqueue") int logged_enqueue(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct history *h = storage(&histories, p, 0, 0);
	__u64 now = vtime_now, key = p->scx.dsq_vtime, bonus = bonus_ns, slice = slice_ns;
	struct record r = {2, p->pid, {ctx[1], p->scx.weight}, now, {}};

	if (h && (ctx[1] & 1)) { /* a wakeup */
		h->wakes++;
		bonus += bonus * (h->wakes & 3) / 4;
	}
	if ((__s64)(key - (now - bonus)) < 0)
		key = now - bonus;
	if (h && h->total && slice * 2 > h->total / (h->wakes + 1))
		slice -= slice / 4;
	if (__scx_bpf_dsq_insert_vtime) {
		struct scx_bpf_dsq_insert_vtime_args args = {};

		args.dsq_id = SHARED;
		args.slice = slice;
		args.vtime = key;
		args.enq_flags = ctx[1];
		__scx_bpf_dsq_insert_vtime(p, &args);
	} else {
		scx_bpf_dsq_insert_vtime(p, SHARED, slice, key, ctx[1]);
	}
	r.decided[0] = key;
	r.decided[1] = slice;
	r.decided[2] = h ? h->wakes : -1;
	note(&r);
	return 0;
}

SEC("struct_ops/logged_dispatch") int logged_dispatch(__u64 *ctx)
{
	struct task_struct *prev = (void *)ctx[1];
	struct record r = {3, prev ? prev->pid : -1, {(__s32)ctx[0]}, 0, {}};

	if (scx_bpf_dsq_move_to_local___v2)
		r.given[1] = scx_bpf_dsq_move_to_local___v2(SHARED, 0);
	else
		r.given[1] = scx_bpf_dsq_move_to_local___v1(SHARED);
	note(&r);
	return 0;
}

SEC("struct_ops/logged_running") int logged_running(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct history *h = storage(&histories, p, 0, 0);
	__u64 now = scx_bpf_now(), key = p->scx.dsq_vtime, shared = vtime_now, one = 1, *count;
	struct record r = {4, p->pid, {now}, shared, {}};
	__u32 pid = p->pid;

	if (h)
		h->start = now;
	if ((__s64)(key - shared) > 0)
		vtime_now = shared = key;
	count = lookup(&runs, &pid);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		update(&runs, &pid, &one, 0);
	r.decided[0] = shared;
	r.decided[1] = count ? *count : 1;
	note(&r);
	return 0;
}

SEC("struct_ops/logged_stopping") int logged_stopping(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct history *h = storage(&histories, p, 0, 0);
	__u64 now = scx_bpf_now(), ran = 0;
	__u32 weight = p->scx.weight ?: 1;
	struct record r = {5, p->pid, {now, weight, (bool)ctx[1]}, 0, {}};

	if (h) {
		ran = now - h->start;
		h->total += ran;
	}
	scx_bpf_task_set_dsq_vtime(p, p->scx.dsq_vtime + ran * 100 / weight);
	r.decided[0] = p->scx.dsq_vtime;
	r.decided[1] = h ? h->total : -1;
	note(&r);
	return 0;
}

SEC("struct_ops/logged_enable") int logged_enable(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct record r = {6, p->pid, {p->scx.weight}, vtime_now, {}};

	scx_bpf_task_set_dsq_vtime(p, r.shared);
	r.decided[0] = p->scx.dsq_vtime;
	note(&r);
	return 0;
}

SEC("struct_ops/logged_init_task") __s32 logged_init_task(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	struct record r = {7, p->pid, {}, 0, {}};
	struct history *h = storage(&histories, p, 0, 1);

	r.decided[0] = h != 0;
	note(&r);
	return h ? 0 : -12;
}

SEC("struct_ops.s/logged_init") __s32 logged_init(__u64 *ctx)
{
	return scx_bpf_create_dsq(SHARED, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops logged_ops = {
	.select_cpu = (void *)logged_select_cpu,
	.enqueue = (void *)logged_enqueue,
	.dispatch = (void *)logged_dispatch,
	.running = (void *)logged_running,
	.stopping = (void *)logged_stopping,
	.enable = (void *)logged_enable,
	.init_task = (void *)logged_init_task,
	.init = (void *)logged_init,
	.timeout_ms = 20000,
	.name = "logged",
};
