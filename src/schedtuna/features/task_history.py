"""What may a guess about a task look at when it wakes up? Features of its last bursts, sleeps and waits.

Pure. Each row rests on cycles that were over when it was made: what comes later changes nothing in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.features.cycles import BoolArray, Cycles, IntArray
from schedtuna.trace.states import TaskState

DEPTH = 8  # bursts and sleeps that are remembered of each task
HISTORY_FEATURES = (
    "burst_ns",
    "burst_2_ns",
    "burst_3_ns",
    "burst_4_ns",
    "burst_mean_ns",
    "burst_median_ns",
    "burst_average_ns",
    "burst_most_ns",
    "nr_known_bursts",
    "sleep_ns",
    "sleep_2_ns",
    "sleep_mean_ns",
    "slept_blocked",
    "slept_for_io",
    "wakeup_latency_ns",
    "preempt_delay_ns",
    "nr_preempted",
    "nr_burst_migrations",
    "cpu_permille",
)
_FAR = np.iinfo(np.int64).max


class HistoryBuilder:
    """Adds to cycles what was known of their tasks when they began, part by part.

    Attributes:
        nr_alive: Tasks whose history is remembered.
    """

    def __init__(self) -> None:
        self._rest: Cycles | None = None

    @property
    def nr_alive(self) -> int:
        """How many tasks are remembered."""
        return 0 if self._rest is None else len(np.unique(self._rest.task))

    def feed(self, cycles: Cycles) -> tuple[Cycles, dict[str, IntArray], IntArray]:
        """Return the cycles by task, their features, and how many bursts before each are known.

        Args:
            cycles: The next of a trace, by task.

        Returns:
            The same cycles; `HISTORY_FEATURES` of each, as of its `wake_ns`; how many of its task's last
            `DEPTH` bursts are known: 0, and it is no birth, tells that nothing is.
        """
        nr_old = 0 if self._rest is None else len(self._rest)
        together = cycles if self._rest is None else Cycles.concatenate([self._rest, cycles])
        is_new = np.arange(len(together)) >= nr_old
        order = np.argsort(together.task, kind="stable")  # a task's remembered cycles stay before its new
        together, is_new = together.select(order), is_new[order]
        depth = _known_before(together)
        wanted = np.flatnonzero(is_new)
        features = _features(together, wanted, depth[wanted])
        self._rest = together.select(np.flatnonzero(_is_remembered(together)))
        return together.select(wanted), features, depth[wanted]


def _known_before(cycles: Cycles) -> IntArray:
    """How many cycles before each are known without a gap, at most DEPTH."""
    place = np.arange(len(cycles))
    begins = np.ones(len(cycles), np.bool_)
    begins[1:] = (cycles.task[1:] != cycles.task[:-1]) | ~cycles.is_known[:-1]
    result: IntArray = np.minimum(place - np.maximum.accumulate(np.where(begins, place, 0)), DEPTH)
    return result


def _is_remembered(cycles: Cycles) -> BoolArray:
    place = np.arange(len(cycles))
    is_last = np.ones(len(cycles), np.bool_)
    is_last[:-1] = cycles.task[1:] != cycles.task[:-1]
    ends = np.flatnonzero(is_last)
    final = ends[np.searchsorted(ends, place)] if len(ends) else place
    return (final - place < DEPTH) & ~cycles.exits[final]


def _features(cycles: Cycles, at: npt.NDArray[np.intp], depth: IntArray) -> dict[str, IntArray]:
    def back(column: npt.NDArray[Any], steps: int) -> IntArray:
        return np.where(depth >= steps, column[np.maximum(at - steps, 0)], 0).astype(np.int64)

    bursts = np.stack([back(cycles.burst_ns, k) for k in range(1, DEPTH + 1)])
    sleeps = np.stack([cycles.sleep_ns[at], *(back(cycles.sleep_ns, k) for k in range(1, DEPTH))])
    shifts = np.arange(DEPTH)[:, None]
    known = depth[None, :] > shifts
    weights = np.where(known, 1 << (DEPTH - 1 - shifts), 0)
    born = cycles.is_birth[at]
    nr_sleeps = np.maximum(np.minimum(depth + 1, DEPTH), 1)
    since = np.where(depth > 0, cycles.wake_ns[at] - cycles.wake_ns[np.maximum(at - depth, 0)], 0)
    total = bursts.sum(axis=0)
    return {
        "burst_ns": bursts[0],
        "burst_2_ns": bursts[1],
        "burst_3_ns": bursts[2],
        "burst_4_ns": bursts[3],
        "burst_mean_ns": total // np.maximum(depth, 1),
        "burst_median_ns": _lower_median(bursts, depth),
        "burst_average_ns": (bursts * weights).sum(axis=0) // np.maximum(weights.sum(axis=0), 1),
        "burst_most_ns": bursts.max(axis=0, initial=0),
        "nr_known_bursts": depth.astype(np.int64),
        "sleep_ns": np.where(born, 0, sleeps[0]),
        "sleep_2_ns": sleeps[1],
        "sleep_mean_ns": sleeps.sum(axis=0) // nr_sleeps,
        "slept_blocked": (cycles.slept[at] == TaskState.BLOCKED).astype(np.int64),
        "slept_for_io": (cycles.slept[at] == TaskState.IO).astype(np.int64),
        "wakeup_latency_ns": back(cycles.wakeup_latency_ns, 1),
        "preempt_delay_ns": back(cycles.preempt_delay_ns, 1),
        "nr_preempted": back(cycles.nr_preempted, 1),
        "nr_burst_migrations": back(cycles.nr_migrations, 1),
        "cpu_permille": np.minimum(1000 * total // np.maximum(since, 1), 1000),
    }


def _lower_median(bursts: IntArray, depth: IntArray) -> IntArray:
    known = np.arange(DEPTH)[:, None] < depth[None, :]
    ordered = np.sort(np.where(known, bursts, _FAR), axis=0)
    middle = np.maximum(depth - 1, 0) // 2
    found: IntArray = np.take_along_axis(ordered, middle[None, :], axis=0)[0]
    return np.where(depth > 0, found, 0)
