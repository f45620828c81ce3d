/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* One CPU's part of the event buffer, as its writer and src/schedtuna/kernel/mapped.py see it. */
#ifndef EVENT_RING_H
#define EVENT_RING_H

#include "sched_event.h"

/* Positions count events and never wrap. */
struct event_ring {
	__u64 head;    /* written by the kernel: events below are complete */
	__u64 nr_lost; /* written by the kernel: there was no room */
	__u64 pad0[6];
	__u64 tail; /* written by user space: events below have been read */
	__u64 pad1[7];
};
_Static_assert(__builtin_offsetof(struct event_ring, tail) == 64 && sizeof(struct event_ring) == 128,
	       "kernel and user space write to lines of their own");

#endif
