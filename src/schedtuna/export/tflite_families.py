"""From values to logits in TensorFlow Lite: one function for each family; `Core.accumulate` is the reference.

TFLite Micro looks up and adds up floats alone. So these are whole numbers below 2^24 in floats: each is
exact, in whatever order they are added. Sums of nets stay below 2^20 (docs/model-format.md), a division by a
power of two is exact before it is floored, and what may be greater is added in two halves of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.export.tflite_graph import TfliteGraph
from schedtuna.model.core import Core, IntArray
from schedtuna.model.nets import MOST_HIDDEN, Linear, Mlp, StepNet
from schedtuna.model.trees import BoxTrees, ObliviousTrees, depth_of

_MOST_EDGES = 1 << 16  # of all inputs: each is a comparison for each row
_EXACT = 1 << 24  # whole numbers up to here are what they are in floats
_NEVER = 1 << 20  # a threshold that no bin exceeds


def core_logits(graph: TfliteGraph, core: Core, edges: Sequence[IntArray]) -> int:
    """Add what computes int32 logits [rows, logits] of a graph's values; return their number.

    Args:
        graph: Where to.
        core: The model.
        edges: Of each input, the least value of each bin but the first.

    Raises:
        ModelError: The family has no form here, or there are too many bins.
    """
    if type(core) not in _FAMILIES:
        known = ", ".join(sorted(family.family for family in _FAMILIES))
        raise ModelError(f"{core.family} can't be said in TensorFlow Lite yet: expected one of {known}")
    return _FAMILIES[type(core)](graph, core, edges)


def _bins(graph: TfliteGraph, edges: Sequence[IntArray]) -> int:
    """Each input's bin, float32 [rows, inputs]: how many of its edges a value reaches."""
    longest = max(1, *(len(one) for one in edges))
    if longest * len(edges) > _MOST_EDGES:
        raise ModelError(
            f"{longest} bins of an input are too many for TensorFlow Lite, where each is a comparison",
            hint=f"train or import with at most {_MOST_EDGES // len(edges)} bins, or export to c",
        )
    table = np.zeros((len(edges), longest), np.int64)
    is_there = np.zeros((len(edges), longest))
    for row, one in enumerate(edges):
        table[row, : len(one)], is_there[row, : len(one)] = one, 1
    values = graph.reshaped(graph.values, 1, len(edges), 1)
    bounds = graph.constant(table, graph.dtype_of(graph.values))
    reached = graph.cast(graph.binary("GREATER_EQUAL", values, bounds, "bool"), "float32")
    if not is_there.all():
        reached = graph.binary("MUL", reached, graph.constant(is_there, "float32"))
    return graph.sum(reached, 2)


def _asked(graph: TfliteGraph, bins: int, feature: int, nr_places: int) -> int:
    """The bins that are asked about: feature is int32 [places], or [rows, places]."""
    by_row = len(graph.shape_of(feature)) == 2
    options = graph.set("Gather", axis=1, batchDims=int(by_row))
    return graph.operator("GATHER", [bins, feature], (1, nr_places), "float32", options)


def _needed(core: BoxTrees | ObliviousTrees, edges: Sequence[IntArray]) -> tuple[list[IntArray], IntArray]:
    """The edges that questions are about, and each question's threshold among these: above it is right."""
    kept, threshold = [], np.full(core.threshold.shape, _NEVER, np.int64)
    for number, all_of_input in enumerate(edges):
        is_about = (core.feature == number) & (core.threshold < len(all_of_input))
        used, rank = np.unique(core.threshold[is_about], return_inverse=True)
        kept.append(all_of_input[used])
        threshold[is_about] = rank
    return kept, threshold


def _box_trees(graph: TfliteGraph, core: BoxTrees, edges: Sequence[IntArray]) -> int:
    """Walk all trees at once, a level at a time; a leaf's own children are itself."""
    nr_trees, nr_nodes = core.feature.shape
    slots = nr_nodes + core.leaves.shape[1]  # of a tree: its nodes, then its leaves
    first = np.arange(nr_trees)[:, None] * slots
    kept, threshold = _needed(core, edges)

    def of_nodes(values: Any) -> Any:
        return np.pad(values, ((0, 0), (0, slots - nr_nodes)))

    def children(side: Any) -> Any:
        wide = side.astype(np.int64)
        table = first + np.arange(slots)
        table[:, :nr_nodes] = first + np.where(wide >= 0, wide, nr_nodes - 1 - wide)
        return table

    tables = [of_nodes(core.feature), of_nodes(threshold), children(core.right), children(core.left)]
    roots = first[:, 0] + np.where(core.nr_leaves > 1, 0, nr_nodes)
    bins = _bins(graph, kept)
    feature, *rest = (table.reshape(-1)[roots] for table in tables)
    at = _next(
        graph, bins, graph.constant(feature, "int32"), [graph.constant(one, "float32") for one in rest]
    )
    whole = [graph.constant(table.reshape(-1), "float32") for table in tables]
    for _ in range(depth_of(core) - 1):
        feature, *rest = (graph.looked_up(table, at) for table in whole)
        at = _next(graph, bins, graph.cast(feature, "int32"), rest)
    return _sum_of_leaves(graph, np.pad(core.leaves, ((0, 0), (nr_nodes, 0))), at, core.base)


