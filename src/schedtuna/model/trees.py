"""Trees over bins: plain ones, whose leaves are boxes, and oblivious ones, whose leaves are table rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.model.core import (
    MOST_INPUTS,
    Accumulators,
    AnyArray,
    BinArray,
    Core,
    Given,
    require_array,
    require_int32,
    require_sum,
    require_whole,
)

MOST_LEAVES = 32  # of a plain tree: a bit of half a word for each
MOST_TREES = 1024
MOST_LEVELS = 8  # of an oblivious tree: an index is a byte
_ROWS_AT_A_TIME = 4096


def _require_logit(base: int, leaves: AnyArray) -> None:
    low = base + leaves.min(axis=1, initial=0).astype(np.int64).sum(keepdims=True)
    high = base + leaves.max(axis=1, initial=0).astype(np.int64).sum(keepdims=True)
    require_sum("logit", low, high, 32)


def _require_trees(name: str, array: AnyArray) -> int:
    if not 1 <= len(array) <= MOST_TREES:
        raise ModelError(f"{name}: {len(array)} trees, expected 1 to {MOST_TREES}")
    return len(array)


def _require_features(feature: AnyArray, nr_inputs: int) -> None:
    if feature.size and int(feature.max()) >= nr_inputs:
        raise ModelError(f"a tree looks at input {feature.max()}, and there are {nr_inputs}")


@dataclass(frozen=True, eq=False)
class BoxTrees(Core):
    """Boosted trees, a forest or a single tree: a logit is the base and one leaf of each tree.

    A row goes left at a node where its bin is at most the node's threshold. A tree of n leaves has the
    nodes 0 (its root) to n - 2; a child is a node of a greater number, or leaf k written as -1 - k. What an
    array has beyond a tree's nodes and leaves is 0.

    Attributes:
        base: Added to the leaves.
        nr_leaves: uint8 [trees], 1 to 32.
        feature: uint8 [trees, 31]: the input that a node looks at.
        threshold: uint16 [trees, 31]
        left: int8 [trees, 31]
        right: int8 [trees, 31]
        leaves: int16 [trees, 32]
    """

    family: ClassVar[str] = "trees"

    inputs: int
    base: int
    nr_leaves: Given
    feature: Given
    threshold: Given
    left: Given
    right: Given
    leaves: Given

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "inputs", require_whole("inputs", self.inputs, 1, MOST_INPUTS))
        put(self, "base", require_int32("base", self.base))
        put(self, "nr_leaves", require_array("nr_leaves", self.nr_leaves, np.uint8, 1))
        nr_trees = _require_trees("nr_leaves", self.nr_leaves)
        for name, dtype, size in (
            ("feature", np.uint8, MOST_LEAVES - 1),
            ("threshold", np.uint16, MOST_LEAVES - 1),
            ("left", np.int8, MOST_LEAVES - 1),
            ("right", np.int8, MOST_LEAVES - 1),
            ("leaves", np.int16, MOST_LEAVES),
        ):
            array = require_array(name, getattr(self, name), dtype, 2)
            if array.shape != (nr_trees, size):
                raise ModelError(f"{name} is {array.shape}, expected {(nr_trees, size)}")
            put(self, name, array)
        self._require_shape()
        _require_features(self.feature, self.inputs)
        _require_logit(self.base, self.leaves)

    def _require_shape(self) -> None:
        """Refuse what is no binary tree in its stored order."""
        if not ((self.nr_leaves >= 1) & (self.nr_leaves <= MOST_LEAVES)).all():
            raise ModelError(f"a tree has 1 to {MOST_LEAVES} leaves")
        count = self.nr_leaves.astype(int)[:, None]
        node, leaf = np.arange(MOST_LEAVES - 1), np.arange(MOST_LEAVES)
        unused, unused_leaf = node >= count - 1, leaf >= count
        for name in ("feature", "threshold", "left", "right"):
            if (getattr(self, name)[unused] != 0).any():
                raise ModelError(f"{name} has something where a tree has no node")
        if (self.leaves[unused_leaf] != 0).any():
            raise ModelError("leaves has something where a tree has no leaf")
        for side in (self.left, self.right):
            if ((side >= 0) & (side <= node) & ~unused).any():
                raise ModelError("a node of a tree comes before its parent")
        for tree in range(len(self.nr_leaves)):
            n = int(self.nr_leaves[tree])
            children = np.sort(np.concatenate([self.left[tree, : n - 1], self.right[tree, : n - 1]]))
            expected = np.concatenate([np.arange(-n, 0), np.arange(1, n - 1)])
            if n > 1 and not np.array_equal(children, expected):
                raise ModelError(f"tree {tree} is none: a node or leaf has no parent, or two")

    @property
    def nr_inputs(self) -> int:
        """How many bins it takes."""
        return self.inputs

    @property
    def nr_logits(self) -> int:
        """One."""
        return 1

    @property
    def nr_trees(self) -> int:
        """How many trees there are."""
        return len(self.nr_leaves)

    def layout(self) -> tuple[tuple[str, int], ...]:
        """The leaf that each tree ends in, and the logit."""
        return (("leaf", self.nr_trees), ("logit", 1))

    def require(self, nr_bins: Sequence[int]) -> None:
        """All bins do."""

    def accumulate(self, bins: BinArray) -> Accumulators:
        """Walk each tree from its root."""
        return np.concatenate(
            [
                self._walk(bins[first : first + _ROWS_AT_A_TIME])
                for first in range(0, max(len(bins), 1), _ROWS_AT_A_TIME)
            ]
        )

    def _walk(self, bins: BinArray) -> Accumulators:
        tree = np.arange(self.nr_trees)
        row = np.arange(len(bins))[:, None]
        at = np.broadcast_to(np.where(self.nr_leaves > 1, 0, -1), (len(bins), self.nr_trees)).astype(int)
        while (at >= 0).any():
            node = np.maximum(at, 0)
            goes_left = bins[row, self.feature[tree, node]] <= self.threshold[tree, node]
            child = np.where(goes_left, self.left[tree, node], self.right[tree, node])
            at = np.where(at >= 0, child, at)
        leaf = -1 - at
        logit = self.base + self.leaves[tree, leaf].astype(np.int64).sum(axis=1, keepdims=True)
        return np.concatenate([leaf, logit], axis=1).astype(np.int32)

    @cached_property
    def boxes(self) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        """The least and greatest bins of each leaf: two uint16 [trees, 32, inputs].

        A row is in exactly one of a tree's boxes. Leaves that are not there, or that no row reaches, have a
        least bin of 1 and a greatest one of 0 in the first input.
        """
        low = np.zeros((self.nr_trees, MOST_LEAVES, self.inputs), np.uint16)
        high = np.full_like(low, np.iinfo(np.uint16).max)
        for tree, count in enumerate(self.nr_leaves.tolist()):
            self._fill_boxes(tree, low[tree], high[tree])
            empty = (low[tree] > high[tree]).any(axis=1) | (np.arange(MOST_LEAVES) >= count)
            low[tree, empty, 0], high[tree, empty, 0] = 1, 0
        return low, high

    def _fill_boxes(self, tree: int, low: npt.NDArray[np.uint16], high: npt.NDArray[np.uint16]) -> None:
        if self.nr_leaves[tree] == 1:
            return
        left, right = self.left[tree].tolist(), self.right[tree].tolist()
        pending = [(0, [0] * self.inputs, [np.iinfo(np.uint16).max] * self.inputs)]
        while pending:
            node, lows, highs = pending.pop()
            if node < 0:
                empty = any(a > b for a, b in zip(lows, highs, strict=True))
                low[-1 - node] = [1, *lows[1:]] if empty else lows
                high[-1 - node] = [0, *highs[1:]] if empty else highs
                continue
            feature, threshold = int(self.feature[tree, node]), int(self.threshold[tree, node])
            below, above = highs.copy(), lows.copy()
            below[feature] = min(below[feature], threshold)
            above[feature] = max(above[feature], threshold + 1)
            pending += [(left[node], lows, below), (right[node], above, highs)]

    def masks(self, nr_bins: Sequence[int]) -> list[npt.NDArray[np.uint32]]:
        """For each input uint32 [its bins, trees]: bit k says that the bin lies within leaf k's box.

        The masks of a row's bins, and-ed, leave exactly one bit of each tree: the leaf that it ends in.
        """
        low, high = self.boxes
        bit = np.left_shift(np.uint32(1), np.arange(MOST_LEAVES, dtype=np.uint32))
        masks = []
        for index, count in enumerate(nr_bins):
            bins = np.arange(count)[:, None, None]
            within = (low[None, :, :, index] <= bins) & (bins <= high[None, :, :, index])
            masks.append((within * bit).sum(axis=2, dtype=np.uint32))
        return masks

    def arrays(self) -> dict[str, AnyArray]:
        """What a file holds of it."""
        names = ("nr_leaves", "feature", "threshold", "left", "right", "leaves")
        return {name: getattr(self, name) for name in names}

    def settings(self) -> dict[str, int | list[int]]:
        """What a file's header holds of it."""
        return {"inputs": self.inputs, "base": self.base}

    @classmethod
    def of(cls, arrays: Mapping[str, AnyArray], settings: Mapping[str, Any]) -> Self:
        """Build one of what a file holds."""
        return cls(settings["inputs"], settings["base"], **arrays)


