// SPDX-License-Identifier: Apache-2.0
// What the parts of the trace library share with each other and with src/schedtuna/trace besides
// `struct sched_event`: the names of tasks.
#pragma once

#include <stdint.h>
#include <string.h>

#include "sched_event.h"

#define PUBLIC __attribute__((visibility("default")))
#define TID_LIMIT (1u << 22)  // the kernel's own (PID_MAX_LIMIT): tids are below

enum { NO_STATE = 255 };  // no enum sched_prev_state

enum { COMM_BYTES = 16 };

// What is known of the last task that had a tid. _NAME_DTYPE of formats/names.py.
struct name {
	uint64_t timestamp_ns;	// of the name
	uint32_t tgid;		// 0: unknown
	uint32_t is_known;
	char comm[COMM_BYTES];
};
_Static_assert(sizeof(struct name) == 32, "_NAME_DTYPE has 32 bytes");

// _Names of formats/names.py.
struct names {
	struct name *of_tid;  // TID_LIMIT of them
	uint32_t *tids;	      // those whose name is known, in the order in which they became so
	int64_t nr_tids;
};

// Note a task's name, unless a later one is known. `comm` ends at a NUL, or after `size` bytes.
static inline void note_name(struct names *names, uint32_t tid, uint64_t timestamp_ns, const char *comm, int64_t size)
{
	struct name *name = &names->of_tid[tid];
	if (!name->is_known) {
		name->is_known = 1;
		names->tids[names->nr_tids++] = tid;
	} else if (timestamp_ns < name->timestamp_ns) {
		return;
	}
	name->timestamp_ns = timestamp_ns;
	if (size > COMM_BYTES)
		size = COMM_BYTES;
	memset(name->comm, 0, COMM_BYTES);
	for (int64_t k = 0; k < size && comm[k]; k++)
		name->comm[k] = comm[k];
}
