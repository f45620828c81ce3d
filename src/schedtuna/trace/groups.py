"""Which groups do tasks share CPU time in, what is above each, and how much of it does each get?

A group is a control group that has the controller ``cpu``, or the autogroup of a session; a row of a task's
attributes names one by its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.trace import parts
from schedtuna.trace.tasks import clean_name

if TYPE_CHECKING:
    import polars as pl

GroupArray = npt.NDArray[np.void]

UNKNOWN_GROUP = 0  # no group's id
AUTOGROUP = 1 << 62  # of an id: the other bits are the number of a session's autogroup

# A group at one moment: struct sched_group of include/sched_group.h.
GROUP_DTYPE = np.dtype(
    [
        ("timestamp_ns", "<u8"),
        ("id", "<u8"),
        ("parent_id", "<u8"),  # 0: it is the root
        ("shares", "<u4"),  # 1024: as much as a task of nice 0, cpu.weight 100
        ("reserved", "<u4"),
    ]
)
_COLUMNS = ("timestamp_ns", "id", "parent_id", "shares")
_MOST = 1 << 64  # times and ids are below


def empty_groups() -> GroupArray:
    """Return no groups, of the right type."""
    return np.empty(0, GROUP_DTYPE)


def group_table(rows: GroupArray, cgroups: Mapping[int, str]) -> pl.DataFrame:
    """Return the groups, each one's rows in time order; those that tell nothing new are left out.

    Returns:
        A polars frame: id, parent_id (null: it is the root), timestamp_ns, shares (1024: as much as a task of
        nice 0; ``cpu.weight`` 100), path (clean, such as ``/a/b``, ``/autogroup-7``; null: unknown).
    """
    import polars as pl

    rows = rows[np.lexsort((rows["timestamp_ns"], rows["id"]))]
    is_same = np.zeros(len(rows), np.bool_)
    names = ("id", "parent_id", "shares")
    is_same[1:] = np.logical_and.reduce([rows[name][1:] == rows[name][:-1] for name in names])
    rows = rows[~is_same]
    parents = pl.Series(np.ascontiguousarray(rows["parent_id"]))
    return pl.DataFrame(
        {
            "id": np.ascontiguousarray(rows["id"]),
            "parent_id": parents.set(parents == UNKNOWN_GROUP, None),
            "timestamp_ns": np.ascontiguousarray(rows["timestamp_ns"]),
            "shares": np.ascontiguousarray(rows["shares"]),
            "path": pl.Series([_path(id_, cgroups) for id_ in rows["id"].tolist()], dtype=pl.String),
        }
    )


def _path(id_: int, cgroups: Mapping[int, str]) -> str | None:
    if id_ & AUTOGROUP:
        return f"/autogroup-{id_ & ~AUTOGROUP}"  # as /proc/PID/autogroup has it
    return clean_name(cgroups[id_]) if id_ in cgroups else None


def as_json(rows: GroupArray) -> dict[str, Any]:
    """Return the rows as a line of a trace's folder has them."""
    return {"groups": [list(row) for row in rows[list(_COLUMNS)].tolist()]}


def read_groups(folder: Path) -> GroupArray:
    """Return the rows of a trace's folder, in the order in which they were written.

    Raises:
        TraceError: They are damaged.
    """
    path = folder / parts.GROUPS
    found: list[Any] = []
    for line in parts.read_json_lines(path):
        rows = line.get("groups")
        if not isinstance(rows, list):
            raise TraceError(f"{path}: expected a list of groups")
        found += rows
    return group_rows(found, path)


def group_rows(rows: list[Any], where: Path | str) -> GroupArray:
    """Return groups from lists of their time, id, parent's id and shares.

    Raises:
        TraceError: These are none.
    """
    for row in rows:
        is_one = isinstance(row, list) and len(row) == len(_COLUMNS) and all(type(v) is int for v in row)
        if not is_one or not all(0 <= value < _MOST for value in row) or not row[1] >= 1 or row[3] >= 1 << 32:
            raise TraceError(f"{where}: {str(row)[:100]} is no group: expected time, id, parent and shares")
    return np.array([(*row, 0) for row in rows], GROUP_DTYPE)