def _next(graph: TfliteGraph, bins: int, feature: int, rest: Sequence[int]) -> int:
    """Where each tree's walk goes on, int32 [rows, trees]; rest: thresholds, and where right and left are."""
    threshold, *ways = rest
    nr_trees = graph.shape_of(threshold)[-1]
    above = graph.binary("GREATER", _asked(graph, bins, feature, nr_trees), threshold, "bool")
    way = graph.operator("SELECT_V2", [above, *ways], (1, nr_trees), "float32", graph.set("SelectV2"))
    return graph.cast(way, "int32")


def _oblivious_trees(graph: TfliteGraph, core: ObliviousTrees, edges: Sequence[IntArray]) -> int:
    nr_trees, nr_levels = core.feature.shape
    kept, threshold = _needed(core, edges)
    feature = graph.constant(core.feature.reshape(-1), "int32")
    asked = _asked(graph, _bins(graph, kept), feature, nr_trees * nr_levels)
    above = graph.binary("GREATER", asked, graph.constant(threshold.reshape(-1), "float32"), "bool")
    bits = graph.constant(np.tile(1 << np.arange(nr_levels), nr_trees), "float32")
    part = graph.reshaped(graph.binary("MUL", graph.cast(above, "float32"), bits), 1, nr_trees, nr_levels)
    first = graph.constant(np.arange(nr_trees) << nr_levels, "float32")
    at = graph.cast(graph.binary("ADD", graph.sum(part, 2), first), "int32")
    return _sum_of_leaves(graph, core.leaves, at, core.base)


def _sum_of_leaves(graph: TfliteGraph, leaves: Any, at: int, base: int) -> int:
    def total(halves: Any) -> int:
        found = graph.looked_up(graph.constant(halves.reshape(-1), "float32"), at)
        return graph.sum(found, 1, keep=True)

    return _joined(graph, total, leaves, [base])


def _joined(graph: TfliteGraph, of: Callable[[Any], int], numbers: Any, base: Any) -> int:
    """What is linear in numbers of 16 bits, as int32: of their upper and of their lower bytes."""
    wide = np.asarray(numbers, np.int64)
    upper, lower = (graph.cast(of(half), "int32") for half in (wide >> 8, wide & 255))
    scaled = graph.binary("MUL", upper, graph.constant(256, "int32"))
    return graph.binary("ADD", graph.binary("ADD", scaled, lower), graph.constant(base, "int32"))


def _linear(graph: TfliteGraph, core: Linear, edges: Sequence[IntArray]) -> int:
    if sum(len(one) for one in edges) * 255 >= _EXACT:
        raise ModelError(
            "a line over so many bins can't be said in TensorFlow Lite", hint="export to c, or onnx"
        )
    bins = _bins(graph, edges)
    zero = np.zeros(core.nr_logits)
    return _joined(graph, lambda weights: _dense(graph, bins, weights, zero), core.weights, core.biases)


def _dense(graph: TfliteGraph, units: int, weights: Any, biases: Any) -> int:
    given = [units, graph.constant(weights, "float32"), graph.constant(biases, "float32")]
    options = graph.set("FullyConnected")
    return graph.operator("FULLY_CONNECTED", given, (1, len(weights)), "float32", options)


def _shifted(graph: TfliteGraph, of: int, shift: int) -> int:
    """(of + half) >> shift, of what is a whole number."""
    lifted = graph.binary("ADD", of, graph.constant((1 << shift) >> 1, "float32"))
    scaled = graph.binary("MUL", lifted, graph.constant(2.0**-shift, "float32"))
    return graph.operator("FLOOR", [scaled], graph.shape_of(of), "float32")


def _mlp(graph: TfliteGraph, core: Mlp, edges: Sequence[IntArray]) -> int:
    units = _bins(graph, edges)
    for number, (weights, biases) in enumerate(zip(core.weights, core.biases, strict=True)):
        units = _dense(graph, units, weights, biases)
        if number < len(core.shifts):
            whole = _shifted(graph, units, core.shifts[number])
            positive = graph.binary("MAXIMUM", whole, graph.constant(0, "float32"))
            units = graph.binary("MINIMUM", positive, graph.constant(MOST_HIDDEN, "float32"))
    return graph.cast(units, "int32")


def _step_net(graph: TfliteGraph, core: StepNet, edges: Sequence[IntArray]) -> int:
    bins = graph.reshaped(_bins(graph, edges), 1, len(edges), 1)
    terms = graph.binary("MUL", bins, graph.constant(core.weights[0].T, "float32"))
    sums = graph.sum(_shifted(graph, terms, core.shift), 1)
    sums = graph.binary("ADD", sums, graph.constant(core.biases[0], "float32"))
    for layer, biases in zip(core.weights[1:], core.biases[1:], strict=True):
        on = graph.binary("GREATER_EQUAL", sums, graph.constant(0, "float32"), "bool")
        sums = _dense(graph, graph.cast(on, "float32"), layer, biases)
    return graph.cast(sums, "int32")


_FAMILIES: dict[type[Core], Callable[[TfliteGraph, Any, Sequence[IntArray]], int]] = {
    BoxTrees: _box_trees,
    ObliviousTrees: _oblivious_trees,
    Linear: _linear,
    Mlp: _mlp,
    StepNet: _step_net,
}
