"""A model that has to be smaller: its weightiest trees or units alone, or a line in their place. Pure.

What is left out is replaced by its mean, so that the rest still decides on the same side (of units: Molchanov
et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", 2017, whose criterion is the
effect on the output; here it is the spread of what a tree or unit adds, over rows).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.model.core import BinArray, Core
from schedtuna.model.model import DecisionModel
from schedtuna.model.nets import MOST_HIDDEN, Linear, Mlp, Net, StepNet, round_shift
from schedtuna.model.trees import BoxTrees, ObliviousTrees

_LARGEST = 1000  # what the largest weight of a line becomes
_PENALTY = 1e-3  # a ridge's, over rows: columns that follow from each other have no one solution

FloatArray = npt.NDArray[np.float64]


def nr_parts(core: Core) -> int:
    """How many trees there are, or units in the widest hidden layer; 0: nothing can be left out."""
    if isinstance(core, BoxTrees | ObliviousTrees):
        return core.nr_trees
    if isinstance(core, Net):
        return max(len(weights) for weights in core.weights[:-1])
    return 0


def reduced(model: DecisionModel, count: int, bins: BinArray) -> DecisionModel:
    """Return the model with so many trees, or units in each hidden layer, and without rows of its own.

    Args:
        model: With more of them.
        count: 1 or more.
        bins: Rows by which what matters is told.

    Raises:
        ModelError: Of a family that has neither; or what is left can't be proven to fit its lanes.
    """
    core = model.core
    if isinstance(core, BoxTrees | ObliviousTrees):
        return replace(model, core=_fewer_trees(core, count, bins), rows=None)
    if isinstance(core, Mlp | StepNet):
        for layer in range(len(core.weights) - 1):
            core = _fewer_units(core, layer, count, bins)
        return replace(model, core=core, rows=None)
    raise ModelError(f"a model of the family {core.family} has nothing that could be left out")


def line_of(model: DecisionModel, bins: BinArray) -> DecisionModel:
    """Return a linear model, fitted by least squares to what the model decides on rows; without own rows."""
    decided = model.decide(bins)
    if model.core.nr_logits == 1:
        targets = np.where(decided == 1, 1.0, -1.0)[:, None]
    else:
        targets = np.where(decided[:, None] == np.arange(model.core.nr_logits), 1.0, -1.0)
    last = np.maximum(np.asarray(model.nr_bins, np.float64) - 1, 1)
    design = np.column_stack([np.ones(len(bins)), bins / last])
    gram = design.T @ design + _PENALTY * len(bins) * np.eye(design.shape[1])
    found: FloatArray = np.linalg.solve(gram, design.T @ targets).T  # [logits, 1 + inputs]
    slopes = found[:, 1:] / last
    scale = _LARGEST / max(float(np.abs(slopes).max()), 1e-12)
    weights = np.rint(slopes * scale).astype(np.int16)
    biases = np.rint(np.clip(found[:, 0] * scale, -(2**30), 2**30)).astype(np.int32)
    return replace(model, core=Linear(weights, biases), rows=None)


def _fewer_trees(core: BoxTrees | ObliviousTrees, count: int, bins: BinArray) -> BoxTrees | ObliviousTrees:
    leaf = core.accumulate(bins)[:, :-1]
    added = core.leaves[np.arange(core.nr_trees), leaf].astype(np.float64)
    kept = np.sort(np.argsort(-added.std(axis=0), kind="stable")[:count])
    left_out = np.setdiff1d(np.arange(core.nr_trees), kept)
    base = core.base + round(float(added[:, left_out].mean(axis=0).sum()))
    arrays = {name: array[kept] for name, array in core.arrays().items()}
    return type(core).of(arrays, core.settings() | {"base": base})


def _fewer_units(core: Mlp | StepNet, layer: int, count: int, bins: BinArray) -> Mlp | StepNet:
    out = core.weights[layer + 1].astype(np.float64)
    if out.shape[1] <= count:
        return core
    units = _hidden(core, layer, bins)
    order = np.argsort(-units.std(axis=0) * np.linalg.norm(out, axis=0), kind="stable")
    kept, left_out = np.sort(order[:count]), order[count:]
    means = np.rint(out[:, left_out] @ units[:, left_out].mean(axis=0)).astype(np.int32)
    weights, biases = list(core.weights), list(core.biases)
    weights[layer], biases[layer] = core.weights[layer][kept], core.biases[layer][kept]
    weights[layer + 1] = core.weights[layer + 1][:, kept]
    biases[layer + 1] = core.biases[layer + 1] + means
    return replace(core, weights=tuple(weights), biases=tuple(biases))


def _hidden(core: Mlp | StepNet, layer: int, bins: BinArray) -> FloatArray:
    """What the units of a hidden layer are on rows: float64 [rows, units]."""
    start, name = 0, f"sum{layer + 1}"
    for stage, size in core.layout():
        if stage == name:
            break
        start += size
    sums = core.accumulate(bins)[:, start : start + size].astype(np.int64)
    if isinstance(core, StepNet):
        return (sums >= 0).astype(np.float64)
    return np.clip(round_shift(sums, core.shifts[layer]), 0, MOST_HIDDEN).astype(np.float64)
