// SPDX-License-Identifier: GPL-2.0
/* Up to 100 trees, walked level by level: what the others are compared with. For benchmarks. */
#include "../basic_types.h"

#define WALK_INPUTS 16
#define WALK_TREES 100
#define WALK_LEVELS 12
#include "walk.bpf.h"

#define model_table model_walk
#define model_run run_walk
#include "programs.bpf.h"
