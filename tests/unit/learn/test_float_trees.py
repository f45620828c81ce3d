"""Trees of any size become small ones whose sum is the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import models

from schedtuna.errors import ModelError
from schedtuna.learn.float_trees import (
    FloatTree,
    FloatTrees,
    Leaf,
    TreeSplit,
    nr_leaves,
    pruned,
    split_up,
    value_of,
)

NR_INPUTS = 3
LABELS = ("stay", "migrate")


@st.composite
def trees(draw, most: int = 150) -> FloatTree:
    """Trees of up to so many leaves, of any shape that is not too deep; values that floats hold exactly."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    balance = draw(st.sampled_from([0.05, 0.5, 0.9]))

    def grow(count: int, depth: int) -> FloatTree:
        if count == 1 or depth == 28:
            return Leaf(float(random.integers(-1000, 1001)) / 64)
        left = min(max(int(count * random.beta(1, 1) * 2 * balance), 1), count - 1)
        threshold = int(random.integers(-2, 20)) if random.random() < 0.95 else 65535
        return TreeSplit(
            int(random.integers(NR_INPUTS)), threshold, grow(left, depth + 1), grow(count - left, depth + 1)
        )

    return grow(draw(st.integers(1, most)), 0)


def rows(seed: int = 1, count: int = 60) -> list[list[int]]:
    values: list[list[int]] = np.random.default_rng(seed).integers(0, 20, (count, NR_INPUTS)).tolist()
    return values


@given(trees())
def test_parts_sum_up_to_the_tree(tree):
    parts = split_up(pruned(tree))
    assert all(nr_leaves(part) <= 32 for part in parts)
    assert nr_leaves(tree) > 32 or len(parts) == 1
    for row in rows():
        assert sum(value_of(part, row) for part in parts) == value_of(tree, row)


@settings(max_examples=20)
@given(st.lists(trees(60), min_size=1, max_size=5), st.integers(-100, 100))
def test_the_canonical_model_is_as_near_as_its_leaves_are(several, base):
    source = FloatTrees(tuple(several), float(base), (), NR_INPUTS)
    model = source.canonical("t", models.byte_inputs(NR_INPUTS), LABELS, "")
    scale = 2.0**source.fraction_bits
    logits = model.core.logits(np.array(rows(), np.uint16))[:, 0]
    for row, logit in zip(rows(), logits.tolist(), strict=True):
        exact = base + sum(value_of(tree, row) for tree in several)
        assert abs(logit / scale - exact) <= (len(several) + 1) / 2 / scale


def test_a_chain_that_is_too_deep_is_refused():
    tree: FloatTree = Leaf(1.0)
    for level in range(70):
        tree = TreeSplit(level % NR_INPUTS, level, Leaf(float(level)), tree)
    with pytest.raises(ModelError, match="deeper than 30"):
        split_up(tree)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_leaves_that_are_no_numbers_are_refused(value):
    source = FloatTrees((Leaf(value),), 0.0, (), NR_INPUTS)
    with pytest.raises(ModelError, match="no finite number"):
        source.canonical("t", models.byte_inputs(NR_INPUTS), LABELS, "")


def test_other_inputs_are_refused():
    with pytest.raises(ModelError, match="takes 3 inputs, and 2"):
        FloatTrees((Leaf(1.0),), 0.0, (), NR_INPUTS).canonical("t", models.byte_inputs(2), LABELS, "")
