"""What each task of a trace did: from when to when it was awake, what it did then, and who woke it up.

One row per task state, in order of tid and time, which makes "what did this tid do then" one binary search.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.intervals import Intervals
from schedtuna.trace.schema import IDLE_TID, EventArray, EventType, IntArray
from schedtuna.trace.states import SLEEPS, TaskState

BoolArray = npt.NDArray[np.bool_]
_ASLEEP = (*SLEEPS, TaskState.UNKNOWN)  # what is unknown is taken for sleep, and told


class Lives:
    """The tasks of a trace.

    Args:
        analysis: The trace, measured.

    Attributes:
        begin_ns, end_ns: The window, on the trace's clock. All other times count from its begin.
        states: The task states, by tid, then by time.
        start_ns, end: When each began and ended.
        is_running, is_asleep: Which of them are that.
        task: Whose it is: tasks are numbered in order of tid, then of time.
        first, last: The first and the last state of each task.
        events: All events in time order.
        wakeup: Which of them begin waits.
    """

    def __init__(self, analysis: Analysis) -> None:
        self.begin_ns, self.end_ns = analysis.start_ns, analysis.end_ns
        states = Intervals.concatenate(list(analysis.reading.again().pieces()))
        states = states.select(states.tid != IDLE_TID)
        self.states = states.select(np.lexsort((states.start_ns, states.tid)))
        self.start_ns = np.maximum(self.states.start_ns - self.begin_ns, 0)
        self.end = np.maximum(self.states.end_ns - self.begin_ns, self.start_ns)
        self.is_running = self.states.state == TaskState.RUNNING
        self.is_asleep = np.isin(self.states.state, _ASLEEP)
        begins = np.flatnonzero(np.diff(self.states.task, prepend=-1) != 0)
        self.first, self.last = begins, np.append(begins[1:], len(self.states)) - 1
        self.task = np.repeat(np.arange(len(begins)), self.last - self.first + 1)
        self.events: EventArray = analysis.trace.events
        self.wakeup = analysis.wakeup or EventType.WAKEUP
        self._tids = np.unique(self.states.tid)
        self.span = int(max(self.end.max(initial=0), self.end_ns - self.begin_ns)) + 1
        if max(len(self._tids), len(self.states)) * self.span >= 1 << 62:
            raise TraceError("the trace is too long to be replayed", hint="replay a shorter one")
        self._keys = np.searchsorted(self._tids, self.states.tid) * self.span + self.start_ns
        running = np.flatnonzero(self.is_running)
        self._by_cpu = running[np.lexsort((self.start_ns[running], self.states.cpu[running]))]
        self._cpu_keys = (
            self.states.cpu[self._by_cpu].astype(np.int64) * self.span + self.start_ns[self._by_cpu]
        )

    def follows_a_run(self) -> BoolArray:
        """Return which runs began when another ended on the same CPU."""
        runs, follows = self._by_cpu, np.zeros(len(self.states), np.bool_)
        cpu, start, end = self.states.cpu[runs], self.start_ns[runs], self.end[runs]
        follows[runs[1:]] = (cpu[1:] == cpu[:-1]) & (start[1:] == end[:-1])
        return follows

    @property
    def nr_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.first)

    def times_of(self, events: EventArray) -> IntArray:
        """Return when events happened, since the begin."""
        return events["timestamp_ns"].astype(np.int64) - self.begin_ns

    def of_type(self, kind: EventType) -> npt.NDArray[np.intp]:
        """Return which events are of a type."""
        return np.flatnonzero(self.events["type"] == kind)

    def at(self, tid: npt.NDArray[Any], time_ns: IntArray) -> npt.NDArray[np.intp]:
        """Return the last state of each tid that had begun by then; -1: none."""
        rank = np.minimum(np.searchsorted(self._tids, tid), len(self._tids) - 1)
        found = np.searchsorted(self._keys, rank * self.span + time_ns, side="right") - 1
        return np.where((found >= 0) & (self.states.tid[found] == tid), found, -1)

    def running_on(self, cpu: npt.NDArray[Any], time_ns: IntArray) -> npt.NDArray[np.intp]:
        """Return the state that is the run of whoever ran on each CPU then; -1: it was idle."""
        key = cpu.astype(np.int64) * self.span + time_ns
        place = np.searchsorted(self._cpu_keys, key, side="right") - 1
        found = self._by_cpu[place]
        fits = (place >= 0) & (self.states.cpu[found] == cpu) & (self.end[found] > time_ns)
        return np.where(fits, found, -1)

    def next_run(self, state: npt.NDArray[np.intp], among: BoolArray) -> npt.NDArray[np.intp]:
        """Return the first of some runs that is the same task's, from each state on; -1: there is none."""
        running = np.flatnonzero(self.is_running & among)
        place = np.searchsorted(running, state)
        found = np.append(running, -1)[place]
        return np.where((found >= 0) & (state >= 0) & (self.task[found] == self.task[state]), found, -1)
