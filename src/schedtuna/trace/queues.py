"""How long were the runqueues, and how busy the CPUs, over time? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.trace.intervals import Intervals
from schedtuna.trace.schema import EventArray, EventType, IntArray
from schedtuna.trace.states import RUNNABLE, TaskState

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Means over bins of time.

    Attributes:
        edges_ns: Where bins begin and end, shape (bins + 1,).
        busy: Share of the bin in which the CPU ran tasks of each group, shape (CPUs, groups, bins).
        queued: Tasks that ran or waited on the CPU, shape (CPUs, bins).
    """

    edges_ns: IntArray
    busy: FloatArray
    queued: FloatArray


class ProfileBuilder:
    """Adds intervals up to a profile, in pieces.

    Args:
        nr_cpus: CPUs are 0 to nr_cpus - 1; others are left out.
        window_ns: From when to when.
        nr_bins: How many bins to divide it into.
        group_of_task: Each task number's group.
        nr_groups: How many groups there are.
    """

    def __init__(
        self,
        nr_cpus: int,
        window_ns: tuple[int, int],
        *,
        nr_bins: int,
        group_of_task: npt.NDArray[np.intp] | None = None,
        nr_groups: int = 1,
    ) -> None:
        self._edges = np.linspace(*window_ns, nr_bins + 1).astype(np.int64)
        self._nr_cpus, self._nr_groups = nr_cpus, nr_groups
        self._group_of_task = group_of_task
        self._busy = np.zeros((nr_cpus * nr_groups, nr_bins))
        self._queued = np.zeros((nr_cpus, nr_bins))

    def add(self, piece: Intervals, migrations: EventArray | None = None) -> None:
        """Add intervals.

        Args:
            piece: Intervals; those outside the window don't matter.
            migrations: At least the MIGRATE events that happened during waits in the piece; without, a
                task that is moved while it waits counts on its first queue until it runs.
        """
        known = piece.cpu < self._nr_cpus
        running = piece.select((piece.state == TaskState.RUNNING) & known)
        waiting = piece.select(np.isin(piece.state, RUNNABLE) & known)
        row = running.cpu.astype(np.intp) * self._nr_groups
        if self._group_of_task is not None:
            row += self._group_of_task[running.task]
        self._busy += coverage(self._edges, row, running.start_ns, running.end_ns, len(self._busy))
        self._queue(running.cpu, running.start_ns, running.end_ns)
        self._queue(waiting.cpu, waiting.start_ns, waiting.end_ns)
        if migrations is not None and len(migrations) and len(waiting):
            moved, wait = _moved_waits(waiting, migrations)
            time, end = moved["timestamp_ns"].astype(np.int64), waiting.end_ns[wait]
            self._queue(moved["target_cpu"], time, end)
            self._queue(moved["orig_cpu"], time, end, sign=-1)

    def finish(self) -> Profile:
        """Return the profile."""
        nr_bins = len(self._edges) - 1
        return Profile(
            self._edges, self._busy.reshape(self._nr_cpus, self._nr_groups, nr_bins), self._queued.copy()
        )

    def _queue(self, cpu: npt.NDArray[Any], start_ns: IntArray, end_ns: IntArray, sign: int = 1) -> None:
        known = cpu < self._nr_cpus
        self._queued += sign * coverage(
            self._edges, cpu[known].astype(np.intp), start_ns[known], end_ns[known], self._nr_cpus
        )


def coverage(
    edges: IntArray, row: npt.NDArray[np.intp], start_ns: IntArray, end_ns: IntArray, nr_rows: int
) -> FloatArray:
    """Return how many of the intervals there are on average in each bin, per row, shape (rows, bins)."""
    nr_bins = len(edges) - 1
    start, end = (np.clip(time, edges[0], edges[-1]) for time in (start_ns, end_ns))
    first = np.minimum(np.searchsorted(edges, start, side="right") - 1, nr_bins - 1)
    last = np.minimum(np.searchsorted(edges, end, side="right") - 1, nr_bins - 1)
    width = np.diff(edges).astype(np.float64)

    def put(column: npt.NDArray[np.intp], amount: npt.NDArray[Any]) -> FloatArray:
        cells = np.bincount(row * (nr_bins + 1) + column, amount, nr_rows * (nr_bins + 1))
        return cells.reshape(nr_rows, nr_bins + 1).astype(np.float64, copy=False)

    # An interval fills the bins from its first to before its last, less what is before its start in
    # the first, plus what is before its end in the last.
    whole = np.cumsum(put(first, np.ones(len(row))) - put(last, np.ones(len(row))), axis=1)[:, :-1] * width
    parts = put(last, end - edges[last]) - put(first, start - edges[first])
    return np.asarray((whole + parts[:, :-1]) / np.maximum(width, 1))


def _moved_waits(waits: Intervals, migrations: EventArray) -> tuple[EventArray, npt.NDArray[np.intp]]:
    """Return the migrations that moved a waiting task, and which wait; a task moved asleep has none."""
    moves = migrations[migrations["type"] == EventType.MIGRATE]
    nr_waits = len(waits)
    tid = np.concatenate([waits.tid, moves["tid"]])
    time = np.concatenate([waits.start_ns, moves["timestamp_ns"].astype(np.int64)])
    is_move = np.arange(len(tid)) >= nr_waits
    order = np.lexsort((is_move, time, tid))
    latest = np.maximum.accumulate(np.where(is_move[order], -1, np.arange(len(order))))
    at = np.flatnonzero(is_move[order] & (latest >= 0))
    move, wait = order[at] - nr_waits, order[latest[at]]
    fits = (waits.tid[wait] == moves["tid"][move]) & (waits.end_ns[wait] > time[order[at]])
    return moves[move[fits]], wait[fits]
