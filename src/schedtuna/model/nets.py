"""Linear models and small nets: small weights, integers throughout, sums proven to fit their lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.model.core import (
    MOST_INPUTS,
    MOST_LOGITS,
    Accumulators,
    AnyArray,
    BinArray,
    Core,
    Given,
    IntArray,
    require_array,
    require_sum,
    require_whole,
)

MOST_UNITS = 64  # of a hidden ReLU layer
MOST_STEP_UNITS = 128
MOST_WEIGHT = 127  # of a net; -128 is none
MOST_BYTE = 255  # a net's inputs are bytes
MOST_HIDDEN = 127  # what a ReLU unit is clamped to
RELU_LANE = 21  # bits of a lane that a ReLU net's sums live in: three to a word
STEP_LANE = 16  # of a step net: four to a word
MOST_RELU_SHIFT = 12
MOST_TERM_SHIFT = 7
_HIDDEN_LAYERS = (1, 2)


def round_shift(values: IntArray, shift: int) -> IntArray:
    """Divide by 2^shift, half rounded up: the one rounding there is."""
    return (values + ((1 << shift) >> 1)) >> shift


def sum_bounds(weights: AnyArray, biases: AnyArray, most: int) -> tuple[IntArray, IntArray]:
    """The least and greatest sums of each row's weights times 0 to `most`, with its bias."""
    wide, bias = weights.astype(np.int64), biases.astype(np.int64)
    return bias + most * np.minimum(wide, 0).sum(axis=1), bias + most * np.maximum(wide, 0).sum(axis=1)


def _require_layers(core: Net, most_units: int) -> None:
    """Make a net's weights and biases arrays of their type, and refuse shapes that don't fit together."""
    if len(core.weights) - 1 not in _HIDDEN_LAYERS or len(core.biases) != len(core.weights):
        raise ModelError(
            f"a net has 1 or 2 hidden layers and an output, not {len(core.weights)} layers of weights "
            f"and {len(core.biases)} of biases"
        )
    weights: list[AnyArray] = []
    biases: list[AnyArray] = []
    for number, (given, bias) in enumerate(zip(core.weights, core.biases, strict=True)):
        array = require_array(f"weights {number}", given, np.int8, 2)
        biases.append(require_array(f"biases {number}", bias, np.int32, 1))
        is_last = number == len(core.weights) - 1
        most_inputs = most_units if number else MOST_INPUTS
        most_outputs = MOST_LOGITS if is_last else most_units
        if not 1 <= array.shape[0] <= most_outputs or not 1 <= array.shape[1] <= most_inputs:
            raise ModelError(
                f"weights {number} are {array.shape[0]} x {array.shape[1]}, expected at most "
                f"{most_outputs} x {most_inputs}"
            )
        if number and array.shape[1] != weights[-1].shape[0]:
            raise ModelError(f"weights {number} take {array.shape[1]} units of {weights[-1].shape[0]}")
        if biases[-1].shape != array.shape[:1]:
            raise ModelError(f"biases {number} are {len(biases[-1])}, expected {len(array)}")
        if (array < -MOST_WEIGHT).any():
            raise ModelError(f"weights {number} are -{MOST_WEIGHT} to {MOST_WEIGHT}, not -128")
        weights.append(array)
    object.__setattr__(core, "weights", tuple(weights))
    object.__setattr__(core, "biases", tuple(biases))


def _layers_of(arrays: Mapping[str, AnyArray], name: str) -> tuple[AnyArray, ...]:
    found = [arrays.get(f"{name}{number}") for number in range(max(_HIDDEN_LAYERS) + 1)]
    return tuple(array for array in found if array is not None)


