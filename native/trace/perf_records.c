// SPDX-License-Identifier: Apache-2.0
// The records of a perf.data file in, events out. src/schedtuna/trace/formats/perf_data.py calls this, and
// has read what the file's header says of them (include/uapi/linux/perf_event.h, enum perf_event_type).
#include "raw_event.h"

enum { PERF_RECORD_COMM = 3, PERF_RECORD_FORK = 7, PERF_RECORD_SAMPLE = 9 };
enum { HEADER_BYTES = 8, WORD_BYTES = 8 };
enum { SKIPS, READS, STOPS, ENDS_ROUND };		     // what is done with a type of records
enum { NEEDS_MORE, IS_FULL, AT_RECORD, IS_BAD, AT_UNREAD };  // why schedtuna_read_perf() returns
enum { READ_GROUP = 1 };

// Of one attr of the file: where a sample has what. Sampling of perf_header.py; offsets count from the header
// of the record.
struct sampling {
	struct layout layout;
	int32_t tid, time, cpu;	   // all are there where layout.type is not 0
	int32_t rest;		   // what has no fixed place begins here: values read, the call chain, the record
	int32_t read_words;	   // of what was read: fixed words, or with read_group, words per member
	int32_t read_group_words;  // words before the members; -1: nothing was read as a group
	int32_t has_call_chain;
};

// _Perf of perf_data.py.
struct perf {
	const uint8_t *data;  // records
	int64_t size;
	int64_t at;		// where to go on
	const uint8_t *action;	// by type of record, up to 255
	const struct sampling *samplings;
	const uint64_t *ids;  // in order
	const int32_t *sampling_of_id;
	int64_t nr_ids;	   // 0: all samples are of the first attr
	int32_t id_at;	   // where a sample has its id
	int32_t time_end;  // where other records have their time, from their end; 0: they have none
	struct sched_event *events;
	int64_t nr_events;
	int64_t room;
	struct names *names;
	uint64_t *last_ns;    // by CPU: its last sample
	uint64_t latest_ns;   // of all samples so far
	uint64_t round_ns;    // latest_ns at the end of the last round
	uint64_t settled_ns;  // what comes later is not earlier
};

static const struct sampling *find_sampling(const struct perf *p, const uint8_t *record, uint32_t size)
{
	if (!p->nr_ids)
		return p->samplings;
	if (size < (uint32_t)p->id_at + WORD_BYTES)
		return NULL;
	uint64_t id = load_u64(record + p->id_at);
	int64_t low = 0, high = p->nr_ids - 1;
	while (low < high) {
		int64_t middle = (low + high) / 2;
		if (p->ids[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return p->ids[low] == id ? &p->samplings[p->sampling_of_id[low]] : NULL;
}

// Find the tracepoint's record in a sample; 0: there is none.
static int find_raw(const struct sampling *s, const uint8_t *record, uint32_t size, const uint8_t **raw,
		    uint32_t *raw_size)
{
	uint64_t at = (uint64_t)s->rest;
	if (s->read_group_words >= 0) {
		if (at + WORD_BYTES > size)
			return 0;
		uint64_t nr_members = load_u64(record + at);
		if (nr_members > size)
			return 0;
		at += WORD_BYTES * ((uint64_t)s->read_group_words + nr_members * (uint64_t)s->read_words);
	} else {
		at += WORD_BYTES * (uint64_t)s->read_words;
	}
	if (s->has_call_chain) {
		if (at + WORD_BYTES > size)
			return 0;
		uint64_t nr_callers = load_u64(record + at);
		if (nr_callers > size)
			return 0;
		at += WORD_BYTES * (1 + nr_callers);
	}
	if (at + sizeof(uint32_t) > size)
		return 0;
	*raw_size = load_u32(record + at);
	*raw = record + at + sizeof(uint32_t);
	return *raw_size <= size - at - sizeof(uint32_t);
}

// A tid as perf writes it: all ones for a task that is gone.
static uint32_t known(uint32_t tid)
{
	return tid < TID_LIMIT ? tid : 0;
}

static int read_sample(struct perf *p, const struct sampling *s, const uint8_t *record, uint32_t size)
{
	const uint8_t *raw;
	uint32_t raw_size;
	if (size < (uint32_t)s->rest || !find_raw(s, record, size, &raw, &raw_size))
		return 0;
	uint32_t cpu = load_u32(record + s->cpu);
	if (cpu > UINT16_MAX)
		return 0;
	struct origin origin = {
		.timestamp_ns = load_u64(record + s->time),
		.cpu = (uint16_t)cpu,
		.tgid = known(load_u32(record + s->tid)),
		.tid = known(load_u32(record + s->tid + 4)),
	};
	if (origin.tid && origin.tgid)
		p->names->of_tid[origin.tid].tgid = origin.tgid;
	if (origin.timestamp_ns > p->latest_ns)
		p->latest_ns = origin.timestamp_ns;
	p->last_ns[cpu] = origin.timestamp_ns;
	if (!read_raw_event(&s->layout, raw, raw_size, &origin, p->names, &p->events[p->nr_events]))
		return 0;
	p->nr_events++;
	return 1;
}

static uint64_t time_of(const struct perf *p, const uint8_t *record, uint32_t size)
{
	if (!p->time_end || size < (uint32_t)p->time_end + HEADER_BYTES)
		return 0;
	return load_u64(record + size - p->time_end);
}

// Read who is called what, or who was forked by whom.
static void read_task(struct perf *p, uint32_t type, const uint8_t *record, uint32_t size)
{
	if (size < 24)
		return;
	uint32_t tgid = load_u32(record + 8), tid = load_u32(record + (type == PERF_RECORD_COMM ? 12 : 16));
	if (!known(tid))
		return;
	p->names->of_tid[tid].tgid = known(tgid);
	if (type == PERF_RECORD_COMM)
		note_name(p->names, tid, time_of(p, record, size), (const char *)record + 16, size - 16);
}

// Read records up to the end, or up to one that the caller reads.
PUBLIC int schedtuna_read_perf(struct perf *p)
{
	for (;;) {
		if (p->size - p->at < HEADER_BYTES)
			return NEEDS_MORE;
		const uint8_t *record = p->data + p->at;
		uint32_t type = load_u32(record), size = load_u32(record + 4) >> 16;
		if (size < HEADER_BYTES)
			return IS_BAD;
		if (p->size - p->at < size)
			return NEEDS_MORE;
		uint8_t action = type < 256 ? p->action[type] : SKIPS;
		if (action == STOPS)
			return AT_RECORD;
		if (action == ENDS_ROUND) {
			p->settled_ns = p->round_ns;
			p->round_ns = p->latest_ns;
		} else if (action == READS && type == PERF_RECORD_SAMPLE) {
			if (p->nr_events == p->room)
				return IS_FULL;
			const struct sampling *s = find_sampling(p, record, size);
			if (!s || (s->layout.type && !read_sample(p, s, record, size)))
				return AT_UNREAD;
		} else if (action == READS) {
			read_task(p, type, record, size);
		}
		p->at += size;
	}
}
