/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The event buffer: one ring per CPU in memory that user space maps, without locks or system calls.
 *
 * The kernel writes an event, then moves `head`; user space reads below `head`, then moves `tail`.
 * Only code that runs with interrupts off may write: two writers on one CPU would take the same slot.
 * On x86 stores are seen in program order; elsewhere the atomic add orders them (user space has no
 * counterpart for that in numpy, so the recorder streams on x86 only).
 */
#ifndef EVENT_RING_BPF_H
#define EVENT_RING_BPF_H

#include "kernel_types.h"
#include "event_ring.h"
#include <bpf/bpf_helpers.h>

#ifndef RING_RECORD
#define RING_RECORD struct sched_event
#endif

const volatile __u32 ring_capacity = 1; /* events per CPU, a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* number of CPUs */
	__type(key, __u32);
	__type(value, struct event_ring);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* number of CPUs * ring_capacity */
	__type(key, __u32);
	__type(value, RING_RECORD);
} events SEC(".maps");

static __always_inline struct event_ring *ring_of(__u32 cpu)
{
	return bpf_map_lookup_elem(&rings, &cpu);
}

/* Where the event after `ahead` more of this CPU goes; NULL, and one more lost, where there is no room. */
static __always_inline RING_RECORD *ring_slot_ahead(struct event_ring *ring, __u32 cpu, __u32 ahead)
{
	__u64 position = ring->head + ahead;
	__u32 index = cpu * ring_capacity + ((__u32)position & (ring_capacity - 1));

	if (position - *(volatile __u64 *)&ring->tail >= ring_capacity) {
		ring->nr_lost++;
		return NULL;
	}
	return bpf_map_lookup_elem(&events, &index);
}

static __always_inline RING_RECORD *ring_slot(struct event_ring *ring, __u32 cpu)
{
	return ring_slot_ahead(ring, cpu, 0);
}

static __always_inline void ring_publish_many(struct event_ring *ring, __u32 count)
{
	barrier();
#ifdef __TARGET_ARCH_x86
	*(volatile __u64 *)&ring->head = ring->head + count;
#else
	__sync_fetch_and_add(&ring->head, count);
#endif
}

static __always_inline void ring_publish(struct event_ring *ring)
{
	ring_publish_many(ring, 1);
}

#endif
