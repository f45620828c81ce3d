"""What was known of a trace's tasks at a moment: what they asked for, what they are, their labels?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.trace.schema import PF_KTHREAD, POLICIES
from schedtuna.trace.trace import Trace

IntArray = npt.NDArray[np.int64]
ATTRIBUTE_FEATURES = ("nice", "policy", "task_weight", "asked_slice_ns")
ROLE_FEATURES = ("is_kthread", "is_leader")
_UNKNOWN = np.iinfo(np.int64).min


class AsOf:
    """A table of what holds of each tid from when on; what comes later is not seen.

    Args:
        tid: [n] of each row.
        since_ns: [n] from when on it holds.
    """

    def __init__(self, tid: npt.ArrayLike, since_ns: npt.ArrayLike) -> None:
        tids, since = np.asarray(tid, np.int64), np.asarray(since_ns, np.int64)
        self._order = np.lexsort((since, tids))
        self._tid, self._since = tids[self._order], since[self._order]
        self._tids = np.unique(self._tid)
        # One line for all: a tid's rank, then time; ranks are far apart.
        self._span = int(max(since.max(initial=0), 0)) + 2
        self._line = np.searchsorted(self._tids, self._tid) * self._span + np.maximum(self._since, 0)

    def at(self, tid: npt.NDArray[Any], time_ns: IntArray) -> npt.NDArray[np.intp]:
        """Return the row that holds of each tid at a time; -1: none does yet."""
        if not len(self._tids):
            return np.full(len(tid), -1)
        rank = np.minimum(np.searchsorted(self._tids, tid), len(self._tids) - 1)
        time = np.minimum(time_ns, self._span - 1)
        found = np.searchsorted(self._line, rank * self._span + time, side="right") - 1
        is_own = (found >= 0) & (self._tid[np.maximum(found, 0)] == tid)
        return np.where(is_own, self._order[np.maximum(found, 0)], -1)


class KnownOfTasks:
    """What a trace tells of its tasks.

    Args:
        trace: The trace.

    Attributes:
        why_no_attributes: Why it does not tell what they asked for; None: it does.
        doubts: What is to be doubted in that.
    """

    def __init__(self, trace: Trace) -> None:
        self.why_no_attributes = trace.why_no_attributes
        self.doubts = [] if self.why_no_attributes else trace.attribute_doubts
        self._attributes: tuple[AsOf, dict[str, IntArray]] | None = None
        if self.why_no_attributes is None:
            self._attributes = _attributes(trace)
        rows = trace.task_rows
        # A task is born as what these two say and stays it: its first row tells, whenever it was written.
        first = rows[np.lexsort((rows["timestamp_ns"], rows["start_time_ns"], rows["tid"]))]
        new = np.ones(len(first), np.bool_)
        new[1:] = (first["tid"][1:] != first["tid"][:-1]) | (
            first["start_time_ns"][1:] != first["start_time_ns"][:-1]
        )
        first = first[new]
        self._lives = AsOf(first["tid"], first["start_time_ns"])
        self._roles = {
            "is_kthread": ((first["flags"] & PF_KTHREAD) != 0).astype(np.int64),
            "is_leader": (first["tid"] == first["tgid"]).astype(np.int64),
        }
        self._tgid = first["tgid"].astype(np.int64)

    def features(self, tid: npt.NDArray[Any], time_ns: IntArray) -> dict[str, IntArray]:
        """Return what is known of tasks at times; `unknown()` says where nothing is."""
        row = self._lives.at(tid, time_ns)
        found = {
            name: np.where(row >= 0, _taken(column, row), _UNKNOWN) for name, column in self._roles.items()
        }
        if self._attributes is not None:
            as_of, columns = self._attributes
            row = as_of.at(tid, time_ns)
            found |= {name: np.where(row >= 0, _taken(c, row), _UNKNOWN) for name, c in columns.items()}
        return found

    def processes(self, tid: npt.NDArray[Any], time_ns: IntArray) -> IntArray:
        """Return the tgid of tasks; -1: unknown."""
        row = self._lives.at(tid, time_ns)
        return np.where(row >= 0, _taken(self._tgid, row), -1)


class LabelsOfTasks:
    """Labels of tasks by tid and time.

    Args:
        tids: [n]
        starts_ns: [n] since when each tid was this task.
        labels: [n], None: it has none.
    """

    def __init__(self, tids: npt.ArrayLike, starts_ns: npt.ArrayLike, labels: Sequence[str | None]) -> None:
        self._lives = AsOf(tids, starts_ns)
        self.names = sorted({label for label in labels if label is not None})
        numbers = {name: number for number, name in enumerate(self.names)}
        self._numbers = np.array([-1 if label is None else numbers[label] for label in labels], np.int64)

    def at(self, tid: npt.NDArray[Any], time_ns: IntArray) -> IntArray:
        """Return indices into `names`; -1: there is no label."""
        row = self._lives.at(tid, time_ns)
        return np.where(row >= 0, _taken(self._numbers, row), -1)


def unknown(features: dict[str, IntArray]) -> npt.NDArray[np.bool_]:
    """Return which rows lack a feature."""
    found: npt.NDArray[np.bool_] = np.logical_or.reduce([c == _UNKNOWN for c in features.values()])
    return found


def _taken(column: IntArray, row: npt.NDArray[np.intp]) -> IntArray:
    return column[np.maximum(row, 0)] if len(column) else np.full(len(row), _UNKNOWN)


def _attributes(trace: Trace) -> tuple[AsOf, dict[str, IntArray]]:
    table = trace.attributes
    codes = {name: number for number, name in enumerate(POLICIES)}
    policy = [codes.get(name, _UNKNOWN) for name in table["policy"].to_list()]
    columns: dict[str, Any] = {
        "nice": table["nice"].cast(int).to_numpy(),
        "policy": np.array(policy, np.int64),
        "task_weight": table["weight"].cast(int).fill_null(_UNKNOWN).to_numpy(),
        "asked_slice_ns": table["slice_ns"].fill_null(0).cast(int).to_numpy(),
    }
    unknown_slice = table["slice_ns"].is_null().to_numpy()
    columns["asked_slice_ns"] = np.where(unknown_slice, _UNKNOWN, columns["asked_slice_ns"])
    return AsOf(table["tid"].to_numpy(), table["timestamp_ns"].cast(int).to_numpy()), columns
