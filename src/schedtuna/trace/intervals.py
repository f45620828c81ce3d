"""Events in, task states out: from when to when did each task run, wait, sleep?

`states` has the rules. native/trace/task_states.c applies them, event by event; this module has its tables
and its memory. Pure: no clocks, files or processes (but the library's own).
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.trace import states
from schedtuna.trace.gaps import Gaps, Why
from schedtuna.trace.native import library
from schedtuna.trace.schema import EVENT_DTYPE, IDLE_TID, EventArray, EventType, IntArray
from schedtuna.trace.states import TaskState

BoolArray = npt.NDArray[np.bool_]

TID_LIMIT = 1 << 22  # the kernel's own (PID_MAX_LIMIT): tids are below
NR_CPUS_LIMIT = 1 << 16
_TIME_LIMIT_NS = 1 << 62  # of any clock: 146 years; sums and differences of times fit 64 bits
FEED_EVENTS = 1 << 14  # 512 kB of events: they and their intervals fit the processor's caches
_FEEDS_AHEAD = 2
_INTERVALS_PER_EVENT = 12  # at most
_GAPS_PER_EVENT = 2
_NOBODY = -1
_NO_EVENT_YET = _NEVER_NS = (1 << 63) - 1
_LONG_AGO = -(1 << 62)


@dataclass(frozen=True)
class Intervals:
    """Task states: one element per interval; those of one task are in time order.

    Attributes:
        task: Which task: a number that only it has; two tasks that had the same tid one after the
            other are two. Numbers are small, and some may be left out.
        tid: Its thread id.
        state: `TaskState`; DEAD is a moment, when the task left its CPU for good.
        start_ns: When it began, or when the trace did (`began_before`).
        end_ns: When it ended, or when the trace did (`ends_after`).
        cpu: Where it ran (RUNNING), or on whose queue it was put at first (RUNNABLE_*).
        began_before: It began before the trace.
        ends_after: It ends after the trace.
        burst_ns: For a sleep, and DEAD: CPU time since the task's sleep before; 0 where the trace does
            not see all of it.
    """

    task: npt.NDArray[np.int32]
    tid: npt.NDArray[np.uint32]
    state: npt.NDArray[np.uint8]
    start_ns: IntArray
    end_ns: IntArray
    cpu: npt.NDArray[np.uint16]
    began_before: BoolArray
    ends_after: BoolArray
    burst_ns: IntArray

    def __len__(self) -> int:
        return len(self.task)

    @property
    def duration_ns(self) -> IntArray:
        """How long each interval is."""
        return self.end_ns - self.start_ns

    def select(self, which: BoolArray | npt.NDArray[np.intp]) -> Self:
        """Return some of the intervals: a mask or indices."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def concatenate(cls, pieces: list[Self]) -> Self:
        """Return the intervals of several parts of a trace as one."""
        return cls(*(np.concatenate([getattr(piece, f.name) for piece in pieces]) for f in fields(cls)))

    def sorted(self) -> Self:
        """Return the intervals by task, then by time."""
        return self.select(np.lexsort((self.start_ns, self.task)))


