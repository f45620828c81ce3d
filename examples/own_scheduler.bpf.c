/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An own sched_ext scheduler: one queue for all CPUs, first in, first out. It needs nothing but clang, and
 * is tried in a guest, whose loader fills the kernel's constants in (docs/lab.md):
 *
 *     clang -target bpf -mcpu=v3 -O2 -g -c own_scheduler.bpf.c -o own.bpf.o
 *     schedtuna lab start trial
 *     schedtuna schedulers start ./own.bpf.o --in trial
 */
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef _Bool bool;

#define SEC(name) __attribute__((section(name), used))
#define KFUNC __attribute__((section(".ksyms"), weak))
#define KERNEL_TYPE __attribute__((preserve_access_index))

/* Of the kernel's types, what is used; the fields are found by their names. */
struct task_struct {
	int pid;
} KERNEL_TYPE;

struct sched_ext_ops {
	void (*enqueue)(struct task_struct *p, __u64 enq_flags);
	__u64 hotplug_seq;
	__u32 timeout_ms;
	char name[128];
};

/* Since Linux 6.19 it returns something; libbpf takes the one that the kernel has. */
extern void scx_bpf_dsq_insert___v1(struct task_struct *p, __u64 dsq, __u64 slice, __u64 flags) KFUNC;
extern bool scx_bpf_dsq_insert___v2(struct task_struct *p, __u64 dsq, __u64 slice, __u64 flags) KFUNC;

char _license[] SEC("license") = "GPL";
const volatile __u64 __SCX_DSQ_GLOBAL __attribute__((weak));
const volatile __u64 __SCX_SLICE_DFL __attribute__((weak));

SEC("struct_ops/own_enqueue")
int own_enqueue(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];

	if (scx_bpf_dsq_insert___v2)
		scx_bpf_dsq_insert___v2(p, __SCX_DSQ_GLOBAL, __SCX_SLICE_DFL, ctx[1]);
	else
		scx_bpf_dsq_insert___v1(p, __SCX_DSQ_GLOBAL, __SCX_SLICE_DFL, ctx[1]);
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops own_ops = {
	.enqueue = (void *)own_enqueue,
	.timeout_ms = 5000,
	.name = "own_fifo",
};
