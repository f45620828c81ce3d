"""From bins to logits in ONNX: one function for each family, whose reference is `Core.accumulate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.export.onnx_graph import OnnxGraph
from schedtuna.model.core import Core
from schedtuna.model.nets import MOST_HIDDEN, Linear, Mlp, StepNet
from schedtuna.model.trees import BoxTrees, ObliviousTrees, depth_of

_LIFT = 1 << 20  # in halves of what is shifted: makes terms of 16 bits positive, a multiple of every divisor


def core_nodes(graph: OnnxGraph, core: Core, bins: str) -> str:
    """Add what computes int64 logits [rows, logits] of int64 bins [rows, inputs]; return their name.

    Raises:
        ModelError: The family has no form here.
    """
    if type(core) not in _FAMILIES:
        known = ", ".join(sorted(family.family for family in _FAMILIES))
        raise ModelError(f"{core.family} can't be said in ONNX yet: expected one of {known}")
    return _FAMILIES[type(core)](graph, core, bins)


def _box_trees(graph: OnnxGraph, core: BoxTrees, bins: str) -> str:
    """Walk all trees at once, a level at a time; a leaf's own children are itself."""
    nr_trees, nr_nodes = core.feature.shape
    slots = nr_nodes + core.leaves.shape[1]  # of a tree: its nodes, then its leaves
    first = np.arange(nr_trees)[:, None] * slots
    own = first + np.arange(slots)

    def children(side: Any) -> Any:
        wide = side.astype(np.int64)
        table = own.copy()
        table[:, :nr_nodes] = first + np.where(wide >= 0, wide, nr_nodes - 1 - wide)
        return table.reshape(-1)

    def of_nodes(values: Any) -> Any:
        return np.pad(values.astype(np.int64), ((0, 0), (0, slots - nr_nodes))).reshape(-1)

    tables = [graph.constant(one) for one in (of_nodes(core.feature), of_nodes(core.threshold))]
    left, right = graph.constant(children(core.left)), graph.constant(children(core.right))
    roots = first[:, 0] + np.where(core.nr_leaves > 1, 0, nr_nodes)
    column = graph.node("Gather", bins, graph.constant([0]), axis=1)  # [rows, 1]: how many rows there are
    at = graph.node("Add", graph.node("Mul", column, graph.constant(0)), graph.constant(roots))
    for _ in range(depth_of(core)):
        feature, threshold = (graph.node("Gather", table, at) for table in tables)
        above = graph.node("Greater", graph.node("GatherElements", bins, feature, axis=1), threshold)
        at = graph.node("Where", above, graph.node("Gather", right, at), graph.node("Gather", left, at))
    leaves = np.pad(core.leaves.astype(np.int64), ((0, 0), (nr_nodes, 0))).reshape(-1)
    return _sum_of_leaves(graph, leaves, at, core.base)


def _oblivious_trees(graph: OnnxGraph, core: ObliviousTrees, bins: str) -> str:
    nr_trees, nr_levels = core.feature.shape
    asked = graph.node("Gather", bins, graph.constant(core.feature), axis=1)  # [rows, trees, levels]
    above = graph.to_int64(graph.node("Greater", asked, graph.constant(core.threshold)))
    bits = graph.node("Mul", above, graph.constant(1 << np.arange(nr_levels)))
    leaf = graph.node("Add", graph.sum(bits, axis=2), graph.constant(np.arange(nr_trees) << nr_levels))
    return _sum_of_leaves(graph, core.leaves.astype(np.int64).reshape(-1), leaf, core.base)


def _sum_of_leaves(graph: OnnxGraph, leaves: Any, at: str, base: int) -> str:
    found = graph.node("Gather", graph.constant(leaves), at)
    return graph.node("Add", graph.sum(found, axis=1, keep=True), graph.constant([base]))


def _dense(graph: OnnxGraph, units: str, weights: Any, biases: Any) -> str:
    product = graph.node("MatMul", units, graph.constant(np.ascontiguousarray(weights.T)))
    return graph.node("Add", product, graph.constant(biases))


def _linear(graph: OnnxGraph, core: Linear, bins: str) -> str:
    return _dense(graph, bins, core.weights, core.biases)


def _mlp(graph: OnnxGraph, core: Mlp, bins: str) -> str:
    units = bins
    for number, (weights, biases) in enumerate(zip(core.weights, core.biases, strict=True)):
        units = _dense(graph, units, weights, biases)
        if number < len(core.shifts):
            shift = core.shifts[number]
            lifted = graph.node("Add", units, graph.constant((1 << shift) >> 1))
            positive = graph.node("Max", lifted, graph.constant(0))  # what is less becomes 0 either way
            divided = graph.node("Div", positive, graph.constant(1 << shift))
            units = graph.node("Min", divided, graph.constant(MOST_HIDDEN))
    return units


def _step_net(graph: OnnxGraph, core: StepNet, bins: str) -> str:
    weights = np.ascontiguousarray(core.weights[0].T)  # [inputs, units]
    terms = graph.node("Mul", graph.node("Unsqueeze", bins, graph.constant([2])), graph.constant(weights))
    half = (1 << core.shift) >> 1
    lifted = graph.node("Add", terms, graph.constant(half + _LIFT))  # divisions round towards 0
    rounded = graph.node("Div", lifted, graph.constant(1 << core.shift))
    lowered = graph.constant(core.biases[0].astype(np.int64) - core.nr_inputs * (_LIFT >> core.shift))
    sums = graph.node("Add", graph.sum(rounded, axis=1), lowered)
    for layer, biases in zip(core.weights[1:], core.biases[1:], strict=True):
        units = graph.to_int64(graph.node("GreaterOrEqual", sums, graph.constant(0)))
        sums = _dense(graph, units, layer, biases)
    return sums


_FAMILIES: dict[type[Core], Callable[[OnnxGraph, Any, str], str]] = {
    BoxTrees: _box_trees,
    ObliviousTrees: _oblivious_trees,
    Linear: _linear,
    Mlp: _mlp,
    StepNet: _step_net,
}
