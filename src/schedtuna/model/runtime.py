"""The native runtime, typed: every accumulator of rows of bins, or what decides of many rows at once."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from schedtuna.errors import MissingExtraError, ModelError, SchedtunaError, UnavailableError
from schedtuna.model.core import Accumulators, BinArray, Core
from schedtuna.model.model import DecisionModel, decisions
from schedtuna.model.nets import Linear, Mlp, StepNet
from schedtuna.model.trees import BoxTrees, ObliviousTrees

_EXTRA = "nanobind_backend"  # what differs between Python's versions; it comes with the extra


def _missing(error: ImportError) -> SchedtunaError:
    if find_spec("schedtuna.model._runtime") is None:
        return UnavailableError(
            "this installation lacks the models' native module",
            hint="a wheel has it for CPython 3.11 and newer, though not for free-threaded builds; a clone "
            "builds it with `pip install -e '.[sim]'`, unless it is told SCHEDTUNA_SIM=OFF",
        )
    if find_spec(_EXTRA) is None:
        return MissingExtraError("the models' runtime", "sim")
    return UnavailableError(f"the models' native module can't be loaded: {error}", hint="install it anew")


try:
    from schedtuna.model import _runtime as native
except ImportError as _error:
    raise _missing(_error) from _error


__all__ = ["ModelRuntime", "native", "native_runtime"]


def native_runtime(model: DecisionModel, vectors: str = "") -> native.Runtime:
    """Build what computes a model natively, from its arrays.

    Args:
        model: The model.
        vectors: Which of `native.vectors()` it may use; default: the widest.

    Raises:
        ModelError: It can't be one: an index leads outside an array.
    """
    rows = [
        (c.lo, c.hi, c.multiplier, c.base, c.last, c.shift, one.bins.kind == "log2")
        for one in model.inputs
        for c in [one.bins.constants()]
    ]
    try:
        return _made(model.core, rows, vectors)
    except native.BadModelError as error:
        raise ModelError(f"the native runtime refuses the model: {error}") from None


def _made(core: Core, rows: list[tuple[int, int, int, int, int, int, bool]], vectors: str) -> native.Runtime:
    if isinstance(core, BoxTrees):
        shapes = (core.nr_leaves, core.feature, core.threshold, core.left, core.right, core.leaves)
        return native.trees(rows, vectors, core.base, *shapes)
    if isinstance(core, ObliviousTrees):
        return native.oblivious(
            rows, vectors, core.base, core.nr_levels, core.feature, core.threshold, core.leaves
        )
    if isinstance(core, Linear):
        return native.linear(rows, core.weights, core.biases)
    if isinstance(core, Mlp):
        return native.mlp(rows, vectors, core.weights, core.biases, core.shifts)
    assert isinstance(core, StepNet)
    return native.step(rows, vectors, core.weights, core.biases, core.shift)


class ModelRuntime:
    """A model, computed natively.

    Args:
        model: The model; its own rows, where it has them, are computed before anything else.
        vectors: Which vector instructions it may use, of `native.vectors()`; default: the widest that this
            processor has. What is computed is the same.

    Raises:
        ModelError: The runtime computes a row of the model's other than the reference does.
    """

    def __init__(self, model: DecisionModel, *, vectors: str = "") -> None:
        self.model = model
        self.native = native_runtime(model, vectors)
        if model.rows is not None and (row := self._first_other()) is not None:
            raise ModelError(f"the native runtime computes row {row} of {model.name} differently")

    def _first_other(self) -> int | None:
        rows = self.model.rows
        assert rows is not None
        bins = self.quantise(rows.values)
        logits = rows.accumulators[:, -self.model.core.nr_logits :]
        other = (bins != rows.bins).any(axis=1)
        other |= (self.accumulate(rows.bins) != rows.accumulators).any(axis=1)
        other |= (self.logits(rows.bins) != logits).any(axis=1)
        return int(np.flatnonzero(other)[0]) if other.any() else None

    def quantise(self, values: npt.NDArray[np.int64]) -> BinArray:
        """Return the bins of values, int64 [rows, inputs].

        Raises:
            ModelError: They are of another shape.
        """
        self._require(values.shape)
        bins = np.empty(values.shape, np.uint16)
        self.native.quantise(np.ascontiguousarray(values, np.int64), bins)
        return bins

    def accumulate(self, bins: BinArray) -> Accumulators:
        """Return every accumulator, int32 [rows, accumulators], of bins, uint16 [rows, inputs].

        Raises:
            ModelError: They are of another shape, or a bin is beyond its last.
        """
        return self._run(self.native.accumulate, bins, self.native.nr_accumulators)

    def logits(self, bins: BinArray) -> Accumulators:
        """Return what decides, int32 [rows, logits], of bins, uint16 [rows, inputs].

        Raises:
            ModelError: They are of another shape, or a bin is beyond its last.
        """
        return self._run(self.native.logits, bins, self.native.nr_logits)

    def decide(self, bins: BinArray) -> npt.NDArray[np.uint8]:
        """Return the number of each row's label."""
        return decisions(self.logits(bins))

    def _run(self, compute: Callable[..., None], bins: BinArray, width: int) -> Accumulators:
        self._require(bins.shape)
        found = np.empty((len(bins), width), np.int32)
        try:
            compute(np.ascontiguousarray(bins, np.uint16), found)
        except native.BadModelError as error:
            raise ModelError(str(error)) from None
        return found

    def _require(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2 or shape[1] != self.native.nr_inputs:
            raise ModelError(f"rows are [any number, {self.native.nr_inputs}], not {list(shape)}")
