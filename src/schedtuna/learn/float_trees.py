"""Trees of real numbers, as libraries train them; their canonical form over integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.rows import checked
from schedtuna.model.trees import MOST_LEAVES, MOST_TREES, BoxTrees

_LARGEST_LEAF = (1 << 15) - 1
_LARGEST_BASE = 1 << 30
_MOST_FRACTION_BITS = 24


@dataclass(frozen=True)
class Leaf:
    """Where a walk ends.

    Attributes:
        value: What the tree adds.
    """

    value: float


@dataclass(frozen=True)
class TreeSplit:
    """A question: left where the input is at most the threshold.

    Attributes:
        feature: Number of the input.
        threshold: Any number: of integers its floor decides.
        left: Where rows go for which it holds.
        right: Where the others go.
        nr_leaves: Below it.
    """

    feature: int
    threshold: float
    left: Leaf | TreeSplit
    right: Leaf | TreeSplit
    nr_leaves: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nr_leaves", nr_leaves(self.left) + nr_leaves(self.right))


FloatTree = Leaf | TreeSplit


@dataclass(frozen=True)
class FloatTrees:
    """What a library's model adds up.

    Attributes:
        trees: In their order.
        base: What the sum begins with.
        names: Of the inputs, where the model has them.
        nr_inputs: How many it takes.
        is_single: Whether the library rounds inputs to float32 before it asks.
    """

    trees: tuple[FloatTree, ...]
    base: float
    names: tuple[str, ...]
    nr_inputs: int
    is_single: bool = False

    def scores(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the sum of all trees for each row, unrounded: float64 [rows].

        Args:
            rows: [rows, inputs] of numbers.
        """
        asked = rows.astype(np.float32).astype(np.float64) if self.is_single else rows
        total = np.full(len(rows), self.base)
        for tree in self.trees:
            pending = [(tree, np.arange(len(rows)))]
            while pending:
                at, which = pending.pop()
                if not len(which):
                    continue
                if isinstance(at, Leaf):
                    total[which] += at.value
                    continue
                left = asked[which, at.feature] <= at.threshold
                pending += [(at.left, which[left]), (at.right, which[~left])]
        return total

    def canonical(
        self, name: str, inputs: Sequence[ModelInput], labels: Sequence[str], made_by: str
    ) -> DecisionModel:
        """Return the canonical model: the same trees over the same bins, leaves as multiples of 2^-k.

        k is the greatest, up to 24, at which the largest leaf fits into 16 bits. Each leaf is off by at most
        half of a multiple: the logit, divided by 2^k, is the library's score but for (number of trees + 1) /
        2^(k + 1) at most. A tree of more than 32 leaves becomes several whose sum is the same.

        Args:
            name: Of the model.
            inputs: What it was trained on, in order: the bins are its inputs.
            labels: Two: what a score of at most 0 means, and of more.
            made_by: Where it comes from.

        Raises:
            ModelError: It takes other inputs, has too many trees, or one that is too deep.
        """
        if len(inputs) != self.nr_inputs:
            raise ModelError(f"it takes {self.nr_inputs} inputs, and {len(inputs)} are described")
        parts = [part for tree in self.trees for part in split_up(pruned(tree))]
        if not 1 <= len(parts) <= MOST_TREES:
            raise ModelError(f"{len(parts)} trees of up to {MOST_LEAVES} leaves, expected 1 to {MOST_TREES}")
        bits = self.fraction_bits
        core = BoxTrees(len(inputs), _rounded(self.base, bits), **_arrays_of(parts, bits))
        return checked(DecisionModel(name, tuple(inputs), tuple(labels), core, made_by))

    @property
    def fraction_bits(self) -> int:
        """The k of `canonical`."""
        largest = max((abs(value) for tree in self.trees for value in leaf_values(tree)), default=0.0)
        if not math.isfinite(largest) or not math.isfinite(self.base):
            raise ModelError("a leaf or the base is no finite number")
        bits = [_MOST_FRACTION_BITS]
        if largest:
            bits.append(math.floor(math.log2(_LARGEST_LEAF / largest)))
        if self.base:
            bits.append(math.floor(math.log2(_LARGEST_BASE / abs(self.base))))
        return min(bits)


def nr_leaves(tree: FloatTree) -> int:
    """How many leaves a tree has."""
    return tree.nr_leaves if isinstance(tree, TreeSplit) else 1


def leaf_values(tree: FloatTree) -> list[float]:
    """The values of a tree's leaves, from left to right."""
    if isinstance(tree, Leaf):
        return [tree.value]
    return leaf_values(tree.left) + leaf_values(tree.right)


def value_of(tree: FloatTree, row: Sequence[int]) -> float:
    """The value of the leaf that a row ends in."""
    while isinstance(tree, TreeSplit):
        tree = tree.left if row[tree.feature] <= tree.threshold else tree.right
    return tree.value


