"""Rows that a net is calibrated by: a CSV file whose first line names its inputs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.model.model import DecisionModel

_MOST_BYTES = 256 << 20


def read_rows(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Return the columns of a file, by name, in its order.

    Raises:
        ModelError: It has no rows, a name twice, a line of another length, or what is no number.
        OSError: It can't be read.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(f"{path.name} is larger than {_MOST_BYTES >> 20} MiB", hint="some thousand rows do")
    try:
        lines = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"{path.name} is no CSV: {error}") from None
    if len(lines) < 2:
        raise ModelError(f"{path.name} has no rows: expected a line of names, and lines of numbers")
    names = [name.strip() for name in lines[0]]
    if len(set(names)) < len(names) or not all(names):
        raise ModelError(f"{path.name}: a column has no name, or two have the same")
    found = np.empty((len(lines) - 1, len(names)))
    for number, line in enumerate(lines[1:]):
        if len(line) != len(names):
            raise ModelError(f"{path.name}, line {number + 2}: {len(line)} numbers, expected {len(names)}")
        try:
            found[number] = [float(text) for text in line]
        except ValueError as error:
            raise ModelError(f"{path.name}, line {number + 2}: {error}") from None
    return dict(zip(names, found.T, strict=True))


def read_model_rows(path: Path, model: DecisionModel) -> npt.NDArray[np.int64]:
    """Return the rows of a file as a model takes them: int64 [rows, inputs], fractions rounded down.

    It may have other columns, too.

    Raises:
        ModelError: It lacks an input, or has what is not finite or too large; and see `read_rows`.
        OSError: It can't be read.
    """
    columns = read_rows(path)
    names = [one.name for one in model.inputs]
    if lacking := [name for name in names if name not in columns]:
        raise ModelError(f"{path.name} has no column {', '.join(lacking)}", hint="name columns as inputs are")
    values = np.column_stack([columns[name] for name in names])
    if not (np.isfinite(values).all() and (np.abs(values) < 2.0**62).all()):
        raise ModelError(f"{path.name}: expected finite numbers below 2^62")
    return np.floor(values).astype(np.int64)
