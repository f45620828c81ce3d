// SPDX-License-Identifier: GPL-2.0
/* Up to 112 oblivious trees, 6 levels deep, of 10 inputs with 256 bins. */
#include "../basic_types.h"

#define OBLIVIOUS_INPUTS 10
#define OBLIVIOUS_WORDS 14
#define OBLIVIOUS_DEPTH 6
#define OBLIVIOUS_BYTES (1 << 19)
#include "oblivious.bpf.h"

#define model_table model_oblivious
#define model_run run_oblivious
#include "programs.bpf.h"
