"""Events in, task states out: from when to when did each task run, wait, sleep?

`states` has the rules; this module applies them to millions of events at once: sort the steps by
task, look the new state up where the step alone decides it (nearly always), compose the few others,
and cut where the state changes. Pure: no clocks, files or processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from schedtuna.trace import states
from schedtuna.trace.schema import EventArray, EventType, IntArray
from schedtuna.trace.states import NO_RESET, TaskState

U8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

_FEED_EVENTS = 1 << 17  # 4 MB of events
_FEEDS_AHEAD = 2
_NOBODY = -1
_DIRECT_TIDS = 1 << 23  # tids below this are looked up in a table: the kernel's own limit is 2^22


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
    """

    task: npt.NDArray[np.int32]
    tid: npt.NDArray[np.uint32]
    state: U8Array
    start_ns: IntArray
    end_ns: IntArray
    cpu: npt.NDArray[np.uint16]
    began_before: BoolArray
    ends_after: BoolArray

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
    def nothing(cls) -> Self:
        """Return no intervals."""
        types: tuple[Any, ...] = (np.int32, np.uint32, np.uint8, *[np.int64] * 2, np.uint16, *[np.bool_] * 2)
        return cls(*(np.empty(0, type_) for type_ in types))

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
        share: (k, n): only tids of which the remainder by n is k, for n builders in n threads.
    """

    def __init__(
        self, start_ns: int | None = None, wakeup: EventType | None = None, share: tuple[int, int] = (0, 1)
    ) -> None:
        self.start_ns = start_ns
        self.wakeup = wakeup
        self.share = share
        self.nr_tasks = 0
        self._open = _Open.nothing()
        self._on_cpu = np.full(1 << 16, _NOBODY, np.int64)

    def feed(self, events: EventArray) -> Intervals:
        """Take the next events, in time order, and return the intervals that ended."""
        if self.start_ns is None and len(events):
            self.start_ns = int(events["timestamp_ns"][0])
        if self.wakeup is None:
            self.wakeup = wakeup_event(events)
        closed, self._open, self.nr_tasks = _advance(
            _steps(events, self.wakeup, self.share, self._on_cpu),
            self._open,
            self.start_ns or 0,
            self.nr_tasks,
        )
        return self._renumber(closed)

    def finish(self, end_ns: int) -> Intervals:
        """Return the intervals that nothing ended, cut at `end_ns`; the builder is then used up."""
        open_, self._open = self._open, _Open.nothing()
        alive = open_.state != TaskState.DEAD
        task, tid, state, since_ns, cpu, began_before = (column[alive] for column in open_)
        end = np.maximum(since_ns, end_ns)
        ends_after = np.ones(len(tid), np.bool_)
        return self._renumber(Intervals(task, tid, state, since_ns, end, cpu, began_before, ends_after))

    def _renumber(self, one: Intervals) -> Intervals:
        """Give each share numbers of its own."""
        share, nr_shares = self.share
        return one if nr_shares == 1 else replace(one, task=one.task * np.int32(nr_shares) + np.int32(share))


def intervals(
    events: EventArray | Iterable[EventArray],
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    nr_threads: int = 2,
) -> Intervals:
    """Return the task states of a whole trace.

    Args:
        events: In time order; or parts of a trace, such as `Trace.segments()`.
        start_ns: When recording began (None: at the first event).
        end_ns: When it ended (None: at the last event).
        nr_threads: How many threads share the work.
    """
    pieces = list(iter_intervals(events, start_ns=start_ns, end_ns=end_ns, nr_threads=nr_threads))
    return Intervals.concatenate(pieces)


def iter_intervals(
    events: EventArray | Iterable[EventArray],
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    nr_threads: int = 2,
) -> Iterator[Intervals]:
    """Yield what `intervals()` returns in pieces, as they end: memory for one part of the trace."""
    builders = [IntervalBuilder(start_ns, share=(k, nr_threads)) for k in range(nr_threads)]
    pools = [ThreadPoolExecutor(1) for _ in builders]  # each builder takes its feeds in their order
    pending: deque[list[Future[Intervals]]] = deque()
    last_ns = 0
    try:
        for feed in _feeds(events):
            last_ns = int(feed["timestamp_ns"][-1])
            pending.append(
                [pool.submit(builder.feed, feed) for pool, builder in zip(pools, builders, strict=True)]
            )
            if len(pending) > _FEEDS_AHEAD:
                yield from (future.result() for future in pending.popleft())
        while pending:
            yield from (future.result() for future in pending.popleft())
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)
    for builder in builders:
        yield builder.finish(last_ns if end_ns is None else end_ns)


def _feeds(events: EventArray | Iterable[EventArray]) -> Iterator[EventArray]:
    """Yield events in pieces that fit the processor's caches."""
    for part in [events] if isinstance(events, np.ndarray) else events:
        for at in range(0, len(part), _FEED_EVENTS):
            yield part[at : at + _FEED_EVENTS]


