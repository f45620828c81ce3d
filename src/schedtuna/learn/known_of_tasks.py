"""What was known of a trace's tasks at a moment: what they asked for, what they are, their labels?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.features.as_of import AsOf
from schedtuna.trace.schema import PF_KTHREAD, POLICIES
from schedtuna.trace.trace import Trace

IntArray = npt.NDArray[np.int64]
ATTRIBUTE_FEATURES = ("nice", "policy", "task_weight", "asked_slice_ns")
ROLE_FEATURES = ("is_kthread", "is_leader")
_UNKNOWN = np.iinfo(np.int64).min


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
        self._found = {
            name: first[name].astype(np.int64)
            for name in ("tid", "timestamp_ns", "start_time_ns", "cpu_time_ns")
        }
        self._begin_ns = trace.window_ns[0]

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

    def cpu_time_before(
        self, tid: npt.NDArray[Any], time_ns: IntArray, seen: Callable[[IntArray, IntArray], IntArray]
    ) -> IntArray:
        """Return how much CPU time tasks had before the trace began; it is unknown where no row tells.

        Args:
            tid: Whose.
            time_ns: As of when.
            seen: What the trace sees of tids' CPU time until a moment.
        """
        row = np.maximum(self._lives.at(tid, time_ns), 0)
        if not len(self._found["tid"]):
            return np.full(len(tid), _UNKNOWN)
        is_born = self._found["start_time_ns"] >= self._begin_ns
        told = self._found["cpu_time_ns"] - seen(self._found["tid"], self._found["timestamp_ns"])
        before = np.where(is_born, 0, np.maximum(told, 0))[row]
        too_early = ~is_born[row] & (self._found["timestamp_ns"][row] > time_ns)
        return np.where((self._lives.at(tid, time_ns) < 0) | too_early, _UNKNOWN, before)

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
