// SPDX-License-Identifier: Apache-2.0
#include "raw_event.h"

static int load_tid(const uint8_t *raw, int32_t offset, uint32_t *tid)
{
	if (offset != NOT_THERE)
		*tid = load_u32(raw + offset);
	return *tid < TID_LIMIT;
}

static int load_cpu(const uint8_t *raw, int32_t offset, uint16_t *cpu)
{
	if (offset == NOT_THERE)
		return 1;
	uint32_t value = load_u32(raw + offset);
	*cpu = (uint16_t)value;
	return value <= UINT16_MAX;
}

static int16_t load_prio(const uint8_t *raw, int32_t offset)
{
	if (offset == NOT_THERE)
		return 0;
	int32_t value = (int32_t)load_u32(raw + offset);
	return (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
}

static uint64_t load_state(const struct layout *layout, const uint8_t *raw)
{
	return layout->state_bytes == 8 ? load_u64(raw + layout->state) : load_u32(raw + layout->state);
}

// The state that the kernel's print format would print first.
static uint8_t prev_state(const struct layout *layout, uint64_t state)
{
	if (state & layout->preempted_mask)
		return PREV_PREEMPTED;
	state &= layout->preempted_mask - 1;
	return layout->state_of_bit[state ? __builtin_ctzll(state) + 1 : 0];
}

static void note_name_at(const uint8_t *raw, uint32_t size, int32_t offset, uint8_t kind, struct names *names,
			 uint32_t tid, uint64_t timestamp_ns)
{
	if (offset == NOT_THERE)
		return;
	uint32_t at = (uint32_t)offset, length = COMM_BYTES;
	if (kind != FIXED_NAME) {
		uint32_t location = load_u32(raw + offset);
		at = (location & 0xffff) + (kind == RELATIVELY_LOCATED_NAME ? at + 4 : 0);
		length = location >> 16;
		if (at > size || length > size - at)
			return;
	}
	note_name(names, tid, timestamp_ns, (const char *)raw + at, length);
}

int read_raw_event(const struct layout *layout, const uint8_t *raw, uint32_t size, const struct origin *origin,
		   struct names *names, struct sched_event *e)
{
	if (size < (uint32_t)layout->size)
		return 0;
	*e = (struct sched_event){
		.timestamp_ns = origin->timestamp_ns,
		.type = layout->type,
		.cpu = origin->cpu,
		.target_cpu = origin->cpu,
		.orig_cpu = origin->cpu,
		.other_tid = layout->type == EVENT_EXIT ? 0 : origin->tid,
		.aux = layout->type == EVENT_EXIT || layout->type == EVENT_EXEC ? origin->tgid : 0,
		.prio = load_prio(raw, layout->prio),
		.other_prio = load_prio(raw, layout->other_prio),
	};
	if (!load_tid(raw, layout->tid, &e->tid) || !load_tid(raw, layout->other_tid, &e->other_tid)
	    || !load_cpu(raw, layout->target_cpu, &e->target_cpu) || !load_cpu(raw, layout->orig_cpu, &e->orig_cpu))
		return 0;
	if (layout->type == EVENT_SWITCH) {
		uint64_t state = load_state(layout, raw);
		e->aux = (uint32_t)state;
		e->prev_state = prev_state(layout, state);
		if (e->prev_state == NO_STATE)
			return 0;
	}
	note_name_at(raw, size, layout->comm, layout->comm_kind, names, e->tid, e->timestamp_ns);
	note_name_at(raw, size, layout->other_comm, layout->other_comm_kind, names, e->other_tid, e->timestamp_ns);
	return 1;
}
