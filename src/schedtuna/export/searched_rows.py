"""Rows by which an export is compared with the reference before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.model.core import IntArray
from schedtuna.model.model import DecisionModel, decisions
from schedtuna.model.rows import checked

_INT64 = np.iinfo(np.int64)


def compared_rows(model: DecisionModel) -> dict[str, IntArray]:
    """Return int64 values [rows, inputs], by what they are: its own, searched ones, every bound of bins."""
    assert model.rows is not None
    searched = checked(model).rows
    assert searched is not None
    return {
        "own row": model.rows.values,
        "searched row": searched.values,
        "bound of bins, row": np.concatenate(list(_bounds(model))),
    }


def require_same(runtime: str, model: DecisionModel, told: str, values: IntArray, found: Any) -> None:
    """Refuse what decided otherwise than the reference.

    Args:
        runtime: Who decided.
        model: The model.
        told: What the rows are.
        values: int64 [rows, inputs].
        found: The number of each row's label, and logits [rows, logits].

    Raises:
        ModelError: A row differs; it says which.
    """
    decision, logits = found
    expected = model.core.logits(model.quantise(values))
    wrong = (decision != decisions(expected)) | (logits != expected).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ModelError(f"{runtime} decides otherwise, {told} {row}: {values[row].tolist()}")


def _bounds(model: DecisionModel) -> Iterator[IntArray]:
    """Rows in which one input is on or before each bound of its bins, and the others are at random."""
    random = np.random.default_rng(int(model.version, 16))
    rows = model.rows
    assert rows is not None
    for index, one in enumerate(model.inputs):
        edges = one.bins.edges()
        at = np.concatenate([edges, edges[1:] - 1, [_INT64.min, _INT64.max, one.bins.hi]])
        made = rows.values[random.integers(0, len(rows), len(at))].copy()
        made[:, index] = at
        yield made
