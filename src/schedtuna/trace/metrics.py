"""What do the task states amount to: latencies, CPU time, turnaround, per task or any group of them?

Pure. `measure()` adds pieces of intervals up, so that a long trace needs no more memory than one of
its parts, 14 bytes per wait, slice and burst, and 20 per time on a CPU; `table()` then folds tasks into
groups. The vocabulary is that of docs/terms.md; `DISTRIBUTIONS` and `TOTALS` are its tables.
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
MAX_SPANS = 10_000_000  # above, fairness would need more than 1 GB

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
    "run_delay_ns": "time waiting for a CPU that others use (schedstat's run_delay has throttled_ns, too)",
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
# Distributions that `measure()` keeps value by value, in the order of struct sums: those of whole
# intervals of a state, then bursts.
_KEPT = {
    "wakeup_latency": TaskState.RUNNABLE_WOKEN,
    "preempt_delay": TaskState.RUNNABLE_PREEMPTED,
    "slice": TaskState.RUNNING,
}
_KEPT_NAMES = (*_KEPT, "burst")


@dataclass(frozen=True)
class Values:
    """Durations of one kind, each with its task and CPU."""

    task: npt.NDArray[np.int32]
    cpu: npt.NDArray[np.uint16]
    value_ns: IntArray


@dataclass(frozen=True)
class Spans:
    """Times during which a task ran or waited for a CPU, without a gap."""

    task: npt.NDArray[np.int32]
    start_ns: IntArray
    end_ns: IntArray


@dataclass(frozen=True)
class TaskMeasures:
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
        spans: When each task wanted a CPU; None where that is more than `MAX_SPANS`.
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
    spans: Spans | None


def measure(pieces: Intervals | Iterable[Intervals]) -> TaskMeasures:
    """Add intervals up: those of a trace, in pieces (`iter_intervals()`) or as one.

    The intervals of each task must come in time order.
    """
    sums = _Sums()
    for piece in [pieces] if isinstance(pieces, Intervals) else pieces:
        if len(piece):
            sums.add(piece)
    return sums.finish()


# What follows, up to `table()`, is the other side of schedtuna_add_up() in native/trace/task_sums.c.

_ROLES = np.zeros(NR_STATES, np.uint8)
_WANTS = 1
_ROLES[[TaskState.RUNNING, *RUNNABLE]] |= _WANTS
_ROLES[TaskState.NEW] |= 2
_ROLES[TaskState.RUNNABLE_NEW] |= 4
_ROLES[TaskState.DEAD] |= 8
_ROLES[TaskState.UNKNOWN] |= 16
_ROLES_WITHOUT_SPANS = _ROLES & ~np.uint8(_WANTS)
_KEPT_AS = np.full(NR_STATES, 255, np.uint8)
_KEPT_AS[list(_KEPT.values())] = range(len(_KEPT))

_GIVEN = ("task", "tid", "state", "cpu", "start_ns", "end_ns", "burst_ns", "began_before", "ends_after")
_Dtypes = Mapping[str, np.dtype[Any]]
_VALUES: _Dtypes = {"value_ns": np.dtype(np.int64), "task": np.dtype(np.int32), "cpu": np.dtype(np.uint16)}
_SPANS: _Dtypes = {"start_ns": np.dtype(np.int64), "end_ns": np.dtype(np.int64), "task": np.dtype(np.int32)}
# Per task: the type of an element, its shape, and what it is before anything is known.
_PER_TASK: dict[str, tuple[Any, tuple[int, ...], int]] = {
    "time_ns": (np.int64, (NR_STATES,), 0),
    "count": (np.int64, (NR_STATES,), 0),
    "begin_ns": (np.int64, (), UNKNOWN_TIME),
    "born_ns": (np.int64, (), UNKNOWN_TIME),
    "first_run_ns": (np.int64, (), UNKNOWN_TIME),
    "dead_ns": (np.int64, (), UNKNOWN_TIME),
    "span_of": (np.int64, (), -1),
    "tid": (np.uint32, (), 0),
    "alive_after": (np.bool_, (), 0),
}


class _NativeValues(ctypes.Structure):
    _fields_ = (("nr", ctypes.c_int64), *((name, ctypes.c_void_p) for name in _VALUES))


class _NativeSpans(ctypes.Structure):
    _fields_ = (("nr", ctypes.c_int64), *((name, ctypes.c_void_p) for name in _SPANS))


class _NativeSums(ctypes.Structure):
    _fields_ = (
        ("nr_intervals", ctypes.c_int64),
        *((f"interval_{name}", ctypes.c_void_p) for name in _GIVEN),
        ("nr_states", ctypes.c_int64),
        ("running", ctypes.c_int64),
        ("roles", ctypes.c_void_p),
        ("kept_as", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in _PER_TASK),
        ("cpu_time_ns", ctypes.c_void_p),
        ("kept", _NativeValues * len(_KEPT_NAMES)),
        ("spans", _NativeSpans),
    )


class _Growing:
    """Arrays of one length that grow at the end; the library appends to them."""

    def __init__(self, dtypes: _Dtypes) -> None:
        self.size = 0
        self.arrays = {name: np.empty(0, dtype) for name, dtype in dtypes.items()}

    def lend(self, native: Any, room: int) -> None:
        """Let the library append up to `room` elements."""
        for name, old in self.arrays.items():
            if len(old) < self.size + room:
                new = np.empty(4 * self.size + room, old.dtype)  # what is not used takes no memory
                new[: self.size] = old[: self.size]
                self.arrays[name] = new
            setattr(native, name, self.arrays[name].ctypes.data)
        native.nr = self.size

    def used(self) -> dict[str, npt.NDArray[Any]]:
        return {name: array[: self.size] for name, array in self.arrays.items()}


class _Sums:
    """Grows arrays per task while pieces of intervals come in."""

    def __init__(self) -> None:
        self.size = 0
        self.per_task = {name: np.empty((0, *shape), dtype) for name, (dtype, shape, _) in _PER_TASK.items()}
        self.cpu_time_ns = np.zeros((0, NR_STATES), np.int64)
        self.kept = {name: _Growing(_VALUES) for name in _KEPT_NAMES}
        self.spans = _Growing(_SPANS)
        self.has_spans = True
        self.native = _NativeSums(
            nr_states=NR_STATES,
            running=TaskState.RUNNING,
            roles=_ROLES.ctypes.data,
            kept_as=_KEPT_AS.ctypes.data,
        )

    def add(self, piece: Intervals) -> None:
        self._grow(int(piece.task.max()) + 1, int(piece.cpu.max()) + 1)
        native = self.native
        native.nr_intervals = len(piece)
        given = {name: np.ascontiguousarray(getattr(piece, name)) for name in _GIVEN}
        for name, array in given.items():
            setattr(native, f"interval_{name}", array.ctypes.data)
        growing = [*zip(self.kept.values(), native.kept, strict=True), (self.spans, native.spans)]
        for one, native_one in growing:
            one.lend(native_one, len(piece))
        library().schedtuna_add_up(ctypes.byref(native))
        for one, native_one in growing:
            one.size = native_one.nr
        if self.spans.size > MAX_SPANS:
            self.spans, self.has_spans = _Growing(_SPANS), False
            native.roles = _ROLES_WITHOUT_SPANS.ctypes.data

    def _grow(self, size: int, nr_cpus: int) -> None:
        if nr_cpus > len(self.cpu_time_ns):
            more = np.zeros((nr_cpus - len(self.cpu_time_ns), NR_STATES), np.int64)
            self.cpu_time_ns = np.concatenate([self.cpu_time_ns, more])
            self.native.cpu_time_ns = self.cpu_time_ns.ctypes.data
        if size <= self.size:
            return
        self.size = max(size, 2 * self.size)
        for name, (dtype, shape, unknown) in _PER_TASK.items():
            old, new = self.per_task[name], np.full((self.size, *shape), unknown, dtype)
            new[: len(old)] = old
            self.per_task[name] = new
            setattr(self.native, name, new.ctypes.data)

    def finish(self) -> TaskMeasures:
        per = {name: array for name, array in self.per_task.items() if name != "span_of"}
        per["first_run_ns"][per["count"][:, TaskState.RUNNING] == 0] = UNKNOWN_TIME
        born = per["born_ns"]
        values = {name: Values(**growing.used()) for name, growing in self.kept.items()}
        for name, until in (("first_run_delay", per["first_run_ns"]), ("turnaround", per["dead_ns"])):
            task = np.flatnonzero((born != UNKNOWN_TIME) & (until != UNKNOWN_TIME)).astype(np.int32)
            values[name] = Values(task, np.zeros(len(task), np.uint16), until[task] - born[task])
        return TaskMeasures(
            exists=per["begin_ns"] != UNKNOWN_TIME,
            cpu_time_ns=self.cpu_time_ns,
            values={name: values[name] for name in DISTRIBUTIONS},
            spans=Spans(**self.spans.used()) if self.has_spans else None,
            **per,
        )


def table(
    measured: TaskMeasures, group: npt.NDArray[np.integer[Any]], nr_groups: int
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

    keyed = {name: (values.task, values.value_ns) for name, values in measured.values.items()}
    return columns | summaries(keyed, nr_groups, group_of_key=group)


def summaries(
    keyed: Mapping[str, tuple[npt.NDArray[np.integer[Any]], IntArray]],
    nr_groups: int,
    *,
    group_of_key: npt.NDArray[np.integer[Any]] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Return `summarize()` of several distributions: name -> keys and values."""
    columns: dict[str, npt.NDArray[Any]] = {}
    with ThreadPoolExecutor(2) as pool:  # most of it runs outside of Python's lock
        for figures in pool.map(
            lambda name: summarize(name, *keyed[name], nr_groups, group_of_key=group_of_key), keyed
        ):
            columns |= figures
    return columns


