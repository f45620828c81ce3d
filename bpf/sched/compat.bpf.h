/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything in which kernels from 6.16 on differ for a sched_ext scheduler. Functions, types and enumerators
 * are probed, never versions. What is not weak here is in all of them; libbpf names one that is missing.
 */
#ifndef SCHED_COMPAT_BPF_H
#define SCHED_COMPAT_BPF_H

#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define KERNEL(type, name) ((__u64)bpf_core_enum_value(enum type, name))
#define DSQ_LOCAL KERNEL(scx_dsq_id_flags, SCX_DSQ_LOCAL)
#define DSQ_LOCAL_ON(cpu) (KERNEL(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON) | (__u32)(cpu))
#define ENQ(name) KERNEL(scx_enq_flags, SCX_ENQ_##name)
#define KICK(name) KERNEL(scx_kick_flags, SCX_KICK_##name)

__s32 scx_bpf_create_dsq(__u64 dsq_id, __s32 node) __ksym;
void scx_bpf_dsq_insert(struct task_struct *p, __u64 dsq_id, __u64 slice, __u64 enq_flags) __ksym;
bool scx_bpf_dsq_move_to_local(__u64 dsq_id) __ksym;
__s32 scx_bpf_dsq_nr_queued(__u64 dsq_id) __ksym;
bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq *it__iter, struct task_struct *p, __u64 dsq_id, __u64 enq_flags) __ksym;
void scx_bpf_dsq_move_set_slice(struct bpf_iter_scx_dsq *it__iter, __u64 slice) __ksym;
int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, __u64 dsq_id, __u64 flags) __ksym;
struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) __ksym;
void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) __ksym;
void scx_bpf_kick_cpu(__s32 cpu, __u64 flags) __ksym;
__u32 scx_bpf_reenqueue_local(void) __ksym;
__s32 scx_bpf_pick_idle_cpu(const struct cpumask *cpus_allowed, __u64 flags) __ksym;
bool scx_bpf_test_and_clear_cpu_idle(__s32 cpu) __ksym;
const struct cpumask *scx_bpf_get_idle_cpumask(void) __ksym;
const struct cpumask *scx_bpf_get_idle_smtmask(void) __ksym;
void scx_bpf_put_idle_cpumask(const struct cpumask *idle_mask) __ksym;
const struct cpumask *scx_bpf_get_online_cpumask(void) __ksym;
void scx_bpf_put_cpumask(const struct cpumask *cpumask) __ksym;
__s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;
__u32 scx_bpf_nr_cpu_ids(void) __ksym;
__s32 scx_bpf_cpu_node(__s32 cpu) __ksym;
__u64 scx_bpf_now(void) __ksym;
void scx_bpf_cpuperf_set(__s32 cpu, __u32 perf) __ksym;
void scx_bpf_exit_bstr(__s64 exit_code, char *fmt, unsigned long long *data, __u32 data__sz) __ksym;
void scx_bpf_error_bstr(char *fmt, unsigned long long *data, __u32 data__sz) __ksym;
void scx_bpf_dump_bstr(char *fmt, unsigned long long *data, __u32 data__sz) __ksym;

struct bpf_cpumask *bpf_cpumask_create(void) __ksym;
void bpf_cpumask_release(struct bpf_cpumask *cpumask) __ksym;
void bpf_cpumask_set_cpu(__u32 cpu, struct bpf_cpumask *cpumask) __ksym;
void bpf_cpumask_clear_cpu(__u32 cpu, struct bpf_cpumask *cpumask) __ksym;
bool bpf_cpumask_test_cpu(__u32 cpu, const struct cpumask *cpumask) __ksym;
bool bpf_cpumask_and(struct bpf_cpumask *dst, const struct cpumask *src1, const struct cpumask *src2) __ksym;
__u32 bpf_cpumask_weight(const struct cpumask *cpumask) __ksym;
bool bpf_cpumask_empty(const struct cpumask *cpumask) __ksym;
void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;

