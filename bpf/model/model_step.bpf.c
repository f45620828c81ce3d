// SPDX-License-Identifier: GPL-2.0
/* A step net of 10 inputs, up to 64-64-2. */
#include "../basic_types.h"

#define STEP_INPUTS 10
#define STEP_OUTPUTS 1
#define STEP_UNITS 64
#define STEP_BYTES (1 << 19)
#include "step.bpf.h"

#define model_table model_step
#define model_run run_step
#include "programs.bpf.h"