class IntervalBuilder:
    """Turns a trace into intervals part by part: memory is bounded by a part, not by the trace.

    Args:
        start_ns: When recording began (None: at the first event).
        wakeup: The event that begins a wait: `EventType.WAKEUP`, or `WAKING` where that is all
            there is, as in `perf sched record` (None: by the first part that has either).
        slack_ns: How long before its first event the recording of a CPU began, at most: what its tasks did
            before is UNKNOWN. None: all CPUs were recorded from `start_ns` on.
        hides_idle: Tid 0 stands for all tasks that were not recorded: nobody knows what a CPU did meanwhile.
        unseen_cpus: CPUs of which no event is there though they were not idle, whatever `slack_ns` is.

    Attributes:
        gaps: Of which time the events so far don't tell what a CPU did.
    """

    def __init__(
        self,
        start_ns: int | None = None,
        wakeup: EventType | None = None,
        *,
        slack_ns: int | None = None,
        hides_idle: bool = False,
        unseen_cpus: npt.NDArray[np.intp] | None = None,
    ) -> None:
        self.start_ns = start_ns
        self.wakeup = wakeup
        self.gaps = Gaps()
        self._hides_idle, self._has_begun = hides_idle, False
        self._tasks = np.zeros(TID_LIMIT, _TASK_DTYPE)  # pages that no tid touches take no memory
        self._tids = np.zeros(TID_LIMIT, np.uint32)
        self._cpus = np.zeros(NR_CPUS_LIMIT, _CPU_DTYPE)
        self._cpus["current"], self._cpus["first_target_ns"] = _NOBODY, _NEVER_NS
        self._cpus["begin_ns"] = _LONG_AGO if slack_ns is None else _NO_EVENT_YET
        self._has_unseen_cpus = unseen_cpus is not None and len(unseen_cpus) > 0
        if unseen_cpus is not None:
            self._cpus["begin_ns"][unseen_cpus] = _NO_EVENT_YET
        self._output = {
            name: np.empty(FEED_EVENTS * _INTERVALS_PER_EVENT, dtype) for name, dtype in _OUTPUT.items()
        }
        self._found_gaps = {
            name: np.empty(FEED_EVENTS * _GAPS_PER_EVENT, dtype) for name, dtype in _GAPS.items()
        }
        self._machine = _Machine(slack_ns=slack_ns or 0, hides_idle=hides_idle, **_CONSTANTS)
        arrays = {"tasks": self._tasks, "tids": self._tids, "cpus": self._cpus, **_TABLES}
        arrays |= {f"interval_{name}": array for name, array in self._output.items()}
        for name, array in arrays.items():
            setattr(self._machine, name, array.ctypes.data)
        for name, array in self._found_gaps.items():
            setattr(self._machine.gaps, name, array.ctypes.data)

    @property
    def nr_stretches(self) -> int:
        """Times from a CPU's switch to its next, so far."""
        return int(self._machine.nr_stretches)

    @property
    def nr_unchained(self) -> int:
        """Those of `nr_stretches` after which another task left the CPU than had come."""
        return int(self._machine.nr_unchained)

    def feed(self, events: EventArray) -> Intervals:
        """Take the next events, in time order, and return the intervals that ended.

        Raises:
            TraceError: There is a tid that no kernel gives, or a time that no clock has come to.
        """
        pieces = [
            self._feed(events[at : at + FEED_EVENTS]) for at in range(0, max(len(events), 1), FEED_EVENTS)
        ]
        return pieces[0] if len(pieces) == 1 else Intervals.concatenate(pieces)

    def last_gaps(self, end_ns: int, nr_cpus: int) -> Gaps:
        """Return the gaps that no event ended, of CPUs 0 to `nr_cpus` - 1: to be asked for at the end."""
        cpus = self._cpus[:nr_cpus]
        silent = cpus["begin_ns"] == _NO_EVENT_YET
        hidden = ~silent & np.isin(cpus["current"], [IDLE_TID, _NOBODY]) & self._hides_idle
        which = np.flatnonzero((silent | hidden) & (cpus["since_ns"] < end_ns))
        return Gaps(
            start_ns=cpus["since_ns"][which],
            end_ns=np.full(len(which), end_ns),
            cpu=which,
            why=np.where(silent[which], Why.NOT_BEGUN, Why.NOT_RECORDED),
        )

    def cpus_without_events(self, before_ns: int) -> npt.NDArray[np.intp]:
        """Return CPUs that have no event so far, though tasks were put on their queues before a time."""
        return np.flatnonzero((self._cpus["nr_events"] == 0) & (self._cpus["first_target_ns"] < before_ns))

    def finish(self, end_ns: int) -> Intervals:
        """Return the intervals that nothing ended, cut at `end_ns`; the builder is then used up.

        Raises:
            TraceError: The end is a time that no clock has come to.
        """
        _refuse_late(end_ns)
        tids = self._tids[: self._machine.nr_tids]
        tasks = self._tasks[tids]
        alive = tasks["state"] != TaskState.DEAD
        tids, tasks = tids[alive], tasks[alive]
        # Who seems to wait to the end may have run unseen: its CPU is, or one that could have taken it over.
        unseen = self._has_unseen_cpus | (self._cpus["begin_ns"][tasks["cpu"]] == _NO_EVENT_YET)
        tasks["state"][unseen & (_KINDS[tasks["state"]] & _WAITS > 0)] = TaskState.UNKNOWN
        return Intervals(
            tasks["number"].copy(),
            tids.copy(),
            tasks["state"].copy(),
            tasks["since_ns"].copy(),
            np.maximum(tasks["since_ns"], end_ns),
            tasks["cpu"].copy(),
            (tasks["flags"] & _BEGAN_BEFORE) != 0,
            np.ones(len(tids), np.bool_),
            np.where(_KINDS[tasks["state"]] & _SLEEPS, np.maximum(tasks["burst_ns"], 0), 0),
        )

    def _feed(self, events: EventArray) -> Intervals:
        if len(events):
            highest = max(int(events["tid"].max()), int(events["other_tid"].max()))
            if highest >= TID_LIMIT:
                raise TraceError(f"there is a tid {highest}; no kernel gives one above {TID_LIMIT - 1}")
            _refuse_late(int(events["timestamp_ns"][-1]))
            if self.start_ns is None:
                self.start_ns = int(events["timestamp_ns"][0])
            if not self._has_begun:
                self._cpus["since_ns"] = self.start_ns
                self._has_begun = True
            if self.wakeup is None:
                self.wakeup = wakeup_event(events)
        steps = _step_of_event(self.wakeup)
        self._machine.step_of_event = steps.ctypes.data
        self._machine.start_ns = self.start_ns or 0
        contiguous = np.ascontiguousarray(events, EVENT_DTYPE)
        library().schedtuna_take_events(
            ctypes.byref(self._machine), ctypes.c_void_p(contiguous.ctypes.data), len(contiguous)
        )
        nr_intervals, nr_gaps = self._machine.nr_intervals, self._machine.gaps.nr
        if nr_gaps:
            self.gaps.append(**{name: array[:nr_gaps].copy() for name, array in self._found_gaps.items()})
        found: dict[str, Any] = {name: array[:nr_intervals].copy() for name, array in self._output.items()}
        return Intervals(**found, ends_after=np.zeros(nr_intervals, np.bool_))