def wakeup_event(events: EventArray) -> EventType | None:
    """Return the event that begins waits in this trace; None if it has no wakeups."""
    present = np.bincount(events["type"], minlength=len(EventType) + 1) > 0
    return next((kind for kind in (EventType.WAKEUP, EventType.WAKING) if present[kind]), None)


class _Steps(NamedTuple):
    """One element per step of a task (`states`), in time order."""

    tid: npt.NDArray[np.uint32]
    time_ns: IntArray
    step: U8Array
    cpu: npt.NDArray[np.uint16]


class _Open(NamedTuple):
    """What an earlier part of a trace leaves to the next: each task's last state, one row per tid."""

    task: npt.NDArray[np.int32]
    tid: npt.NDArray[np.uint32]
    state: U8Array
    since_ns: IntArray
    cpu: npt.NDArray[np.uint16]
    began_before: BoolArray

    @classmethod
    def nothing(cls) -> _Open:
        types: tuple[Any, ...] = (np.int32, np.uint32, np.uint8, np.int64, np.uint16, np.bool_)
        return cls(*(np.empty(0, type_) for type_ in types))


_IGNORED = 255


def _step_of_event(wakeup: EventType | None) -> U8Array:
    """Map (type, prev_state), as type * 16 + prev_state, to the step of `tid`."""
    steps = np.full((16, 16), _IGNORED, np.uint8)
    steps[EventType.SWITCH, : states.IN] = np.arange(states.IN)
    steps[EventType.WAKEUP_NEW] = states.WAKEUP_NEW
    steps[EventType.FORK] = states.FORK
    steps[EventType.EXIT] = states.EXIT
    steps[EventType.MIGRATE] = states.MIGRATE
    if wakeup is not None:
        steps[wakeup] = states.WAKEUP
    return steps.reshape(-1)


def _steps(events: EventArray, wakeup: EventType | None, share: tuple[int, int], on_cpu: IntArray) -> _Steps:
    """Take the steps of tasks out of events: a switch is one of each of its two tasks."""
    kind = np.ascontiguousarray(events["type"])
    step = np.full((len(events), 2), states.IN, np.uint8)
    step[:, 0] = _step_of_event(wakeup)[(kind << 4) | (events["prev_state"] & 15)]
    tid = np.empty((len(events), 2), np.uint32)
    tid[:, 0] = events["tid"]
    tid[:, 1] = events["other_tid"]
    counts = tid != 0  # tid 0 is the idle task: no task at all
    counts[:, 0] &= step[:, 0] != _IGNORED
    counts[:, 1] &= kind == EventType.SWITCH
    if share[1] > 1:
        counts &= tid % np.uint32(share[1]) == share[0]
    which = np.flatnonzero(counts)
    event = which >> 1
    steps = _Steps(
        tid.reshape(-1)[which],
        events["timestamp_ns"].astype(np.int64)[event],
        step.reshape(-1)[which],
        np.ascontiguousarray(events["target_cpu"])[event],
    )
    event, vanished = _vanished(events, on_cpu)
    mine = vanished % share[1] == share[0]
    return _insert(steps, np.searchsorted(which, 2 * event[mine]), vanished[mine], events[event[mine]])


