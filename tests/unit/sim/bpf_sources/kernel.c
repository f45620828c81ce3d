/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A kernel, as far as its types go: what vtime.bpf.c asks for, with fields at other places than the simulator's and
 * enumerators of other values than any kernel's. Compiled for BPF, whose BTF is then as a kernel's.
 */
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef _Bool bool;
#define KERNEL __attribute__((noinline))

struct sched_ext_entity {
	u64 gap[9];
	u32 weight;
	u64 slice;
	u64 dsq_vtime;
};
struct task_struct {
	u64 gap[77];
	int pid;
	struct sched_ext_entity scx;
};
struct sched_ext_ops {
	s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
	void (*enqueue)(struct task_struct *p, u64 enq_flags);
	void (*dispatch)(s32 cpu, struct task_struct *prev);
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	void (*enable)(struct task_struct *p);
	s32 (*init)(void);
	u64 hotplug_seq;
	u32 timeout_ms;
	char name[128];
};
struct bpf_struct_ops_sched_ext_ops {
	u64 common[8];
	struct sched_ext_ops data;
};
enum scx_public_consts { SCX_SLICE_DFL = 20000000 };
enum scx_dsq_id_flags {
	SCX_DSQ_FLAG_BUILTIN = 1ull << 63,
	SCX_DSQ_GLOBAL = 1ull << 63 | 11,
	SCX_DSQ_LOCAL = 1ull << 63 | 12,
};
enum bpf_func_id {
	BPF_FUNC_map_lookup_elem = 1,
	BPF_FUNC_task_storage_get = 156,
	BPF_FUNC_timer_init = 169,
	BPF_FUNC_timer_set_callback = 170,
	BPF_FUNC_timer_start = 171,
};

u64 sink;
struct bpf_struct_ops_sched_ext_ops keep_ops;
enum scx_public_consts keep_consts;
enum scx_dsq_id_flags keep_ids;
enum bpf_func_id keep_functions;

KERNEL s32 scx_bpf_create_dsq(u64 dsq, s32 node)
{
	return sink += dsq + node;
}
KERNEL s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev, u64 flags, bool *is_idle)
{
	return sink += (u64)p + prev + flags + (u64)is_idle;
}
KERNEL bool scx_bpf_dsq_insert(struct task_struct *p, u64 dsq, u64 slice, u64 flags)
{
	return sink += (u64)p + dsq + slice + flags;
}
KERNEL void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq, u64 slice, u64 vtime, u64 flags)
{
	sink += (u64)p + dsq + slice + vtime + flags;
}
KERNEL bool scx_bpf_dsq_move_to_local(u64 dsq)
{
	return sink += dsq;
}
KERNEL void scx_bpf_error_bstr(char *format, u64 *data, u32 size)
{
	sink += (u64)format + (u64)data + size;
}
