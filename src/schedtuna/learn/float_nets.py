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
from schedtuna.learn.imported import (
    NR_BINS,
    FloatArray,
    ImportedModel,
    counted,
    labels_of,
    rows_of,
    told_of,
    whole,
)
from schedtuna.learn.quantise import quantise_mlp
from schedtuna.model.bins import Bins
from schedtuna.model.core import MOST_LOGITS
from schedtuna.model.model import DecisionModel, ModelInput, decisions
from schedtuna.model.nets import MOST_UNITS
from schedtuna.model.rows import checked

MOST_INPUTS = 16
MOST_BYTES = 64 << 20
_AGREES = 1e-3  # of what a file's own library computes, in float32


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
) -> ImportedModel:
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
    rows = rows_of(columns, net.nr_inputs)
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
    labels = labels if labels is not None else labels_of(inputs, made.core.nr_logits)
    made_by = told_of(net.source, changed, len(rows))
    model = checked(DecisionModel(name, tuple(inputs), tuple(labels), made.core, made_by))
    return ImportedModel(model, changed, len(rows), fixed, assumed=net.assumed)


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
    name, factor = counted(column, values)
    units = whole(values, factor)
    lo, hi = int(units.min()), int(units.max())
    if lo == hi:
        raise ModelError(f"{column}: its values differ by less than 1/{factor}", hint="scale it, and the net")
    bins = Bins("linear", lo, hi, min(NR_BINS, hi - lo + 1))
    width = (hi - lo + 1) / bins.nr_bins
    return (
        ModelInput(name, bins),
        width / factor,
        -(lo - 0.5) / width - 0.5,
        bins.quantise(units),
    )


def require_small(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse an archive that is no small net's.

    Raises:
        ModelError: It unpacks to too much.
    """
    if sum(one.file_size for one in archive.infolist()) > MOST_BYTES:
        raise ModelError(f"{name} unpacks to more than {MOST_BYTES >> 20} MiB, and is no small net")
