"""What nets and trees of others share as they become canonical: rows, inputs in whole numbers, labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.model.migration import INPUTS, LABELS, LOAD_SCALE
from schedtuna.model.model import DecisionModel, ModelInput

FloatArray = npt.NDArray[np.float64]
NR_BINS = 256  # of an input at most: what the kernel's programs and nets take
_FACTORS = {1: "", 1000: "_permille", 10**6: "_ppm"}  # an input of parts of one is told in these
_LEAST_STEPS = 1000  # between the least and the greatest value of an input of fractions
# What a decision about a migration is made by, as MigrationFeatures calls it, is an input of another name.
_MIGRATION = dict(
    zip(("cpu", "cpu_idle", "cpu_not_idle", "src_dom_load", "dst_dom_load"), INPUTS, strict=True)
)


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """A canonical model, and how it differs from what it was made of.

    Attributes:
        model: With rows of its own.
        decisions_changed: Share of the given rows that it decides differently.
        nr_rows: How many rows there were.
        fixed: Inputs that were the same in all rows, and are now part of the model: their values.
        unasked: Inputs that no question is about, and that the model does not take.
        assumed: What the file does not say, and was taken for granted.
    """

    model: DecisionModel
    decisions_changed: float
    nr_rows: int
    fixed: dict[str, float]
    unasked: tuple[str, ...] = ()
    assumed: str = ""


def rows_of(columns: Mapping[str, npt.ArrayLike], nr_inputs: int) -> FloatArray:
    """Return columns as float64 [rows, inputs].

    Raises:
        ModelError: They are not so many, or have no rows, or what is no finite number.
    """
    if len(columns) != nr_inputs:
        raise ModelError(f"it takes {nr_inputs} values, and rows have {len(columns)}: {', '.join(columns)}")
    rows = np.stack([np.asarray(values, np.float64) for values in columns.values()], axis=1)
    if not len(rows) or not np.isfinite(rows).all():
        raise ModelError("a model is calibrated by at least one row of finite numbers")
    return rows


def counted(column: str, values: FloatArray) -> tuple[str, int]:
    """Return an input's name, and how many of its units a value of 1 is: whole numbers stay what they are.

    Raises:
        ModelError: A value is too great to be counted exactly.
    """
    name = _MIGRATION.get(column, column)
    factor = LOAD_SCALE if name != column and name.endswith("_permille") else _factor(values)
    if name == column:
        name += _FACTORS[factor]
    if np.abs(values).max() * factor >= 2**53:
        raise ModelError(f"{column}: {values[np.abs(values).argmax()]:g} is too great to be counted")
    return name, factor


def whole(values: FloatArray, factor: int) -> npt.NDArray[np.int64]:
    """Return values in an input's unit, rounded half up."""
    return np.floor(values * factor + 0.5).astype(np.int64)


def labels_of(inputs: Sequence[ModelInput], nr_logits: int) -> Sequence[str]:
    """Return what is decided where nobody says: about migrations by what only they have, else numbers."""
    is_migration = all(one.name in INPUTS for one in inputs) and nr_logits == 1
    return LABELS if is_migration else [str(number) for number in range(max(nr_logits, 2))]


def told_of(source: str, changed: float, nr_rows: int) -> str:
    """Return where a model says that it comes from."""
    return f"{source}; {100 * changed:.3g}% of {nr_rows} rows decided differently"


def _factor(values: FloatArray) -> int:
    """Whole numbers stay; others are told in parts that leave enough steps."""
    if (values == np.floor(values)).all():
        return 1
    span = float(values.max() - values.min())
    return next((f for f in _FACTORS if f > 1 and span * f >= _LEAST_STEPS), max(_FACTORS))
