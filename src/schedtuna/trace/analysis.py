"""A trace, measured: who its tasks are, how they group, and the figures of each group.

This is where the pure parts meet: events become intervals, intervals become figures, and figures get
the names of the task table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError, UsageError
from schedtuna.printable import exact
from schedtuna.trace import metrics
from schedtuna.trace.fairness import Fairness, TaskClass, measured_fairness, nice_weight
from schedtuna.trace.gaps import Gaps, Why
from schedtuna.trace.intervals import wakeup_event
from schedtuna.trace.metrics import TaskMeasures, clip
from schedtuna.trace.quota import nr_held_back
from schedtuna.trace.reading import Reading, read_states
from schedtuna.trace.schema import STATIC_PRIO_NICE_0, EventArray, EventType
from schedtuna.trace.states import RUNNABLE, TaskState
from schedtuna.trace.trace import Loss, Trace, refuse_losses

GROUPINGS = ("task", "comm", "cgroup", "cpu", "label")
MOST_UNKNOWN = 0.05  # share of unknown time above which what is a share of all time is not given
# Figures that are right of those tasks alone that were recorded whole.
_ALWAYS_RIGHT = {"nr_tasks", "unknown_ns", "nr_began_before", "nr_alive_after"}
_NEED_ALL = (*(name for name in metrics.TOTALS if name not in _ALWAYS_RIGHT), "fairness_cv")
_FORK_SLACK_NS = 1_000_000  # a task's start time and its fork event are not the same moment


@dataclass(frozen=True)
class Rows:
    """Figures of groups: one name per group, one array per figure."""

    names: list[str]
    columns: dict[str, npt.NDArray[Any]]

    def dicts(self) -> list[dict[str, Any]]:
        """Return one dict per group, for JSON: None where there is no figure."""
        return [
            {"name": name, **{column: plain(values[k]) for column, values in self.columns.items()}}
            for k, name in enumerate(self.names)
        ]


class Analysis:
    """What a trace, or a window of it, amounts to.

    Args:
        trace: The trace.
        window_s: (from, to) in seconds since its beginning; None: all of it.
        allow_lost: Accept a trace that lost events.

    Attributes:
        start_ns, end_ns: The window, on the trace's clock.
        reading: How the trace's events were taken.
        nr_events: Events in the trace.
        wakeup: The event that begins waits; None: the trace has no wakeups.
        nr_held_back: Waits in which a task may have been held back by its cgroup's quota, which an
            imported trace does not tell: they are in its run delay.

    Raises:
        IncompleteTraceError: Events were lost in the window, or can't be read.
        TraceError: The trace is damaged, or has no events.
    """

    def __init__(
        self, trace: Trace, *, window_s: tuple[float, float] | None = None, allow_lost: bool = False
    ) -> None:
        self.trace = trace
        begin, end = trace.window_ns
        self.start_ns, self.end_ns = begin, end
        if window_s is not None:
            self.start_ns, self.end_ns = _window(begin, end, window_s)
        if not allow_lost:
            refuse_losses(self.losses, trace.manifest)
        self.measured, self.reading = read_states(trace, self._measure)
        self.nr_events = self.reading.nr_events
        if not self.nr_events:
            raise TraceError(
                "the trace has no scheduler events",
                hint="`schedtuna record` writes them unless it is told --aggregate or --procfs",
            )

    @property
    def seconds(self) -> float:
        """How long the window is."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def losses(self) -> list[Loss]:
        """Where events of the window may be missing."""
        of_trace = self.trace.window_ns
        return [loss for loss in self.trace.losses if overlaps(loss, self.start_ns, self.end_ns, of_trace)]

    @cached_property
    def nr_cpus(self) -> int:
        """How many CPUs the machine has: as the manifest says, else as far as they were seen."""
        return self.trace.nr_cpus(max(len(self.measured.cpu_time_ns), self._highest_cpu + 1))

    @cached_property
    def gaps(self) -> Gaps:
        """Of which time of the window nobody knows what a CPU did."""
        return self.reading.gaps(self.nr_cpus).clip(self.start_ns, self.end_ns)

    @cached_property
    def unknown_shares(self) -> npt.NDArray[np.float64]:
        """Share of the window of which nobody knows what the CPU did, per CPU."""
        return self.gaps.per_cpu_ns(self.nr_cpus) / max(self.end_ns - self.start_ns, 1)

    @property
    def unknown_share(self) -> float:
        """Share of all CPUs' time of which nobody knows what they did."""
        return float(self.unknown_shares.mean()) if self.nr_cpus else 0.0

    @cached_property
    def _shares_are_right(self) -> bool:
        """Whether so little is unknown that tasks' shares of the machine can be told.

        A CPU without an event yet counts as idle where it is not known to have been busy.
        """
        told = self.gaps.select(self.gaps.why != Why.NOT_BEGUN) if self.reading.is_lenient else self.gaps
        return float(told.per_cpu_ns(self.nr_cpus).sum()) <= MOST_UNKNOWN * self.nr_cpus * (
            self.end_ns - self.start_ns
        )

    @cached_property
    def nr_migrations(self) -> npt.NDArray[np.int64]:
        """Moves to another CPU, per task number."""
        tid = np.concatenate([np.empty(0, np.uint32), *(tid for tid, _ in self._migrations)])
        time = np.concatenate([np.empty(0, np.int64), *(time for _, time in self._migrations)])
        task = _tasks_at(self.measured, tid, time)
        return np.bincount(task[task >= 0], minlength=len(self.measured.tid))

    @cached_property
    def row_of_task(self) -> npt.NDArray[np.intp]:
        """For each task number, its row in the task table; -1 if it has none."""
        table = self.trace.tasks
        return _rows_of(
            table["tid"].to_numpy(),
            table["start_time_ns"].to_numpy(),
            self.measured.tid,
            np.where(self.measured.exists, self.measured.begin_ns + _FORK_SLACK_NS, -1),
        )

    @cached_property
    def comms(self) -> list[str]:
        """Each task number's name, clean; its tid where the trace has no name."""
        recorder = self.trace.manifest.get("recorder")
        own = recorder.get("tgid") if isinstance(recorder, dict) else None
        names = [
            "(the recorder)" if tgid == own and tgid else comm
            for tgid, comm in self.trace.tasks.select("tgid", "comm").iter_rows()
        ]
        return [
            names[row] if row >= 0 and names[row] else "(the recorder)" if tid == own else f"tid {tid}"
            for row, tid in zip(self.row_of_task.tolist(), self.measured.tid.tolist(), strict=True)
        ]

    @cached_property
    def fairness(self) -> Fairness | None:
        """CPU time entitled and received, per task; None where the trace is too long for that."""
        if self.measured.spans is None:
            return None
        rows = self.row_of_task
        nice = self.trace.tasks["nice"].to_numpy()
        prio = self.trace.tasks["prio"].to_numpy()
        classes = {
            task: TaskClass(nice_weight(int(nice[rows[task]])))
            for task in np.flatnonzero(rows >= 0).tolist()
            if nice[rows[task]] and -20 <= nice[rows[task]] <= 19
        }
        fair = np.ones(len(rows), np.bool_)
        known = rows >= 0
        fair[known] = (prio[rows[known]] == 0) | (prio[rows[known]] >= STATIC_PRIO_NICE_0 - 20)
        return measured_fairness(self.measured, classes, max(self.nr_cpus, 1), fair=fair)

    def by(self, grouping: str) -> Rows:
        """Return the figures per group, the one with most CPU time first.

        Args:
            grouping: One of `GROUPINGS`.
        """
        if grouping == "cpu":
            return self._by_cpu()
        names, group = self._groups(grouping)
        columns = metrics.table(self.measured, group, len(names))
        columns["nr_migrations"] = np.bincount(
            group[self.measured.exists & (group >= 0)],
            self.nr_migrations[self.measured.exists & (group >= 0)],
            len(names),
        ).astype(np.int64)
        columns["fairness_cv"] = self._fairness_cv(group, len(names))
        columns = self._proven(columns, group, len(names))
        if grouping == "task":
            columns = {"tid": self.measured.tid[np.flatnonzero(self.measured.exists)], **columns}
        order = np.argsort(-np.nan_to_num(columns["cpu_time_ns"]), kind="stable")
        return Rows([names[k] for k in order], {name: column[order] for name, column in columns.items()})

    def overall(self, *, kthreads: bool = True) -> dict[str, Any]:
        """Return the figures of all tasks together.

        Args:
            kthreads: Whether the kernel's threads are among them.
        """
        group = np.zeros(len(self.measured.tid), np.intp)
        if not kthreads:
            is_kthread = np.append(self.trace.tasks["is_kthread"].to_numpy(), False)  # -1: no row
            group[is_kthread[self.row_of_task]] = -1
        columns = metrics.table(self.measured, group, 1)
        columns["nr_migrations"] = np.array([self.nr_migrations[group >= 0].sum()])
        columns["fairness_cv"] = self._fairness_cv(group, 1)
        columns = self._proven(columns, group, 1)
        return {name: plain(column[0]) for name, column in columns.items()}

    def _measure(self, reading: Reading) -> TaskMeasures:
        self.nr_held_back = 0
        manifest = self.trace.manifest  # of some tasks alone, CPUs only seem to go idle
        self._tells_throttled = (
            manifest.get("mode") != "import" or bool(manifest.get("filter")) or reading.is_partial
        )
        self._highest_cpu = 0
        self.wakeup: EventType | None = None
        self._migrations: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []
        whole = (self.start_ns, self.end_ns) == self.trace.window_ns
        pieces = reading.pieces(self._watch)
        return metrics.measure(
            piece if whole else clip(piece, self.start_ns, self.end_ns) for piece in pieces
        )

    def _watch(self, part: EventArray) -> None:
        if not self._tells_throttled:
            self.nr_held_back += nr_held_back(part, self.start_ns, self.end_ns)
        self._highest_cpu = max(self._highest_cpu, int(part["cpu"].max(initial=0)))
        if self.wakeup is None:
            self.wakeup = wakeup_event(part)
        moves = part[part["type"] == EventType.MIGRATE]
        time = moves["timestamp_ns"].astype(np.int64)
        inside = (time >= self.start_ns) & (time <= self.end_ns)
        self._migrations.append((moves["tid"][inside], time[inside]))

    def _proven(
        self, columns: dict[str, npt.NDArray[Any]], group: npt.NDArray[np.intp], nr_groups: int
    ) -> dict[str, npt.NDArray[Any]]:
        """Take away figures of groups with tasks of which not everything was recorded."""
        others = self.reading.others
        if others is None:
            return columns
        chosen = np.flatnonzero(self.measured.exists & (group >= 0) & np.isin(self.measured.tid, others))
        unproven = np.bincount(group[chosen], minlength=nr_groups) > 0
        return columns | {name: np.where(unproven, np.nan, columns[name]) for name in _NEED_ALL}

    def _groups(self, grouping: str) -> tuple[list[str], npt.NDArray[np.intp]]:
        """Return the groups' names, and each task's group (-1: no task)."""
        exists = self.measured.exists
        if grouping == "task":
            tasks = np.flatnonzero(exists)
            group = np.full(len(exists), -1)
            group[tasks] = np.arange(len(tasks))
            return [f"{self.comms[task]}:{self.measured.tid[task]}" for task in tasks], group
        if grouping == "comm":
            of_task = self.comms
        elif grouping in {"cgroup", "label"}:
            known = self.trace.tasks[grouping].to_list()
            of_task = [known[row] or "-" if row >= 0 else "-" for row in self.row_of_task.tolist()]
        else:
            raise UsageError(f"can't group by {grouping!r}", hint=f"choose one of {', '.join(GROUPINGS)}")
        numbers: dict[str, int] = {}
        return_group = np.full(len(exists), -1)
        for task in np.flatnonzero(exists).tolist():
            return_group[task] = numbers.setdefault(of_task[task], len(numbers))
        return list(numbers), return_group

    def _by_cpu(self) -> Rows:
        measured, nr_cpus = self.measured, self.nr_cpus
        time = np.zeros((nr_cpus, metrics.NR_STATES))
        time[: len(measured.cpu_time_ns)] = measured.cpu_time_ns
        busy, waiting = time[:, TaskState.RUNNING], time[:, list(RUNNABLE)].sum(axis=1)
        window = max(self.end_ns - self.start_ns, 1)
        columns: dict[str, npt.NDArray[Any]] = {
            "cpu_time_ns": np.rint(busy).astype(np.int64),
            "busy_percent": 100 * busy / window,
            "unknown_percent": 100 * self.unknown_shares,
            "run_delay_ns": np.rint(waiting).astype(np.int64),
            "runqueue_length_mean": (busy + waiting) / window,  # Little's law
        }
        unproven = self.unknown_shares > MOST_UNKNOWN
        for name in ("busy_percent", "runqueue_length_mean"):
            columns[name] = np.where(unproven, np.nan, columns[name])
        values = {name: measured.values[name] for name in ("wakeup_latency", "preempt_delay", "slice")}
        columns |= metrics.summaries({name: (one.cpu, one.value_ns) for name, one in values.items()}, nr_cpus)
        return Rows([str(cpu) for cpu in range(nr_cpus)], columns)

    def _fairness_cv(self, group: npt.NDArray[np.intp], nr_groups: int) -> npt.NDArray[np.float64]:
        column = np.full(nr_groups, np.nan)
        share = self.fairness
        if share is None or not self._shares_are_right:
            return column
        of_row = group[share.task]
        order = np.argsort(of_row, kind="stable")
        bounds = np.searchsorted(of_row[order], np.arange(nr_groups + 1))
        for k in np.flatnonzero(np.diff(bounds) > 1):
            rows = order[bounds[k] : bounds[k + 1]]
            column[k] = Fairness(share.task[rows], share.entitled_ns[rows], share.received_ns[rows]).cv()
        return column


