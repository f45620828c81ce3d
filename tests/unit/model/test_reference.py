"""The reference, against the definitions in whole numbers, one row and one unit at a time."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from tests import models

from schedtuna.errors import ModelError
from schedtuna.model.bins import Bins
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear, Mlp, StepNet
from schedtuna.model.trees import BoxTrees, ObliviousTrees

NR_ROWS = 40


def rounded(value: int, shift: int) -> int:
    """A half goes up."""
    return math.floor(Fraction(value, 1 << shift) + Fraction(1, 2)) if shift else value


def of_boxes(core: BoxTrees, row: list[int]) -> list[int]:
    leaves = []
    for tree in range(core.nr_trees):
        at = 0 if core.nr_leaves[tree] > 1 else -1
        while at >= 0:
            is_left = row[core.feature[tree, at]] <= core.threshold[tree, at]
            at = int((core.left if is_left else core.right)[tree, at])
        leaves.append(-1 - at)
    return [*leaves, core.base + sum(int(core.leaves[tree, leaf]) for tree, leaf in enumerate(leaves))]


def of_oblivious(core: ObliviousTrees, row: list[int]) -> list[int]:
    leaves = [
        sum(2**level for level in range(core.nr_levels) if row[features[level]] > thresholds[level])
        for features, thresholds in zip(core.feature.tolist(), core.threshold.tolist(), strict=True)
    ]
    return [*leaves, core.base + sum(int(core.leaves[tree, leaf]) for tree, leaf in enumerate(leaves))]


def sums(weights, biases, units: list[int]) -> list[int]:
    return [
        bias + sum(w * u for w, u in zip(row, units, strict=True))
        for row, bias in zip(weights.tolist(), biases.tolist(), strict=True)
    ]


def of_net(core: Any, row: list[int]) -> list[int]:
    if isinstance(core, Linear):
        return sums(core.weights, core.biases, row)
    found: list[int] = []
    units = row
    for layer, (weights, biases) in enumerate(zip(core.weights, core.biases, strict=True)):
        layer_sums = sums(weights, biases, units)
        if isinstance(core, StepNet) and layer == 0:
            layer_sums = [
                bias + sum(rounded(w * x, core.shift) for w, x in zip(ws, row, strict=True))
                for ws, bias in zip(weights.tolist(), biases.tolist(), strict=True)
            ]
        found += layer_sums
        if layer < len(core.weights) - 1:
            if isinstance(core, StepNet):
                units = [int(value >= 0) for value in layer_sums]
            else:
                units = [min(max(rounded(value, core.shifts[layer]), 0), 127) for value in layer_sums]
            found += units
    return found


def defined(model: DecisionModel, row: list[int]) -> list[int]:
    core = model.core
    if isinstance(core, BoxTrees):
        return of_boxes(core, row)
    return of_oblivious(core, row) if isinstance(core, ObliviousTrees) else of_net(core, row)


@pytest.fixture(scope="module", params=models.KINDS)
def made(request) -> DecisionModel:
    return models.make(request.param)


def test_every_accumulator_is_the_definitions(made):
    rows = np.linspace(0, len(made.rows) - 1, NR_ROWS).astype(int)
    for row in rows:
        expected = defined(made, made.rows.bins[row].tolist())
        assert made.rows.accumulators[row].tolist() == expected
    assert made.core.nr_accumulators == len(expected) == sum(size for _, size in made.core.layout())


def test_masks_leave_the_leaf_that_a_walk_ends_in(made):
    core, bins = made.core, made.rows.bins
    if isinstance(core, BoxTrees):
        masks = core.masks(made.nr_bins)
        left = np.bitwise_and.reduce([mask[bins[:, index]] for index, mask in enumerate(masks)])
        assert np.array_equal(left, 1 << made.rows.accumulators[:, :-1].astype(np.uint32))
    elif isinstance(core, ObliviousTrees):
        bits = core.masks(made.nr_bins)
        index = np.bitwise_or.reduce([mask[bins[:, index]] for index, mask in enumerate(bits)])
        assert np.array_equal(index, made.rows.accumulators[:, :-1])
    else:
        pytest.skip("no trees")


def test_rows_touch_what_there_is_to_touch(made):
    core, found = made.core, made.rows.accumulators
    for index, one in enumerate(made.inputs):
        edges = (
            set(one.bins.edges()[:: 1 + one.bins.nr_bins // 100].tolist())
            if one.bins.nr_bins <= 256
            else set()
        )
        values = set(made.rows.values[:, index].tolist())
        assert edges <= values and {edge - 1 for edge in edges} <= values | {one.bins.lo - 1}
    if isinstance(core, BoxTrees):
        low, high = core.boxes
        last = np.asarray(made.nr_bins) - 1
        there = (low <= np.minimum(high, last)).all(axis=2)
        for tree in range(core.nr_trees):
            assert set(np.flatnonzero(there[tree])) == set(found[:, tree].tolist())
    if isinstance(core, Mlp):
        half = (1 << core.shifts[0]) >> 1
        phase = (found[:, : len(core.biases[0])] + half) & (2 * half - 1)
        assert (phase == 0).any(axis=0).mean() > 0.5 and (phase == 2 * half - 1).any(axis=0).mean() > 0.5


def test_zero_is_the_first_label():
    inputs = models.byte_inputs(1)
    one = DecisionModel("m", inputs, ("stay", "migrate"), Linear([[1]], [-5]), "")
    assert one.decide([[4], [5], [6]]).tolist() == [0, 0, 1]
    several = DecisionModel("m", inputs, ("a", "b", "c"), Linear([[0], [1], [0]], [5, 0, 5]), "")
    assert several.decide([[4], [5], [6]]).tolist() == [0, 0, 1]


def test_a_version_is_of_all_that_decides():
    random = np.random.default_rng(1)
    weights = random.integers(-9, 9, (1, 2))
    inputs, labels = models.byte_inputs(2), ("stay", "migrate")
    core = Linear(weights, [0])
    first = DecisionModel("a", inputs, labels, core, "x")
    assert DecisionModel("b", inputs, labels, core, "y").version == first.version
    others = [
        DecisionModel("a", inputs[::-1], labels, core, "x"),
        DecisionModel("a", (inputs[0], ModelInput("byte_1", Bins("linear", 0, 254, 255))), labels, core, "x"),
        DecisionModel("a", inputs, labels[::-1], core, "x"),
        DecisionModel("a", inputs, labels, Linear(weights, [1]), "x"),
        DecisionModel("a", inputs, labels, Linear(weights + np.array([0, 1]), [0]), "x"),
    ]
    assert len({first.version, *(one.version for one in others)}) == 6


BYTES = models.byte_inputs(2)
ONE_TREE: dict[str, Any] = {"feature": [[0] * 31], "threshold": [[5] + [0] * 30], "left": [[-1] + [0] * 30]}
ONE_TREE |= {"right": [[-2] + [0] * 30], "leaves": [[1, 2] + [0] * 30], "nr_leaves": [2]}


def tree(**changed: Any) -> BoxTrees:
    return BoxTrees(2, 0, **{**ONE_TREE, **changed})


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: tree(left=[[0] + [0] * 30]), "before its parent"),
        (lambda: tree(left=[[-2] + [0] * 30]), "two"),
        (lambda: tree(left=[[-3] + [0] * 30]), "no parent"),
        (lambda: tree(left=[[1] + [0] * 30]), "no parent"),
        (lambda: tree(nr_leaves=[0]), "1 to 32"),
        (lambda: tree(nr_leaves=[33]), "1 to 32"),
        (lambda: tree(nr_leaves=[1]), "no node"),
        (lambda: tree(feature=[[2] + [0] * 30]), "input 2"),
        (lambda: tree(leaves=[[1, 2, 3] + [0] * 29]), "no leaf"),
        (lambda: tree(leaves=[[1, 2**15] + [0] * 30]), "-32768 to 32767"),
        (lambda: tree(leaves=[[1, 2]]), "expected"),
        (lambda: tree(leaves=[[1.0, 2.0] + [0] * 30]), "integers"),
        (lambda: BoxTrees(2, 2**31 - 2, **ONE_TREE), "32 bits"),
        (lambda: BoxTrees(0, 0, **ONE_TREE), "1 to 32"),
        (lambda: ObliviousTrees(2, 0, [[0] * 9], [[0] * 9], [[0] * 512]), "1 to 8"),
        (lambda: ObliviousTrees(2, 0, [[2]], [[0]], [[0, 0]]), "input 2"),
        (lambda: ObliviousTrees(2, 0, [[1]], [[0]], [[0, 0, 0]]), "leaves is"),
        (lambda: Mlp(([[-128]], [[1]]), ([0], [0]), (0,)), "-128"),
        (lambda: Mlp(([[1]],), ([0],), ()), "1 or 2 hidden"),
        (lambda: Mlp(([[1]], [[1, 1]]), ([0], [0]), (0,)), "take 2 units"),
        (lambda: Mlp(([[1]], [[1]]), ([2**20 - 255], [0]), (0,)), "21 bits"),
        (lambda: Mlp(([[1]], [[1]]), ([2**20 - 256 - 2], [0]), (3,)), "21 bits"),
        (lambda: Mlp(([[-1]], [[1]]), ([-(2**20) + 254], [0]), (0,)), "21 bits"),
        (lambda: Mlp(([[1]], [[1]]), ([0], [2**20 - 127]), (0,)), "21 bits"),
        (lambda: Mlp(([[1]], [[1]]), ([0], [0]), (13,)), "0 to 12"),
        (lambda: StepNet(([[127]], [[1]]), ([2**15 - 2024], [0]), 4), "16 bits"),
        (lambda: StepNet(([[1]], [[1]], [[1]]), ([0], [2**15 - 1], [0]), 4), "16 bits"),
        (lambda: StepNet(([[1]], [[1]]), ([0], [2**31 - 1]), 4), "32 bits"),
        (
            lambda: DecisionModel("m", BYTES, ("a", "b"), Linear([[2**15 - 1] * 2], [2**31 - 1]), ""),
            "32 bits",
        ),
        (lambda: DecisionModel("m", BYTES, ("a",), Linear([[1, 1]], [0]), ""), "labels"),
        (lambda: DecisionModel("m", BYTES, ("a", "a"), Linear([[1, 1]], [0]), ""), "twice"),
        (lambda: DecisionModel("m", BYTES[:1], ("a", "b"), Linear([[1, 1]], [0]), ""), "inputs"),
        (
            lambda: DecisionModel(
                "m",
                (ModelInput("wide", Bins("linear", 0, 256, 257)),),
                ("a", "b"),
                Mlp(([[1]], [[1]]), ([0], [0]), (0,)),
                "",
            ),
            "256",
        ),
    ],
)
def test_what_its_bounds_are_not_proven_for_is_refused(make, told):
    with pytest.raises(ModelError, match=told):
        make()


def test_bounds_may_be_touched():
    Mlp(([[1]], [[1]]), ([2**20 - 256], [0]), (0,))
    Mlp(([[-1]], [[1]]), ([-(2**20) + 255], [0]), (0,))
    StepNet(([[127]], [[1]]), ([2**15 - 1 - 2024], [0]), 4)
    assert (127 * 255 + 8) >> 4 == 2024


@pytest.mark.parametrize("bins", [[[0, 256]], [[0]], [0, 0], [[0.5, 0]], [[-1, 0]], [["a", "b"]]])
def test_bins_that_are_none_are_refused(bins):
    with pytest.raises(ModelError):
        DecisionModel("m", BYTES, ("a", "b"), Linear([[1, 1]], [0]), "").decide(bins)
