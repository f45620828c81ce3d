"""What computes a model in C, family by family: tables, and a function that fills accumulators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from schedtuna.export.c_nets import net_code
from schedtuna.export.c_text import HEAD, array, smallest
from schedtuna.model.core import AnyArray, Core
from schedtuna.model.nets import Linear, Mlp, StepNet
from schedtuna.model.trees import MOST_LEAVES, BoxTrees, ObliviousTrees

_BLOCK = 64  # trees whose masks are on the stack at a time
_DE_BRUIJN = 0x077CB531


def core_code(core: Core, nr_bins: Sequence[int], *, small: bool) -> str:
    """Return the tables and `run` of a model.

    Args:
        core: The numbers.
        nr_bins: Of each input.
        small: Whether trees are walked, rather than looked up in tables that grow with the bins.
    """
    return _WRITERS[core.family](core, nr_bins, small)


def _trees(core: Core, nr_bins: Sequence[int], small: bool) -> str:
    assert isinstance(core, BoxTrees)
    if small:
        return _walked(core)
    bit = np.left_shift(np.uint32(1), np.arange(MOST_LEAVES, dtype=np.uint32))
    place = (bit * np.uint32(_DE_BRUIJN)) >> 27
    number, leaves = np.zeros(MOST_LEAVES, np.uint8), np.zeros_like(core.leaves)
    number[place] = np.arange(MOST_LEAVES)
    leaves[:, place] = core.leaves
    return (
        _mask_tables(core.masks(nr_bins))
        + "/* One bit of a tree's mask is left: times this number, its upper five bits tell which. */\n"
        + array("LEAF_NUMBER", number)
        + array("LEAVES", leaves)
        + HEAD
        + _mask_rows(core, nr_bins)
        + f"""\tint32_t sum = {core.base};

	for (int first = 0; first < {core.nr_trees}; first += {_BLOCK}) {{
		const int count = {core.nr_trees} - first < {_BLOCK} ? {core.nr_trees} - first : {_BLOCK};
		uint32_t mask[{_BLOCK}];

		for (int tree = 0; tree < count; tree++)
			mask[tree] = {" & ".join(f"row_{index}[first + tree]" for index in range(core.nr_inputs))};
		for (int tree = 0; tree < count; tree++) {{
			const uint32_t place = (mask[tree] * {_DE_BRUIJN:#x}U) >> 27;

			sum += LEAVES[first + tree][place];
			if (accumulators)
				accumulators[first + tree] = LEAF_NUMBER[place];
		}}
	}}
"""
        + _tree_end(core.nr_trees)
    )


def _tree_end(nr_trees: int) -> str:
    return f"""\tlogits[0] = sum;
	if (accumulators)
		accumulators[{nr_trees}] = sum;
}}
"""


def _mask_tables(masks: Sequence[AnyArray]) -> str:
    """The different rows of masks of each input, and which of them each bin has."""
    text = ""
    for index, table in enumerate(masks):
        rows, which = np.unique(table, axis=0, return_inverse=True)
        text += array(f"MASKS_{index}", rows) + array(f"ROW_{index}", smallest(which.reshape(-1)))
    return text


def _mask_rows(core: BoxTrees | ObliviousTrees, nr_bins: Sequence[int]) -> str:
    kind = "uint32_t" if isinstance(core, BoxTrees) else "uint8_t"
    return "".join(
        f"\tconst {kind} *row_{index} = MASKS_{index}[ROW_{index}[x[{index}]]];\n"
        for index in range(len(nr_bins))
    )


def _walked(core: BoxTrees) -> str:
    count = core.nr_leaves.astype(int)
    node = np.arange(MOST_LEAVES - 1) < (count - 1)[:, None]
    leaf = np.arange(MOST_LEAVES) < count[:, None]
    first_leaf = np.concatenate([[0], np.cumsum(count)[:-1]])
    text = array("FIRST_LEAF", smallest(first_leaf)) + array("LEAVES", core.leaves[leaf])
    for name in ("feature", "threshold", "left", "right"):
        values = getattr(core, name)
        text += array(name.upper(), values[node] if node.any() else values[0, :1])  # C has no empty arrays
    return (
        text
        + array("NR_LEAVES", core.nr_leaves)
        + HEAD
        + f"""\tint32_t sum = {core.base};

	for (int tree = 0; tree < {core.nr_trees}; tree++) {{
		const int first = FIRST_LEAF[tree] - tree; /* a tree has a node less than leaves */
		int at = NR_LEAVES[tree] > 1 ? 0 : -1;

		while (at >= 0) {{
			const int node = first + at;

			at = x[FEATURE[node]] <= THRESHOLD[node] ? LEFT[node] : RIGHT[node];
		}}
		sum += LEAVES[FIRST_LEAF[tree] - 1 - at];
		if (accumulators)
			accumulators[tree] = -1 - at;
	}}
"""
        + _tree_end(core.nr_trees)
    )


def _oblivious(core: Core, nr_bins: Sequence[int], small: bool) -> str:
    assert isinstance(core, ObliviousTrees)
    if small:
        tables = array("FEATURE", core.feature) + array("THRESHOLD", core.threshold)
        leaf = f"""			int leaf = 0;

			for (int level = 0; level < {core.nr_levels}; level++)
				leaf |= (x[FEATURE[first + tree][level]] > THRESHOLD[first + tree][level]) << level;
"""
        rows = mask = ""
    else:
        tables, rows = _mask_tables(core.masks(nr_bins)), _mask_rows(core, nr_bins)
        either = " | ".join(f"row_{index}[first + tree]" for index in range(core.nr_inputs))
        mask = f"""		uint8_t mask[{_BLOCK}];

		for (int tree = 0; tree < count; tree++)
			mask[tree] = {either};
"""
        leaf = "			const int leaf = mask[tree];\n"
    return (
        tables
        + array("LEAVES", core.leaves)
        + HEAD
        + rows
        + f"""\tint32_t sum = {core.base};

	for (int first = 0; first < {core.nr_trees}; first += {_BLOCK}) {{
		const int count = {core.nr_trees} - first < {_BLOCK} ? {core.nr_trees} - first : {_BLOCK};
{mask}
		for (int tree = 0; tree < count; tree++) {{
{leaf}
			sum += LEAVES[first + tree][leaf];
			if (accumulators)
				accumulators[first + tree] = leaf;
		}}
	}}
"""
        + _tree_end(core.nr_trees)
    )


def _linear(core: Core, _nr_bins: Sequence[int], _small: bool) -> str:
    assert isinstance(core, Linear)
    return (
        array("WEIGHTS", core.weights)
        + array("BIASES", core.biases)
        + HEAD
        + f"""\tfor (int logit = 0; logit < {core.nr_logits}; logit++) {{
		int64_t sum = BIASES[logit]; /* on its way it may need more bits than at its end */

		for (int input = 0; input < {core.nr_inputs}; input++)
			sum += (int64_t)WEIGHTS[logit][input] * x[input];
		logits[logit] = (int32_t)sum;
		if (accumulators)
			accumulators[logit] = (int32_t)sum;
	}}
}}
"""
    )


_WRITERS: dict[str, Callable[[Core, Sequence[int], bool], str]] = {
    BoxTrees.family: _trees,
    ObliviousTrees.family: _oblivious,
    Linear.family: _linear,
    Mlp.family: net_code,
    StepNet.family: net_code,
}
