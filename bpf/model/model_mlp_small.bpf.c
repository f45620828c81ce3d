// SPDX-License-Identifier: GPL-2.0
/* A ReLU net of up to 16-64-64-4, whose time is that of its own size. */
#include "../basic_types.h"

#define MLP_INPUTS 16
#define MLP_OUTPUTS 2
#include "mlp.bpf.h"

#define model_table model_mlp
#define model_run run_mlp
#include "programs.bpf.h"
