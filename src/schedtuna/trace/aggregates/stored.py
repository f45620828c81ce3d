"""How do counted statistics get into a trace, and out of it again? As samples of the kind `task_stats`.

One row per task (or per name and cgroup, of tasks that exited long before); arrays are text:
`1,2,3`, and histograms `bucket:count` where anything was counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.trace.aggregates.groups import GROUP_DTYPE, GroupArray
from schedtuna.trace.schema import FORMER_COLUMNS

KIND = "task_stats"


def rows_of_groups(groups: GroupArray) -> Iterator[dict[str, float | str | None]]:
    """Yield the row of each group."""
    for group in groups:
        yield {name: _value(group[name]) for name in GROUP_DTYPE.names or ()}


def groups_of_rows(rows: Iterable[Mapping[str, Any]]) -> GroupArray:
    """Return the groups of rows that `rows_of_groups()` made.

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


def _value(value: Any) -> float | str:
    if isinstance(value, bytes):
        return value.decode("latin-1")  # any byte, and back
    if not isinstance(value, np.ndarray):
        return float(value) if isinstance(value, np.floating) else int(value)
    if value.ndim == 1:
        return ",".join(map(str, value.tolist()))
    counted = [" ".join(f"{bucket}:{row[bucket]}" for bucket in np.flatnonzero(row)) for row in value]
    return "|".join(counted)


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
