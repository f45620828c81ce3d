"""Which bursts and sleeps did tasks have? Task states folded into cycles: woken up, awake, asleep again.

Pure. Memory is bounded by a part of the trace and the tasks that are alive.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from schedtuna.trace.intervals import Intervals
from schedtuna.trace.schema import IDLE_TID
from schedtuna.trace.states import SLEEPS, TaskState

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
_WAITS_AGAIN = TaskState.RUNNABLE_PREEMPTED


def _table(*states: TaskState) -> BoolArray:
    table = np.zeros(len(TaskState), np.bool_)
    table[list(states)] = True
    return table


_ENDS = _table(*SLEEPS, TaskState.UNKNOWN, TaskState.DEAD, TaskState.NEW)  # what no cycle goes beyond


@dataclass(frozen=True)
class Cycles:
    """Cycles by task, those of one task in time order: from a wakeup to the next sleep, or exit.

    Attributes:
        task, tid: Whose: as in `Intervals`.
        wake_ns: When it woke up, or could run for the first time.
        end_ns: When it went to sleep, or exited.
        burst_ns: Its CPU time in between.
        sleep_ns: How long it had slept before; 0 at birth.
        slept: In which `TaskState`; NEW at birth.
        wakeup_latency_ns: From the wakeup to its first run.
        preempt_delay_ns: How long it waited after that.
        nr_preempted: How often.
        nr_migrations: How often it changed CPUs after its first run.
        is_birth: It was its first.
        exits: It was its last.
        is_known: The trace sees all of it: what is not known breaks a task's history.
    """

    task: npt.NDArray[np.int32]
    tid: npt.NDArray[np.uint32]
    wake_ns: IntArray
    end_ns: IntArray
    burst_ns: IntArray
    sleep_ns: IntArray
    slept: npt.NDArray[np.uint8]
    wakeup_latency_ns: IntArray
    preempt_delay_ns: IntArray
    nr_preempted: IntArray
    nr_migrations: IntArray
    is_birth: BoolArray
    exits: BoolArray
    is_known: BoolArray

    def __len__(self) -> int:
        return len(self.task)

    def select(self, which: BoolArray | npt.NDArray[np.intp]) -> Self:
        """Return some of them: a mask or indices."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def concatenate(cls, pieces: list[Self]) -> Self:
        """Return several as one, in their order."""
        return cls(*(np.concatenate([getattr(piece, f.name) for piece in pieces]) for f in fields(cls)))


class CycleBuilder:
    """Turns task states into cycles, part by part.

    Args:
        losses_ns: [n, 2]: from when to when events may be missing: cycles that touch them are not known.
    """

    def __init__(self, losses_ns: npt.ArrayLike = ()) -> None:
        self._losses = np.asarray(losses_ns, np.int64).reshape(-1, 2)
        self._rest: Intervals | None = None

    def feed(self, pieces: list[Intervals]) -> Cycles:
        """Take the next task states, and return the cycles that ended."""
        states = Intervals.concatenate(pieces if self._rest is None else [self._rest, *pieces])
        states = states.select(np.flatnonzero(states.tid != IDLE_TID))
        states = states.select(np.lexsort((states.start_ns, states.task)))
        place = np.arange(len(states))
        is_first = np.ones(len(states), np.bool_)
        is_first[1:] = states.task[1:] != states.task[:-1]
        first = np.maximum.accumulate(np.where(is_first, place, 0))
        is_end = _ENDS[states.state]
        last_end = np.maximum.accumulate(np.where(is_end, place, -1))
        self._rest = states.select(np.flatnonzero(self._is_left(states, is_first, first, last_end)))
        end = np.flatnonzero(is_end)
        before = np.where(end > 0, last_end[end - 1], -1)
        has_before = (before >= first[end]) & (end > 0)
        begin = np.where(has_before, before + 1, first[end])
        some = np.flatnonzero(begin < end)
        return self._known(_cycles(states, begin[some], end[some], has_before[some]))

    @staticmethod
    def _is_left(states: Intervals, is_first: BoolArray, first: Any, last_end: Any) -> BoolArray:
        """Which states the next part may need: from each task's last end on, unless that was its death."""
        place = np.arange(len(states))
        is_last = np.append(is_first[1:], True) if len(states) else is_first
        group = np.cumsum(is_first) - 1
        final = last_end[is_last][group] if len(states) else last_end
        dead = (final >= first) & (states.state[np.maximum(final, 0)] == TaskState.DEAD)
        left: BoolArray = (place >= np.maximum(final, first)) & ~dead
        return left

    def _known(self, cycles: Cycles) -> Cycles:
        for begin, end in self._losses.tolist():
            np.logical_and(
                cycles.is_known,
                (cycles.end_ns < begin) | (cycles.wake_ns - cycles.sleep_ns > end),
                out=cycles.is_known,
            )
        return cycles


def _cycles(states: Intervals, begin: Any, end: Any, has_before: BoolArray) -> Cycles:
    state, length = states.state, states.end_ns - states.start_ns
    runs, waits = state == TaskState.RUNNING, state == _WAITS_AGAIN
    before = np.maximum(begin - 1, 0)
    birth = state[begin] == TaskState.RUNNABLE_NEW
    slept = np.where(has_before & ~birth, state[before], TaskState.NEW).astype(np.uint8)
    asleep = has_before & ~birth
    known = (birth | has_before) & (slept != TaskState.UNKNOWN) & (state[end] != TaskState.UNKNOWN)
    known &= ~(asleep & (states.began_before[before] | (slept == TaskState.NEW)))
    known &= ~_any_between(states.began_before, begin, end)
    return Cycles(
        task=states.task[begin],
        tid=states.tid[begin],
        wake_ns=states.start_ns[begin],
        end_ns=states.start_ns[end],
        burst_ns=_sum_between(np.where(runs, length, 0), begin, end),
        sleep_ns=np.where(asleep, length[before], 0),
        slept=slept,
        wakeup_latency_ns=np.where(runs[begin], 0, length[begin]),
        preempt_delay_ns=_sum_between(np.where(waits, length, 0), begin, end),
        nr_preempted=_sum_between(waits.astype(np.int64), begin, end),
        nr_migrations=_migrations(states, runs, begin, end),
        is_birth=birth,
        exits=state[end] == TaskState.DEAD,
        is_known=known,
    )


def _migrations(states: Intervals, runs: BoolArray, begin: Any, end: Any) -> IntArray:
    places = np.flatnonzero(runs)
    moved = np.zeros(len(states), np.int64)
    moved[places[1:]] = states.cpu[places[1:]] != states.cpu[places[:-1]]
    earlier = np.zeros(len(states) + 1, np.int64)
    earlier[1:] = np.cumsum(runs)
    # The first run of a cycle has the one before it in another cycle, or in another task.
    first = places[np.minimum(earlier[begin], max(len(places) - 1, 0))] if len(places) else begin
    found = _sum_between(moved, begin, end)
    has_run = earlier[end] > earlier[begin]
    return found - np.where(has_run, moved[first], 0)


def _sum_between(values: IntArray, begin: Any, end: Any) -> IntArray:
    total = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=total[1:])
    result: IntArray = total[end] - total[begin]
    return result


def _any_between(flags: BoolArray, begin: Any, end: Any) -> BoolArray:
    return _sum_between(flags.astype(np.int64), begin, end) > 0
