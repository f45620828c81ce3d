"""A scheduler and a kernel for it, in C, compiled for BPF: what the tests of the translation are about.

The kernel is a file of types and functions, as a real one's BTF has them. It differs from the simulator's
layout everywhere, so that whatever takes an offset from the wrong one is seen.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

KERNEL = """
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64;
typedef int s32; typedef _Bool bool;
struct cpumask { u64 bits[128]; };
struct sched_ext_entity { u64 gap[5]; u64 slice; u64 dsq_vtime; u32 weight; };
struct task_struct {
    u64 gap[100]; u64 stack_canary; s32 pid; struct cpumask *cpus_ptr; struct sched_ext_entity scx;
};
struct sched_ext_ops {
    s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
    void (*enqueue)(struct task_struct *p, u64 enq_flags);
    s32 (*init)(void);
    u64 flags; u32 timeout_ms; char name[128];
};
enum scx_dsq_id_flags { SCX_DSQ_LOCAL = 0x12345 };
enum scx_enq_flags { SCX_ENQ_HEAD = 16 };
enum bpf_func_id { BPF_FUNC_map_lookup_elem = 1, BPF_FUNC_ktime_get_ns = 5, BPF_FUNC_loop = 181 };
struct bpf_prog_aux;
u64 sink;
int nr_cpu_ids;
__attribute__((noinline)) void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq, u64 slice, u64 flags)
{ sink = (u64)p + dsq + slice + flags; }
__attribute__((noinline)) u64 scx_bpf_now(struct bpf_prog_aux *aux) { return sink + (u64)aux; }
struct sched_ext_ops keep_ops; enum bpf_func_id keep_func;
enum scx_dsq_id_flags keep_ids; enum scx_enq_flags keep_enq;
"""

SCHEDULER = """
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64;
typedef int s32; typedef _Bool bool;
#define SEC(name) __attribute__((section(name), used))
#define __weak __attribute__((weak))
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
#define PRESERVED __attribute__((preserve_access_index))
#define exists(x) __builtin_preserve_field_info(x, 2)
#define enum_value(type, value) __builtin_preserve_enum_value(*(enum type *)value, 1)
struct cpumask { u64 bits[128]; } PRESERVED;
struct sched_ext_entity { u64 slice; u64 dsq_vtime; u32 weight; u32 never; } PRESERVED;
struct task_struct {
    u32 gone; u64 stack_canary; s32 pid; struct cpumask *cpus_ptr; struct sched_ext_entity scx;
} PRESERVED;
struct task_struct___flavour { s32 pid; } PRESERVED;
struct sched_ext_ops {
    s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
    void (*enqueue)(struct task_struct *p, u64 enq_flags);
    void (*newer)(void);
    s32 (*init)(void);
    u64 flags; u32 timeout_ms; char name[128];
};
enum scx_enq_flags { SCX_ENQ_HEAD = 7 };
extern void scx_bpf_dsq_insert(struct task_struct *p, u64 dsq, u64 slice, u64 flags) __weak __ksym;
extern void scx_bpf_dispatch(struct task_struct *p, u64 dsq, u64 slice, u64 flags) __weak __ksym;
extern u64 scx_bpf_now(void) __weak __ksym;
extern int nr_cpu_ids __weak __ksym;
extern u32 LINUX_KERNEL_VERSION __kconfig;
extern bool CONFIG_SMP __kconfig __weak;
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static u64 (*ktime)(void) = (void *)5;
static long (*loop)(u32 nr, void *body, void *context, u64 flags) = (void *)181;
struct { int (*type)[2]; int (*max_entries)[4]; u32 *key; u64 *value; } counts SEC(".maps");
const volatile u64 slice_ns = 5000000;
const volatile u64 __SCX_DSQ_LOCAL = 0;
u64 nr_enqueued;
s32 last_answer = -7;
u64 per_cpu[2] SEC(".data.per_cpu");

static __attribute__((noinline)) u64 mixed(u64 a, u32 b)
{
    return (a * 31 + b) / (b | 1) ^ (a >> 3) ^ (u64)((s32)b >> 2);
}
static long body(u32 index, u64 *sum)
{
    *sum += index * 3;
    return 0;
}
SEC("struct_ops/select_cpu") s32 pick(u64 *context)
{
    struct task_struct *p = (void *)context[0];
    s32 prev = context[1];
    if (exists(p->gone)) /* the kernel lacks it: never reached */
        return p->gone;
    if (exists(p->stack_canary) && prev == 3) /* the kernel has it, the simulator does not: a trap */
        return p->stack_canary;
    return last_answer = (s32)(mixed(p->scx.dsq_vtime, p->pid) & 1) + (p->cpus_ptr->bits[0] >> prev & 1);
}
SEC("struct_ops/enqueue") void enqueue(u64 *context)
{
    struct task_struct *p = (void *)context[0];
    u32 key = ((struct task_struct___flavour *)p)->pid & 3;
    u64 *count = map_lookup(&counts, &key), sum = 0;
    if (count)
        __sync_fetch_and_add(count, context[1]);
    loop(5, body, &sum, 0);
    per_cpu[1] += sum + CONFIG_SMP;
    nr_enqueued++;
    p->scx.dsq_vtime += slice_ns * 100 / p->scx.weight;
    if (scx_bpf_dsq_insert)
        scx_bpf_dsq_insert(p, __SCX_DSQ_LOCAL, slice_ns, enum_value(scx_enq_flags, SCX_ENQ_HEAD) | sum << 32);
    else
        scx_bpf_dispatch(p, __SCX_DSQ_LOCAL, slice_ns, 0);
}
SEC("struct_ops/newer") void newer(u64 *context) {}
SEC("struct_ops.s/init") s32 init(u64 *context)
{
    return &nr_cpu_ids ? (s32)(LINUX_KERNEL_VERSION >> 16) + nr_cpu_ids : (s32)scx_bpf_now() + (s32)ktime();
}
SEC("syscall") s32 ask(u64 *context) { return nr_enqueued; }
SEC("tracing/unused") s32 unused(u64 *context) { return (s32)ktime(); }
SEC(".struct_ops.link") struct sched_ext_ops tested = {
    .select_cpu = (void *)pick, .enqueue = (void *)enqueue, .newer = (void *)newer, .init = (void *)init,
    .flags = 3, .timeout_ms = 5000, .name = "tested",
};
char licence[] SEC("license") = "GPL";
"""


def compile_bpf(folder: Path, name: str, text: str) -> bytes:
    """Compile C for BPF."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("no clang")
    source, target = folder / f"{name}.bpf.c", folder / f"{name}.bpf.o"
    source.write_text(text)
    options = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-w", "-fno-builtin"]
    subprocess.run([clang, *options, "-c", str(source), "-o", str(target)], check=True)
    return target.read_bytes()
