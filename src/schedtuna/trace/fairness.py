"""Did every task get the CPU time that its weight entitles it to?

At each moment, the CPUs are shared by weighted max-min fairness (water-filling): every runnable task
gets `weight x level`, at most one CPU, and the level rises for all until the CPUs that a set of tasks
may use are full. `fairness_cv` is the coefficient of variation, over tasks, of received / entitled.

Weights are those of nice; shares that cgroups set are not known to a trace. Pure.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.trace.intervals import Intervals
from schedtuna.trace.metrics import Spans, TaskMeasures, measure
from schedtuna.trace.native import library
from schedtuna.trace.schema import IntArray
from schedtuna.trace.states import TaskState

NICE_0_WEIGHT = 1024
# kernel/sched/core.c, sched_prio_to_weight: nice -20 to 19.
# fmt: off
NICE_WEIGHTS = (
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
    9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277,
    1024, 820, 655, 526, 423, 335, 272, 215, 172, 137,
    110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
)
# fmt: on
_FREE = float("inf")  # the level where every task has a whole CPU
MAX_AFFINITIES = 12  # distinct CPU sets: all sets of them are tried
MIN_ENTITLED_NS = 1_000_000  # a task that asked for less says nothing of fairness


@dataclass(frozen=True)
class TaskClass:
    """Tasks that are entitled alike: a weight, and the CPUs that they may use (None: all)."""

    weight: int = NICE_0_WEIGHT
    cpus: frozenset[int] | None = None


@dataclass(frozen=True)
class Fairness:
    """CPU time entitled and received, per task (arrays of one length)."""

    task: npt.NDArray[np.int32]
    entitled_ns: npt.NDArray[np.float64]
    received_ns: npt.NDArray[np.float64]

    def cv(self, *, min_entitled_ns: float = MIN_ENTITLED_NS) -> float:
        """Return `fairness_cv`: sd / mean of received / entitled; NaN for fewer than two tasks.

        Tasks entitled to less than `min_entitled_ns` are left out.
        """
        counted = self.entitled_ns >= max(min_entitled_ns, 1)
        ratio = self.received_ns[counted] / self.entitled_ns[counted]
        if len(ratio) < 2:
            return float("nan")
        return float(np.std(ratio) / np.mean(ratio)) if ratio.any() else float("nan")


def nice_weight(nice: int) -> int:
    """Return the kernel's weight of a nice level.

    >>> nice_weight(0)
    1024
    """
    return NICE_WEIGHTS[nice + 20]


def group_weight(nice: int) -> int:
    """Return the `cpu.weight` of a control group that gets what an autogroup of that nice value does.

    >>> group_weight(10)
    11
    """
    return max(1, round(nice_weight(nice) * 100 / NICE_0_WEIGHT))


def water_fill(counts: Sequence[int], classes: Sequence[TaskClass], cpus: frozenset[int]) -> list[float]:
    """Return how much of a CPU each runnable task of each class is entitled to now.

    Raise the level until some set of tasks fills the CPUs that it can use (or a task has a whole
    one); those are settled, their CPUs are gone; go on with the rest. A set that fills first is a union
    of affinities, so all unions are tried.
    """
    rates = [0.0] * len(classes)
    rest = {k for k, count in enumerate(counts) if count}
    free = cpus
    while rest:
        allowed = {k: (classes[k].cpus or cpus) & free for k in rest}
        for k in [k for k in rest if not allowed[k]]:
            rest.discard(k)  # nothing is left for it
        affinities = sorted({allowed[k] for k in rest}, key=lambda set_: (len(set_), sorted(set_)))
        if not affinities:
            break
        filled = {
            union: _level(union, [k for k in rest if allowed[k] <= union], counts, classes)
            for union in _unions(affinities)
        }
        union = min(filled, key=filled.__getitem__)
        settled = {k for k in rest if allowed[k] <= union} if filled[union] < _FREE else set(rest)
        for k in settled:
            rates[k] = min(1.0, classes[k].weight * filled[union])
        rest -= settled
        free -= union
    return rates


def _unions(affinities: Sequence[frozenset[int]]) -> set[frozenset[int]]:
    return {
        frozenset().union(*chosen)
        for size in range(1, len(affinities) + 1)
        for chosen in combinations(affinities, size)
    }


def _level(
    union: frozenset[int], members: list[int], counts: Sequence[int], classes: Sequence[TaskClass]
) -> float:
    """Return the level at which `members` fill the CPUs of `union`; `_FREE` if they can't."""
    if sum(counts[k] for k in members) <= len(union):
        return _FREE
    capacity, weight = float(len(union)), float(sum(counts[k] * classes[k].weight for k in members))
    for k in sorted(members, key=lambda k: -classes[k].weight):
        if classes[k].weight * capacity < weight:
            break
        capacity -= counts[k]  # each has a whole CPU
        weight -= counts[k] * classes[k].weight
    return capacity / weight