@dataclass(frozen=True, eq=False)
class Linear(Core):
    """logit[k] = biases[k] + the sum of weights[k, i] * bin[i].

    Attributes:
        weights: int16 [logits, inputs]
        biases: int32 [logits]
    """

    family: ClassVar[str] = "linear"

    weights: Given
    biases: Given

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "weights", require_array("weights", self.weights, np.int16, 2))
        put(self, "biases", require_array("biases", self.biases, np.int32, 1))
        if not 1 <= self.weights.shape[0] <= MOST_LOGITS or not 1 <= self.weights.shape[1] <= MOST_INPUTS:
            raise ModelError(
                f"weights are {self.weights.shape}, expected at most {(MOST_LOGITS, MOST_INPUTS)}"
            )
        if self.biases.shape != self.weights.shape[:1]:
            raise ModelError(f"biases are {len(self.biases)}, expected {len(self.weights)}")

    @property
    def nr_inputs(self) -> int:
        """How many bins it takes."""
        return int(self.weights.shape[1])

    @property
    def nr_logits(self) -> int:
        """How many numbers decide."""
        return len(self.weights)

    def layout(self) -> tuple[tuple[str, int], ...]:
        """The logits alone."""
        return (("logit", self.nr_logits),)

    def require(self, nr_bins: Sequence[int]) -> None:
        """Refuse inputs with which a logit could leave 32 bits."""
        terms = self.weights.astype(np.int64) * (np.asarray(nr_bins, np.int64) - 1)
        low, high = np.minimum(terms, 0).sum(axis=1), np.maximum(terms, 0).sum(axis=1)
        require_sum("logit", self.biases + low, self.biases + high, 32)

    def accumulate(self, bins: BinArray) -> Accumulators:
        """Multiply and add."""
        sums = bins.astype(np.int64) @ self.weights.astype(np.int64).T + self.biases
        return np.asarray(sums, np.int32)

    def arrays(self) -> dict[str, AnyArray]:
        """What a file holds of it."""
        return {"weights": self.weights, "biases": self.biases}

    def settings(self) -> dict[str, int | list[int]]:
        """Nothing beside the arrays."""
        return {}

    @classmethod
    def of(cls, arrays: Mapping[str, AnyArray], settings: Mapping[str, Any]) -> Self:
        """Build one of what a file holds."""
        return cls(**dict(settings), **arrays)


@dataclass(frozen=True, eq=False)
class Net(Core):
    """Layers of sums, with something between two of them.

    Attributes:
        weights: int8 [units, units of the layer before] of each layer.
        biases: int32 [units] of each.
    """

    weights: tuple[Given, ...]
    biases: tuple[Given, ...]

    @property
    def nr_inputs(self) -> int:
        """How many bins it takes."""
        return int(self.weights[0].shape[1])

    @property
    def nr_logits(self) -> int:
        """How many numbers decide."""
        return len(self.weights[-1])

    def layout(self) -> tuple[tuple[str, int], ...]:
        """Of each hidden layer its sums and its units, and the logits."""
        hidden = [
            (f"{stage}{number}", len(array))
            for number, array in enumerate(self.weights[:-1], start=1)
            for stage in ("sum", "hidden")
        ]
        return (*hidden, ("logit", self.nr_logits))

    def require(self, nr_bins: Sequence[int]) -> None:
        """Refuse inputs that are no bytes."""
        if max(nr_bins) > MOST_BYTE + 1:
            raise ModelError(
                f"{self.family}: an input has {max(nr_bins)} bins, and at most 256 fit into a byte"
            )

    def arrays(self) -> dict[str, AnyArray]:
        """Weights and biases of each layer, numbered."""
        weights = {f"weights{number}": array for number, array in enumerate(self.weights)}
        return weights | {f"biases{number}": array for number, array in enumerate(self.biases)}


