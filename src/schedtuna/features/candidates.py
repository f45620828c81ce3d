"""What could be known of tasks when one of them was chosen to run? From a trace's task states.

Pure. A look at a moment sees what began before it: what the choice itself changes is not in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.features.as_of import AsOf
from schedtuna.features.cycles import BoolArray, CycleBuilder, IntArray
from schedtuna.trace.intervals import Intervals
from schedtuna.trace.schema import IDLE_TID
from schedtuna.trace.states import RUNNABLE, TaskState

_AWAKE = (TaskState.RUNNING, TaskState.THROTTLED, *RUNNABLE)


class TaskMoments:
    """The tasks of a trace at moments.

    Args:
        states: All its states.
    """

    def __init__(self, states: Intervals) -> None:
        states = states.select(np.flatnonzero(states.tid != IDLE_TID))
        self._states = states = states.select(np.lexsort((states.end_ns, states.start_ns, states.tid)))
        self._length = states.end_ns - states.start_ns
        self._runs = states.state == TaskState.RUNNING
        self._waits = np.isin(states.state, RUNNABLE)
        place = np.arange(len(states))
        is_first = np.ones(len(states), np.bool_)
        is_first[1:] = states.task[1:] != states.task[:-1]
        self._first = np.maximum.accumulate(np.where(is_first, place, 0))
        ran = np.cumsum(np.where(self._runs, self._length, 0))
        self._ran_before = ran - np.where(self._runs, self._length, 0)  # CPU time before each, of all tasks
        breaks = ~np.isin(states.state, _AWAKE)
        last_break = np.maximum.accumulate(np.where(breaks, place, -1))
        # Of a state that is a break itself it has no meaning, and may lie behind the last.
        self._wake = np.minimum(np.maximum(last_break + 1, self._first), max(len(states) - 1, 0))
        last_run = np.maximum.accumulate(np.where(self._runs, place, -1))
        self._last_run = np.where(last_run >= self._first, last_run, -1)
        self._cycles = CycleBuilder().feed([states])
        self._bursts = AsOf(self._cycles.tid, self._cycles.end_ns)
        self._tids = np.unique(states.tid)
        self._least = int(states.start_ns.min(initial=0))
        self._span = int(states.end_ns.max(initial=0)) - self._least + 2
        self._line = np.searchsorted(self._tids, states.tid) * self._span + states.start_ns - self._least
        self._sorted = {
            name: (np.sort(states.start_ns[which]), np.sort(states.end_ns[which]))
            for name, which in (("waiting", self._waits), ("running", self._runs))
        }

    def look(self, tid: npt.NDArray[Any], time_ns: IntArray) -> tuple[dict[str, IntArray], BoolArray]:
        """Return features of tasks at moments, and of which of them they are known.

        ``waited_ns``, ``attained_ns``, ``burst_ns``, ``cpu_time_ns`` (that the trace sees), and ``last_cpu``
        (-1: it has not run).
        """
        states = self._states
        rank = np.minimum(np.searchsorted(self._tids, tid), max(len(self._tids) - 1, 0))
        clipped = np.clip(time_ns - self._least, 0, self._span - 1)
        at = np.searchsorted(self._line, rank * self._span + clipped, side="left") - 1
        known = (at >= 0) & (states.tid[np.maximum(at, 0)] == tid)
        at = np.maximum(at, 0)
        state = states.state[at]
        known &= (state != TaskState.UNKNOWN) & (state != TaskState.DEAD)
        ran = self._ran_before[at] + np.where(self._runs[at], time_ns - states.start_ns[at], 0)
        awake = np.isin(state, _AWAKE)
        last_run = self._last_run[at]
        return {
            "waited_ns": np.where(self._waits[at], time_ns - states.start_ns[at], 0),
            "attained_ns": np.where(awake, ran - self._ran_before[self._wake[at]], 0),
            "burst_ns": self._last_burst(tid, time_ns, states.task[at]),
            "cpu_time_ns": ran - self._ran_before[self._first[at]],
            "last_cpu": np.where(last_run >= 0, states.cpu[np.maximum(last_run, 0)].astype(np.int64), -1),
        }, known

    def _last_burst(self, tid: npt.NDArray[Any], time_ns: IntArray, task: npt.NDArray[np.int32]) -> IntArray:
        """CPU time between the last two sleeps before moments; 0: none is known."""
        if not len(self._cycles):
            return np.zeros(len(tid), np.int64)
        found = self._bursts.at(tid, time_ns - 1)
        cycle = np.maximum(found, 0)
        is_own = (found >= 0) & self._cycles.is_known[cycle] & (self._cycles.task[cycle] == task)
        return np.where(is_own, self._cycles.burst_ns[cycle], 0)

    def number(self, what: str, time_ns: IntArray) -> IntArray:
        """Return how many tasks were ``waiting``, or ``running``, just before moments."""
        start, end = self._sorted[what]
        begun = np.searchsorted(start, time_ns, side="left")
        found: IntArray = begun - np.searchsorted(end, time_ns, side="left")
        return np.maximum(found, 0)