def fairness(
    intervals: Intervals,
    classes: Mapping[int, TaskClass],
    nr_cpus: int,
    *,
    fair: npt.NDArray[np.bool_] | None = None,
) -> Fairness:
    """Return what each task was entitled to and what it received, over the intervals.

    Args:
        intervals: Of a trace, or of a window of it; those of each task in time order.
        classes: Task number -> its class; others are nice 0 and run anywhere.
        nr_cpus: CPUs are 0 to nr_cpus - 1.
        fair: By task number, whether it is scheduled by weight (real-time tasks are not); None: all.
    """
    return measured_fairness(measure(intervals), classes, nr_cpus, fair=fair)


def measured_fairness(
    measured: TaskMeasures,
    classes: Mapping[int, TaskClass],
    nr_cpus: int,
    *,
    fair: npt.NDArray[np.bool_] | None = None,
) -> Fairness:
    """Return `fairness()` of intervals that were added up.

    Raises:
        TraceError: There were too many to keep their spans.
    """
    spans, nr_tasks = measured.spans, len(measured.tid)
    if spans is None:
        raise TraceError("the trace is too long to say how fair it is", hint="choose a window of it")
    if fair is not None and not fair.all():
        chosen = fair[spans.task]
        spans = Spans(spans.task[chosen], spans.start_ns[chosen], spans.end_ns[chosen])
    kinds, kind_of = _kinds(classes, nr_tasks)
    if any(kind.cpus is not None for kind in kinds):
        entitled = _entitled_by_sets(spans, kinds, kind_of, nr_cpus)
    else:
        entitled = _entitled(spans, kinds, kind_of, nr_cpus)
    task = np.flatnonzero(np.bincount(spans.task, minlength=nr_tasks)).astype(np.int32)
    received = measured.time_ns[task, TaskState.RUNNING].astype(np.float64)
    return Fairness(task, entitled[task], received)


def _kinds(classes: Mapping[int, TaskClass], nr_tasks: int) -> tuple[list[TaskClass], npt.NDArray[np.intp]]:
    """Return the distinct classes, and each task's index in them."""
    kinds = {TaskClass(): 0}
    kind_of = np.zeros(nr_tasks, np.intp)
    for task, class_ in classes.items():
        if 0 <= task < nr_tasks:
            kind_of[task] = kinds.setdefault(class_, len(kinds))
    return list(kinds), kind_of


def _entitled(
    spans: Spans, kinds: list[TaskClass], kind_of: npt.NDArray[np.intp], nr_cpus: int
) -> npt.NDArray[np.float64]:
    """Return what each task is entitled to, where all may run anywhere."""
    by_weight = sorted(range(len(kinds)), key=lambda kind: -kinds[kind].weight)
    place = np.argsort(by_weight).astype(np.int32)
    with ThreadPoolExecutor(2) as pool:
        (start_ns, starting), (end_ns, ending) = pool.map(
            _in_order, (spans.start_ns, spans.end_ns), (spans.task, spans.task)
        )
    entitled = np.zeros(len(kind_of))
    arrays: dict[str, npt.NDArray[Any]] = {
        "start_ns": start_ns,
        "end_ns": end_ns,
        "starting": starting,
        "ending": ending,
        "kind_of_task": place[kind_of],
        "weight": np.array([kinds[kind].weight for kind in by_weight], np.float64),
        "wanting": np.zeros(len(kinds), np.int64),
        "rate": np.zeros(len(kinds)),
        "level": np.zeros(len(kinds)),
        "entitled_ns": entitled,
    }
    sweep = _Sweep(nr_spans=len(start_ns), nr_kinds=len(kinds), nr_cpus=nr_cpus)
    for name, array in arrays.items():
        setattr(sweep, name, array.ctypes.data)
    library().schedtuna_sweep(ctypes.byref(sweep))
    return entitled


