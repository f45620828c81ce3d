// SPDX-License-Identifier: GPL-2.0
/* Up to 224 oblivious trees, 8 levels deep, of 16 inputs with 256 bins. */
#include "../basic_types.h"

#define OBLIVIOUS_INPUTS 16
#define OBLIVIOUS_WORDS 28
#define OBLIVIOUS_DEPTH 8
#define OBLIVIOUS_BYTES (1 << 20)
#include "oblivious.bpf.h"

#define model_table model_oblivious
#define model_run run_oblivious
#include "programs.bpf.h"