/* Which CPUs share a last level cache (kernel/sched/topology.c), and what the host took from each. */
extern const int sd_llc_id __ksym __weak;
extern const struct kernel_cpustat kernel_cpustat __ksym __weak;

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* What the functions take that print: a format, and its numbers in an array. */
#define TEXT_AND_NUMBERS(fmt, args...)                           \
	static char text[] = fmt;                                \
	unsigned long long numbers[___bpf_narg(args) ?: 1] = {}; \
	___bpf_fill(numbers, args);
#define dump(fmt, args...)                                         \
	({                                                         \
		TEXT_AND_NUMBERS(fmt, ##args)                      \
		scx_bpf_dump_bstr(text, numbers, sizeof(numbers)); \
	})
#define leave(code, fmt, args...)                                        \
	({                                                               \
		TEXT_AND_NUMBERS(fmt, ##args)                            \
		scx_bpf_exit_bstr(code, text, numbers, sizeof(numbers)); \
	})
#define fail(fmt, args...)                                          \
	({                                                          \
		TEXT_AND_NUMBERS(fmt, ##args)                       \
		scx_bpf_error_bstr(text, numbers, sizeof(numbers)); \
	})

/* 6.19 packs what would not fit into five registers with one more that is implicit. */
bool __scx_bpf_dsq_insert_vtime(struct task_struct *p, struct scx_bpf_dsq_insert_vtime_args *args) __ksym __weak;
void scx_bpf_dsq_insert_vtime(struct task_struct *p, __u64 dsq_id, __u64 slice, __u64 vtime, __u64 enq_flags) __ksym
__weak;
__s32 __scx_bpf_select_cpu_and(struct task_struct *p, const struct cpumask *cpus_allowed,
			       struct scx_bpf_select_cpu_and_args *args) __ksym __weak;
__s32 scx_bpf_select_cpu_and(struct task_struct *p, __s32 prev_cpu, __u64 wake_flags,
			     const struct cpumask *cpus_allowed, __u64 flags) __ksym __weak;

static __always_inline void insert_vtime(struct task_struct *p, __u64 dsq_id, __u64 slice, __u64 vtime, __u64 enq_flags)
{
	if (bpf_ksym_exists(__scx_bpf_dsq_insert_vtime)) {
		struct scx_bpf_dsq_insert_vtime_args args = {
			.dsq_id = dsq_id, .slice = slice, .vtime = vtime, .enq_flags = enq_flags};

		__scx_bpf_dsq_insert_vtime(p, &args);
	} else {
		scx_bpf_dsq_insert_vtime(p, dsq_id, slice, vtime, enq_flags);
	}
}

static __always_inline __s32 select_idle_builtin(struct task_struct *p, __s32 prev_cpu, __u64 wake_flags)
{
	if (bpf_ksym_exists(__scx_bpf_select_cpu_and)) {
		struct scx_bpf_select_cpu_and_args args = {.prev_cpu = prev_cpu, .wake_flags = wake_flags};

		return __scx_bpf_select_cpu_and(p, p->cpus_ptr, &args);
	}
	return scx_bpf_select_cpu_and(p, prev_cpu, wake_flags, p->cpus_ptr, 0);
}

/* Since 6.19; newer kernels warn of direct writes, which are to go. */
bool scx_bpf_task_set_slice(struct task_struct *p, __u64 slice) __ksym __weak;

static __always_inline void set_slice(struct task_struct *p, __u64 slice)
{
	if (bpf_ksym_exists(scx_bpf_task_set_slice))
		scx_bpf_task_set_slice(p, slice);
	else
		p->scx.slice = slice;
}

/* Since 7.0 tasks can be taken back from a local queue at any time, not just when its CPU is lost. */
void scx_bpf_dsq_reenq(__u64 dsq_id, __u64 reenq_flags) __ksym __weak;

/*
 * Is it bound to its CPU for a while? The kernel disables migration of whoever runs a BPF program, so that 1
 * says nothing of the current task.
 */
static __always_inline bool is_migration_disabled(const struct task_struct *p)
{
	if (p->migration_disabled == 1)
		return bpf_get_current_task_btf() != p;
	return p->migration_disabled;
}

#endif
