"""How do counted statistics get into a trace, and out of it again? As samples of the kind `task_stats`.

One row per task (or per name and cgroup, of tasks that exited long before); arrays are text:
`1,2,3`, and histograms `bucket:count` where anything was counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.trace.aggregates.groups import GROUP_DTYPE, GroupArray
from schedtuna.trace.schema import FORMER_COLUMNS

KIND = "task_stats"


def columns_of_groups(groups: GroupArray) -> dict[str, list[float | str]]:
    """Return the columns of a table with a row for each group."""
    return {name: _values(groups[name]) for name in GROUP_DTYPE.names or ()}


def groups_of_rows(rows: Iterable[Mapping[str, Any]]) -> GroupArray:
    """Return the groups of rows that `columns_of_groups()` made.

    Raises:
        TraceError: They were not made by it.
    """
    rows = list(rows)
    groups = np.zeros(len(rows), GROUP_DTYPE)
    for group, row in zip(groups, rows, strict=True):
        for name in GROUP_DTYPE.names or ():
            try:
                stored = name if name in row else FORMER_COLUMNS.get(name, name)
                group[name] = _parse(row[stored], GROUP_DTYPE[name])
            except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
                raise TraceError(f"the trace's {KIND} are damaged: {name}: {error!r}") from error
    return groups


def _values(column: npt.NDArray[Any]) -> list[float | str]:
    values: list[Any] = column.tolist()
    if column.ndim == 1:
        # Latin-1: any byte, and back
        return [value.decode("latin-1") for value in values] if column.dtype.kind == "S" else values
    if column.ndim == 2:
        return [",".join(map(str, numbers)) for numbers in values]
    texts = [["" for _ in row] for row in values]
    for group, row, bucket in zip(*(indices.tolist() for indices in np.nonzero(column)), strict=True):
        pair = f"{bucket}:{values[group][row][bucket]}"
        texts[group][row] = f"{texts[group][row]} {pair}" if texts[group][row] else pair
    return ["|".join(row) for row in texts]


def _parse(value: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "S":
        return str(value).encode("latin-1")
    if not dtype.shape:
        return value
    if len(dtype.shape) == 1:
        return [int(number) for number in str(value).split(",")]
    histograms: npt.NDArray[np.uint64] = np.zeros(dtype.shape, np.uint64)
    for row, text in zip(histograms, str(value or "").split("|"), strict=True):
        for pair in text.split():
            bucket, _, count = pair.partition(":")
            row[int(bucket)] = int(count)
    return histograms
