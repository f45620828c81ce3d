// SPDX-License-Identifier: GPL-2.0
/*
 * Every scheduling decision, as a stream of events.
 *
 * Frequent events go to the ring of their CPU. What may happen with interrupts on (a fork, a task
 * that wakes itself) goes to `rows`, a BPF ring buffer, as a row of the task table.
 */
#include "attributes.bpf.h"
#include "compat.bpf.h"
#include "event_ring.bpf.h"
#include "filter.bpf.h"
#include "sched_event.h"
#include "task.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} rows SEC(".maps");

__u64 nr_rows_lost = 0;
struct task_row *task_row_layout; /* has BTF describe it, for user space to check */

static __always_inline void emit_row(struct task_struct *task, __u8 reason, __u32 other_tid, const char *comm)
{
	struct task_row *row = bpf_ringbuf_reserve(&rows, sizeof(*row), 0);

	if (!row) {
		__sync_fetch_and_add(&nr_rows_lost, 1);
		return;
	}
	fill_task_row(row, task, bpf_ktime_get_ns(), reason);
	row->cpu = bpf_get_smp_processor_id();
	row->other_tid = other_tid;
	if (comm)
		read_comm(row, comm);
	bpf_ringbuf_submit(row, BPF_RB_NO_WAKEUP);
}

static __always_inline void fill_event(struct sched_event *event, __u8 type, __u32 cpu, __u64 timestamp_ns,
				       struct task_struct *task, __u32 other_tid)
{
	event->timestamp_ns = timestamp_ns;
	event->tid = task->pid;
	event->other_tid = other_tid;
	event->aux = 0;
	event->cpu = cpu;
	event->target_cpu = cpu;
	event->orig_cpu = cpu;
	event->type = type;
	event->prev_state = 0;
	event->prio = task->prio;
	event->other_prio = 0;
}

static __always_inline void emit_wakeup(__u8 type, __u8 reason, struct task_struct *task, void *on_stack)
{
	__u32 cpu = bpf_get_smp_processor_id(), waker;
	struct event_ring *ring = ring_of(cpu);
	struct sched_event *event;

	if (!ring || !task_wanted(task))
		return;
	waker = bpf_get_current_pid_tgid();
	if ((__u32)task->pid == waker) {
		/* try_to_wake_up() wakes the current task with interrupts on. */
		emit_row(task, reason, waker, NULL);
		return;
	}
	event = ring_slot(ring, cpu);
	if (!event)
		return;
	fill_event(event, type, cpu, bpf_ktime_get_ns(), task, waker);
	event->target_cpu = task_cpu(task);
	if (type == EVENT_WAKING)
		event->aux = waking_context(on_stack);
	ring_publish(ring);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
	emit_wakeup(EVENT_WAKEUP, TASK_WAKEUP, task, ctx);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct *task)
{
	emit_wakeup(EVENT_WAKING, TASK_WAKING, task, ctx);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct event_ring *ring = ring_of(cpu);
	struct sched_event *event;

	if (!ring || !task_wanted(task))
		return 0;
	event = ring_slot(ring, cpu);
	if (!event)
		return 0;
	fill_event(event, EVENT_WAKEUP_NEW, cpu, bpf_ktime_get_ns(), task, bpf_get_current_pid_tgid());
	event->target_cpu = task_cpu(task);
	ring_publish(ring);
	return 0;
}

SEC("tp_btf/sched_migrate_task")
int BPF_PROG(on_migrate, struct task_struct *task, int target_cpu)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct event_ring *ring = ring_of(cpu);
	struct sched_event *event;

	if (!ring || !task_wanted(task))
		return 0;
	event = ring_slot(ring, cpu);
	if (!event)
		return 0;
	fill_event(event, EVENT_MIGRATE, cpu, bpf_ktime_get_ns(), task, bpf_get_current_pid_tgid());
	event->target_cpu = target_cpu;
	event->orig_cpu = task_cpu(task);
	ring_publish(ring);
	return 0;
}

SEC("tp_btf/sched_switch")
int on_switch(__u64 *ctx)
{
	bool preempt = ctx[0];
	struct task_struct *prev = (void *)ctx[1], *next = (void *)ctx[2];
	__u32 state = switch_has_prev_state ? (__u32)ctx[3] : task_state(prev);
	__u32 cpu = bpf_get_smp_processor_id();
	struct event_ring *ring = ring_of(cpu);
	struct sched_event *event;

	if (!ring)
		return 0;
	if (filtering() && !task_wanted(prev) && !task_wanted(next))
		return 0;
	event = ring_slot(ring, cpu);
	if (!event)
		return 0;
	fill_event(event, EVENT_SWITCH, cpu, bpf_ktime_get_ns(), prev, next->pid);
	event->aux = state;
	event->prev_state = prev_state_class(preempt, prev, state);
	event->other_prio = next->prio;
	ring_publish(ring);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	tree_fork(parent, child);
	if (task_wanted(child))
		emit_row(child, TASK_FORK, parent->pid, NULL);
	emit_attributes(child, ATTRIBUTE_FORK);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_tid)
{
	if (task_wanted(task))
		emit_row(task, TASK_EXEC, old_tid, NULL);
	emit_attributes(task, ATTRIBUTE_SNAPSHOT);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	if (task_wanted(task))
		emit_row(task, TASK_EXIT, 0, NULL);
	return 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *task, const char *comm)
{
	if (task_wanted(task))
		emit_row(task, TASK_RENAME, 0, comm);
	return 0;
}

SEC("iter/task")
int snapshot(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_row row = {};

	/* The recorder's switches are in a stream of everything, so it needs a name there. */
	if (!task || (!task_wanted(task) && (filtering() || (__u32)task->tgid != recorder_tgid)))
		return 0;
	fill_task_row(&row, task, bpf_ktime_get_ns(), TASK_SNAPSHOT);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
