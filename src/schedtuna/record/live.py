"""What goes on right now: the tasks, names or cgroups that wait longest, over the last window."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from schedtuna.machine.mounts import CgroupMounts
from schedtuna.record.aggregate import Aggregator
from schedtuna.record.filters import cgroup_names
from schedtuna.record.procfs import SystemSampler
from schedtuna.trace.aggregates.groups import GroupArray, fold
from schedtuna.trace.aggregates.histogram import bucket_edges_ns, percentile_ns, percentiles_ns
from schedtuna.trace.aggregates.layout import TURNAROUND_SCALE, Delay, StatsArray
from schedtuna.trace.aggregates.summary import fairness_cv
from schedtuna.trace.metrics import QUANTILES
from schedtuna.trace.tasks import clean_name


class By(StrEnum):
    """What a row stands for."""

    TASK = "task"
    COMM = "comm"
    CGROUP = "cgroup"


_KEYS = {By.TASK: ["tid", "start_time_ns"], By.COMM: ["comm"], By.CGROUP: ["cgroup_id"]}

# Column -> heading, and what it is. Rows can be sorted by each of them, largest first.
COLUMNS: dict[str, tuple[str, str]] = {
    "wakeup_max_us": ("WORST us", "longest time from wakeup to running in the window"),
    "wakeup_p99_us": ("P99 us", "99th percentile of that"),
    "wakeups_per_s": ("WAKE/s", "wakeups"),
    "preempt_p99_us": ("PREEMPT us", "99th percentile of the time from being preempted to running again"),
    "waiting_us": ("WAITS us", "has been waiting for a CPU since, now"),
    "delay_percent": ("WAIT %", "time spent waiting for a CPU; of one CPU"),
    "cpu_percent": ("CPU %", "CPU time; of one CPU"),
    "migrations_per_s": ("MOVES/s", "moves to another CPU"),
    "first_run_p99_us": ("FIRST us", "99th percentile of the time from fork to running"),
    "turnaround_mean_us": ("LIFE us", "mean turnaround: from fork to exit, of tasks that did both"),
}


@dataclass(frozen=True)
class LiveRow:
    """One task, or tasks of one name or cgroup; `values` by the names of `COLUMNS`."""

    tid: int
    name: str
    cgroup: str
    nr_tasks: int
    values: dict[str, float]


@dataclass(frozen=True)
class Distribution:
    """Durations that were counted in a window.

    Attributes:
        counts: Per bucket.
        total_ns: Their sum.
        max_ns: The longest; of a window that is not the first, at most 25% more than that.
        scale: How many times as long as usual the buckets are.
    """

    counts: npt.NDArray[np.integer]
    total_ns: float
    max_ns: float
    scale: int = 1

    def figures(self) -> dict[str, float]:
        """Return count, mean, percentiles and maximum, in microseconds; of none, NaN but for the count."""
        count = int(self.counts.sum())
        unit, longest = self.scale / 1e3, self.max_ns / self.scale
        return {
            "count": count,
            "mean_us": self.total_ns / count / 1e3 if count else math.nan,
            **{
                f"{name}_us": percentile_ns(self.counts, 100 * share, max_ns=longest) * unit
                for name, share in QUANTILES.items()
            },
            "max_us": self.max_ns / 1e3 if count else math.nan,
        }


# What `LiveWindow.distributions` has -> where it is counted; turnarounds are in no task's statistics.
DELAYS = {
    "wakeup_latency": Delay.WAKEUP,
    "preempt_delay": Delay.PREEMPT,
    "first_run_delay": Delay.FIRST_RUN,
}
TURNAROUND = "turnaround"


@dataclass(frozen=True)
class LiveWindow:
    """What happened in one window.

    Attributes:
        seconds: How long it was.
        rows: All that did or waited for something.
        distributions: By `DELAYS` and `TURNAROUND`, over all tasks.
        switches_per_s: Context switches of all CPUs.
        migrations_per_s: Of all tasks, within a last-level cache, across, and across memory nodes.
        fairness_cv: Over all tasks; NaN where there is nothing to compare.
        system: Metrics of `record.procfs`.
        nr_unseen: Tasks of which a first run or an exit was not counted, since the start.
    """

    seconds: float
    rows: list[LiveRow]
    distributions: dict[str, Distribution]
    switches_per_s: float
    migrations_per_s: tuple[float, float, float]
    fairness_cv: float
    system: dict[str, float]
    nr_unseen: int


class LiveView:
    """Turns an aggregator's windows into rows.

    Args:
        aggregator: Running.
        layout: The machine's cgroups, to name them.
    """

    def __init__(self, aggregator: Aggregator, layout: CgroupMounts) -> None:
        self._aggregator = aggregator
        self._layout = layout
        self._cgroups: dict[int, str] = {}
        self._system = SystemSampler(threads=False)
        self._time_s = time.monotonic()
        self._cpus = self._aggregator.window().cpus

    def window(self, by: By = By.TASK) -> LiveWindow:
        """Return what happened since the last call."""
        now_s = time.monotonic()
        seconds, self._time_s = max(now_s - self._time_s, 1e-9), now_s
        snapshot = self._aggregator.window()
        did = [snapshot.tasks[name] > 0 for name in ("nr_runs", "run_ns", "waiting_ns")]
        tasks = snapshot.tasks[np.logical_or.reduce(did)]
        everything = fold(tasks, [])
        moves = everything["nr_migrations"].sum(axis=0) / seconds
        window = LiveWindow(
            seconds=seconds,
            rows=self._rows(fold(tasks, _KEYS[by]), by, seconds),
            distributions={
                **{
                    name: Distribution(
                        everything["histograms"][:, delay].sum(axis=0),
                        float(everything["delay_ns"][:, delay].sum()),
                        float(everything["delay_max_ns"][:, delay].max(initial=0)),
                    )
                    for name, delay in DELAYS.items()
                },
                TURNAROUND: turnarounds(snapshot.cpus, self._cpus),
            },
            switches_per_s=int((snapshot.cpus["nr_switches"] - self._cpus["nr_switches"]).sum()) / seconds,
            migrations_per_s=(float(moves[0]), float(moves[1]), float(moves[2])),
            fairness_cv=fairness_cv(tasks, len(os.sched_getaffinity(0)), int(seconds * 1e9)),
            system=self._system.sample()[1],
            nr_unseen=snapshot.nr_unrecorded + snapshot.nr_exits_lost,
        )
        self._cpus = snapshot.cpus
        return window

    def _rows(self, groups: GroupArray, by: By, seconds: float) -> list[LiveRow]:
        columns = table_columns(groups, seconds)
        self._name_cgroups(groups["cgroup_id"])
        rows = []
        for index, group in enumerate(groups):
            name = clean_name(group["comm"]) if by is not By.CGROUP else ""
            cgroup = self._cgroups.get(int(group["cgroup_id"]), "")
            values = {column: float(numbers[index]) for column, numbers in columns.items()}
            rows.append(LiveRow(int(group["tid"]), name, cgroup, int(group["nr_tasks"]), values))
        return rows

    def _name_cgroups(self, ids: npt.NDArray[np.uint64]) -> None:
        if any(int(id_) not in self._cgroups for id_ in np.unique(ids)):
            names = cgroup_names(self._layout)
            # What has no name is not looked up again.
            self._cgroups = {int(id_): "" for id_ in np.unique(ids)}
            self._cgroups |= {id_: clean_name(name) for id_, name in names.items()}


def turnarounds(now: StatsArray, before: StatsArray) -> Distribution:
    """Return the turnarounds of tasks that exited between two readings of the CPUs' sums."""
    counts = (now["turnarounds"] - before["turnarounds"]).sum(axis=0)
    bound_ns = float(np.where(counts > 0, bucket_edges_ns()[1:], 0).max()) * TURNAROUND_SCALE
    longest_ns = float(now["turnaround_max_ns"].max(initial=0))
    return Distribution(
        counts,
        float((now["turnaround_ns"] - before["turnaround_ns"]).sum()),
        longest_ns if counts[-1] else min(longest_ns, bound_ns),
        TURNAROUND_SCALE,
    )


