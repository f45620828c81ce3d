// SPDX-License-Identifier: GPL-2.0
/* A ReLU net of 10 inputs, 64-64-2: the fastest for this size. */
#include "../basic_types.h"

#define MLP_INPUTS 10
#define MLP_OUTPUTS 1
#define MLP_WHOLE
#include "mlp.bpf.h"

#define model_table model_mlp
#define model_run run_mlp
#include "programs.bpf.h"
