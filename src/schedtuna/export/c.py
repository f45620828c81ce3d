"""A model as C99: no library, no floats, nothing allocated; and its rows, to check it where it runs."""

from __future__ import annotations

from schedtuna import __version__
from schedtuna.export.c_families import core_code
from schedtuna.export.c_text import array, comment, identifier, number
from schedtuna.model.bins import LINEAR_SHIFT
from schedtuna.model.model import DecisionModel

_LICENCE = "/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */\n"


def generate_c(model: DecisionModel, name: str | None = None, *, small: bool = False) -> dict[str, str]:
    """Return the files of a model in C99: NAME.h, NAME.c, and NAME_check.c with its rows.

    Args:
        model: The model, with rows.
        name: What files and functions begin with; default: made of the model's name.
        small: Whether trees are walked, rather than looked up in tables that grow with the bins: slower, for
            where there is little memory.
    """
    name = name or identifier(model.name)
    return {
        f"{name}.h": _header(model, name),
        f"{name}.c": _source(model, name, small=small),
        f"{name}_check.c": _check(model, name),
    }


def _banner(model: DecisionModel, name: str) -> str:
    labels = ", ".join(f"{index}: {comment(label)}" for index, label in enumerate(model.labels))
    inputs = "".join(f" *   {index:2} {comment(one.name)}\n" for index, one in enumerate(model.inputs))
    return f"""/*
 * {comment(model.name)}, version {model.version}: {comment(model.made_by) or "a model"}.
 * Written by Schedtuna {__version__}. {model.core.family}; {model.core.nr_inputs} inputs:
{inputs} * Decisions: {labels}.
 *
 * Compile {name}.c with any C99 compiler; it needs no library but the compiler's own. {name}_check.c has the
 * rows that tell whether it computes here what it should: call {name}_check() before it decides.
 */
"""


def _header(model: DecisionModel, name: str) -> str:
    upper = name.upper()
    return f"""{_LICENCE}{_banner(model, name)}#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#define {upper}_VERSION "{model.version}"
#define {upper}_NR_INPUTS {model.core.nr_inputs}
#define {upper}_NR_LOGITS {model.core.nr_logits}
#define {upper}_NR_ACCUMULATORS {model.core.nr_accumulators}
#define {upper}_NR_LABELS {len(model.labels)}

#ifdef __cplusplus
extern "C" {{
#endif

/* The decision of a row of values: the number of its label. */
int {name}_decide(const int64_t values[{upper}_NR_INPUTS]);

/* The bins of a row of values. */
void {name}_quantise(const int64_t values[{upper}_NR_INPUTS], uint16_t bins[{upper}_NR_INPUTS]);

/* What decides, of a row of bins; a bin beyond its input's last one is taken for that one. */
void {name}_logits(const uint16_t bins[{upper}_NR_INPUTS], int32_t logits[{upper}_NR_LOGITS]);

/* The same, and every sum on the way. */
void {name}_accumulate(const uint16_t bins[{upper}_NR_INPUTS], int32_t accumulators[{upper}_NR_ACCUMULATORS]);

/* 0 if all is computed here as it should be; else 1 + the number of the first row that is not. */
int {name}_check(void);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _source(model: DecisionModel, name: str, *, small: bool) -> str:
    upper = name.upper()
    return f"""{_LICENCE}{_banner(model, name)}#include "{name}.h"

#define NR_INPUTS {upper}_NR_INPUTS

typedef char right_shifts_keep_the_sign[(-3 >> 1) == -2 ? 1 : -1];

struct bins {{
	int64_t lo, hi;
	uint64_t multiplier;
	uint32_t base;
	uint16_t last;
	uint8_t shift, is_log2;
}};

static const struct bins BINS[NR_INPUTS] = {{
{_bin_rows(model)}}};

{_QUANTISE}
{core_code(model.core, model.nr_bins, small=small)}
static inline void run_clamped(const uint16_t *bins, int32_t *accumulators, int32_t *logits)
{{
	uint16_t x[NR_INPUTS];

	for (int input = 0; input < NR_INPUTS; input++)
		x[input] = bins[input] < BINS[input].last ? bins[input] : BINS[input].last;
	run(x, accumulators, logits);
}}