def _vanished(events: EventArray, on_cpu: IntArray) -> tuple[npt.NDArray[np.intp], IntArray]:
    """Find switches away from another task than the one that ran: which events, and who those two are.

    Args:
        events: In time order.
        on_cpu: The task on each CPU (`_NOBODY`: not known); brought up to date.
    """
    switches = np.flatnonzero(events["type"] == EventType.SWITCH)
    cpu = events["cpu"][switches]
    order = np.argsort(cpu, kind="stable")
    cpu, switches = cpu[order], switches[order]
    leaves, comes = events["tid"][switches], events["other_tid"][switches].astype(np.int64)
    ran = np.empty_like(comes)
    ran[1:] = comes[:-1]
    first = np.flatnonzero(np.diff(cpu.astype(np.int32), prepend=-1))
    ran[first] = on_cpu[cpu[first]]
    last = np.append(first, len(cpu))[1:] - 1
    on_cpu[cpu[last]] = comes[last]
    wrong = np.flatnonzero((ran != leaves) & (ran != _NOBODY))
    event, tid = np.tile(switches[wrong], 2), np.concatenate([ran[wrong], leaves[wrong]])
    named = tid > 0
    in_order = np.argsort(event[named], kind="stable")
    return event[named][in_order], tid[named][in_order]


def _insert(steps: _Steps, at: npt.NDArray[np.intp], tid: IntArray, events: EventArray) -> _Steps:
    """Put steps by which tasks vanish before those of the events that tell of it."""
    if not len(at):
        return steps
    return _Steps(
        np.insert(steps.tid, at, tid.astype(np.uint32)),
        np.insert(steps.time_ns, at, events["timestamp_ns"].astype(np.int64)),
        np.insert(steps.step, at, np.uint8(states.VANISH)),
        np.insert(steps.cpu, at, events["cpu"]),
    )


# What a step does to a task's row of intervals, by (state before << 5) | step.
_CUTS, _BREAKS, _BEARS = 1, 2, 4
_EFFECTS = np.zeros((len(TaskState), 32), np.uint8)
_EFFECTS[:, : states.NR_STEPS] = (
    _CUTS * (np.not_equal(states.TRANSITIONS.T, list(TaskState)).T | ~states.CREDIBLE | states.BIRTHS)
    + _BREAKS * ~states.CREDIBLE
    + _BEARS * states.BIRTHS
)


def _advance(steps: _Steps, open_: _Open, start_ns: int, nr_tasks: int) -> tuple[Intervals, _Open, int]:
    """Take steps; return the intervals that ended, what is open now, and how many tasks there were."""
    if not len(steps.tid):
        return Intervals.nothing(), open_, nr_tasks
    tids, code = _codes(steps.tid)
    # Before a tid's first step comes one that says what state it was in: as an earlier part of the
    # trace left it, or (filled in below) as the first step tells.
    known, row = _find(open_.tid, tids)
    lead = _lead(known, open_, row, start_ns)
    order = np.argsort(np.concatenate([np.arange(len(tids), dtype=code.dtype), code]), kind="stable")
    step = np.concatenate([lead.step, steps.step])[order]
    time = np.concatenate([lead.time_ns, steps.time_ns])[order]
    lengths = np.bincount(code, minlength=len(tids)) + 1
    first = np.cumsum(lengths) - lengths
    unknown = first[~known]
    step[unknown] += states.BEFORE_FIRST[step[unknown + 1]]

    after = _resolve(step)
    effect = np.empty_like(step)
    effect[1:] = _EFFECTS.reshape(-1)[(after[:-1].astype(np.uint16) << 5) | step[1:]]
    effect[first] = _CUTS
    effect[unknown[after[unknown] != TaskState.DEAD]] |= _BEARS
    is_birth = (effect & _BEARS) != 0
    task = _number_tasks(is_birth, first, nr_tasks, open_.task[row] if len(open_.tid) else row)
    is_first = np.zeros(len(step) + 1, np.bool_)
    is_first[first] = is_first[-1] = True

    start = np.flatnonzero(effect & _CUTS)
    end = np.append(start[1:], len(step))
    is_open = is_first[end]
    last = start[is_open]
    is_dead = after[start] == TaskState.DEAD
    ended = np.where(is_dead, ~is_first[start], ~is_open)
    start, end = start[ended], np.where(is_dead, start, end)[ended]
    cpu = np.concatenate([lead.cpu, steps.cpu])
    began_before = np.zeros(len(step), np.bool_)
    began_before[first] = np.where(known, open_.began_before[row], True) if len(open_.tid) else True
    tid = np.repeat(tids, lengths)
    state = after[start]
    state[((effect[end] & _BREAKS) != 0) & (state != TaskState.DEAD)] = TaskState.UNKNOWN
    closed = Intervals(
        task[start],
        tid[start],
        state,
        time[start],
        time[end],
        cpu[order[start]],
        began_before[start],
        np.zeros(len(start), np.bool_),
    )
    left = _Open(task[last], tids, after[last], time[last], cpu[order[last]], began_before[last])
    return closed, _merge_open(open_, left), nr_tasks + int(np.count_nonzero(is_birth))


