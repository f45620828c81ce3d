// SPDX-License-Identifier: GPL-2.0
/* Weighted sums of up to 16 inputs. */
#include "../basic_types.h"

#define LINEAR_INPUTS MODEL_INPUTS
#include "linear.bpf.h"

#define model_table model_linear
#define model_run run_linear
#include "programs.bpf.h"
