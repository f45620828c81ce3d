"""A net of floats over values, as others trained it, becomes a canonical one over bins; and what that costs.

Bins and their bounds come from rows such as the net will meet. A bin stands for the mean of its values: what
the net took of a value, it takes of the value's bin times the bins' width.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.learn.quantise import quantise_mlp
from schedtuna.model.bins import Bins
from schedtuna.model.core import MOST_LOGITS
from schedtuna.model.migration import INPUTS, LABELS, LOAD_SCALE
from schedtuna.model.model import DecisionModel, ModelInput, decisions
from schedtuna.model.nets import MOST_UNITS
from schedtuna.model.rows import checked

FloatArray = npt.NDArray[np.float64]
MOST_INPUTS = 16
MOST_BYTES = 64 << 20
_NR_BINS = 256
_FACTORS = {1: "", 1000: "_permille", 10**6: "_ppm"}  # an input of parts of one is told in these
_LEAST_STEPS = 1000  # between the least and the greatest value of an input of fractions
_AGREES = 1e-3  # of what a file's own library computes, in float32
# What a decision about a migration is made by, as MigrationFeatures calls it, is an input of another name.
_MIGRATION = dict(
    zip(("cpu", "cpu_idle", "cpu_not_idle", "src_dom_load", "dst_dom_load"), INPUTS, strict=True)
)


@dataclass(frozen=True)
class NetStep:
    """One thing that a net does, in order.

    Attributes:
        kind: `dense` has weights and biases.
        weights: [units, units before]
        biases: [units]
        told: What the file calls it.
    """

    kind: Literal["dense", "relu", "sigmoid", "softmax"]
    weights: Any = None
    biases: Any = None
    told: str = ""


@dataclass(frozen=True, eq=False)
class FloatNet:
    """A net of dense layers with ReLU between them.

    Attributes:
        layers: Weights [units, units before] and biases [units] of each.
        source: What it was read from.
        predict: What the file's own library computes of float32 rows, or None where it can't be asked.
        assumed: What the file does not say, and was taken for granted.
    """

    layers: tuple[tuple[FloatArray, FloatArray], ...]
    source: str
    predict: Callable[[npt.NDArray[np.float32]], Any] | None = None
    assumed: str = ""

    @property
    def nr_inputs(self) -> int:
        """How many values it takes."""
        return int(self.layers[0][0].shape[1])

    def logits(self, rows: FloatArray) -> FloatArray:
        """What decides, [rows, logits], before any sigmoid or softmax."""
        units = rows
        for number, (weights, biases) in enumerate(self.layers):
            units = units @ weights.T + biases
            if number < len(self.layers) - 1:
                units = np.maximum(units, 0)
        return units

    def decide(self, rows: FloatArray) -> npt.NDArray[np.uint8]:
        """The number of each row's label: a sigmoid above a half, or the greatest logit."""
        logits = self.logits(rows)
        found = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
        return np.asarray(found, np.uint8)


@dataclass(frozen=True, eq=False)
class ImportedNet:
    """A canonical model, and how it differs from the net.

    Attributes:
        model: With rows of its own.
        decisions_changed: Share of the given rows that it decides differently.
        nr_rows: How many rows there were.
        fixed: Inputs that were the same in all rows, and are now part of the biases: their values.
    """

    model: DecisionModel
    decisions_changed: float
    nr_rows: int
    fixed: dict[str, float]


def net_of(steps: Sequence[NetStep], source: str, **rest: Any) -> FloatNet:
    """Return the net that does these steps.

    Raises:
        ModelError: They are another kind of net than a canonical one can be.
    """
    layers: list[tuple[FloatArray, FloatArray]] = []
    before = "relu"
    for number, step in enumerate(steps):
        told = step.told or step.kind
        if step.kind == "dense":
            if before != "relu":
                raise ModelError(
                    f"{told} follows {before}: between layers there has to be a ReLU, and nothing else"
                )
            layers.append((_finite(step.weights, 2, told), _finite(step.biases, 1, told)))
        elif before != "dense" or (step.kind != "relu" and number < len(steps) - 1):
            raise ModelError(f"{told} follows {before}: a net is dense layers with ReLU between them")
        before = step.kind
    if before == "relu" or len(layers) not in (2, 3):
        raise ModelError(
            f"{len(layers)} dense layers that end in {before}: expected 1 or 2 hidden ReLU layers, and logits"
        )
    _require_sizes(layers)
    if before == "sigmoid" and len(layers[-1][1]) != 1:
        raise ModelError(f"a sigmoid of {len(layers[-1][1])} units: expected one, or a softmax")
    if before == "softmax" and len(layers[-1][1]) == 1:
        raise ModelError("a softmax of one unit is always 1, and decides nothing")
    return FloatNet(tuple(layers), source, **rest)


def _require_sizes(layers: Sequence[tuple[FloatArray, FloatArray]]) -> None:
    units = layers[0][0].shape[1]
    if not 1 <= units <= MOST_INPUTS:
        raise ModelError(f"the net takes {units} values, expected 1 to {MOST_INPUTS}")
    for number, (weights, biases) in enumerate(layers):
        most = MOST_LOGITS if number == len(layers) - 1 else MOST_UNITS
        if weights.shape != (len(biases), units):
            raise ModelError(f"layer {number} is {weights.shape}, expected {(len(biases), units)}")
        if not 1 <= len(biases) <= most:
            raise ModelError(
                f"layer {number} has {len(biases)} units, expected 1 to {most}",
                hint=f"nets of up to {MOST_INPUTS}-{MOST_UNITS}-{MOST_UNITS}-{MOST_LOGITS} fit",
            )
        units = len(biases)