def overlaps(loss: Loss, start_ns: int, end_ns: int, trace_ns: tuple[int, int]) -> bool:
    """Return whether events of a window may be among those that were lost.

    What was lost before the first event of the trace, or after its last, is missing there: the trace would
    be longer.
    """
    last_ns = end_ns if loss.last_ns is None else max(loss.last_ns, trace_ns[0])
    return min(loss.first_ns, trace_ns[1]) <= end_ns and last_ns >= start_ns


def _window(begin: int, end: int, window_s: tuple[float, float]) -> tuple[int, int]:
    start = begin + round(window_s[0] * 1e9)
    stop = min(begin + round(min(window_s[1], 1e9) * 1e9), end)
    if not begin <= start < stop:
        raise UsageError(
            f"the window {exact(window_s[0])} to {exact(window_s[1])} s is not within the trace,"
            f" which lasts {exact((end - begin) / 1e9)} s"
        )
    return start, stop


def _tasks_at(measured: TaskMeasures, tid: npt.NDArray[Any], time: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the task number that had a tid at a time; -1 if there is none."""
    numbers = np.flatnonzero(measured.exists)
    row = _rows_of(measured.tid[numbers], measured.begin_ns[numbers], tid, time)
    return np.where(row >= 0, numbers[row], -1) if len(numbers) else row


def _rows_of(
    tids: npt.NDArray[Any], starts: npt.NDArray[Any], tid: npt.NDArray[Any], time: npt.NDArray[Any]
) -> npt.NDArray[np.intp]:
    """For each (tid, time), the row of that tid with the last start at or before it (else its first)."""
    if not len(tids):
        return np.full(len(tid), -1)
    order = np.lexsort((starts, tids))
    all_tids, all_times = np.concatenate([tids[order], tid]), np.concatenate([starts[order], time])
    asks = np.arange(len(all_tids)) >= len(tids)
    merged = np.lexsort((asks, all_times, all_tids))  # rows before questions of the same time
    latest = np.empty(len(all_tids), np.intp)
    latest[merged] = np.maximum.accumulate(np.where(asks[merged], -1, merged))
    found = latest[len(tids) :]
    first = np.minimum(np.searchsorted(all_tids[: len(tids)], tid), len(tids) - 1)
    found = np.where((found >= 0) & (all_tids[found] == tid), found, first)
    return np.where(all_tids[found] == tid, order[found], -1)


def plain(value: Any) -> Any:
    """Return a number for JSON; None for NaN."""
    number = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(number, float) and not np.isfinite(number) else number
