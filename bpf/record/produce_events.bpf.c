// SPDX-License-Identifier: GPL-2.0
/*
 * Fills this CPU's ring with made-up events, to measure how fast they can be read. For benchmarks.
 *
 * Nothing else writes to these rings, so interrupts may be on.
 */
#include "event_ring.bpf.h"

struct request {
	__u32 nr_events;
};

static long produce_one(__u32 index, void *context)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct event_ring *ring = ring_of(cpu);
	struct sched_event *event = ring ? ring_slot(ring, cpu) : NULL;

	if (!event)
		return 0;
	*event = (struct sched_event){
		.timestamp_ns = bpf_ktime_get_ns(),
		.tid = index,
		.other_tid = index + 1,
		.cpu = cpu,
		.target_cpu = cpu,
		.orig_cpu = cpu,
		.type = EVENT_SWITCH,
		.prio = 120,
		.other_prio = 120,
	};
	ring_publish(ring);
	return 0;
}

SEC("syscall")
int produce(struct request *request)
{
	return bpf_loop(request->nr_events, produce_one, NULL, 0);
}

char LICENSE[] SEC("license") = "GPL";
