"""How are a trace's events to be taken: from when on is each CPU known, and are all tasks recorded?

The one place where that is decided, for figures, pictures and exports. `read_states()` gives the task states
of a trace and, when it is through, the gaps: of which time nobody knows what a CPU did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from schedtuna.trace.gaps import Gaps, Why
from schedtuna.trace.intervals import NR_CPUS_LIMIT, IntervalBuilder, Intervals, iter_intervals
from schedtuna.trace.recorded import (
    Tids,
    filtered_tids,
    others_of,
    recorded_segments,
    share_of_others,
    tids_recorded_whole,
)
from schedtuna.trace.schema import EVENT_DTYPE, EventArray, EventType
from schedtuna.trace.trace import Loss, Trace, imported_format

T = TypeVar("T")

# How long before its first event the recording of a CPU may be taken to have begun, by what the manifest says
# of how CPUs began (`cpus_begin`). Tools start CPUs one after the other, in milliseconds; but a ring buffer
# that was overwritten begins wherever it does.
TOGETHER, APART, NOT_TOLD = "together", "apart", "not told"
SLACK_NS: dict[str, int | None] = {TOGETHER: None, APART: 0, NOT_TOLD: 10_000_000}
# Whom a trace records (`records`), where the tool that made it says so: everybody, or just the switches of
# some tasks to others (perf record without -a). Another value: perhaps not all.
EVERYBODY, SOME_TASKS = "everybody", "switches of some tasks"
# How many switches, and which share of all, may not fit together in a recording of the whole machine: some
# kernels miss one now and then. Of few switches, a larger share.
MOST_UNCHAINED, MOST_UNCHAINED_SHARE, MOST_UNCHAINED_OF_FEW = 10, 0.02, 0.2
MOST_OF_OTHERS = 0.2  # share of switches between other tasks, in a recording of single tasks
_SOON_NS = 10_000_000  # by then a CPU that was idle runs who was put on its queue


class Reading:
    """One pass over a trace's events.

    Args:
        trace: The trace.
        single: It is a recording of single tasks that does not say so: only these are recorded whole.
        unseen_cpus: CPUs that were not recorded, though nothing says so.

    Attributes:
        nr_events: Events so far, whoever's.
        others: Tasks of which the trace has events, but not all; None: it has all of everybody's.
    """

    def __init__(
        self, trace: Trace, single: Tids | None = None, unseen_cpus: npt.NDArray[np.intp] | None = None
    ) -> None:
        self.trace = trace
        self.single, self._unseen_cpus = single, unseen_cpus
        self.nr_events = 0
        self.is_of_single_tasks = single is not None
        self.recorded = filtered_tids(trace) if single is None else single
        self.others = None if single is None else others_of(trace.segments(), single)
        self.builder = IntervalBuilder(
            trace.window_ns[0],
            slack_ns=SLACK_NS[begin_of_cpus(trace)],
            hides_idle=self.is_partial,
            unseen_cpus=unseen_cpus,
        )

    def again(self) -> Reading:
        """Return another pass like this one: tasks get the same numbers."""
        return Reading(self.trace, self.single, self._unseen_cpus)

    @property
    def is_partial(self) -> bool:
        """Whether only some tasks were recorded."""
        return self.recorded is not None

    def segments(self) -> Iterator[EventArray]:
        """Yield the events as they are to be taken: of those who were recorded."""

        def counted() -> Iterator[EventArray]:
            for segment in self.trace.segments():
                self.nr_events += len(segment)
                yield segment

        yield from recorded_segments(counted(), self.recorded)

    def pieces(self, watch: Callable[[EventArray], object] = lambda _: None) -> Iterator[Intervals]:
        """Yield task states; `watch` sees each part of the events before. Once only."""
        begin, end = self.trace.window_ns

        def watched() -> Iterator[EventArray]:
            if self.others is not None:
                yield _presence(self.others, begin)
            for part in self.segments():
                watch(part)
                yield part

        yield from iter_intervals(watched(), start_ns=begin, end_ns=end, builder=self.builder)

    def cpus_that_seem_unseen(self) -> npt.NDArray[np.intp]:
        """Return, after the pass, CPUs of an import that have no event though tasks were put on their queues.

        They were not idle, then, but left out (ftrace's tracing_cpumask, a file of one CPU).
        """
        if imported_format(self.trace.manifest) is None or self._unseen_cpus is not None:
            return np.empty(0, np.intp)
        return self.builder.cpus_without_events(self.trace.window_ns[1] - _SOON_NS)

    @property
    def is_lenient(self) -> bool:
        """Whether nobody told when the recording of each CPU began, and none seems to be left out."""
        return begin_of_cpus(self.trace) == NOT_TOLD and self._unseen_cpus is None

    @property
    def seems_of_single_tasks(self) -> bool:
        """Whether switches, after the pass, fit together so badly that only some tasks' can be there."""
        if self.trace.manifest.get("records") == SOME_TASKS:
            return not self.is_partial
        if self.is_partial or records_everybody(self.trace):
            return False
        # A hole in a recording of everybody breaks a stretch or two.
        holes = sum(2 * (loss.nr_lost or 1) if loss.is_unread else 2 for loss in self.trace.losses)
        unchained, all_ = self.builder.nr_unchained - holes, self.builder.nr_stretches
        share = MOST_UNCHAINED_SHARE if unchained > MOST_UNCHAINED else MOST_UNCHAINED_OF_FEW
        return unchained > share * all_

    def gaps(self, nr_cpus: int) -> Gaps:
        """Return, after the pass, of which time nobody knows what a CPU did; losses are among them."""
        end = self.trace.window_ns[1]
        found = Gaps()
        for gaps in (self.builder.gaps, self.builder.last_gaps(end, nr_cpus)):
            found.append(start_ns=gaps.start_ns, end_ns=gaps.end_ns, cpu=gaps.cpu, why=gaps.why)
        for loss in self.trace.losses:
            if loss.nr_lost != 0:
                found.append(**_gaps_of_loss(loss, self.trace.window_ns, nr_cpus))
        return found


def read_states(trace: Trace, take: Callable[[Reading], T]) -> tuple[T, Reading]:
    """Return what `take` makes of the states of a trace, and how it was read.

    `take` uses up `Reading.pieces()`. It is called again if the trace turns out to be one of single tasks.
    """
    reading = Reading(trace)
    taken = take(reading)
    if reading.seems_of_single_tasks:
        single = _recorded_alone(trace)
        if single is not None:
            reading = Reading(trace, single)
            taken = take(reading)
    unseen_cpus = reading.cpus_that_seem_unseen()
    if len(unseen_cpus):
        reading = Reading(trace, reading.single, unseen_cpus)
        taken = take(reading)
    return taken, reading


def _recorded_alone(trace: Trace) -> Tids | None:
    """Return the tasks that a recording of single tasks has whole; None: it can't be such a recording.

    Each of its switches is to or from one of them. Where many are not, something else is wrong: the switches
    of a task here and there are missing, and the rest is there.
    """
    if trace.manifest.get("records") == SOME_TASKS:
        return np.empty(0, np.uint32)
    single = tids_recorded_whole(trace.segments())
    if len(single) and share_of_others(trace.segments(), single) > MOST_OF_OTHERS:
        return None
    return single


def begin_of_cpus(trace: Trace) -> str:
    """Return how the recording of the CPUs began: a key of `SLACK_NS`."""
    told = trace.manifest.get("cpus_begin")
    if told in SLACK_NS:
        return str(told)
    return TOGETHER if imported_format(trace.manifest) is None else NOT_TOLD


def records_everybody(trace: Trace) -> bool:
    """Return whether it is told that all tasks were recorded: by us, if we recorded."""
    ours = imported_format(trace.manifest) is None and not trace.manifest.get("filter")
    return ours or trace.manifest.get("records") == EVERYBODY


def _presence(tids: Tids, time_ns: int) -> EventArray:
    """Return events that say nothing of tasks but that they are there."""
    events = np.zeros(len(tids), EVENT_DTYPE)
    events["timestamp_ns"], events["tid"], events["type"] = time_ns, tids, EventType.MIGRATE
    events["cpu"] = events["target_cpu"] = NR_CPUS_LIMIT - 1  # of no CPU that is there
    return events


def _gaps_of_loss(loss: Loss, window_ns: tuple[int, int], nr_cpus: int) -> dict[str, Any]:
    cpus = np.array([loss.cpu]) if 0 <= loss.cpu < NR_CPUS_LIMIT else np.arange(nr_cpus)
    begin, end = window_ns
    first = min(max(loss.first_ns, begin), end)
    last = end if loss.last_ns is None else min(max(loss.last_ns, first), end)
    return {
        "start_ns": np.full(len(cpus), first),
        "end_ns": np.full(len(cpus), last),
        "cpu": cpus.astype(np.uint16),
        "why": np.full(len(cpus), Why.UNREAD if loss.is_unread else Why.LOST, np.uint8),
    }
