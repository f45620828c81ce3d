"""Did every task get the CPU time that its weight entitles it to?

At each moment, the CPUs are shared by weighted max-min fairness (water-filling): every runnable task
gets `weight x level`, at most one CPU, and the level rises for all until the CPUs that a set of tasks
may use are full. `fairness_cv` is the coefficient of variation, over tasks, of received / entitled.

Weights are those of nice; shares that cgroups set are not known to a trace. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.trace.intervals import Intervals
from schedtuna.trace.schema import IntArray
from schedtuna.trace.states import RUNNABLE, TaskState

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
        intervals: Of a trace, or of a window of it.
        classes: Task number -> its class; others are nice 0 and run anywhere.
        nr_cpus: CPUs are 0 to nr_cpus - 1.
        fair: By task number, whether it is scheduled by weight (real-time tasks are not); None: all.
    """
    wants = np.isin(intervals.state, [TaskState.RUNNING, *RUNNABLE])
    if fair is not None:
        wants &= fair[intervals.task]
    asked = intervals.select(wants)
    nr_tasks = int(asked.task.max(initial=-1)) + 1
    kinds, kind_of = _kinds(classes, nr_tasks)
    time, level = _entitlement(asked.start_ns, asked.end_ns, kind_of[asked.task], kinds, nr_cpus)
    entitled = np.zeros(nr_tasks)
    for kind in range(len(kinds)):
        mine = np.flatnonzero(kind_of[asked.task] == kind)
        begin = np.searchsorted(time, asked.start_ns[mine])
        end = np.searchsorted(time, asked.end_ns[mine])
        entitled += np.bincount(asked.task[mine], level[end, kind] - level[begin, kind], nr_tasks)
    running = asked.state == TaskState.RUNNING
    received = np.bincount(asked.task[running], asked.duration_ns[running].astype(np.float64), nr_tasks)
    task = np.unique(asked.task)
    return Fairness(task, entitled[task], received[task].astype(np.float64))


def _kinds(classes: Mapping[int, TaskClass], nr_tasks: int) -> tuple[list[TaskClass], npt.NDArray[np.intp]]:
    """Return the distinct classes, and each task's index in them."""
    kinds = {TaskClass(): 0}
    kind_of = np.zeros(nr_tasks, np.intp)
    for task, class_ in classes.items():
        if 0 <= task < nr_tasks:
            kind_of[task] = kinds.setdefault(class_, len(kinds))
    return list(kinds), kind_of


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
    if len(kinds) == 1 and kinds[0].cpus is None:
        return np.asarray(nr_cpus / np.maximum(counts, nr_cpus), np.float64)
    affinities = {kind.cpus for kind in kinds}
    if len(affinities) > MAX_AFFINITIES:
        kinds = [TaskClass(kind.weight) for kind in kinds]
    cpus = frozenset(range(nr_cpus))
    distinct, index = np.unique(counts, axis=0, return_inverse=True)
    solved = np.array([water_fill(row, kinds, cpus) for row in distinct.tolist()], np.float64)
    return np.asarray(solved.reshape(-1, len(kinds))[index.reshape(-1)])


def classes_of(tasks: Any, task_of_row: Sequence[int | None]) -> dict[int, TaskClass]:
    """Return the classes of the tasks of a task table, by task number (None: not in the intervals)."""
    classes = {}
    for row, task in zip(tasks.select("nice").iter_rows(), task_of_row, strict=True):
        if task is not None and -20 <= row[0] <= 19:
            classes[task] = TaskClass(nice_weight(row[0]))
    return classes
