"""A whole model: where its bins come from, its numbers, what its decision means, and rows that test it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.model.bins import Bins
from schedtuna.model.core import MOST_LOGITS, Accumulators, BinArray, Core, IntArray, require_array

_LONGEST_TEXT = 200


class ModelInput(NamedTuple):
    """An input.

    Attributes:
        name: Of the feature, with its unit.
        bins: What becomes of its values.
    """

    name: str
    bins: Bins


@dataclass(frozen=True, eq=False)
class CheckRows:
    """Rows whose every accumulator is known: an executor that differs anywhere may not decide.

    Attributes:
        values: int64 [rows, inputs], before they are binned.
        bins: uint16 [rows, inputs]
        accumulators: int32 [rows, accumulators], as the core's `layout` has them.
    """

    values: IntArray
    bins: BinArray
    accumulators: Accumulators

    def __post_init__(self) -> None:
        for name, dtype in (("values", np.int64), ("bins", np.uint16), ("accumulators", np.int32)):
            object.__setattr__(self, name, require_array(f"rows' {name}", getattr(self, name), dtype, 2))
        if not len(self.values) == len(self.bins) == len(self.accumulators):
            raise ModelError("its rows' values, bins and accumulators are not of the same rows")

    def __len__(self) -> int:
        return len(self.values)


def _require_text(name: str, text: Any, *, empty: bool = False) -> None:
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT or not (text or empty):
        raise ModelError(f"{name} is a text of 1 to {_LONGEST_TEXT} characters, not {str(text)[:50]!r}")


@dataclass(frozen=True, eq=False)
class DecisionModel:
    """A model in its canonical form.

    With one logit the decision is labels[1] where the logit is greater than 0, else labels[0]. With more it
    is the label of the greatest logit, the first of equal ones.

    Attributes:
        name: What it is called.
        inputs: In the order in which the core takes them.
        labels: Two for one logit; else one for each logit.
        core: The numbers.
        made_by: Where it comes from, for people.
        rows: What it is checked with; see `schedtuna.model.rows`.
    """

    name: str
    inputs: tuple[ModelInput, ...]
    labels: tuple[str, ...]
    core: Core
    made_by: str
    rows: CheckRows | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "labels", tuple(self.labels))
        _require_text("the name", self.name)
        _require_text("made_by", self.made_by, empty=True)
        names = [one.name for one in self.inputs]
        for kind, texts in (("an input's name", names), ("a label", list(self.labels))):
            for text in texts:
                _require_text(kind, text)
            if len(set(texts)) < len(texts):
                raise ModelError(f"{kind} is there twice: {', '.join(texts)}")
        if len(self.inputs) != self.core.nr_inputs:
            raise ModelError(f"{len(self.inputs)} inputs are described, and it takes {self.core.nr_inputs}")
        if len(self.labels) != max(self.core.nr_logits, 2) or self.core.nr_logits > MOST_LOGITS:
            raise ModelError(f"{len(self.labels)} labels for {self.core.nr_logits} logits")
        self.core.require(self.nr_bins)
        if self.rows is not None:
            if self.rows.values.shape[1] != len(self.inputs) or self.rows.bins.shape[1] != len(self.inputs):
                raise ModelError(f"its rows are not of {len(self.inputs)} inputs")
            if self.rows.accumulators.shape[1] != self.core.nr_accumulators:
                raise ModelError(f"its rows are not of {self.core.nr_accumulators} accumulators")

    @property
    def nr_bins(self) -> tuple[int, ...]:
        """Of each input."""
        return tuple(one.bins.nr_bins for one in self.inputs)

    @cached_property
    def version(self) -> str:
        """16 hexadecimal digits that all which decides goes into: inputs, labels and numbers."""
        told = {
            "family": self.core.family,
            "inputs": [[one.name, *_bins_fields(one.bins)] for one in self.inputs],
            "labels": self.labels,
            "settings": self.core.settings(),
            "arrays": {name: [array.dtype.str, array.shape] for name, array in self.core.arrays().items()},
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for _, array in sorted(self.core.arrays().items()):
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]

    def quantise(self, values: npt.ArrayLike) -> BinArray:
        """Return the bins of raw values.

        Args:
            values: Integers, [rows, inputs].

        Raises:
            ModelError: They are of another shape, or no integers.
        """
        given = np.asarray(values)
        self._require_rows(given.shape)
        columns = [one.bins.quantise(given[:, index]) for index, one in enumerate(self.inputs)]
        return np.stack(columns, axis=1)

    def require_bins(self, bins: npt.ArrayLike) -> BinArray:
        """Return rows of bins that are none beyond each input's last.

        Raises:
            ModelError: They are of another shape, no integers, or beyond the last.
        """
        given: BinArray = require_array("bins", bins, np.uint16, 2)
        self._require_rows(given.shape)
        beyond = (given >= np.asarray(self.nr_bins)).any(axis=0)
        if beyond.any():
            first = self.inputs[int(np.flatnonzero(beyond)[0])]
            raise ModelError(f"a bin of {first.name} is beyond its last, {first.bins.last}")
        return given

    def _require_rows(self, shape: Sequence[int]) -> None:
        if len(shape) != 2 or shape[1] != len(self.inputs):
            raise ModelError(f"rows are [any number, {len(self.inputs)}], not {list(shape)}")

    def accumulate(self, bins: npt.ArrayLike) -> Accumulators:
        """Compute every accumulator by the reference: int32 [rows, accumulators]."""
        return self.core.accumulate(self.require_bins(bins))

    def decide(self, bins: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Return the number of each row's label."""
        return decisions(self.core.logits(self.require_bins(bins)))

    def with_rows(self, rows: CheckRows) -> DecisionModel:
        """Return the same model with other rows."""
        return replace(self, rows=rows)


def decisions(logits: Accumulators) -> npt.NDArray[np.uint8]:
    """Return the number of the label that each row of logits [rows, logits] stands for."""
    if logits.shape[1] == 1:
        return np.asarray(logits[:, 0] > 0, np.uint8)
    return np.asarray(np.argmax(logits, axis=1), np.uint8)


def _bins_fields(bins: Bins) -> list[str | int]:
    return [bins.kind, bins.lo, bins.hi, bins.nr_bins, bins.per_octave]
