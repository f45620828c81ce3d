"""In which groups did the tasks of a trace compete, and with what shares?

A simulation's groups stay as they are: a task is put where it used most of its CPU time, and a group gets the
shares that it had longest. How much CPU time was used otherwise is told, and refused beyond a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.sim.lives import Lives
from schedtuna.sim.loops import Places
from schedtuna.trace.trace import Trace

MOST_ELSEWHERE = 0.05  # share of the CPU time that was used in other groups, or with other shares
_WORTH_TELLING = 0.001
_LEAST_SHARES, _MOST_SHARES = 2, 1 << 18  # as the kernel and the native module have them

Ids = npt.NDArray[np.uint64]


class RecordedGroups:
    """The groups of a trace's tasks, as a simulation takes them.

    Args:
        trace: The trace.
        lives: Its tasks.
        rows: The row of each in the task table; -1: none.

    Attributes:
        rows: (name, parent, shares) of each, a parent before its children, without the root.
        of_task: Each task's: 0 is the root, the others are one more than their place in `rows`.
        notes: What the trace doesn't tell, and what is made of that: sentences.

    Raises:
        TraceError: Too much CPU time was used in other groups than these, or with other shares.
    """

    def __init__(self, trace: Trace, lives: Lives, rows: Places) -> None:
        self.rows: list[tuple[str, int, int]] = []
        self.of_task = np.zeros(lives.nr_tasks, np.uint32)
        self.notes: list[str] = []
        if trace.why_no_groups is not None or trace.why_no_attributes is not None:
            self._stay_flat(trace, rows)
            return
        run_ns = np.where(lives.is_running, lives.end - lives.start_ns, 0)
        cpu_time_ns = np.add.reduceat(run_ns, lives.first) if lives.nr_tasks else run_ns
        ids, elsewhere_ns = _ids_of_tasks(trace, lives, rows, run_ns)
        groups = {row["id"]: row for row in trace.groups.iter_rows(named=True)}  # the last row of each
        self._numbers: dict[int, int] = {}
        if any([self._add(id_, groups) for id_ in np.unique(ids).tolist() if id_]):  # noqa: C419  # all are added
            self.notes.append("What is above some groups is unknown: they stand beside all others.")
        self.of_task[:] = [self._numbers.get(id_, 0) for id_ in ids.tolist()]
        self._give_shares(trace, lives)
        reweighed_ns = self._reweighed_ns(cpu_time_ns)
        lost = trace.manifest["groups"].get("nr_lost")
        if lost:
            self.notes.append(f"{lost} times groups or changes of theirs were lost while this was recorded.")
        self._tell(
            max(int(cpu_time_ns.sum()), 1), int(cpu_time_ns[ids == 0].sum()), elsewhere_ns, reweighed_ns
        )

    def _stay_flat(self, trace: Trace, rows: Places) -> None:
        nr_cgroups = trace.tasks["cgroup"].gather(rows[rows >= 0]).drop_nulls().n_unique()
        why = trace.why_no_groups or trace.why_no_attributes
        if nr_cgroups > 1:
            self.notes.append(
                f"Tasks are of {nr_cgroups} cgroups, whose weights are unknown: {why}. All compete as one."
            )

    def _add(self, id_: int, groups: dict[int, dict[str, Any]]) -> bool:
        """Number a group after those above it; True: which these are is not known."""
        path, at = [], id_
        while at in groups and at not in self._numbers and at not in path:
            path.append(at)
            at = groups[at]["parent_id"]
        is_orphan = at is not None and at not in self._numbers  # nothing is above the root alone
        parent = self._numbers.get(at, 0)
        for each in reversed(path):
            if groups[each]["parent_id"] is None:
                self._numbers[each] = 0
                continue
            self.rows.append((groups[each]["path"] or f"group {each}", parent, groups[each]["shares"]))
            parent = self._numbers[each] = len(self.rows)
        self._numbers.setdefault(id_, 0)
        return is_orphan

    def _give_shares(self, trace: Trace, lives: Lives) -> None:
        """Let each group have the shares that it had longest; `_misfit`: for how much of the time not."""
        self._misfit = np.zeros(len(self.rows) + 1)
        begin, end = lives.begin_ns, lives.begin_ns + lives.span
        for (id_,), part in trace.groups.group_by(["id"], maintain_order=True):
            number = self._numbers.get(int(id_), 0)
            if not number:
                continue
            times = np.clip(part["timestamp_ns"].to_numpy().astype(np.int64), begin, end)
            times[0] = begin  # before it was first seen it was as it was found
            shares, places = np.unique(part["shares"].to_numpy(), return_inverse=True)
            lasted = np.bincount(places, np.diff(np.append(times, end)), len(shares))
            longest = int(lasted.argmax())
            name, parent, _ = self.rows[number - 1]
            self.rows[number - 1] = name, parent, int(np.clip(shares[longest], _LEAST_SHARES, _MOST_SHARES))
            self._misfit[number] = 1 - lasted[longest] / max(lasted.sum(), 1)

    def _reweighed_ns(self, cpu_time_ns: npt.NDArray[np.int64]) -> float:
        """Return how much CPU time was used while a group above had other shares than it is given."""
        misfit = self._misfit.copy()
        for number, (_, parent, _) in enumerate(self.rows, 1):
            misfit[number] = max(misfit[number], misfit[parent])
        return float((cpu_time_ns * misfit[self.of_task]).sum())

    def _tell(self, whole_ns: int, unknown_ns: int, elsewhere_ns: int, reweighed_ns: float) -> None:
        """Tell how much CPU time was used otherwise, and refuse too much of it."""
        shares: Sequence[tuple[str, float]] = (
            ("by tasks whose group is unknown: they are in the root group", unknown_ns),
            ("by tasks in other groups than those in which they used most of it", elsewhere_ns),
            ("in groups whose shares were others than those that they had longest", reweighed_ns),
        )
        for what, time_ns in shares:
            if time_ns >= _WORTH_TELLING * whole_ns:
                self.notes.append(f"{time_ns / whole_ns:.1%} of the CPU time was used {what}.")
        changed = (elsewhere_ns + reweighed_ns) / whole_ns
        if changed > MOST_ELSEWHERE:
            raise TraceError(
                f"{changed:.0%} of the CPU time was used while tasks were in other groups, or these had other"
                " shares, than most of the time: a simulation's groups stay as they are",
                hint="record a part in which nobody is moved: record --for",
            )


def _ids_of_tasks(trace: Trace, lives: Lives, rows: Places, run_ns: npt.NDArray[np.int64]) -> tuple[Ids, int]:
    """Return in which group each task used most of its CPU time (0: unknown), and the time used in others."""
    tids, starts = trace.tasks["tid"].to_list(), trace.tasks["start_time_ns"].to_list()
    tasks = {(tids[row], starts[row]): task for task, row in enumerate(rows.tolist()) if row >= 0}
    seen: dict[int, list[tuple[int, int]]] = {}
    columns = trace.attributes.select("tid", "start_time_ns", "timestamp_ns", "group_id")
    for tid, start, time_ns, id_ in columns.iter_rows():
        task = tasks.get((tid, start))
        if task is None:
            continue
        looks = seen.setdefault(task, [])
        if not looks or looks[-1][1] != (id_ or 0):
            looks.append((time_ns - lives.begin_ns, id_ or 0))
    ids, elsewhere_ns = np.zeros(lives.nr_tasks, np.uint64), 0
    for task, looks in seen.items():
        ids[task] = looks[0][1]
        if len(looks) > 1:
            states = slice(lives.first[task], lives.last[task] + 1)
            times = np.array([time_ns for time_ns, _ in looks[1:]], np.int64)
            look = np.searchsorted(times, lives.start_ns[states], side="right")
            used = np.bincount(look, run_ns[states], len(looks))
            by_id: dict[int, float] = {}
            for (_, id_), time in zip(looks, used.tolist(), strict=True):
                by_id[id_] = by_id.get(id_, 0) + time
            ids[task] = max(by_id, key=lambda id_: by_id[id_])
            elsewhere_ns += round(sum(by_id.values()) - max(by_id.values()))
    return ids, elsewhere_ns