@dataclass(frozen=True, eq=False)
class ObliviousTrees(Core):
    """Trees that ask the same question at all nodes of a level: their leaf is a number of one bit a level.

    Bit d of a tree's index is set where the bin of input feature[d] is greater than threshold[d]. A threshold
    of 65535 is never exceeded: so are the levels written that a tree lacks.

    Attributes:
        base: Added to the leaves.
        feature: uint8 [trees, levels], of 1 to 8 levels.
        threshold: uint16 [trees, levels]
        leaves: int16 [trees, 2^levels]
    """

    family: ClassVar[str] = "oblivious"

    inputs: int
    base: int
    feature: Given
    threshold: Given
    leaves: Given

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "inputs", require_whole("inputs", self.inputs, 1, MOST_INPUTS))
        put(self, "base", require_int32("base", self.base))
        put(self, "feature", require_array("feature", self.feature, np.uint8, 2))
        put(self, "threshold", require_array("threshold", self.threshold, np.uint16, 2))
        put(self, "leaves", require_array("leaves", self.leaves, np.int16, 2))
        nr_trees, nr_levels = _require_trees("feature", self.feature), self.feature.shape[1]
        if not 1 <= nr_levels <= MOST_LEVELS:
            raise ModelError(f"an oblivious tree has 1 to {MOST_LEVELS} levels, not {nr_levels}")
        if self.threshold.shape != self.feature.shape:
            raise ModelError(f"threshold is {self.threshold.shape}, expected {self.feature.shape}")
        if self.leaves.shape != (nr_trees, 1 << nr_levels):
            raise ModelError(f"leaves is {self.leaves.shape}, expected {(nr_trees, 1 << nr_levels)}")
        _require_features(self.feature, self.inputs)
        _require_logit(self.base, self.leaves)

    @property
    def nr_inputs(self) -> int:
        """How many bins it takes."""
        return self.inputs

    @property
    def nr_logits(self) -> int:
        """One."""
        return 1

    @property
    def nr_trees(self) -> int:
        """How many trees there are."""
        return len(self.feature)

    @property
    def nr_levels(self) -> int:
        """How deep they are."""
        return int(self.feature.shape[1])

    def layout(self) -> tuple[tuple[str, int], ...]:
        """The leaf that each tree ends in, and the logit."""
        return (("leaf", self.nr_trees), ("logit", 1))

    def require(self, nr_bins: Sequence[int]) -> None:
        """All bins do."""

    def accumulate(self, bins: BinArray) -> Accumulators:
        """Ask each level's question."""
        leaf = np.zeros((len(bins), self.nr_trees), np.int64)
        for level in range(self.nr_levels):
            leaf |= (bins[:, self.feature[:, level]] > self.threshold[:, level]).astype(np.int64) << level
        value = self.leaves[np.arange(self.nr_trees), leaf].astype(np.int64)
        logit = self.base + value.sum(axis=1, keepdims=True)
        return np.concatenate([leaf, logit], axis=1).astype(np.int32)

    def masks(self, nr_bins: Sequence[int]) -> list[npt.NDArray[np.uint8]]:
        """For each input uint8 [its bins, trees]: the bits of each tree's index that its bin sets."""
        masks = []
        for index, count in enumerate(nr_bins):
            above = np.arange(count)[:, None, None] > self.threshold
            bits = above * (self.feature == index) * (1 << np.arange(self.nr_levels))
            masks.append(bits.sum(axis=2).astype(np.uint8))
        return masks

    def arrays(self) -> dict[str, AnyArray]:
        """What a file holds of it."""
        return {name: getattr(self, name) for name in ("feature", "threshold", "leaves")}

    def settings(self) -> dict[str, int | list[int]]:
        """What a file's header holds of it."""
        return {"inputs": self.inputs, "base": self.base}

    @classmethod
    def of(cls, arrays: Mapping[str, AnyArray], settings: Mapping[str, Any]) -> Self:
        """Build one of what a file holds."""
        return cls(settings["inputs"], settings["base"], **arrays)


def depth_of(core: BoxTrees) -> int:
    """How many questions are asked at most; children come after their parents."""
    depth = np.zeros((core.nr_trees, core.feature.shape[1] + 1), int)
    most = 0
    for tree, count in enumerate(core.nr_leaves.tolist()):
        for node in range(count - 1):
            below = depth[tree, node] + 1
            most = max(most, below)
            for child in (core.left[tree, node], core.right[tree, node]):
                if child >= 0:
                    depth[tree, child] = below
    return int(most)
