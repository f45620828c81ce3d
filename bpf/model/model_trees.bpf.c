// SPDX-License-Identifier: GPL-2.0
/* Up to 100 trees of 10 inputs with 256 bins. */
#include "../basic_types.h"

#define TREES_INPUTS 10
#define TREES_WORDS 50
#define TREES_BYTES (1 << 20)
#include "trees.bpf.h"

#define model_table model_trees
#define model_run run_trees
#include "programs.bpf.h"