def pruned(tree: FloatTree) -> FloatTree:
    """The same tree without questions whose answer is the same for all bins: 0 to 65,535."""
    if isinstance(tree, Leaf):
        return tree
    if tree.threshold < 0:
        return pruned(tree.right)
    if tree.threshold >= np.iinfo(np.uint16).max:
        return pruned(tree.left)
    return TreeSplit(tree.feature, tree.threshold, pruned(tree.left), pruned(tree.right))


def split_up(tree: FloatTree) -> list[FloatTree]:
    """Return trees of at most 32 leaves whose values sum up to a tree's.

    A branch that is cut off leaves a 0, and becomes a tree with the same questions on the way to it, and 0 on
    the other sides of them.

    Raises:
        ModelError: A branch is too deep for that.
    """
    parts = []
    while nr_leaves(tree) > MOST_LEAVES:
        path = _largest_branch(tree)
        branch, tree = _cut(tree, path)
        parts.append(branch)
    return [*parts, tree]


def _largest_branch(tree: FloatTree) -> list[bool]:
    """The way, by "is it left?", to the largest branch that fits, with its questions, into a tree."""
    best: tuple[int, list[bool]] = (0, [])
    pending: list[tuple[FloatTree, list[bool]]] = [(tree, [])]
    while pending:
        at, path = pending.pop()
        if isinstance(at, Leaf) or len(path) + 2 > MOST_LEAVES:
            continue
        if at.nr_leaves + len(path) <= MOST_LEAVES:
            if at.nr_leaves > best[0]:
                best = (at.nr_leaves, path)
            continue
        pending += [(at.left, [*path, True]), (at.right, [*path, False])]
    if best[0] == 0:
        raise ModelError(f"a tree is deeper than {MOST_LEAVES - 2} levels: it can't be made of small ones")
    return best[1]


def _cut(tree: FloatTree, path: Sequence[bool]) -> tuple[FloatTree, FloatTree]:
    """The branch at the end of a way as a tree of its own, and the tree without it."""
    if not path:
        return tree, Leaf(0.0)
    assert isinstance(tree, TreeSplit)
    zero = Leaf(0.0)
    if path[0]:
        branch, rest = _cut(tree.left, path[1:])
        return (
            TreeSplit(tree.feature, tree.threshold, branch, zero),
            TreeSplit(tree.feature, tree.threshold, rest, tree.right),
        )
    branch, rest = _cut(tree.right, path[1:])
    return (
        TreeSplit(tree.feature, tree.threshold, zero, branch),
        TreeSplit(tree.feature, tree.threshold, tree.left, rest),
    )


def added_to(core: BoxTrees, trees: Sequence[FloatTree], base: float) -> BoxTrees:
    """Return canonical trees and others, whose leaves are in units of the logit, with more added to the base.

    Raises:
        ModelError: They are too many or too deep, or a leaf does not fit into 16 bits.
    """
    parts = [part for tree in trees for part in split_up(pruned(tree))]
    if core.nr_trees + len(parts) > MOST_TREES:
        raise ModelError(f"{core.nr_trees + len(parts)} trees, expected {MOST_TREES} at most")
    more = _arrays_of(parts, 0)
    if (np.abs(more["leaves"]) > _LARGEST_LEAF).any():
        raise ModelError("a leaf that is added is too great for the model's own units")
    both = {name: np.concatenate([array, more[name]]) for name, array in core.arrays().items()}
    return BoxTrees(core.nr_inputs, core.base + _rounded(base, 0), **both)


def _arrays_of(parts: Sequence[FloatTree], bits: int) -> dict[str, npt.NDArray[np.int64]]:
    """Canonical arrays of trees of at most 32 leaves."""
    shape = (len(parts), MOST_LEAVES - 1)
    arrays = {key: np.zeros(shape, np.int64) for key in ("feature", "threshold", "left", "right")}
    arrays["leaves"] = np.zeros((len(parts), MOST_LEAVES), np.int64)
    arrays["nr_leaves"] = np.array([nr_leaves(part) for part in parts])
    for number, part in enumerate(parts):
        values = _fill({key: array[number] for key, array in arrays.items() if array.ndim == 2}, part)
        arrays["leaves"][number, : len(values)] = [_rounded(value, bits) for value in values]
    return arrays


def scaled(tree: FloatTree, factor: float) -> FloatTree:
    """The same tree with its leaves times a factor."""
    if isinstance(tree, Leaf):
        return Leaf(tree.value * factor)
    return TreeSplit(tree.feature, tree.threshold, scaled(tree.left, factor), scaled(tree.right, factor))


def _fill(rows: dict[str, np.ndarray], tree: FloatTree) -> list[float]:
    """Write a tree's nodes into its rows; returns its leaves' values in their order."""
    values: list[float] = []
    count = 0

    def place(at: FloatTree) -> int:
        nonlocal count
        if isinstance(at, Leaf):
            values.append(at.value)
            return -len(values)
        node, count = count, count + 1
        rows["feature"][node], rows["threshold"][node] = at.feature, math.floor(at.threshold)
        rows["left"][node] = place(at.left)
        rows["right"][node] = place(at.right)
        return node

    place(tree)
    return values


def _rounded(value: float, bits: int) -> int:
    return math.floor(math.ldexp(value, bits) + 0.5)