def _finite(values: Any, ndim: int, told: str) -> FloatArray:
    array = np.asarray(values, np.float64)
    if array.ndim != ndim or not np.isfinite(array).all():
        raise ModelError(f"{told}: its numbers are not finite, or of {array.ndim} dimensions, not {ndim}")
    return array


def import_net(
    net: FloatNet, columns: Mapping[str, npt.ArrayLike], name: str, labels: Sequence[str] | None = None
) -> ImportedNet:
    """Make a net's canonical model.

    Args:
        net: The net.
        columns: Rows such as it will meet, by input, in the net's order. Those of `MigrationFeatures` become
            the inputs of migrations.
        name: Of the model.
        labels: What it decides; default: `stay` and `migrate` of migrations, else numbers.

    Raises:
        ModelError: The rows are not those of the net, not finite, or all alike, or the file's own library
            computes something else than what was read.
    """
    rows = _rows(net, columns)
    _require_same(net, rows)
    inputs, scales, offsets, bins, fixed, kept = [], [], [], [], {}, []
    for index, (column, values) in enumerate(zip(columns, rows.T, strict=True)):
        if (values == values[0]).all():
            fixed[column] = float(values[0])
            continue
        one, scale, offset, found = _binned(column, values)
        kept.append(index)
        inputs.append(one)
        scales.append(scale)
        offsets.append(offset)
        bins.append(found)
    if not inputs:
        raise ModelError("every input is the same in all rows", hint="give rows such as the net will meet")
    weights, biases = net.layers[0]
    for index, value in enumerate(rows[0]):
        if index not in kept:
            biases = biases + weights[:, index] * value
    layers = [(weights[:, kept], biases), *net.layers[1:]]
    stacked = np.stack(bins, axis=1)
    made = quantise_mlp(
        [w for w, _ in layers],
        [b for _, b in layers],
        stacked,
        scale=np.array(scales),
        offset=np.array(offsets),
    )
    expected = net.decide(rows)
    changed = float((decisions(made.core.logits(stacked)) != expected).mean())
    if labels is None:
        is_migration = all(one.name in INPUTS for one in inputs) and len(net.layers[-1][1]) == 1
        labels = LABELS if is_migration else [str(n) for n in range(max(len(net.layers[-1][1]), 2))]
    made_by = f"{net.source}; {100 * changed:.3g}% of {len(rows)} rows decided differently"
    model = checked(DecisionModel(name, tuple(inputs), tuple(labels), made.core, made_by))
    return ImportedNet(model, changed, len(rows), fixed)


def _rows(net: FloatNet, columns: Mapping[str, npt.ArrayLike]) -> FloatArray:
    if len(columns) != net.nr_inputs:
        raise ModelError(
            f"the net takes {net.nr_inputs} values, and rows have {len(columns)}: {', '.join(columns)}"
        )
    rows = np.stack([np.asarray(values, np.float64) for values in columns.values()], axis=1)
    if not len(rows) or not np.isfinite(rows).all():
        raise ModelError("a net is calibrated by at least one row of finite numbers")
    return rows


def _require_same(net: FloatNet, rows: FloatArray) -> None:
    """Ask the file's own library, where it is there: nothing else than that is imported."""
    if net.predict is None:
        return
    some = rows[:1000].astype(np.float32)
    found = np.asarray(net.predict(some), np.float64).reshape(len(some), -1)
    logits = net.logits(some.astype(np.float64))
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-logits))
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    room = _AGREES * (1 + np.abs(logits))
    answers = ((logits, room), (sigmoid, _AGREES), (softmax, _AGREES))
    if not any(found.shape == one.shape and (np.abs(found - one) <= by).all() for one, by in answers):
        raise ModelError(f"{net.source}: its own library computes something else than what was read of it")


def _binned(column: str, values: FloatArray) -> tuple[ModelInput, float, float, npt.NDArray[np.uint16]]:
    """An input, the scale and offset by which its bins are the net's values, and the bins of the rows."""
    name = _MIGRATION.get(column, column)
    factor = LOAD_SCALE if name != column and name.endswith("_permille") else _factor(values)
    if name == column:
        name += _FACTORS[factor]
    whole = np.floor(values * factor + 0.5)
    if np.abs(whole).max() >= 2**53:
        raise ModelError(f"{column}: {values[np.abs(values).argmax()]:g} is too great to be counted")
    lo, hi = int(whole.min()), int(whole.max())
    if lo == hi:
        raise ModelError(f"{column}: its values differ by less than 1/{factor}", hint="scale it, and the net")
    bins = Bins("linear", lo, hi, min(_NR_BINS, hi - lo + 1))
    width = (hi - lo + 1) / bins.nr_bins
    return (
        ModelInput(name, bins),
        width / factor,
        -(lo - 0.5) / width - 0.5,
        bins.quantise(whole.astype(np.int64)),
    )


def _factor(values: FloatArray) -> int:
    """Whole numbers stay; others are told in parts that leave enough steps."""
    if (values == np.floor(values)).all():
        return 1
    span = float(values.max() - values.min())
    return next((f for f in _FACTORS if f > 1 and span * f >= _LEAST_STEPS), max(_FACTORS))


def require_small(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse an archive that is no small net's.

    Raises:
        ModelError: It unpacks to too much.
    """
    if sum(one.file_size for one in archive.infolist()) > MOST_BYTES:
        raise ModelError(f"{name} unpacks to more than {MOST_BYTES >> 20} MiB, and is no small net")
