"""What do the task states amount to: latencies, CPU time, turnaround, per task or any group of them?

Pure. `measure()` adds pieces of intervals up, so that a long trace needs no more memory than one of
its parts and 16 bytes per wait, slice and burst; `table()` then folds tasks into groups. The
vocabulary is that of docs/terms.md; `METRICS` is its one table.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.trace.intervals import Intervals
from schedtuna.trace.native import library
from schedtuna.trace.schema import IntArray
from schedtuna.trace.states import RUNNABLE, SLEEPS, TaskState

NR_STATES = len(TaskState)
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
COST_TERMS = ("turnaround_mean_ns", "first_run_delay_mean_ns", "fairness_cv")
UNKNOWN_TIME = -1

# Distributions: each gives `_count`, `_mean_ns`, `_p50_ns` ... `_p999_ns`, `_max_ns`.
DISTRIBUTIONS: dict[str, str] = {
    "wakeup_latency": "wakeup to next switch-in",
    "preempt_delay": "preempted (or yielded) to next switch-in",
    "first_run_delay": "fork to first switch-in",
    "turnaround": "fork to exit, of tasks that did both within the trace",
    "slice": "switch-in to switch-out",
    "burst": "CPU time between two sleeps",
}

# Sums and counts: name -> meaning. Names end in their unit, or begin with nr_.
TOTALS: dict[str, str] = {
    "nr_tasks": "tasks seen",
    "cpu_time_ns": "time on a CPU",
    "run_delay_ns": "time on a runqueue, waiting (the kernel's schedstat run_delay)",
    "throttled_ns": "time waiting for the cgroup's next CPU quota",
    "sleeping_ns": "time asleep (S)",
    "blocked_ns": "time in uninterruptible sleep (D), not for IO",
    "io_ns": "time blocked for IO",
    "unknown_ns": "time in a state that the trace does not tell",
    "nr_switches": "times switched in",
    "nr_wakeups": "waits that a wakeup began",
    "nr_voluntary": "switches out to sleep",
    "nr_involuntary": "switches out while runnable",
    "nr_migrations": "moves to another CPU's queue",
    "nr_began_before": "tasks that were alive before the trace",
    "nr_alive_after": "tasks still alive at its end: their turnaround is censored",
}

_TIME_STATES = {
    "cpu_time_ns": (TaskState.RUNNING,),
    "run_delay_ns": RUNNABLE,
    "throttled_ns": (TaskState.THROTTLED,),
    "sleeping_ns": (TaskState.SLEEPING, TaskState.STOPPED, TaskState.IDLE),
    "blocked_ns": (TaskState.BLOCKED,),
    "io_ns": (TaskState.IO,),
    "unknown_ns": (TaskState.UNKNOWN,),
}
_KEPT = {
    "wakeup_latency": TaskState.RUNNABLE_WOKEN,
    "preempt_delay": TaskState.RUNNABLE_PREEMPTED,
    "slice": TaskState.RUNNING,
}


# Struct sums of native/task_states.c: what it is given of intervals, and what it adds up.
_GIVEN = ("task", "tid", "state", "cpu", "start_ns", "end_ns", "began_before", "ends_after")
_SUMMED = ("time_ns", "count", "begin_ns", "tid", "alive_after")
_MOMENTS = {"begin_ns", "born_ns", "first_run_ns", "dead_ns"}  # UNKNOWN_TIME, until they are known


class _NativeSums(ctypes.Structure):
    _fields_ = (
        ("nr_intervals", ctypes.c_int64),
        *((f"interval_{name}", ctypes.c_void_p) for name in _GIVEN),
        ("nr_states", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _SUMMED),
        ("cpu_time_ns", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Values:
    """Durations of one kind, each with its task and CPU."""

    task: npt.NDArray[np.int32]
    cpu: npt.NDArray[np.uint16]
    value_ns: IntArray


@dataclass(frozen=True)
class Measured:
    """A trace's figures per task (arrays indexed by task number), and its durations one by one.

    Attributes:
        tid: Thread id; tasks of which no interval is known have `exists` false.
        exists: Whether there is a task of that number.
        begin_ns: When it was first seen.
        time_ns: Time per state, shape (tasks, states).
        count: Intervals per state that began within the trace, shape (tasks, states).
        born_ns, first_run_ns, dead_ns: When it was forked, first switched in, and dead;
            `UNKNOWN_TIME` where that is not in the trace.
        alive_after: Whether it was alive at the end.
        cpu_time_ns: Time per CPU and state, shape (CPUs, states): where tasks ran, or began to wait.
        values: Distribution's name -> its durations. A wait that the trace cuts is in none.
    """

    tid: npt.NDArray[np.uint32]
    exists: npt.NDArray[np.bool_]
    begin_ns: IntArray
    time_ns: IntArray
    count: IntArray
    born_ns: IntArray
    first_run_ns: IntArray
    dead_ns: IntArray
    alive_after: npt.NDArray[np.bool_]
    cpu_time_ns: IntArray
    values: dict[str, Values]


def measure(pieces: Intervals | Iterable[Intervals]) -> Measured:
    """Add intervals up: those of a trace, in pieces (`iter_intervals()`) or as one.

    The intervals of each task must come in time order.
    """
    sums = _Sums()
    for piece in [pieces] if isinstance(pieces, Intervals) else pieces:
        if len(piece):
            sums.add(piece)
    return sums.finish()


class _Sums:
    """Grows arrays per task while pieces of intervals come in."""

    def __init__(self) -> None:
        self.size = 0
        self.per_task: dict[str, npt.NDArray[Any]] = {
            "tid": np.zeros(0, np.uint32),
            "begin_ns": np.zeros(0, np.int64),
            "time_ns": np.zeros((0, NR_STATES), np.int64),
            "count": np.zeros((0, NR_STATES), np.int64),
            "born_ns": np.zeros(0, np.int64),
            "first_run_ns": np.zeros(0, np.int64),
            "dead_ns": np.zeros(0, np.int64),
            "alive_after": np.zeros(0, np.bool_),
        }
        self.cpu_time_ns = np.zeros((0, NR_STATES), np.int64)
        self.values: dict[str, list[Values]] = {name: [] for name in DISTRIBUTIONS}

    def _grow(self, size: int, nr_cpus: int) -> None:
        if nr_cpus > len(self.cpu_time_ns):
            more = np.zeros((nr_cpus - len(self.cpu_time_ns), NR_STATES), np.int64)
            self.cpu_time_ns = np.concatenate([self.cpu_time_ns, more])
        if size <= self.size:
            return
        capacity = max(size, 2 * self.size)
        for name, old in self.per_task.items():
            new = np.full((capacity, *old.shape[1:]), UNKNOWN_TIME if name in _MOMENTS else 0, old.dtype)
            new[: len(old)] = old
            self.per_task[name] = new
        self.size = capacity

    def add(self, piece: Intervals) -> None:
        self._grow(int(piece.task.max()) + 1, int(piece.cpu.max()) + 1)
        per = self.per_task
        given = {f"interval_{name}": np.ascontiguousarray(getattr(piece, name)) for name in _GIVEN}
        sums = {**given, **{name: per[name] for name in _SUMMED}, "cpu_time_ns": self.cpu_time_ns}
        library().schedtuna_add_up(
            ctypes.byref(
                _NativeSums(
                    nr_intervals=len(piece),
                    nr_states=NR_STATES,
                    **{name: array.ctypes.data for name, array in sums.items()},
                )
            )
        )
        self._lives(piece)
        duration = piece.duration_ns
        whole = ~(piece.began_before | piece.ends_after)
        for name, kept in _KEPT.items():
            self._keep(name, piece, duration, np.flatnonzero((piece.state == kept) & whole))
        self._keep("burst", piece, piece.burst_ns, np.flatnonzero(piece.burst_ns))

    def _keep(self, name: str, piece: Intervals, value_ns: IntArray, which: npt.NDArray[np.intp]) -> None:
        if len(which):
            self.values[name].append(Values(piece.task[which], piece.cpu[which], value_ns[which]))

    def _lives(self, piece: Intervals) -> None:
        """Note births, first runs and deaths."""
        per = self.per_task
        for state in (TaskState.RUNNABLE_NEW, TaskState.NEW):  # NEW, where there is one, comes first
            rows = np.flatnonzero(piece.state == state)
            task = piece.task[rows]
            begun = ~piece.began_before[rows]
            unborn = per["born_ns"][task] == UNKNOWN_TIME
            known = begun & (unborn | (state == TaskState.NEW))
            per["born_ns"][task[known]] = piece.start_ns[rows[known]]
            ran = begun & ~piece.ends_after[rows]
            later = np.maximum(per["first_run_ns"][task[ran]], piece.end_ns[rows[ran]])
            per["first_run_ns"][task[ran]] = later
        dead = np.flatnonzero(piece.state == TaskState.DEAD)
        per["dead_ns"][piece.task[dead]] = piece.start_ns[dead]

    def finish(self) -> Measured:
        per = {name: array[: self.size] for name, array in self.per_task.items()}
        born, first_run, dead = per["born_ns"], per["first_run_ns"], per["dead_ns"]
        begun = born != UNKNOWN_TIME
        for name, until in (("first_run_delay", first_run), ("turnaround", dead)):
            task = np.flatnonzero(begun & (until != UNKNOWN_TIME)).astype(np.int32)
            self.values[name] = [Values(task, np.zeros(len(task), np.uint16), until[task] - born[task])]
        values = {name: _concatenate(self.values.pop(name)) for name in DISTRIBUTIONS}
        exists = (per["begin_ns"] != UNKNOWN_TIME) if self.size else np.zeros(0, np.bool_)
        return Measured(exists=exists, cpu_time_ns=self.cpu_time_ns, values=values, **per)


def _concatenate(pieces: list[Values]) -> Values:
    if not pieces:
        return Values(np.empty(0, np.int32), np.empty(0, np.uint16), np.empty(0, np.int64))
    return Values(
        np.concatenate([piece.task for piece in pieces]),
        np.concatenate([piece.cpu for piece in pieces]),
        np.concatenate([piece.value_ns for piece in pieces]),
    )


def table(
    measured: Measured, group: npt.NDArray[np.integer[Any]], nr_groups: int
) -> dict[str, npt.NDArray[Any]]:
    """Fold tasks into groups.

    Args:
        measured: What `measure()` returned.
        group: Each task's group, shape (tasks,), from 0; -1 leaves a task out.
        nr_groups: How many groups there are.

    Returns:
        Column name -> one value per group: `TOTALS`, then the figures of `DISTRIBUTIONS`; quantiles of
        nothing are NaN. A quantile is the smallest value with that share of all values at or below it.
    """
    chosen = np.flatnonzero(measured.exists & (group >= 0))
    of_group = group[chosen]

    def fold(per_task: npt.NDArray[Any]) -> IntArray:
        return np.rint(np.bincount(of_group, per_task[chosen], nr_groups)).astype(np.int64)

    time, count = measured.time_ns, measured.count
    columns: dict[str, npt.NDArray[Any]] = {"nr_tasks": fold(measured.exists)}
    for name, states_ in _TIME_STATES.items():
        columns[name] = fold(time[:, list(states_)].sum(axis=1))
    born = measured.born_ns != UNKNOWN_TIME
    columns["nr_switches"] = fold(count[:, TaskState.RUNNING])
    columns["nr_wakeups"] = fold(count[:, TaskState.RUNNABLE_WOKEN])
    columns["nr_voluntary"] = fold(count[:, [*SLEEPS, TaskState.DEAD]].sum(axis=1))
    columns["nr_involuntary"] = fold(
        count[:, [TaskState.RUNNABLE_PREEMPTED, TaskState.THROTTLED]].sum(axis=1)
    )
    columns["nr_began_before"] = fold(measured.exists & ~born)
    columns["nr_alive_after"] = fold(measured.alive_after)

    def distribution(name: str) -> dict[str, npt.NDArray[Any]]:
        values = measured.values[name]
        return summarize(name, group[values.task], values.value_ns, nr_groups)

    with ThreadPoolExecutor(2) as pool:  # selecting and sorting run outside of Python's lock
        for figures in pool.map(distribution, measured.values):
            columns |= figures
    return columns


def summarize(
    name: str, group: npt.NDArray[np.integer[Any]], value_ns: IntArray, nr_groups: int
) -> dict[str, npt.NDArray[Any]]:
    """Return count, mean, quantiles and maximum of values, per group (negative: left out)."""
    value_ns, counts = _by_group(group, value_ns, nr_groups)
    ends = np.cumsum(counts)
    starts = ends - counts
    some = counts > 0
    columns: dict[str, npt.NDArray[Any]] = {f"{name}_count": counts}
    totals = np.add.reduceat(value_ns, starts[some]) if some.any() else np.empty(0)
    columns[f"{name}_mean_ns"] = _spread(some, totals / counts[some])
    shares = np.array([*QUANTILES.values(), 1.0])
    ranks = np.maximum(np.ceil(shares * counts[some, None] - 1e-9).astype(np.int64), 1) - 1
    _order(value_ns, starts[some], counts[some], ranks)
    for label, rank in zip([*QUANTILES, "max"], ranks.T, strict=True):
        columns[f"{name}_{label}_ns"] = _spread(some, value_ns[starts[some] + rank])
    return columns


def _by_group(
    group: npt.NDArray[np.integer[Any]], value_ns: IntArray, nr_groups: int
) -> tuple[IntArray, IntArray]:
    """Return a copy of the values, group after group; and how many each group has."""
    if len(group) and group.min() < 0:
        value_ns, group = value_ns[group >= 0], group[group >= 0]
    counts = np.bincount(group, minlength=nr_groups)
    if np.count_nonzero(counts) <= 1:
        return value_ns.copy(), counts
    key = group.astype(np.uint16) if nr_groups <= 1 << 16 else group  # 16-bit keys sort by radix
    return value_ns[np.argsort(key, kind="stable")], counts


_LARGE = 1000  # values of a group from which selecting is faster than sorting with all small groups


def _order(value_ns: IntArray, starts: IntArray, counts: IntArray, ranks: IntArray) -> None:
    """Put at least the values of these ranks into their places, in each group, in place."""
    for start, count, rank in zip(starts, counts, ranks, strict=True):
        if count >= _LARGE:
            value_ns[start : start + count].partition(sorted(set(rank.tolist())))
    small = counts < _LARGE
    which = np.repeat(small, counts)
    values = value_ns[which]
    value_ns[which] = values[np.lexsort((values, np.repeat(np.flatnonzero(small), counts[small])))]


def _spread(some: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    column = np.full(len(some), np.nan)
    column[some] = values
    return column


def cost(
    figures: Mapping[str, float | None],
    default: Mapping[str, float | None],
    *,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> float:
    """Return L: mean turnaround, mean first-run delay and fairness_cv, each over its default, weighted.

    Args:
        figures: Of the window, with `turnaround_mean_ns`, `first_run_delay_mean_ns`, `fairness_cv`.
        default: The same under the default scheduler on the same load.
        weights: w1, w2, w3.

    Returns:
        The sum of weight x ratio: the sum of weights for the default itself; NaN where a figure or its
        default is unknown, or the default is 0.
    """
    total = 0.0
    for name, weight in zip(COST_TERMS, weights, strict=True):
        value, base = figures[name], default[name]
        if weight:
            total += weight * value / base if value is not None and base else math.nan
    return total


def clip(intervals: Intervals, start_ns: int, end_ns: int) -> Intervals:
    """Return what of the intervals lies in a window; those that it cuts are marked so."""
    inside = intervals.select((intervals.end_ns >= start_ns) & (intervals.start_ns < end_ns))
    return Intervals(
        inside.task,
        inside.tid,
        inside.state,
        np.maximum(inside.start_ns, start_ns),
        np.minimum(inside.end_ns, end_ns),
        inside.cpu,
        inside.began_before | (inside.start_ns < start_ns),
        inside.ends_after | (inside.end_ns > end_ns),
        np.where(inside.start_ns < start_ns, 0, inside.burst_ns),
    )
