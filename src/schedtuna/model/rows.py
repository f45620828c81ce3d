"""Which rows find a fault in an executor, wherever it is? Searched ones: they touch every edge that there is.

Each edge of each input's bins; for trees, both sides of each node's threshold and every leaf; for nets, each
unit's half points of rounding and the ends of what it can hold; and logits of 0 and +-1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from schedtuna.model.core import Accumulators, BinArray, IntArray
from schedtuna.model.model import CheckRows, DecisionModel, ModelInput
from schedtuna.model.nets import MOST_HIDDEN, Mlp, StepNet
from schedtuna.model.trees import BoxTrees, ObliviousTrees

MOST_EDGES = 256  # of one input
NR_RANDOM = 64
_POOL = 4096
_STARTS = 6  # of the descent to a logit
_ROUNDS = 8
_INT64 = np.iinfo(np.int64)


def checked(model: DecisionModel, generator: np.random.Generator | None = None) -> DecisionModel:
    """Return the model with rows of its own.

    Args:
        model: The model.
        generator: Chooses what is left to chance; default: the same for the same model.
    """
    random = generator or np.random.default_rng(int(model.version, 16))
    edges = _edge_values(model.inputs, random)
    bins = _unique(
        np.concatenate([random_bins(model.nr_bins, NR_RANDOM, random), searched_rows(model, random)])
    )
    values = np.concatenate([edges, _values_within(model.inputs, bins, random)])
    found = model.quantise(values)
    return model.with_rows(CheckRows(values, found, model.core.accumulate(found)))


def searched_rows(model: DecisionModel, random: np.random.Generator) -> BinArray:
    """Return rows of bins that touch the edges of a model's own arithmetic."""
    core, nr_bins = model.core, model.nr_bins
    parts: list[BinArray | IntArray] = [
        np.zeros((1, len(nr_bins)), np.uint16),
        np.asarray([nr_bins], np.int64) - 1,
    ]
    pool = random_bins(nr_bins, _POOL, random)
    if isinstance(core, BoxTrees):
        parts += list(_box_corners(core, nr_bins, random))
    elif isinstance(core, ObliviousTrees):
        parts += list(_level_sides(core, nr_bins, random))
        parts += list(_leaf_rows(core, pool, random))
    elif isinstance(core, Mlp | StepNet):
        parts.append(pool[_net_edges(core, core.accumulate(pool))])
    for logit in range(core.nr_logits):
        parts += [_toward(model, pool, logit, target) for target in (-1, 0, 1)]
    return _unique(np.concatenate([part.astype(np.uint16) for part in parts]))


def random_bins(nr_bins: Sequence[int], count: int, random: np.random.Generator) -> BinArray:
    """Return rows whose bins are drawn evenly: uint16 [count, inputs]."""
    return random.integers(0, np.asarray(nr_bins), (count, len(nr_bins))).astype(np.uint16)


def _unique(rows: BinArray) -> BinArray:
    return np.unique(rows, axis=0)


def _edge_values(inputs: Sequence[ModelInput], random: np.random.Generator) -> IntArray:
    """Values on and before each edge of every input, and beyond its ends."""
    columns = []
    for one in inputs:
        edges = one.bins.edges()
        if len(edges) > MOST_EDGES:
            edges = edges[np.linspace(0, len(edges) - 1, MOST_EDGES).astype(int)]
        before = edges[1:] - 1
        ends = [_INT64.min, _INT64.max, max(one.bins.lo - 1, _INT64.min), min(one.bins.hi + 1, _INT64.max)]
        columns.append(np.concatenate([edges, before, [one.bins.hi, *ends]]))
    longest = max(map(len, columns))
    return np.stack([random.permutation(np.resize(column, longest)) for column in columns], axis=1)


def _values_within(inputs: Sequence[ModelInput], bins: BinArray, random: np.random.Generator) -> IntArray:
    columns = []
    for index, one in enumerate(inputs):
        edges = one.bins.edges()
        ends = np.append(edges[1:] - 1, one.bins.hi)
        columns.append(random.integers(edges[bins[:, index]], ends[bins[:, index]], endpoint=True))
    return np.stack(columns, axis=1)


def _box_corners(
    core: BoxTrees, nr_bins: Sequence[int], random: np.random.Generator
) -> Iterator[BinArray | IntArray]:
    """Two rows in each leaf: its least bins and its greatest, where those are bounds, else any."""
    last = np.asarray(nr_bins, np.int64) - 1
    low, high = (bound.astype(np.int64) for bound in core.boxes)
    there = (low <= np.minimum(high, last)).all(axis=2)
    low, high = low[there], high[there]
    inner = random.integers(low, np.minimum(high, last) + 1)
    yield np.where(low > 0, low, inner)
    yield np.where(high < last, high, inner)


