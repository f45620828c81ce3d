"""What was known of a trace's tasks at a moment: what they asked for, what they are, their labels?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.features.as_of import AsOf
from schedtuna.trace.groups import UNKNOWN_GROUP
from schedtuna.trace.schema import PF_KTHREAD, POLICIES
from schedtuna.trace.trace import Trace

IntArray = npt.NDArray[np.int64]
ATTRIBUTE_FEATURES = ("nice", "policy", "task_weight", "asked_slice_ns")
ROLE_FEATURES = ("is_kthread", "is_leader")
GROUP_FEATURES = ("group_shares", "group_depth")
MEMORY_FEATURES = ("rss_kib",)
_PROCESSES = "process"  # the kind of samples that tell memory
UNKNOWN = int(np.iinfo(np.int64).min)  # no feature's value


class KnownOfTasks:
    """What a trace tells of its tasks.

    Args:
        trace: The trace.

    Attributes:
        why_no_attributes: Why it does not tell what they asked for; None: it does.
        why_no_groups: Why it does not tell in which groups they were; None: it does.
        doubts: What is to be doubted in that.
    """

    def __init__(self, trace: Trace) -> None:
        self.why_no_attributes = trace.why_no_attributes
        self.doubts = [] if self.why_no_attributes else trace.attribute_doubts
        self._attributes: tuple[AsOf, dict[str, IntArray]] | None = None
        if self.why_no_attributes is None:
            self._attributes = _attributes(trace)
        self.why_no_groups = self.why_no_attributes or trace.why_no_groups
        self._groups = None if self.why_no_groups is not None else _Groups(trace)
        self._memory = _memory(trace)
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
            name: np.where(row >= 0, _taken(column, row), UNKNOWN) for name, column in self._roles.items()
        }
        if self._attributes is not None:
            as_of, columns = self._attributes
            row = as_of.at(tid, time_ns)
            found |= {name: np.where(row >= 0, _taken(c, row), UNKNOWN) for name, c in columns.items()}
        if self._groups is not None:
            found |= self._groups.features(tid, time_ns)
        if self._memory is not None:
            found["rss_kib"] = self._rss_kib(self._memory, tid, time_ns)
        return found

    def _rss_kib(self, memory: tuple[AsOf, IntArray], tid: npt.NDArray[Any], time_ns: IntArray) -> IntArray:
        """Return what the last sample of a process said; 0: there is none yet, or it has no memory."""
        as_of, columns = memory
        tgid = self.processes(tid, time_ns)
        row = as_of.at(tgid, time_ns)
        life = self._lives.at(tgid, time_ns)
        # What a process of the same number had before this one began is not its own.
        began_ns = _taken(self._found["start_time_ns"], life)
        is_own = (row >= 0) & (life >= 0) & (_taken(columns[0], row) >= began_ns)
        return np.where(is_own, _taken(columns[1], row), 0)

    def kthreads(self, tid: npt.NDArray[Any], time_ns: IntArray) -> IntArray:
        """Return whether tids are threads of the kernel: 1 or 0; -1: unknown."""
        row = self._lives.at(tid, time_ns)
        return np.where(row >= 0, _taken(self._roles["is_kthread"], row), -1)

    @property
    def notes(self) -> list[str]:
        """What whoever uses features of this trace must know."""
        notes = [*self.doubts]
        if self.why_no_attributes:
            notes.append(f"what tasks asked for is unknown: {self.why_no_attributes}")
        elif self.why_no_groups:
            notes.append(f"in which groups tasks were is unknown: {self.why_no_groups}")
        return notes

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
            return np.full(len(tid), UNKNOWN)
        is_born = self._found["start_time_ns"] >= self._begin_ns
        told = self._found["cpu_time_ns"] - seen(self._found["tid"], self._found["timestamp_ns"])
        before = np.where(is_born, 0, np.maximum(told, 0))[row]
        too_early = ~is_born[row] & (self._found["timestamp_ns"][row] > time_ns)
        return np.where((self._lives.at(tid, time_ns) < 0) | too_early, UNKNOWN, before)

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


class _Groups:
    """In which groups tasks were, with which shares, and how deep these lie."""

    def __init__(self, trace: Trace) -> None:
        rows = trace.attribute_rows
        self._of_tasks = AsOf(rows["tid"], rows["timestamp_ns"].astype(np.int64))
        self._group = rows["group_id"].astype(np.int64)
        groups = trace.group_rows
        self._told = AsOf(groups["id"].astype(np.int64), groups["timestamp_ns"].astype(np.int64))
        self._shares = groups["shares"].astype(np.int64)
        parents = dict(zip(groups["id"].tolist(), groups["parent_id"].tolist(), strict=True))
        depths = {group: _depth(group, parents) for group in parents}
        self._depth = np.array([depths[group] for group in groups["id"].tolist()], np.int64)

    def features(self, tid: npt.NDArray[Any], time_ns: IntArray) -> dict[str, IntArray]:
        """Return `GROUP_FEATURES` of tasks at times, unknown where a task's group is."""
        row = self._of_tasks.at(tid, time_ns)
        group = np.where(row >= 0, _taken(self._group, row), UNKNOWN_GROUP)
        row = np.where(group != UNKNOWN_GROUP, self._told.at(group, time_ns), -1)
        return {
            "group_shares": np.where(row >= 0, _taken(self._shares, row), UNKNOWN),
            "group_depth": np.where(row >= 0, _taken(self._depth, row), UNKNOWN),
        }


