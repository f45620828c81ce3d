// SPDX-License-Identifier: Apache-2.0
// What the launcher and schedtuna tell each other, over one SOCK_SEQPACKET socket.
// src/schedtuna/workload/launcher.py declares the same layout.
#pragma once

#include <stdint.h>

// schedtuna -> launcher: one byte. A closed socket means LAUNCH_STOP.
#define LAUNCH_GO 'g'	 // open the gate: the command may exec
#define LAUNCH_STOP 's'	 // end the whole tree and report

// launcher -> schedtuna: HELD once, then FAILED or DONE once.
enum launch_kind {
	LAUNCH_HELD = 1,    // the command's process exists and waits at the gate
	LAUNCH_FAILED = 2,  // `error` is the errno of `stage`; the command never ran
	LAUNCH_DONE = 3,    // the command ran and its tree is gone
};

enum launch_stage {
	LAUNCH_STAGE_SETUP = 1,
	LAUNCH_STAGE_USER = 2,
	LAUNCH_STAGE_FOLDER = 3,
	LAUNCH_STAGE_EXEC = 4,
};

enum launch_flags {
	LAUNCH_TIMED_OUT = 1,
	LAUNCH_STOPPED = 2,
	LAUNCH_LEFT_BEHIND = 4,	 // some processes could not be ended
	LAUNCH_OUTPUT_LOST = 8,	 // writing the output to its file failed
};

struct launch_message {
	uint32_t kind;
	int32_t pid;
	int32_t error;
	uint32_t stage;
	int32_t status;	 // as of wait4(2)
	uint32_t flags;
	int64_t wall_ns;  // from the opening of the gate to the command's exit
	int64_t user_us;  // of the command and every descendant that was waited for
	int64_t system_us;
	int64_t max_rss_kib;  // of the largest process
	int64_t nr_voluntary_switches;
	int64_t nr_involuntary_switches;
	int64_t nr_leftovers;  // processes that outlived the command, and were ended
	int64_t stdout_bytes;  // written by the command, kept or not
	int64_t stderr_bytes;
};

_Static_assert(sizeof(struct launch_message) == 96, "launcher.py reads 96 bytes");
