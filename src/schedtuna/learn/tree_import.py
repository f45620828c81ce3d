"""Trees over values, as others trained them, become canonical ones over bins; and what that costs.

Bins reach from an input's least threshold to its greatest one: what lies beyond them is never told apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.learn.float_trees import FloatTree, FloatTrees, Leaf, TreeSplit
from schedtuna.learn.imported import NR_BINS, ImportedModel, counted, labels_of, rows_of, told_of, whole
from schedtuna.learn.lightgbm_file import parse_lightgbm
from schedtuna.learn.xgboost_file import parse_xgboost
from schedtuna.model.bins import MOST_BINS, Bins
from schedtuna.model.model import ModelInput, decisions

MOST_BYTES = 64 << 20
_FURTHEST = 2**53  # thresholds beyond are beyond all that can be counted
_GENERIC = re.compile(r"(Column_|f)\d+")  # what libraries call inputs that nobody named
READERS: dict[str, Callable[[bytes], FloatTrees]] = {
    ".txt": lambda content: parse_lightgbm(content.decode()),
    ".json": parse_xgboost,
    ".ubj": parse_xgboost,
}


def read_trees(path: Path) -> FloatTrees:
    """Read a model of LightGBM (`.txt`) or XGBoost (`.json`, `.ubj`); neither has to be installed.

    Raises:
        ModelError: It is none, damaged, or does what canonical trees can't; it says what.
        OSError: It can't be read.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ModelError(f"{path.name} is larger than {MOST_BYTES >> 20} MiB, and no small model")
    try:
        return READERS[path.suffix](path.read_bytes())
    except UnicodeDecodeError as error:
        raise ModelError(f"{path.name} is no text: {error}") from None


def import_trees(
    trees: FloatTrees,
    source: str,
    columns: Mapping[str, npt.ArrayLike],
    name: str,
    labels: Sequence[str] | None = None,
) -> ImportedModel:
    """Make the canonical model of trees.

    Args:
        trees: What was read.
        source: The file's name.
        columns: Rows such as it will meet, by input; in the trees' order, unless these name their inputs.
            Those of `MigrationFeatures` become the inputs of migrations.
        name: Of the model.
        labels: What a score of at most 0 means, and of more; default: `stay` and `migrate` of migrations.

    Raises:
        ModelError: The rows are not those of the trees, or not finite, or the trees are too many or too deep.
    """
    columns = _in_order(trees, columns)
    rows = rows_of(columns, trees.nr_inputs)
    asked = _thresholds(trees)
    if not asked:
        raise ModelError(f"{source} asks nothing: its score is the same for all rows")
    named = {number: counted(list(columns)[number], rows[:, number]) for number in asked}
    edges: dict[int, _InputEdges] = {}
    inputs: list[ModelInput] = []
    for number, thresholds in asked.items():
        unit, factor = named[number]
        inputs.append(_input(unit, rows[:, number], thresholds, factor))
        edges[number] = _InputEdges(len(edges), factor, inputs[-1].bins)
    try:
        moved = replace(
            trees,
            trees=tuple(_moved(tree, edges) for tree in trees.trees),
            names=(),
            nr_inputs=len(inputs),
            is_single=False,
        )
        labels = labels if labels is not None else labels_of(inputs, 1)
        made = moved.canonical(name, inputs, labels, source)
    except RecursionError:
        raise ModelError(f"{source}: a tree is too deep to be read") from None
    units = np.stack([whole(rows[:, n], factor) for n, (_, factor) in named.items()], axis=1)
    found = decisions(made.core.logits(made.quantise(units)))
    changed = float((found != (trees.scores(rows) > 0)).mean())
    unasked = tuple(column for number, column in enumerate(columns) if number not in asked)
    model = replace(made, made_by=told_of(source, changed, len(rows)))
    return ImportedModel(model, changed, len(rows), {}, unasked)


def _in_order(trees: FloatTrees, columns: Mapping[str, npt.ArrayLike]) -> Mapping[str, npt.ArrayLike]:
    """Columns as the trees number their inputs: a name says more than a place."""
    names = trees.names
    if not names or all(_GENERIC.fullmatch(one) for one in names) or list(names) == list(columns):
        return columns
    if set(names) != set(columns):
        differing = ", ".join(sorted({*names} ^ {*columns})[:8])
        raise ModelError(
            f"rows have other columns than the model's inputs: {differing}",
            hint=f"name them {','.join(names)[:200]}",
        )
    return {one: columns[one] for one in names}


def _thresholds(trees: FloatTrees) -> dict[int, list[float]]:
    """The thresholds of each input that a question is about, by its number, in order."""
    found: dict[int, set[float]] = {}
    pending: list[FloatTree] = list(trees.trees)
    while pending:
        at = pending.pop()
        if isinstance(at, TreeSplit):
            found.setdefault(at.feature, set()).add(at.threshold)
            pending += [at.left, at.right]
    return {number: sorted(found[number]) for number in sorted(found)}


def _last_left(threshold: float, factor: int) -> int:
    """The greatest whole number of an input's units that goes left."""
    return int(np.floor(np.clip(threshold * factor, -_FURTHEST, _FURTHEST)))


def _input(
    name: str, values: npt.NDArray[np.float64], thresholds: Sequence[float], factor: int
) -> ModelInput:
    """The bins, linear or by octaves, that answer the fewest questions about these values otherwise."""
    lasts = np.unique([_last_left(one, factor) for one in thresholds])
    units = whole(values, factor)
    within = lasts[(lasts >= units.min()) & (lasts < units.max())]  # others: all rows go the same way
    lasts = within if len(within) else lasts[:1]
    lo, hi = int(lasts[0]), int(lasts[-1]) + 1
    kinds = [Bins("linear", lo, hi, min(NR_BINS, hi - lo + 1))]
    if lo >= 0 and hi - lo >= NR_BINS:
        by_octaves = (Bins("log2", lo, hi, 2, 1 << power) for power in range(8))
        kinds += [replace(one, nr_bins=one.most_bins()) for one in by_octaves if one.most_bins() <= NR_BINS]
    ordered = np.sort(units)

    def nr_changed(bins: Bins) -> int:
        edges = _InputEdges(0, factor, bins)
        at = [edges.reached(int(last)) for last in lasts]
        return int(
            np.abs(np.searchsorted(ordered, lasts, "right") - np.searchsorted(ordered, at, "right")).sum()
        )

    return ModelInput(name, min(kinds, key=nr_changed))


@dataclass(frozen=True)
class _InputEdges:
    """Where an input's thresholds come to lie.

    Attributes:
        number: Of the input, in the canonical model.
        factor: How many of its units a value of 1 is.
        bins: Its bins.
    """

    number: int
    factor: int
    bins: Bins

    def bin_of(self, last: int) -> int:
        """The greatest bin that goes left, where values up to `last` do."""
        if last < self.bins.lo:
            return -1
        if last >= self.bins.hi:
            return MOST_BINS - 1  # all of them
        ends = self._ends
        return int(np.abs(ends - last).argmin())

    def reached(self, last: int) -> int:
        """The greatest value that does then."""
        return int(self._ends[self.bin_of(last)])

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        """The greatest value of each bin but the last."""
        return self.bins.edges()[1:] - 1


def _moved(tree: FloatTree, edges: Mapping[int, _InputEdges]) -> FloatTree:
    if isinstance(tree, Leaf):
        return tree
    to = edges[tree.feature]
    threshold = to.bin_of(_last_left(tree.threshold, to.factor))
    return TreeSplit(to.number, threshold, _moved(tree.left, edges), _moved(tree.right, edges))
