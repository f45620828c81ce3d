// SPDX-License-Identifier: GPL-2.0
/*
 * What the fair class chose from: at each context switch, every entity of the queue that the next task
 * was taken from, with all that the rule looks at (__pick_eevdf(), kernel/sched/fair.c).
 *
 * sched_switch fires under the runqueue's lock, after set_next_entity(): the candidates are the tree and
 * the chosen one, which has left it. update_curr() came before the pick, and no clock after it, so what is
 * read is what the kernel compared. Not seen: picks that let the task run on, and a buddy that this pick
 * has cleared. The kernel's own sums over the tree are written beside, for the reader to check.
 *
 * The tree is walked breadth first, by plain loads of what the verifier takes for read-only memory:
 * bpf_probe_read_kernel() per field costs six times as much.
 */
#define RING_RECORD struct sched_pick
#include "compat.bpf.h"
#include "sched_pick.h"
#include "event_ring.bpf.h"
#include "filter.bpf.h"

#define LEAST_CANDIDATES 2 /* one alone is no choice */

const volatile __u32 nr_levels = 1;
const volatile __u32 queue_salt = 1; /* odd: numbers of queues do not give away addresses */

/* Enough for the children of MOST_CANDIDATES nodes. */
struct walk {
	__u64 nodes[2 * MOST_CANDIDATES];
	__u32 nr_nodes;
	__u64 address; /* see number_of() */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

/* Have BTF describe them, for user space to check. */
struct sched_candidate *candidate_layout;
struct sched_pick *pick_layout;

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym;

static __always_inline struct sched_entity *entity_at(const void *address)
{
	return bpf_rdonly_cast(address, bpf_core_type_id_kernel(struct sched_entity));
}

/* By way of a map's memory an address becomes a number: the verifier lets nobody multiply pointers. */
static __always_inline __u32 number_of(const void *queue, struct walk *walk)
{
	*(volatile __u64 *)&walk->address = (__u64)queue;
	return *(volatile __u64 *)&walk->address * queue_salt >> 16;
}

static __always_inline void fill_candidate(struct sched_candidate *row, struct sched_entity *se, __u8 flags,
					   struct walk *walk)
{
	__u64 weight = se->load.weight >> 10;

	row->vruntime = se->vruntime;
	row->deadline = se->deadline;
	row->slice_ns = se->slice;
	row->vprot = entity_vprot(se);
	row->cpu_time_ns = se->sum_exec_runtime;
	row->weight = weight > 2 ? weight : 2;
	row->kind = PICK_CANDIDATE;
	flags |= se->sched_delayed ? CANDIDATE_DELAYED : 0;
	flags |= se->custom_slice ? CANDIDATE_CUSTOM_SLICE : 0;
	if (se->my_q) {
		flags |= CANDIDATE_GROUP;
		row->tid = number_of(se->my_q, walk);
	} else {
		struct task_struct *task = bpf_rdonly_cast((void *)se - bpf_core_field_offset(struct task_struct, se),
							   bpf_core_type_id_kernel(struct task_struct));
		row->tid = task->pid;
	}
	row->flags = flags;
}

struct pick {
	struct event_ring *ring;
	struct task_struct *prev, *next;
	__u32 cpu;
	__u8 level;
};

static __always_inline __u8 flags_of(struct sched_entity *se, const void *prev_se, const void *buddy)
{
	return ((void *)se == prev_se ? CANDIDATE_PREV : 0) | ((void *)se == buddy ? CANDIDATE_BUDDY : 0);
}

/* Writes the candidates behind the place of the pick's own row, and returns how many; 0: no room. */
static __always_inline __u32 write_candidates(struct pick *pick, struct walk *walk, struct cfs_rq *queue,
					      struct sched_entity *chosen, const void *prev_se)
{
	__u64 node_offset = bpf_core_field_offset(struct sched_entity, run_node);
	__u64 root = (__u64)queue->tasks_timeline.rb_root.rb_node;
	const void *buddy = queue->next;
	struct sched_candidate *row;
	__u32 i;