@dataclass(frozen=True, eq=False)
class Mlp(Net):
    """A net of ReLU units: sum = bias + weights x input, hidden = clamp((sum + half) >> shift, 0, 127).

    half is 2^(shift - 1), or 0 where the shift is 0. The last layer's sums are the logits. Every sum, with
    half added, is proven to fit 21 bits with sign whatever the inputs are: -2^20 to 2^20 - 1.

    Attributes:
        weights: int8 [units, units of the layer before], -127 to 127: 1 or 2 hidden layers of up to 64 units,
            and one of up to 4 logits. The inputs are bytes.
        biases: int32 [units] for each.
        shifts: Of each hidden layer, 0 to 12.
    """

    family: ClassVar[str] = "mlp"

    shifts: tuple[int, ...]

    def __post_init__(self) -> None:
        _require_layers(self, MOST_UNITS)
        if len(self.shifts) != len(self.weights) - 1:
            raise ModelError(f"{len(self.shifts)} shifts for {len(self.weights) - 1} hidden layers")
        shifts = tuple(require_whole("shift", shift, 0, MOST_RELU_SHIFT) for shift in self.shifts)
        object.__setattr__(self, "shifts", shifts)
        most = MOST_BYTE
        for number, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            half = (1 << shifts[number]) >> 1 if number < len(shifts) else 0
            low, high = sum_bounds(weights, biases, most)
            require_sum(f"sum of layer {number + 1}, unit", low + half, high + half, RELU_LANE)
            most = MOST_HIDDEN

    def accumulate(self, bins: BinArray) -> Accumulators:
        """Layer by layer, in integers."""
        units, stages = bins.astype(np.int64), []
        for number, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            sums = units @ weights.astype(np.int64).T + biases
            stages.append(sums)
            if number < len(self.shifts):
                units = np.clip(round_shift(sums, self.shifts[number]), 0, MOST_HIDDEN)
                stages.append(units)
        return np.concatenate(stages, axis=1).astype(np.int32)

    def settings(self) -> dict[str, int | list[int]]:
        """What a file's header holds of it."""
        return {"shifts": list(self.shifts)}

    @classmethod
    def of(cls, arrays: Mapping[str, AnyArray], settings: Mapping[str, Any]) -> Self:
        """Build one of what a file holds."""
        weights, biases = _layers_of(arrays, "weights"), _layers_of(arrays, "biases")
        return cls(weights, biases, tuple(settings["shifts"]))


@dataclass(frozen=True, eq=False)
class StepNet(Net):
    """A net of step units: hidden = 1 where its sum is at least 0, else 0.

    In the first layer each term is rounded by itself: (weight * bin + half) >> shift, half = 2^(shift - 1),
    or 0 where the shift is 0; sum = bias + the terms. In the others sum = bias + weights x hidden. The last
    layer's sums are the logits. Hidden sums are proven to fit 16 bits with sign.

    Attributes:
        weights: int8 [units, units of the layer before], -127 to 127: 1 or 2 hidden layers of up to 128
            units, and one of up to 4 logits. The inputs are bytes.
        biases: int32 [units] for each.
        shift: Of the first layer's terms, 0 to 7.
    """

    family: ClassVar[str] = "step"

    shift: int

    def __post_init__(self) -> None:
        _require_layers(self, MOST_STEP_UNITS)
        object.__setattr__(self, "shift", require_whole("shift", self.shift, 0, MOST_TERM_SHIFT))
        bias = self.biases[0].astype(np.int64)
        end = round_shift(self.weights[0].astype(np.int64) * MOST_BYTE, self.shift)
        low, high = bias + np.minimum(end, 0).sum(axis=1), bias + np.maximum(end, 0).sum(axis=1)
        require_sum("sum of layer 1, unit", low, high, STEP_LANE)
        for number, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            if number:
                bits = STEP_LANE if number < len(self.weights) - 1 else 32
                require_sum(f"sum of layer {number + 1}, unit", *sum_bounds(weights, biases, 1), bits)

    def accumulate(self, bins: BinArray) -> Accumulators:
        """Layer by layer, in integers."""
        sums = np.broadcast_to(self.biases[0].astype(np.int64), (len(bins), len(self.biases[0])))
        for index in range(self.nr_inputs):
            products = bins[:, index, None].astype(np.int64) * self.weights[0][:, index]
            sums = sums + round_shift(products, self.shift)
        stages = [sums]
        for weights, biases in zip(self.weights[1:], self.biases[1:], strict=True):
            units = (sums >= 0).astype(np.int64)
            sums = units @ weights.astype(np.int64).T + biases
            stages += [units, sums]
        return np.concatenate(stages, axis=1).astype(np.int32)

    def settings(self) -> dict[str, int | list[int]]:
        """What a file's header holds of it."""
        return {"shift": self.shift}

    @classmethod
    def of(cls, arrays: Mapping[str, AnyArray], settings: Mapping[str, Any]) -> Self:
        """Build one of what a file holds."""
        weights, biases = _layers_of(arrays, "weights"), _layers_of(arrays, "biases")
        return cls(weights, biases, settings["shift"])