def table_columns(groups: GroupArray, seconds: float) -> dict[str, npt.NDArray[np.float64]]:
    """Return what `top` shows of each group, by the names of its columns."""
    count = groups["nr_turnarounds"]
    waited = groups["delay_ns"][:, : Delay.THROTTLED].sum(axis=1) + groups["waiting_ns"]
    return {
        "wakeup_max_us": groups["delay_max_ns"][:, Delay.WAKEUP] / 1e3,
        "wakeup_p99_us": _p99_us(groups, Delay.WAKEUP),
        "wakeups_per_s": groups["nr_delays"][:, Delay.WAKEUP] / seconds,
        "preempt_p99_us": _p99_us(groups, Delay.PREEMPT),
        "waiting_us": groups["waiting_ns"] / 1e3,
        "delay_percent": waited / seconds / 1e7,
        "cpu_percent": groups["run_ns"] / seconds / 1e7,
        "migrations_per_s": groups["nr_migrations"].sum(axis=1) / seconds,
        "first_run_p99_us": _p99_us(groups, Delay.FIRST_RUN),
        "turnaround_mean_us": np.divide(
            groups["turnaround_ns"] / 1e3, count, out=np.full(len(groups), np.nan), where=count > 0
        ),
    }


def _p99_us(groups: GroupArray, delay: Delay) -> npt.NDArray[np.float64]:
    p99_ns = percentiles_ns(groups["histograms"][:, delay], 99)
    at_most: npt.NDArray[np.float64] = np.minimum(p99_ns, groups["delay_max_ns"][:, delay]) / 1e3
    return at_most


def choose_rows(rows: Sequence[LiveRow], sort: str, text: str = "") -> list[LiveRow]:
    """Return the rows whose name, cgroup or tid has `text` in it, largest first in a column."""
    text = text.lower()
    chosen = [
        row for row in rows if text in row.name.lower() or text in row.cgroup.lower() or text == str(row.tid)
    ]

    def key(row: LiveRow) -> tuple[float, int]:
        value = row.values[sort]
        return (-math.inf if math.isnan(value) else value, -row.tid)

    return sorted(chosen, key=key, reverse=True)