	row = (void *)ring_slot_ahead(pick->ring, pick->cpu, 1);
	if (!row)
		return 0;
	fill_candidate(row, chosen, flags_of(chosen, prev_se, buddy), walk);
	walk->nodes[0] = root;
	walk->nr_nodes = root ? 1 : 0;
	for (i = 0; i < MOST_CANDIDATES - 1 && i < walk->nr_nodes; i++) {
		struct sched_entity *se = entity_at((void *)(walk->nodes[i] - node_offset));
		__u64 left = (__u64)se->run_node.rb_left, right = (__u64)se->run_node.rb_right;
		__u32 end = walk->nr_nodes;

		if (left && end < 2 * MOST_CANDIDATES)
			walk->nodes[end++] = left;
		if (right && end < 2 * MOST_CANDIDATES)
			walk->nodes[end++] = right;
		walk->nr_nodes = end;
		row = (void *)ring_slot_ahead(pick->ring, pick->cpu, i + 2);
		if (!row)
			return 0;
		fill_candidate(row, se, flags_of(se, prev_se, buddy), walk);
	}
	return i + 1;
}

static __always_inline void write_pick(struct pick *pick, struct walk *walk, struct sched_entity *chosen,
				       struct sched_entity *prev_se)
{
	struct cfs_rq *queue = chosen->cfs_rq;
	__u32 nr_candidates;
	struct sched_pick *row;

	if (queue->nr_queued < LEAST_CANDIDATES)
		return;
	row = ring_slot_ahead(pick->ring, pick->cpu, 0);
	if (!row)
		return;
	nr_candidates = write_candidates(pick, walk, queue, chosen, prev_se);
	if (!nr_candidates)
		return;
	row->timestamp_ns = bpf_ktime_get_ns();
	row->zero_vruntime = queue_zero_vruntime(queue);
	row->sum_w_vruntime = queue_sum_w_vruntime(queue);
	row->sum_weight = queue_sum_weight(queue);
	row->tid = pick->next->pid;
	row->prev_tid = pick->prev->pid;
	row->nr_queued = queue->nr_queued;
	row->queue = number_of(queue, walk);
	row->kind = PICK_QUEUE;
	row->level = pick->level;
	row->flags = walk->nr_nodes >= nr_candidates ? PICK_TRUNCATED : 0;
	if (pick->level && chosen == prev_se)
		row->flags |= PICK_KEPT;
	row->nr_candidates = nr_candidates;
	row->cpu = pick->cpu;
	ring_publish_many(pick->ring, 1 + nr_candidates);
}

/* Of a task's entity, the group that is queued on the same queue as another entity. */
static __always_inline struct sched_entity *on_queue_of(struct sched_entity *se, struct sched_entity *other)
{
	int i;

	for (i = 0; i < MOST_LEVELS && se; i++) {
		if (se->cfs_rq == other->cfs_rq)
			return se;
		se = entity_at(se->parent);
	}
	return NULL;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct pick pick = {.prev = prev, .next = next, .cpu = bpf_get_smp_processor_id()};
	struct sched_entity *se = entity_at(&next->se);
	struct walk *walk;
	__u32 zero = 0;

	if (!se->on_rq) /* not of this class, or idle */
		return 0;
	if (filtering() && !task_wanted(next))
		return 0;
	walk = bpf_map_lookup_elem(&walks, &zero);
	pick.ring = ring_of(pick.cpu);
	if (!walk || !pick.ring)
		return 0;
	for (pick.level = 0; pick.level < MOST_LEVELS; pick.level++) {
		if (pick.level >= nr_levels || !se)
			break;
		write_pick(&pick, walk, se, on_queue_of(entity_at(&prev->se), se));
		se = entity_at(se->parent);
	}
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	tree_fork(parent, child);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