def _refuse_late(time_ns: int) -> None:
    if time_ns >= _TIME_LIMIT_NS:
        raise TraceError(f"there is a time of {time_ns} ns; no clock has come to {_TIME_LIMIT_NS}")


def intervals(
    events: EventArray | Iterable[EventArray], *, start_ns: int | None = None, end_ns: int | None = None
) -> Intervals:
    """Return the task states of a whole trace.

    Args:
        events: In time order; or parts of a trace, such as `Trace.segments()`.
        start_ns: When recording began (None: at the first event).
        end_ns: When it ended (None: at the last event).

    Raises:
        TraceError: There is a tid that no kernel gives, or a time that no clock has come to.
    """
    return Intervals.concatenate(list(iter_intervals(events, start_ns=start_ns, end_ns=end_ns)))


def iter_intervals(
    events: EventArray | Iterable[EventArray],
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    builder: IntervalBuilder | None = None,
) -> Iterator[Intervals]:
    """Yield what `intervals()` returns in pieces, as they end: memory for one part of the trace.

    A thread works ahead of whoever takes the pieces. A builder of the caller's, unused, is taken instead of
    a new one.
    """
    builder = IntervalBuilder(start_ns) if builder is None else builder
    pending: deque[Future[Intervals]] = deque()
    last_ns = 0
    with ThreadPoolExecutor(1) as pool:
        try:
            for feed in _feeds(events):
                last_ns = int(feed["timestamp_ns"][-1])
                pending.append(pool.submit(builder.feed, feed))
                if len(pending) > _FEEDS_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
    yield builder.finish(last_ns if end_ns is None else end_ns)


def wakeup_event(events: EventArray) -> EventType | None:
    """Return the event that begins waits in this trace; None if it has no wakeups."""
    kinds = (EventType.WAKEUP, EventType.WAKING)
    return next((kind for kind in kinds if (events["type"] == kind).any()), None)


def _feeds(events: EventArray | Iterable[EventArray]) -> Iterator[EventArray]:
    for part in [events] if isinstance(events, np.ndarray) else events:
        for at in range(0, len(part), FEED_EVENTS):
            yield part[at : at + FEED_EVENTS]


# What follows is the other side of native/trace/task_states.c.