def _level_sides(
    core: ObliviousTrees, nr_bins: Sequence[int], random: np.random.Generator
) -> Iterator[BinArray]:
    """Two rows for each level of each tree: on its threshold, and one bin above."""
    last = np.asarray(nr_bins, np.int64) - 1
    feature = core.feature.ravel().astype(int)
    for above in (0, 1):
        rows = random_bins(nr_bins, len(feature), random)
        sides = np.minimum(core.threshold.ravel().astype(np.int64) + above, last[feature])
        rows[np.arange(len(rows)), feature] = sides
        yield rows


def _leaf_rows(core: ObliviousTrees, pool: BinArray, random: np.random.Generator) -> Iterator[BinArray]:
    """A row in each leaf that one can end in: the pool's first, else one that is made."""
    leaf = core.accumulate(pool)[:, :-1]
    for tree in range(core.nr_trees):
        reached, first = np.unique(leaf[:, tree], return_index=True)
        yield pool[first]
        left = np.setdiff1d(np.arange(1 << core.nr_levels), reached)
        low = np.zeros((len(left), core.nr_inputs), np.int64)
        high = np.broadcast_to(pool.max(axis=0).astype(np.int64), low.shape).copy()
        for level in range(core.nr_levels):
            f, threshold = int(core.feature[tree, level]), int(core.threshold[tree, level])
            is_above = (left >> level & 1).astype(bool)
            low[is_above, f] = np.maximum(low[is_above, f], threshold + 1)
            high[~is_above, f] = np.minimum(high[~is_above, f], threshold)
        there = (low <= high).all(axis=1)
        yield random.integers(low[there], high[there] + 1).astype(np.uint16)


def _net_edges(core: Mlp | StepNet, accumulators: Accumulators) -> IntArray:
    """The rows of a pool that come nearest to each unit's edges."""
    found, start, layer = [], 0, 0
    for stage, size in core.layout():
        sums = accumulators[:, start : start + size].astype(np.int64)
        start += size
        if not stage.startswith("sum"):
            continue
        found += [sums.argmin(axis=0), sums.argmax(axis=0)]
        if isinstance(core, StepNet):
            edges = [-1, 0]
        else:
            shift = core.shifts[layer]
            half = (1 << shift) >> 1
            saturated = ((MOST_HIDDEN + 1) << shift) - half
            edges = [-half - 1, -half, saturated - 1, saturated]
            result = (sums + half) >> shift
            phase = (sums + half) & ((1 << shift) - 1)  # 0: a half point that is rounded up
            is_shown = (result > 0) & (result <= MOST_HIDDEN)
            is_odd = is_shown & (result & 1 == 1)  # rounding to even gives another one
            far = np.int64(1 << shift)
            found += [
                np.where(is_odd, phase, phase + far).argmin(axis=0),
                np.where(is_shown, phase, phase - far).argmax(axis=0),
            ]
        found += [np.abs(sums - edge).argmin(axis=0) for edge in edges]
        layer += 1
    return np.unique(np.concatenate(found))


def _toward(model: DecisionModel, pool: BinArray, logit: int, target: int) -> BinArray:
    """The row whose logit comes nearest to a target, by changing one input after the other."""
    distances = np.abs(model.core.logits(pool)[:, logit].astype(np.int64) - target)
    found, nearest = pool[distances.argmin()], int(distances.min())
    for start in np.argsort(distances, kind="stable")[:_STARTS]:
        best, distance = pool[start], int(distances[start])
        for _ in range(_ROUNDS):
            rows = _neighbours(best, model.nr_bins)
            others = np.abs(model.core.logits(rows)[:, logit].astype(np.int64) - target)
            if nearest == 0 or int(others.min()) >= distance:
                break
            best, distance = rows[others.argmin()], int(others.min())
        if distance < nearest:
            found, nearest = best, distance
    return np.asarray(found)[None]


def _neighbours(row: BinArray, nr_bins: Sequence[int]) -> BinArray:
    """The row with each of its bins replaced by others, near and far."""
    parts = []
    for index, count in enumerate(nr_bins):
        near = np.clip(np.arange(-8, 9) + int(row[index]), 0, count - 1)
        column = np.unique(np.concatenate([np.linspace(0, count - 1, min(count, 64)).astype(int), near]))
        rows = np.repeat(row[None], len(column), axis=0)
        rows[:, index] = column
        parts.append(rows)
    return np.concatenate(parts)