class _Sweep(ctypes.Structure):
    """Struct sweep of native/trace/task_sums.c."""

    _fields_ = (
        ("nr_spans", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("start_ns", "end_ns", "starting", "ending", "kind_of_task")),
        ("nr_kinds", ctypes.c_int64),
        ("weight", ctypes.c_void_p),
        ("nr_cpus", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("wanting", "rate", "level", "entitled_ns")),
    )


def _in_order(time_ns: IntArray, task: npt.NDArray[np.int32]) -> tuple[IntArray, npt.NDArray[np.int32]]:
    """Return times, and whose they are, in order."""
    if not len(time_ns):
        return time_ns, task
    first = time_ns.min()
    key, item = (time_ns - first).view(np.uint64), task.copy()
    other = np.empty_like(key), np.empty_like(item)
    swapped = library().schedtuna_radix_sort(
        len(key), int(key.max()), *(array.ctypes.data for array in (key, item, *other))
    )
    key, item = other if swapped else (key, item)
    return key.view(np.int64) + first, item


def _entitled_by_sets(
    spans: Spans, kinds: list[TaskClass], kind_of: npt.NDArray[np.intp], nr_cpus: int
) -> npt.NDArray[np.float64]:
    """Return what each task is entitled to, where some are bound to CPUs."""
    time, level = _entitlement(spans.start_ns, spans.end_ns, kind_of[spans.task], kinds, nr_cpus)
    entitled = np.zeros(len(kind_of))
    for kind in range(len(kinds)):
        mine = np.flatnonzero(kind_of[spans.task] == kind)
        begin = np.searchsorted(time, spans.start_ns[mine])
        end = np.searchsorted(time, spans.end_ns[mine])
        entitled += np.bincount(spans.task[mine], level[end, kind] - level[begin, kind], len(entitled))
    return entitled


def _entitlement(
    start_ns: IntArray, end_ns: IntArray, kind: npt.NDArray[np.intp], kinds: list[TaskClass], nr_cpus: int
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Return every moment at which the runnable tasks change, and CPU time entitled per kind until then."""
    moment = np.concatenate([start_ns, end_ns])
    time, index = np.unique(moment, return_inverse=True)
    change = np.repeat([1, -1], [len(start_ns), len(end_ns)])
    cell = index * len(kinds) + np.concatenate([kind, kind])
    deltas = np.bincount(cell, change, len(time) * len(kinds)).reshape(-1, len(kinds))
    counts = np.rint(np.cumsum(deltas, axis=0)).astype(np.int64)
    rates = _rates(counts[:-1], kinds, nr_cpus)
    level = np.zeros((len(time), len(kinds)))
    np.cumsum(rates * np.diff(time)[:, None], axis=0, out=level[1:])
    return time, level


def _rates(counts: IntArray, kinds: list[TaskClass], nr_cpus: int) -> npt.NDArray[np.float64]:
    """Water-fill each row of counts (moments x kinds); equal rows once."""
    affinities = {kind.cpus for kind in kinds}
    if len(affinities) > MAX_AFFINITIES:
        kinds = [TaskClass(kind.weight) for kind in kinds]
    cpus = frozenset(range(nr_cpus))
    distinct, index = np.unique(counts, axis=0, return_inverse=True)
    solved = np.array([water_fill(row, kinds, cpus) for row in distinct.tolist()], np.float64)
    return np.asarray(solved.reshape(-1, len(kinds))[index.reshape(-1)])
