/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One queue by weighted virtual time, as the kernel's example scx_simple decides, with a counter, a timer and tasks'
 * storage, so that a test sees them act. Compiled by the tests; BREAKS and STALLS make it one that the kernel ends,
 * LARGE one with more than there is room for.
 */
typedef unsigned char __u8;
typedef unsigned int __u32;
typedef int __s32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef _Bool bool;

#define SEC(name) __attribute__((section(name), used))
#define KFUNC __attribute__((section(".ksyms"), weak))
#define KERNEL_TYPE __attribute__((preserve_access_index))
#define QUEUE 7

struct sched_ext_entity {
	__u64 slice;
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
	__s32 (*init)(void);
	__u64 hotplug_seq;
	__u32 timeout_ms;
	char name[128];
};

extern __s32 scx_bpf_create_dsq(__u64 dsq, __s32 node) KFUNC;
extern __s32 scx_bpf_select_cpu_dfl(struct task_struct *p, __s32 prev, __u64 flags, bool *is_idle) KFUNC;
extern void scx_bpf_dsq_insert___v1(struct task_struct *p, __u64 dsq, __u64 slice, __u64 flags) KFUNC;
extern bool scx_bpf_dsq_insert___v2(struct task_struct *p, __u64 dsq, __u64 slice, __u64 flags) KFUNC;
extern void scx_bpf_dsq_insert_vtime(struct task_struct *p, __u64 dsq, __u64 slice, __u64 vtime, __u64 flags) KFUNC;
extern bool scx_bpf_dsq_move_to_local___v1(__u64 dsq) KFUNC;
extern bool scx_bpf_dsq_move_to_local___v2(__u64 dsq, __u64 flags) KFUNC;
extern void scx_bpf_error_bstr(char *format, __u64 *data, __u32 size) KFUNC;

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const timer_init)(void *timer, void *map, __u64 flags) = (void *)169;
static long (*const timer_set_callback)(void *timer, void *callback) = (void *)170;
static long (*const timer_start)(void *timer, __u64 ns, __u64 flags) = (void *)171;
static void *(*const storage_get)(void *map, struct task_struct *p, void *value, __u64 flags) = (void *)156;

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct timed {
	struct bpf_timer timer;
	__u64 nr_fired;
};

#define MAP(type_, key_, value_, entries_) \
	int (*type)[type_];                \
	int (*max_entries)[entries_];      \
	key_ *key;                         \
	value_ *value

struct {
	MAP(6, __u32, __u64, 2);
} stats SEC(".maps");
struct {
	MAP(2, __u32, struct timed, 1);
} timers SEC(".maps");
#ifdef LARGE
struct {
	MAP(2, __u32, __u64, 1 << 30);
} large SEC(".maps");
#endif
struct {
	int (*type)[29];
	int (*map_flags)[1];
	int *key;
	__u64 *value;
} starts SEC(".maps");

char _license[] SEC("license") = "GPL";
const volatile __u64 __SCX_DSQ_LOCAL __attribute__((weak));
const volatile __u64 slice_us = 20000;
const volatile bool in_order_of_arrival = 0;
__u64 vtime_now;

static inline void insert(struct task_struct *p, __u64 dsq, __u64 flags)
{
	if (scx_bpf_dsq_insert___v2)
		scx_bpf_dsq_insert___v2(p, dsq, slice_us * 1000, flags);
	else
		scx_bpf_dsq_insert___v1(p, dsq, slice_us * 1000, flags);
}

static inline void count(__u32 which)
{
	__u64 *n = map_lookup(&stats, &which);

	if (n)
		(*n)++;
}

SEC("struct_ops/vtime_select_cpu")
int vtime_select_cpu(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	bool is_idle = 0;
	__s32 cpu = scx_bpf_select_cpu_dfl(p, (__s32)ctx[1], ctx[2], &is_idle);

	if (is_idle) {
		count(0);
		insert(p, __SCX_DSQ_LOCAL, 0);
	}
	return cpu;
}

SEC("struct_ops/vtime_enqueue")
int vtime_enqueue(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	__u64 vtime = p->scx.dsq_vtime, slice = slice_us * 1000;

	count(1);
#ifdef STALLS
	return 0;
#endif
#ifdef BREAKS
	static char format[] = "pid %d is one too many";
	__u64 pid = p->pid;

	scx_bpf_error_bstr(format, &pid, 8);
#endif
	if (in_order_of_arrival) {
		insert(p, QUEUE, ctx[1]);
		return 0;
	}
	if ((__s64)(vtime - (vtime_now - slice)) < 0)
		vtime = vtime_now - slice;
	scx_bpf_dsq_insert_vtime(p, QUEUE, slice, vtime, ctx[1]);
	return 0;
}

SEC("struct_ops/vtime_dispatch")
int vtime_dispatch(__u64 *ctx)
{
	if (scx_bpf_dsq_move_to_local___v2)
		scx_bpf_dsq_move_to_local___v2(QUEUE, 0);
	else
		scx_bpf_dsq_move_to_local___v1(QUEUE);
	return 0;
}

SEC("struct_ops/vtime_running")
int vtime_running(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	__u64 *nr = storage_get(&starts, p, 0, 1);

	if (nr)
		(*nr)++;
	if ((__s64)(vtime_now - p->scx.dsq_vtime) < 0)
		vtime_now = p->scx.dsq_vtime;
	return 0;
}

SEC("struct_ops/vtime_stopping")
int vtime_stopping(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];

	p->scx.dsq_vtime += (slice_us * 1000 - p->scx.slice) * 100 / p->scx.weight;
	return 0;
}

SEC("struct_ops/vtime_enable")
int vtime_enable(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];

	p->scx.dsq_vtime = vtime_now;
	return 0;
}

static int fired(void *map, int *key, struct timed *value)
{
	value->nr_fired++;
	timer_start(&value->timer, 100000000, 0);
	return 0;
}

SEC("struct_ops.s/vtime_init")
int vtime_init(__u64 *ctx)
{
	__u32 zero = 0;
	struct timed *timed = map_lookup(&timers, &zero);

	if (timed) {
		timer_init(&timed->timer, &timers, 1);
		timer_set_callback(&timed->timer, fired);
		timer_start(&timed->timer, 100000000, 0);
	}
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops vtime_ops = {
	.select_cpu = (void *)vtime_select_cpu,
	.enqueue = (void *)vtime_enqueue,
	.dispatch = (void *)vtime_dispatch,
	.running = (void *)vtime_running,
	.stopping = (void *)vtime_stopping,
	.enable = (void *)vtime_enable,
	.init = (void *)vtime_init,
	.timeout_ms = 5000,
	.name = "own_vtime",
};
