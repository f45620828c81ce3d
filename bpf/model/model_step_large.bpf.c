// SPDX-License-Identifier: GPL-2.0
/* A step net of 16 inputs, up to 128-128-4. */
#include "../basic_types.h"

#define STEP_INPUTS 16
#define STEP_OUTPUTS 2
#define STEP_UNITS 128
#define STEP_BYTES (1 << 20)
#include "step.bpf.h"

#define model_table model_step
#define model_run run_step
#include "programs.bpf.h"