void {name}_quantise(const int64_t values[NR_INPUTS], uint16_t bins[NR_INPUTS])
{{
	for (int input = 0; input < NR_INPUTS; input++)
		bins[input] = bin_of(&BINS[input], values[input]);
}}

void {name}_logits(const uint16_t bins[NR_INPUTS], int32_t logits[{upper}_NR_LOGITS])
{{
	run_clamped(bins, 0, logits);
}}

void {name}_accumulate(const uint16_t bins[NR_INPUTS], int32_t accumulators[{upper}_NR_ACCUMULATORS])
{{
	int32_t logits[{upper}_NR_LOGITS];

	run_clamped(bins, accumulators, logits);
}}

int {name}_decide(const int64_t values[NR_INPUTS])
{{
	uint16_t bins[NR_INPUTS];
	int32_t logits[{upper}_NR_LOGITS];
	int best = 0;

	{name}_quantise(values, bins);
	run(bins, 0, logits);
	if ({upper}_NR_LOGITS == 1)
		return logits[0] > 0;
	for (int label = 1; label < {upper}_NR_LOGITS; label++)
		best = logits[label] > logits[best] ? label : best;
	return best;
}}
"""


_QUANTISE = f"""static uint16_t bin_of(const struct bins *row, int64_t value)
{{
	const int64_t clamped = value < row->lo ? row->lo : value > row->hi ? row->hi : value;
	uint64_t bin;

	if (row->is_log2) {{
		uint64_t rest = (uint64_t)clamped;
		unsigned int logarithm = 0, step;

		for (unsigned int bits = 32; bits; bits >>= 1) {{
			if (rest >> bits) {{
				rest >>= bits;
				logarithm += bits;
			}}
		}}
		step = logarithm > row->shift ? logarithm - row->shift : 0;
		bin = ((uint64_t)step << row->shift) + ((uint64_t)clamped >> step) - row->base;
	}} else {{
		bin = ((((uint64_t)clamped - (uint64_t)row->lo) >> row->shift) * row->multiplier) >> {LINEAR_SHIFT};
	}}
	return bin < row->last ? (uint16_t)bin : row->last;
}}
"""


def _bin_rows(model: DecisionModel) -> str:
    text = ""
    for one in model.inputs:
        rule = one.bins.constants()
        fields = (
            rule.lo,
            rule.hi,
            rule.multiplier,
            rule.base,
            rule.last,
            rule.shift,
            int(one.bins.kind == "log2"),
        )
        text += "\t{" + ", ".join(map(number, fields)) + f"}}, /* {comment(one.name)} */\n"
    return text


def _check(model: DecisionModel, name: str) -> str:
    rows = model.rows
    assert rows is not None
    upper = name.upper()
    decided = model.decide(rows.bins)
    return f"""{_LICENCE}{_banner(model, name)}#include "{name}.h"

#define NR_ROWS {len(rows)}

{array("VALUES", rows.values)}{array("EXPECTED_BINS", rows.bins)}{array("EXPECTED", rows.accumulators)}{
        array("DECIDED", decided)
    }
static int differs(int row)
{{
	uint16_t bins[{upper}_NR_INPUTS];
	int32_t accumulators[{upper}_NR_ACCUMULATORS], logits[{upper}_NR_LOGITS];
	const int32_t *last = EXPECTED[row] + {upper}_NR_ACCUMULATORS - {upper}_NR_LOGITS;

	{name}_quantise(VALUES[row], bins);
	for (int input = 0; input < {upper}_NR_INPUTS; input++)
		if (bins[input] != EXPECTED_BINS[row][input])
			return 1;
	{name}_accumulate(bins, accumulators);
	for (int index = 0; index < {upper}_NR_ACCUMULATORS; index++)
		if (accumulators[index] != EXPECTED[row][index])
			return 1;
	{name}_logits(bins, logits);
	for (int index = 0; index < {upper}_NR_LOGITS; index++)
		if (logits[index] != last[index])
			return 1;
	return {name}_decide(VALUES[row]) != DECIDED[row];
}}

int {name}_check(void)
{{
	for (int row = 0; row < NR_ROWS; row++)
		if (differs(row))
			return row + 1;
	return 0;
}}
"""