_TASK_DTYPE = np.dtype(
    [
        ("since_ns", "<i8"),
        ("burst_ns", "<i8"),
        ("number", "<i4"),
        ("cpu", "<u2"),
        ("state", "u1"),
        ("flags", "u1"),
    ]
)
_CPU_DTYPE = np.dtype(
    [(name, "<i8") for name in ("current", "since_ns", "begin_ns", "nr_events", "first_target_ns")]
)
_BEGAN_BEFORE = 2  # of its flags
_CUTS, _BREAKS, _BEARS = 1, 2, 4  # effects
_RUNS, _SLEEPS, _HIDES, _WAITS = 1, 2, 4, 8  # kinds of states
_IGNORED = 255

_OUTPUT: dict[str, Any] = {
    "start_ns": np.int64,
    "end_ns": np.int64,
    "burst_ns": np.int64,
    "task": np.int32,
    "tid": np.uint32,
    "cpu": np.uint16,
    "state": np.uint8,
    "began_before": np.bool_,
}


_GAPS: dict[str, Any] = {"start_ns": np.int64, "end_ns": np.int64, "cpu": np.uint16, "why": np.uint8}


class _NativeGaps(ctypes.Structure):
    """Struct gaps."""

    _fields_ = (("nr", ctypes.c_int64), *((name, ctypes.c_void_p) for name in _GAPS))


class _Machine(ctypes.Structure):
    """Struct machine."""

    _fields_ = (
        ("step_of_event", ctypes.c_void_p),
        ("after", ctypes.c_void_p),
        ("effects", ctypes.c_void_p),
        ("before_first", ctypes.c_void_p),
        ("kinds", ctypes.c_void_p),
        ("tasks", ctypes.c_void_p),
        ("tids", ctypes.c_void_p),
        ("cpus", ctypes.c_void_p),
        ("start_ns", ctypes.c_int64),
        ("slack_ns", ctypes.c_int64),
        ("nr_stretches", ctypes.c_int64),
        ("nr_unchained", ctypes.c_int64),
        ("nr_tids", ctypes.c_int64),
        ("nr_tasks", ctypes.c_int32),
        ("in_", ctypes.c_uint8),
        ("vanish", ctypes.c_uint8),
        ("unknown", ctypes.c_uint8),
        ("dead", ctypes.c_uint8),
        ("hides_idle", ctypes.c_uint8),
        ("gaps", _NativeGaps),
        ("nr_intervals", ctypes.c_int64),
        *((f"interval_{name}", ctypes.c_void_p) for name in _OUTPUT),
    )


_CONSTANTS = {
    "in_": states.IN,
    "vanish": states.VANISH,
    "unknown": TaskState.UNKNOWN,
    "dead": TaskState.DEAD,
}


def _padded(table: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return a table of (state, step) as the library indexes it: by state << 5 | step."""
    padded = np.zeros((len(TaskState), 32), np.uint8)
    padded[:, : states.NR_STEPS] = table
    return padded


_KINDS = np.zeros(len(TaskState), np.uint8)
_KINDS[TaskState.RUNNING] = _RUNS
_KINDS[[*states.SLEEPS, TaskState.DEAD]] = _SLEEPS
_KINDS[TaskState.UNKNOWN] = _HIDES
_KINDS[[*states.RUNNABLE, TaskState.THROTTLED]] = _WAITS
_TABLES = {
    "after": _padded(states.TRANSITIONS),
    "effects": _padded(
        _CUTS * (np.not_equal(states.TRANSITIONS.T, list(TaskState)).T | ~states.CREDIBLE | states.BIRTHS)
        + _BREAKS * ~states.CREDIBLE
        + _BEARS * states.BIRTHS
    ),
    "before_first": states.BEFORE_FIRST,
    "kinds": _KINDS,
}


@cache
def _step_of_event(wakeup: EventType | None) -> npt.NDArray[np.uint8]:
    """Map (type, prev_state), as type << 4 | prev_state, to the step of `tid`."""
    steps = np.full((16, 16), _IGNORED, np.uint8)
    steps[EventType.SWITCH, : states.IN] = np.arange(states.IN)
    steps[EventType.WAKEUP_NEW] = states.WAKEUP_NEW
    steps[EventType.FORK] = states.FORK
    steps[EventType.EXIT] = states.EXIT
    steps[EventType.MIGRATE] = states.MIGRATE
    if wakeup is not None:
        steps[wakeup] = states.WAKEUP
    return steps.reshape(-1)