def summarize(
    name: str,
    key: npt.NDArray[np.integer[Any]],
    value_ns: IntArray,
    nr_groups: int,
    *,
    group_of_key: npt.NDArray[np.integer[Any]] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Return count, mean, quantiles and maximum of values, per group.

    Args:
        name: What the columns begin with.
        key: Each value's key, from 0.
        value_ns: The values.
        nr_groups: How many groups there are.
        group_of_key: Each key's group (negative: its values are left out); None: keys are groups.
    """
    if group_of_key is None:
        group_of_key = np.arange(nr_groups)
    scattered, counts, totals = _by_group(key, value_ns, nr_groups, group_of_key)
    some = counts > 0
    starts, sizes = np.ascontiguousarray((np.cumsum(counts) - counts)[some]), counts[some]
    shares = np.array([*QUANTILES.values(), 1.0])
    ranks = np.maximum(np.ceil(shares * sizes[:, None] - 1e-9).astype(np.int64), 1) - 1
    selected, scratch = np.empty_like(ranks), np.empty(2 * sizes.max(initial=0), np.int64)
    pointers = [array.ctypes.data for array in (starts, sizes, scattered)]
    call = library().schedtuna_select
    call(len(starts), *pointers, len(shares), *(array.ctypes.data for array in (ranks, selected, scratch)))
    columns: dict[str, npt.NDArray[Any]] = {f"{name}_count": counts}
    columns[f"{name}_mean_ns"] = _spread(some, totals[some] / sizes)
    for label, values in zip([*QUANTILES, "max"], selected.T, strict=True):
        columns[f"{name}_{label}_ns"] = _spread(some, values)
    return columns


def _by_group(
    key: npt.NDArray[np.integer[Any]],
    value_ns: IntArray,
    nr_groups: int,
    group_of_key: npt.NDArray[np.integer[Any]],
) -> tuple[IntArray, IntArray, IntArray]:
    """Return a copy of the values, group after group; how many each group has; and their sums."""
    if len(key) and not (key.min() >= 0 and key.max() < len(group_of_key)):
        raise ValueError(f"keys are {key.min()} to {key.max()}, expected 0 to {len(group_of_key) - 1}")
    if group_of_key.max(initial=-1) >= nr_groups:
        raise ValueError(f"there is a group {group_of_key.max()}, expected {nr_groups} groups")
    given = (
        np.ascontiguousarray(key, np.int32),
        np.ascontiguousarray(value_ns, np.int64),
        np.ascontiguousarray(group_of_key, np.int64),
    )
    pointers = [array.ctypes.data for array in given]
    counts, totals = np.zeros(nr_groups, np.int64), np.zeros(nr_groups, np.int64)
    library().schedtuna_count(len(key), *pointers, counts.ctypes.data, totals.ctypes.data)
    next_ = np.cumsum(counts) - counts
    scattered = np.empty(counts.sum(), np.int64)
    library().schedtuna_scatter(len(key), *pointers, next_.ctypes.data, scattered.ctypes.data)
    return scattered, counts, totals


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
