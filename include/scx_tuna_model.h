/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What scx_tuna and user space share of a model that predicts how tasks behave. Python has the same in
 * src/schedtuna/scheduler/tuna_model.py, and compares it with the BTF of the object. The tables are those of
 * include/model.h.
 */
#ifndef SCX_TUNA_MODEL_H
#define SCX_TUNA_MODEL_H

#include "model.h"

#define TUNA_MODEL_ONE 1024 /* a whole lead */
#define TUNA_LEAD_US_MAX 100000
#define TUNA_MOST_LABELS 4
#define TUNA_MOST_PICKS 8 /* tasks that are compared when a CPU takes one */

/* What a model may look at, when a task is put into a queue: rows of src/schedtuna/features/table.py. */
enum tuna_feature {
	TUNA_NICE = 0,
	TUNA_BURST_NS = 1,
	TUNA_MEAN_BURST_NS = 2,
	TUNA_ATTAINED_NS = 3,
	TUNA_CPU_TIME_NS = 4,
	TUNA_SLEEP_NS = 5,
	TUNA_WAKEUPS_PER_S = 6,
	TUNA_MEAN_DELAY_NS = 7,
	TUNA_WEIGHT = 8,
	TUNA_NR_CPUS = 9,
	TUNA_LLC_NR_WAITING = 10,
	TUNA_LLC_BUSY_PERMILLE = 11,
	TUNA_WAS_WOKEN = 12,
	TUNA_NR_FEATURES = 16,
};

/* The families whose executors are in the object: which of the maps of maps tuna_linear, ... holds the table. */
enum tuna_family {
	TUNA_LINEAR = 0,
	TUNA_TREES = 1,
	TUNA_OBLIVIOUS = 2,
	TUNA_MLP = 3,
	TUNA_STEP = 4,
	TUNA_NR_FAMILIES = 5,
};

enum tuna_mode {
	TUNA_MODEL_OFF = 0,
	TUNA_MODEL_SHADOW = 1, /* predict and count, change nothing */
	TUNA_MODEL_ACT = 2,
	TUNA_NR_MODES = 3,
};

/* What is said of a task: how long it will run until it sleeps. */
enum tuna_kind {
	TUNA_KIND_NONE = 0,
	TUNA_KIND_BATCH = 1,	   /* its slice or more */
	TUNA_KIND_NORMAL = 2,	   /* between the two */
	TUNA_KIND_INTERACTIVE = 3, /* less than interactive_burst_ns */
	TUNA_NR_KINDS = 4,
};

/* Where a table stands in the map of maps of its family. */
enum tuna_place {
	TUNA_IN_FORCE = 0,
	TUNA_CANDIDATE = 1,
};

/* How a model is used: replaced whole, as the parameters are. */
struct tuna_model_control {
	__u64 version;	     /* another one each time; 0: there is no model */
	__u64 model_version; /* of the table in force, or it is not used */
	__u32 mode;	     /* enum tuna_mode */
	__u32 family;	     /* enum tuna_family */
	__u32 period;	     /* in shadow, one of so many enqueued tasks is looked at; a power of two */
	__u32 nr_inputs;
	__u32 nr_logits;
	__u32 logit_one; /* the size of one logit that is a whole lead */
	__u32 lead_us;	 /* how much CPU time earlier or later in order */
	/* When it is given up, each judged over a window; 0: never. */
	__u32 budget_ns;	 /* more than half of 64 decisions took longer */
	__u32 most_out_permille; /* more of 256 decisions were outside of the range below */
	__u32 worse_permille;	 /* it was right as much less often than the scheduler itself, in 256 bursts */
	__u32 pick;		 /* acting: it is asked about so many when a CPU takes one; 1: when they are queued */
	__u8 labels[TUNA_MOST_LABELS]; /* enum tuna_kind of each label */
	__u8 features[MODEL_INPUTS];   /* enum tuna_feature of each input */
	__s64 lo[MODEL_INPUTS];	       /* what it was made for; outside, a task is left to the scheduler itself */
	__s64 hi[MODEL_INPUTS];
};

/* Counters of a CPU since it met a control's version: the values of the per-CPU array `tuna_predicted`. */
struct tuna_model_stats {
	__u64 version;
	__u64 nr_seen;	  /* tasks that were put into a queue in order */
	__u64 nr_decided; /* by the model */
	__u64 nr_acted;
	__u64 nr_out_of_range;
	__u64 nr_no_table; /* the table in force is none, or another model's: a swap goes on */
	__u64 nr_agreed;   /* with what the scheduler itself expects */
	__u64 nr_batch;
	__u64 nr_normal;
	__u64 nr_interactive;
	__u64 nr_timed; /* decisions, one of 16 */
	__u64 nr_over_budget;
	__u64 timed_ns;
	__u64 nr_outcomes; /* bursts that ended after a decision */
	__u64 nr_right;
	__u64 nr_scheduler_right; /* what the scheduler itself had expected of them */
	__u64 nr_picks;		  /* times that a CPU compared tasks before it took one */
	__u64 nr_walked;	  /* tasks that were compared */
	__u64 nr_picked;	  /* ... and taken, though others stood before them */
};

enum tuna_given_up {
	TUNA_MODEL_HOLDS = 0,
	TUNA_MODEL_SLOW = 1,
	TUNA_MODEL_OUT_OF_RANGE = 2,
	TUNA_MODEL_WORSE = 3,
	TUNA_MODEL_INVALID = 4,
};

/* What the watch judges a model by: what there is of something, and how much of it is bad. */
enum tuna_measure {
	TUNA_MEASURE_TIME = 0,	  /* timed decisions; over the budget */
	TUNA_MEASURE_RANGE = 1,	  /* decisions wanted; outside of the range */
	TUNA_MEASURE_OUTCOME = 2, /* outcomes; which only the scheduler itself was right about, less those the model was
				   */
	TUNA_NR_MEASURES = 3,
};

struct tuna_window {
	__u64 total;
	__s64 bad;
};

/* The one value of the array `tuna_judged`: which version of the control was given up, why, and the windows' starts. */
struct tuna_model_judged {
	__u64 version;
	__u64 reason; /* enum tuna_given_up */
	__u64 at_ns;  /* CLOCK_MONOTONIC */
	__u64 windows_version;
	struct tuna_window windows[TUNA_NR_MEASURES];
};

/* The context of the program tuna_check: one row through the executor that decides. */
struct tuna_check {
	__u32 family;
	__u32 reserved;
	__s64 values[MODEL_INPUTS];
	__u64 bins[MODEL_INPUTS];
	__s64 logits[MODEL_LOGITS];
};

#endif
