/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A FIFO scheduler as those are that come with a loader: the kernel's constants and the room for its
 * dump are left for it to fill in. Compiled by the tests, also with a member of a kernel that there is
 * not, for such a kernel, and as none.
 */
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef _Bool bool;

#define SEC(name) __attribute__((section(name), used))
#define KFUNC __attribute__((section(".ksyms"), weak))
#define KERNEL_TYPE __attribute__((preserve_access_index))

struct task_struct {
	int pid;
} KERNEL_TYPE;

enum scx_exit_kind {
	SCX_EXIT_NONE,
};

struct scx_exit_info {
	enum scx_exit_kind kind;
	__s64 exit_code;
	const char *reason;
	const char *msg;
	char *dump;
} KERNEL_TYPE;

struct sched_ext_ops {
	void (*enqueue)(struct task_struct *p, __u64 enq_flags);
	void (*exit)(struct scx_exit_info *info);
	void (*foresee)(void); /* no kernel's */
	__u64 hotplug_seq;
	__u32 timeout_ms;
	char name[128];
};

/* tools/sched_ext/include/scx/user_exit_info.h */
struct user_exit_info {
	int kind;
	__s64 exit_code;
	char reason[128];
	char msg[1024];
};

/* A newer kernel's returns something; libbpf takes the one whose type the kernel has. */
extern void scx_bpf_dsq_insert___v1(struct task_struct *p, __u64 dsq, __u64 slice, __u64 flags) KFUNC;
extern bool scx_bpf_dsq_insert___v2(struct task_struct *p, __u64 dsq, __u64 slice, __u64 flags) KFUNC;
extern void scx_bpf_exit_bstr(__s64 code, char *format, __u64 *data, __u32 data_bytes) KFUNC;
extern void scx_bpf_error_bstr(char *format, __u64 *data, __u32 data_bytes) KFUNC;
#ifdef STRANGE
extern void scx_bpf_foresee(void) __attribute__((section(".ksyms")));
#endif
static long (*const read_kernel_str)(void *to, __u32 size, const void *from) = (void *)115;

char _license[] SEC("license") = "GPL";
const volatile __u64 __SCX_DSQ_GLOBAL __attribute__((weak));
const volatile __u64 __SCX_SLICE_DFL __attribute__((weak));
const volatile __u64 __SCX_NO_SUCH_CONSTANT __attribute__((weak));
const volatile __u32 uei_dump_len = 1;
char uei_dump[1] SEC(".data.uei_dump");
struct user_exit_info uei SEC(".data");

const volatile bool does_exit; /* at once; with code 0 it is an error */
const volatile __s64 exit_code = 5;
__u32 slice_us SEC(".data"); /* 0: the kernel's default */
__u64 nr_enqueued;
static char told[] = "told to with %llu";

SEC("struct_ops/fifo_enqueue")
int fifo_enqueue(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];
	__u64 slice_ns = slice_us ? slice_us * 1000ULL : __SCX_SLICE_DFL;

	__sync_fetch_and_add(&nr_enqueued, 1);
	if (does_exit) {
		__u64 data[] = {exit_code};

		if (exit_code)
			scx_bpf_exit_bstr(exit_code, told, data, sizeof(data));
		else
			scx_bpf_error_bstr(told, data, sizeof(data));
	}
#ifdef STRANGE
	scx_bpf_foresee();
#endif
	if (scx_bpf_dsq_insert___v2)
		scx_bpf_dsq_insert___v2(p, __SCX_DSQ_GLOBAL, slice_ns, ctx[1]);
	else
		scx_bpf_dsq_insert___v1(p, __SCX_DSQ_GLOBAL, slice_ns, ctx[1]);
	return 0;
}

SEC("struct_ops/fifo_exit")
int fifo_exit(__u64 *ctx)
{
	struct scx_exit_info *info = (void *)ctx[0];

	read_kernel_str(uei.reason, sizeof(uei.reason), info->reason);
	read_kernel_str(uei.msg, sizeof(uei.msg), info->msg);
	read_kernel_str(uei_dump, uei_dump_len, info->dump);
	uei.exit_code = info->exit_code;
	uei.kind = info->kind;
	return 0;
}

#ifdef FORESEES
SEC("struct_ops/fifo_foresee")
int fifo_foresee(__u64 *ctx)
{
	return 0;
}
#endif

#ifndef NO_SCHEDULER
SEC(".struct_ops.link")
struct sched_ext_ops fifo_ops = {
	.enqueue = (void *)fifo_enqueue,
	.exit = (void *)fifo_exit,
#ifdef FORESEES
	.foresee = (void *)fifo_foresee,
#endif
	.timeout_ms = 5000,
	.name = NAME,
};
#endif
