"""A net of floats becomes one of small integers: int8 weights, units of 0 to 127; and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.model.core import BinArray
from schedtuna.model.model import decisions
from schedtuna.model.nets import MOST_BYTE, MOST_HIDDEN, MOST_RELU_SHIFT, MOST_WEIGHT, RELU_LANE, Mlp

FloatArray = npt.NDArray[np.float64]
_SATURATED = 99.9  # percentile of a layer's units that still fits


@dataclass(frozen=True)
class QuantisedNet:
    """A net, and how it differs from what it was made of.

    Attributes:
        core: The net.
        decisions_changed: Share of the rows that it decides differently.
        nr_rows: How many rows there were.
    """

    core: Mlp
    decisions_changed: float
    nr_rows: int


def quantise_mlp(
    weights: Sequence[Any],
    biases: Sequence[Any],
    rows: BinArray,
    *,
    scale: npt.ArrayLike = 1.0,
    offset: npt.ArrayLike = 0.0,
) -> QuantisedNet:
    """Make an int8 net of a ReLU net of floats.

    Args:
        weights: [units, units of the layer before] of each layer, as torch and numpy have them.
        biases: [units] of each layer.
        rows: Bins, uint16 [rows, inputs], that units are scaled by: such as the net will meet.
        scale: The net was trained on (bin - offset) * scale, of each input or of all.
        offset: See there.

    Raises:
        ModelError: The net has another shape, a number that is not finite, or no rows.
    """
    floats = [(_floats(w, 2), _floats(b, 1)) for w, b in zip(weights, biases, strict=True)]
    if not len(rows) or rows.ndim != 2 or not floats or rows.shape[1] != floats[0][0].shape[1]:
        raise ModelError("a net is scaled by rows of its inputs, at least one")
    first, bias = floats[0]
    wide_scale = np.broadcast_to(np.asarray(scale, float), rows.shape[1:])
    wide_offset = np.broadcast_to(np.asarray(offset, float), rows.shape[1:])
    floats[0] = (first * wide_scale, bias - first @ (wide_offset * wide_scale))
    expected = _forward(floats, rows.astype(float))
    made: tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.int64]], list[int]] = ([], [], [])
    unit, most, units = 1.0, MOST_BYTE, rows.astype(float)  # unit: an integer is a float times this
    for number, (layer, layer_bias) in enumerate(floats):
        is_last = number == len(floats) - 1
        factor = _factor(layer, layer_bias, unit, most)
        made[0].append(np.rint(layer * factor).astype(np.int64))
        made[1].append(np.rint(layer_bias * factor * unit).astype(np.int64))
        if is_last:
            break
        units = np.maximum(units @ layer.T + layer_bias, 0)
        shift = _shift(float(np.percentile(units, _SATURATED)) * factor * unit)
        made[2].append(shift)
        unit, most = factor * unit / (1 << shift), MOST_HIDDEN
    core = Mlp(tuple(made[0]), tuple(made[1]), tuple(made[2]))
    if expected.shape[1] == 1:
        same = decisions(core.logits(rows)) == (expected[:, 0] > 0)
    else:
        same = decisions(core.logits(rows)) == expected.argmax(axis=1)
    return QuantisedNet(core, float(1 - same.mean()), len(rows))


def _floats(values: Any, ndim: int) -> FloatArray:
    if hasattr(values, "detach"):  # a tensor of torch
        values = values.detach().cpu().numpy()
    array = np.asarray(values, float)
    if array.ndim != ndim or not np.isfinite(array).all():
        raise ModelError(f"weights and biases are finite arrays of 2 and 1 dimensions, not of {array.ndim}")
    return array


def _forward(layers: Sequence[tuple[FloatArray, FloatArray]], units: FloatArray) -> FloatArray:
    for number, (weights, biases) in enumerate(layers):
        units = units @ weights.T + biases
        if number < len(layers) - 1:
            units = np.maximum(units, 0)
    return units


def _factor(weights: FloatArray, biases: FloatArray, unit: float, most: int) -> float:
    """The greatest factor at which weights are int8 and no sum leaves its lane, with room for rounding."""
    largest = float(np.abs(weights).max())
    if largest == 0:
        largest = 1.0
    reach = most * np.abs(weights).sum(axis=1) + np.abs(biases) * unit
    rounding = most * weights.shape[1] / 2 + (1 << (MOST_RELU_SHIFT - 1)) + 1
    room = (1 << (RELU_LANE - 1)) - rounding
    return float(min(MOST_WEIGHT / largest, room / max(float(reach.max()), 1e-300)))


def _shift(largest: float) -> int:
    for shift in range(MOST_RELU_SHIFT):
        if largest / (1 << shift) < MOST_HIDDEN + 0.5:
            return shift
    return MOST_RELU_SHIFT
