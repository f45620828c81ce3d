// SPDX-License-Identifier: GPL-2.0
/* Up to 250 trees of 16 inputs with 256 bins. */
#include "../basic_types.h"

#define TREES_INPUTS 16
#define TREES_WORDS 125
#define TREES_BYTES (1 << 22)
#include "trees.bpf.h"

#define model_table model_trees
#define model_run run_trees
#include "programs.bpf.h"