def _lead(known: BoolArray, open_: _Open, row: npt.NDArray[np.intp], start_ns: int) -> _Steps:
    """Return the step before each tid's first: the state it was in, UNKNOWN without one."""
    lead = _Steps(
        np.empty(0, np.uint32),
        np.full(len(known), start_ns, np.int64),
        np.full(len(known), states.RESUME, np.uint8),
        np.zeros(len(known), np.uint16),
    )
    lead.time_ns[known] = open_.since_ns[row[known]]
    lead.step[known] += open_.state[row[known]]
    lead.cpu[known] = open_.cpu[row[known]]
    return lead


def _codes(tid: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[Any]]:
    """Return the distinct tids, sorted, and for each element the index of its tid in them."""
    highest = int(tid.max(initial=0))
    if highest >= _DIRECT_TIDS:
        tids, code = np.unique(tid, return_inverse=True)
        return tids, code
    seen = np.zeros(highest + 1, np.bool_)
    seen[tid] = True
    tids = np.flatnonzero(seen).astype(np.uint32)
    small = len(tids) <= 1 << 16  # 16-bit keys are sorted by radix
    return tids, (np.cumsum(seen) - 1).astype(np.uint16 if small else np.int32)[tid]


def _find(
    tids: npt.NDArray[np.uint32], wanted: npt.NDArray[np.uint32]
) -> tuple[BoolArray, npt.NDArray[np.intp]]:
    """Return which of the wanted tids are in `tids` (sorted), and where (anywhere, if they are not)."""
    if not len(tids):
        return np.zeros(len(wanted), np.bool_), np.zeros(len(wanted), np.intp)
    row = np.minimum(np.searchsorted(tids, wanted), len(tids) - 1)
    return tids[row] == wanted, row


def _resolve(step: U8Array) -> U8Array:
    """Return the state after each step; the first of all must decide it alone.

    Most others do; the next most frequent come right after one that does.
    """
    after = states.RESETS[step]
    table = states.TRANSITIONS.reshape(-1)
    open_ = np.flatnonzero(after == NO_RESET)
    for _ in range(3):
        before = after[open_ - 1]
        ready = before != NO_RESET
        now = open_[ready]
        after[now] = table[before[ready] * np.uint16(states.NR_STEPS) + step[now]]
        open_ = open_[~ready]
    if len(open_):
        _resolve_runs(step, after, open_)
    return after


def _resolve_runs(step: U8Array, after: U8Array, open_: npt.NDArray[np.intp]) -> None:
    """Fill in the states after long runs of steps that depend on the state before.

    Such a step is a function from states to states. Each round composes it with what comes before,
    over twice as many steps as the last: rounds are few whatever the trace.
    """
    function = states.TRANSITIONS.T[step[open_]]  # a row per open step: state before -> state after
    previous = open_ - 1
    while len(open_):
        before = after[previous]
        ready = before != NO_RESET
        later = np.flatnonzero(~ready)
        into = np.searchsorted(open_, previous[later])
        composed = np.take_along_axis(function[later], function[into], axis=1)
        now = np.flatnonzero(ready)
        after[open_[now]] = function[now, before[now]]
        open_, previous, function = open_[later], previous[into], composed


def _number_tasks(
    is_birth: BoolArray, first: npt.NDArray[np.intp], nr_tasks: int, known_task: npt.NDArray[Any]
) -> npt.NDArray[np.int32]:
    """Return each row's task: births are numbered on from `nr_tasks`, others are their tid's known task."""
    begins = is_birth.copy()
    begins[first] = True
    at = np.flatnonzero(begins)
    number = np.cumsum(is_birth[at], dtype=np.int32) + np.int32(nr_tasks - 1)
    old = ~is_birth[at]
    number[old] = known_task[np.searchsorted(first, at[old])]
    return np.repeat(number, np.diff(np.append(at, len(is_birth))))


def _merge_open(old: _Open, new: _Open) -> _Open:
    """Put new rows in the place of the old ones of the same tid."""
    kept = ~np.isin(old.tid, new.tid)
    columns: list[Any] = [np.concatenate([getattr(old, f)[kept], getattr(new, f)]) for f in _Open._fields]
    order = np.argsort(columns[1], kind="stable")
    return _Open(*(column[order] for column in columns))
