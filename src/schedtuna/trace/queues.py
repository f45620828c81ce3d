"""How long were the runqueues, and how busy the CPUs, over time? Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schedtuna.trace.intervals import Intervals
from schedtuna.trace.schema import EventArray, EventType, IntArray
from schedtuna.trace.states import RUNNABLE, TaskState

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Means over equal bins of time.

    Attributes:
        edges_ns: Where bins begin and end, shape (bins + 1,).
        busy: Share of the bin in which the CPU ran a task, shape (CPUs, bins).
        queued: Tasks that ran or waited on the CPU, shape (CPUs, bins).
    """

    edges_ns: IntArray
    busy: FloatArray
    queued: FloatArray


def profile(
    intervals: Intervals,
    nr_cpus: int,
    window_ns: tuple[int, int],
    *,
    nr_bins: int,
    migrations: EventArray | None = None,
) -> Profile:
    """Return how busy the CPUs were and how long their runqueues.

    Args:
        intervals: Of the trace; those outside the window don't matter.
        nr_cpus: CPUs are 0 to nr_cpus - 1.
        window_ns: From when to when.
        nr_bins: How many bins to divide it into.
        migrations: The trace's MIGRATE events; without, a task that is moved while it waits counts on
            its first queue until it runs.
    """
    edges = np.linspace(*window_ns, nr_bins + 1).astype(np.int64)
    running = intervals.state == TaskState.RUNNING
    waiting = np.isin(intervals.state, RUNNABLE)
    busy = np.zeros((nr_cpus, nr_bins))
    queued = np.zeros((nr_cpus, nr_bins))
    moves = _moves(intervals.select(waiting), migrations)
    for cpu in range(nr_cpus):
        here = intervals.cpu == cpu
        ran = here & running
        busy[cpu] = _mean(edges, intervals.start_ns[ran], intervals.end_ns[ran])
        there = here & (running | waiting)
        queued[cpu] = _mean(edges, intervals.start_ns[there], intervals.end_ns[there])
        if moves is not None:
            comes, leaves = moves.target == cpu, moves.origin == cpu
            queued[cpu] += _mean(edges, moves.time_ns[comes], moves.end_ns[comes])
            queued[cpu] -= _mean(edges, moves.time_ns[leaves], moves.end_ns[leaves])
    return Profile(edges, busy, queued)


@dataclass(frozen=True)
class _Moves:
    """Moves of waiting tasks: from `time_ns` to `end_ns` they wait at `target`, not at `origin`."""

    time_ns: IntArray
    end_ns: IntArray
    origin: npt.NDArray[np.uint16]
    target: npt.NDArray[np.uint16]


def _moves(waits: Intervals, migrations: EventArray | None) -> _Moves | None:
    """Find the wait during which each task was moved; a task moved while asleep has none."""
    if migrations is None or not len(migrations) or not len(waits):
        return None
    moved = migrations[migrations["type"] == EventType.MIGRATE]
    waits = waits.select(np.isin(waits.tid, np.unique(moved["tid"])))
    order = np.lexsort((waits.start_ns, waits.tid))
    waits = waits.select(order)
    time = moved["timestamp_ns"].astype(np.int64)
    first = np.searchsorted(waits.tid, moved["tid"], side="left")
    end = np.searchsorted(waits.tid, moved["tid"], side="right")
    row = np.full(len(moved), -1)
    for k in range(len(moved)):
        before = int(np.searchsorted(waits.start_ns[first[k] : end[k]], time[k], side="right"))
        candidate = int(first[k]) + before - 1
        if before and waits.end_ns[candidate] > time[k]:
            row[k] = candidate
    found = row >= 0
    return _Moves(time[found], waits.end_ns[row[found]], moved["orig_cpu"][found], moved["target_cpu"][found])


def _mean(edges: IntArray, start_ns: IntArray, end_ns: IntArray) -> FloatArray:
    """Return how many of the intervals there are on average in each bin.

    The integral of "how many have begun" up to an edge is the sum, over those begun, of the time
    since; likewise for those ended.
    """
    lengths = np.maximum(np.diff(edges), 1)
    return np.asarray(np.diff(_integral(edges, start_ns) - _integral(edges, end_ns)) / lengths)


def _integral(edges: IntArray, times: IntArray) -> FloatArray:
    origin = edges[0]
    ordered = np.sort(times) - origin  # from the window's start, so that sums stay exact in float64
    count = np.searchsorted(ordered, edges - origin)
    total = np.concatenate([[0.0], np.cumsum(ordered, dtype=np.float64)])
    return np.asarray(count * (edges - origin) - total[count], np.float64)