def _depth(group: int, parents: dict[int, int]) -> int:
    """Return how many groups are above a group; unknown where the trace does not tell all of them."""
    above: set[int] = set()
    while (parent := parents.get(group)) != UNKNOWN_GROUP:
        if parent is None or parent in above:
            return UNKNOWN
        above.add(parent)
        group = parent
    return len(above)


def _memory(trace: Trace) -> tuple[AsOf, IntArray] | None:
    """Return when each process was sampled, and [2, samples]: that time, and its memory in KiB."""
    frame = trace.sample_frames.get(_PROCESSES)
    wanted = ("pid", "timestamp_ns", "memory_bytes")
    if frame is None or not set(wanted) <= set(frame.columns):
        return None
    frame = frame.select(wanted).drop_nulls()
    pid, time_ns, memory = (frame[name].cast(int).to_numpy() for name in wanted)
    return AsOf(pid, time_ns), np.stack([time_ns, memory // 1024])


def unknown(features: dict[str, IntArray]) -> npt.NDArray[np.bool_]:
    """Return which rows lack a feature."""
    found: npt.NDArray[np.bool_] = np.logical_or.reduce([c == UNKNOWN for c in features.values()])
    return found


def _taken(column: IntArray, row: npt.NDArray[np.intp]) -> IntArray:
    return column[np.maximum(row, 0)] if len(column) else np.full(len(row), UNKNOWN)


def _attributes(trace: Trace) -> tuple[AsOf, dict[str, IntArray]]:
    table = trace.attributes
    codes = {name: number for number, name in enumerate(POLICIES)}
    policy = [codes.get(name, UNKNOWN) for name in table["policy"].to_list()]
    columns: dict[str, Any] = {
        "nice": table["nice"].cast(int).to_numpy(),
        "policy": np.array(policy, np.int64),
        "task_weight": table["weight"].cast(int).fill_null(UNKNOWN).to_numpy(),
        "asked_slice_ns": table["slice_ns"].fill_null(0).cast(int).to_numpy(),
    }
    unknown_slice = table["slice_ns"].is_null().to_numpy()
    columns["asked_slice_ns"] = np.where(unknown_slice, UNKNOWN, columns["asked_slice_ns"])
    return AsOf(table["tid"].to_numpy(), table["timestamp_ns"].cast(int).to_numpy()), columns
