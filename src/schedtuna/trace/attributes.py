"""What did tasks ask of the scheduler, and when did that change: nice value, policy, slice, CPUs.

Rows name their set of CPUs by a number, as few sets are shared by many rows. They are appended raw while
a trace is written, and compacted into Parquet at its end, as the task table is.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from schedtuna import files
from schedtuna.errors import TraceError, UsageError
from schedtuna.machine.cpu_lists import format_cpu_list, parse_cpu_list
from schedtuna.trace import parts
from schedtuna.trace.groups import UNKNOWN_GROUP
from schedtuna.trace.schema import POLICIES

if TYPE_CHECKING:
    import polars as pl

AttributeArray = npt.NDArray[np.void]

UNKNOWN_CPUS = 0  # no set's number
UNKNOWN_SLICE = (1 << 64) - 1


class AttributeReason(IntEnum):
    """Why a row was written."""

    SNAPSHOT = 0  # the task was found so; after another row: it changed, and nobody saw when
    FORK = 1  # it was born so
    CHANGED = 2


# What a task asks for at one moment: struct task_attributes of include/task_attributes.h.
ATTRIBUTE_DTYPE = np.dtype(
    [
        ("timestamp_ns", "<u8"),
        ("start_time_ns", "<u8"),  # as in the task table
        ("slice_ns", "<u8"),  # asked for by sched_setattr; 0: none
        ("tid", "<u4"),
        ("weight", "<u4"),  # 1024 is nice 0; 0: unknown
        ("cpu_set", "<u4"),  # the number of the set of CPUs that it may run on
        ("nice", "i1"),
        ("policy", "u1"),  # index into POLICIES
        ("reason", "u1"),  # AttributeReason
        ("reserved", "u1"),
        ("group_id", "<u8"),  # of `groups`; 0: unknown
    ]
)
_FORMER_DTYPE = np.dtype(ATTRIBUTE_DTYPE.descr[:-1])  # until schema version 2
ATTRIBUTE_COLUMNS = tuple(name for name in ATTRIBUTE_DTYPE.names or () if name != "reserved")
_VALUES = ("nice", "policy", "slice_ns", "weight", "cpu_set", "group_id")


def attribute_table(rows: AttributeArray, cpu_sets: Mapping[int, str]) -> pl.DataFrame:
    """Return the rows by task, each task's in time order; those that tell nothing new are left out.

    Returns:
        A polars frame: tid, start_time_ns, timestamp_ns, nice, policy (a name), slice_ns (asked for; 0: none;
        null: unknown), weight (null: unknown), cpus (such as ``0-3,8``; null: unknown), reason
        (``snapshot``, ``fork``, ``changed``), group_id (of `groups`; null: unknown).

    Raises:
        TraceError: A row is damaged.
    """
    import polars as pl

    if len(rows) and rows["reason"].max() > max(AttributeReason):
        raise TraceError(f"a task's attributes are damaged: there is no reason {rows['reason'].max()}")
    rows = rows[np.lexsort((rows["timestamp_ns"], rows["start_time_ns"], rows["tid"]))]
    numbers, places = np.unique(rows["cpu_set"], return_inverse=True)
    try:
        texts = [None if number == UNKNOWN_CPUS else cpu_sets[number] for number in numbers.tolist()]
    except KeyError as error:
        raise TraceError(f"a task's attributes are damaged: no set of CPUs is numbered {error}") from None
    first: dict[str | None, int] = {}  # of the numbers that stand for the same set
    rows["cpu_set"] = np.array([first.setdefault(t, k) for k, t in enumerate(texts)], np.uint32)[places]
    is_same = np.zeros(len(rows), np.bool_)
    is_same[1:] = np.logical_and.reduce(
        [rows[name][1:] == rows[name][:-1] for name in ("tid", "start_time_ns", *_VALUES)]
    )
    rows = rows[~is_same]
    known = [*POLICIES, *map(str, range(len(POLICIES), 256))]
    reasons = [reason.name.lower() for reason in AttributeReason]
    columns: dict[str, Any] = {
        **{name: rows[name].astype(dtype) for name, dtype in _KEYS.items()},
        "policy": pl.Series(known).gather(rows["policy"]),
        "slice_ns": _nullable(rows["slice_ns"], UNKNOWN_SLICE),
        "weight": _nullable(rows["weight"], 0),
        "cpus": pl.Series(texts, dtype=pl.String).gather(rows["cpu_set"]),
        "reason": pl.Series(reasons).gather(rows["reason"]),
        "group_id": _nullable(rows["group_id"], UNKNOWN_GROUP),
    }
    return pl.DataFrame(columns)


_KEYS = {"tid": np.uint32, "start_time_ns": np.int64, "timestamp_ns": np.uint64, "nice": np.int8}


def _nullable(column: npt.NDArray[Any], unknown: int) -> pl.Series:
    import polars as pl

    series = pl.Series(np.ascontiguousarray(column))
    return series.set(series == unknown, None)


def read_attributes(folder: Path, *, are_former: bool = False) -> AttributeArray:
    """Return the rows of a trace's folder, in the order in which they were written.

    Args:
        folder: The trace's.
        are_former: They are of schema version 2, which did not have groups.

    Raises:
        TraceError: They are damaged.
    """
    parquet, spool = folder / parts.ATTRIBUTES_PARQUET, folder / parts.ATTRIBUTES_SPOOL
    names = [name for name in ATTRIBUTE_COLUMNS if not are_former or name in (_FORMER_DTYPE.names or ())]
    if not parquet.exists():
        dtype = _FORMER_DTYPE if are_former else ATTRIBUTE_DTYPE
        stored = parts.read_records(spool, dtype) if spool.exists() else np.empty(0, dtype)
        rows = np.zeros(len(stored), ATTRIBUTE_DTYPE)
        for name in names:
            rows[name] = stored[name]
        return rows
    frame = parts.read_parquet(parquet, names)
    rows = np.zeros(frame.height, ATTRIBUTE_DTYPE)
    for name in names:
        rows[name] = parts.column(frame, name, ATTRIBUTE_DTYPE[name].str[1:], parquet)
    return rows


def read_cpu_sets(folder: Path) -> dict[int, str]:
    """Return the sets of CPUs of a trace's folder, by their numbers.

    Raises:
        TraceError: They are damaged.
    """
    path = folder / parts.CPU_SETS
    found: dict[int, str] = {}
    for row in parts.read_json_lines(path):
        sets = row.get("cpu_sets")
        if not isinstance(sets, dict) or not all(key.isascii() and key.isdecimal() for key in sets):
            raise TraceError(f"{path}: expected an object of numbers and sets of CPUs")
        found |= {int(key): checked_cpus(cpus, path) for key, cpus in sets.items()}
    return found


def checked_cpus(text: Any, where: Path | str) -> str:
    """Return a set of CPUs in the one spelling that it has here.

    Raises:
        TraceError: It is none.
    """
    try:
        return format_cpu_list(parse_cpu_list(str(text)))
    except UsageError as error:
        raise TraceError(f"{where}: {error}") from error


def compact_attributes(folder: Path) -> None:
    """Turn the raw rows into Parquet."""
    import polars as pl

    spool, parquet = folder / parts.ATTRIBUTES_SPOOL, folder / parts.ATTRIBUTES_PARQUET
    if not spool.exists():
        return
    if not parquet.exists():
        rows = parts.read_records(spool, ATTRIBUTE_DTYPE)
        columns = {name: np.ascontiguousarray(rows[name]) for name in ATTRIBUTE_COLUMNS}
        parts.write_frame(pl.DataFrame(columns), parquet)
    files.remove(spool)
