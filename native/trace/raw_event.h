// SPDX-License-Identifier: Apache-2.0
// The kernel's own record of a tracepoint, as the `format` file of the event describes it.
#pragma once

#include <stdint.h>

#include "trace_event.h"

enum { FIXED_NAME, LOCATED_NAME, RELATIVELY_LOCATED_NAME };  // char[16], __data_loc, __rel_loc
enum { NOT_THERE = -1 };

// _Layout of formats/event_formats.py. Offsets are into the record; all but those of located names have
// been checked against `size`.
struct layout {
	int32_t size;							 // bytes that a record must have
	int32_t tid, other_tid, prio, other_prio, target_cpu, orig_cpu;	 // int; NOT_THERE
	int32_t state;							 // long, of state_bytes
	int32_t comm, other_comm;					 // names of tid, other_tid
	uint8_t comm_kind, other_comm_kind;
	uint8_t state_bytes;
	uint8_t type;  // 0: of no interest
	uint64_t preempted_mask;
	uint8_t state_of_bit[64];  // PrevState; NO_STATE
};

// What is known of an event besides its record.
struct origin {
	uint64_t timestamp_ns;
	uint16_t cpu;
	uint32_t tid, tgid;  // who was current; 0: nobody knows
};

// Turn a record into an event, and note the names in it; 0: it is none that any kernel writes.
int read_raw_event(const struct layout *layout, const uint8_t *raw, uint32_t size, const struct origin *origin,
		   struct names *names, struct sched_event *event);

static inline uint32_t load_u32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint64_t load_u64(const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}
