"""What does a trace give to learn of its tasks: a row per burst, as of the wakeup that began it?

Part by part: memory is bounded by a part, the tasks that are alive, and the rows that are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import DatasetError
from schedtuna.features.cycles import BoolArray, CycleBuilder, Cycles, IntArray
from schedtuna.features.task_history import HISTORY_FEATURES, HistoryBuilder
from schedtuna.learn.known_of_tasks import (
    ATTRIBUTE_FEATURES,
    GROUP_FEATURES,
    MEMORY_FEATURES,
    ROLE_FEATURES,
    KnownOfTasks,
    LabelsOfTasks,
    unknown,
)
from schedtuna.learn.thinning import Columns, ThinnedRows
from schedtuna.learn.wakers import WAKER_FEATURES, WakersOfTasks, tells_wakers
from schedtuna.trace.intervals import Intervals
from schedtuna.trace.reading import Reading, read_states
from schedtuna.trace.schema import IDLE_TID, EventArray
from schedtuna.trace.states import RUNNABLE, TaskState
from schedtuna.trace.trace import Loss, Trace

TASK_FEATURES = (
    *HISTORY_FEATURES,
    *ATTRIBUTE_FEATURES,
    *ROLE_FEATURES,
    *GROUP_FEATURES,
    *MEMORY_FEATURES,
    *WAKER_FEATURES,
)
_PART = 1 << 19  # task states at once: some 100 MB with all that is made of them
_AWAKE = np.isin(np.arange(len(TaskState)), (TaskState.RUNNING, TaskState.THROTTLED, *RUNNABLE))
_FOREVER = np.iinfo(np.int64).max
# Why a burst gives no row, in the order in which it is asked.
OWN = "of the recorder itself"
BROKEN = "not all of the burst, or of the sleep before it, is known"
LOST = "events may be missing in the burst, or in the sleep before it"
NO_HISTORY = "no burst before it is known"
NOT_KNOWN = "what its task asked for, or its group, is not known"
NO_WAKER = "who woke its task up is not known"
NO_LABEL = "its task has no label"
CUT = "the trace ends in it"


@dataclass
class RunRows:
    """What a run gave.

    Attributes:
        columns: The features, `label`, `time_ns`, `task`, and what else the dataset's form has.
        nr_seen: How many rows there were before they were thinned.
        dropped: Bursts that gave none, by reason.
        notes: What whoever uses them must know.
        nr_events: Of the trace.
    """

    columns: Columns
    nr_seen: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    nr_events: int = 0


def task_rows(
    trace: Trace,
    *,
    most: int,
    seed: int,
    labels: LabelsOfTasks | None = None,
    on_events: Callable[[int], object] = lambda _: None,
) -> RunRows:
    """Return a row per burst of each task but the recorder.

    Args:
        trace: The trace.
        most: Rows that are kept at most.
        seed: Which, if there are more.
        labels: Label of rows: an index into their names. None: the burst itself, in ns.
        on_events: Told how many events were read, now and then.

    Raises:
        DatasetError: The trace tells nothing of tasks, or of none of them all.
        TraceError: It is damaged.
    """
    if not trace.has_events:
        raise DatasetError(
            "the trace has no scheduling events, so nobody knows its tasks' bursts",
            hint="record events: schedtuna record",
        )
    known = KnownOfTasks(trace)

    def take(reading: Reading) -> _Collector:
        collector = _Collector(trace, reading, known, labels, ThinnedRows(most, seed))
        pieces: list[Intervals] = []
        nr_states = 0
        for piece in reading.pieces(collector.watch):
            pieces.append(piece)
            nr_states += len(piece)
            if nr_states >= _PART:
                collector.add(pieces)
                pieces, nr_states = [], 0
                on_events(reading.nr_events)
        collector.add(pieces)
        return collector

    collector, reading = read_states(trace, take)
    if reading.is_of_single_tasks:
        raise DatasetError(
            "only switches of single tasks were recorded: their CPU time does not follow from them",
            hint="record the whole machine (perf record -a), or with `schedtuna record`",
        )
    on_events(reading.nr_events)
    rows = RunRows(collector.rows.columns(), collector.rows.nr_seen, collector.dropped)
    rows.nr_events = reading.nr_events
    rows.notes = known.notes
    if collector.wakers is not None and collector.wakers.nr_forgotten:
        rows.notes.append(
            f"{collector.wakers.nr_forgotten:,} wakeups were too many to remember who caused them"
        )
    if trace.is_incomplete:
        rows.notes.append("events were lost: what rests on them was dropped")
    return rows


class _Collector:
    """Makes rows of task states, and counts what gives none."""

    def __init__(
        self,
        trace: Trace,
        reading: Reading,
        known: KnownOfTasks,
        labels: LabelsOfTasks | None,
        rows: ThinnedRows,
    ) -> None:
        self.rows, self.dropped = rows, Counter[str]()
        self._begin_ns = trace.window_ns[0]
        self._known, self._labels, self._recorded = known, labels, reading.recorded
        self._own = own_processes(trace)
        self._losses = lost_spans(trace.losses)
        self._cycles, self._history = CycleBuilder(self._losses), HistoryBuilder()
        self.wakers = WakersOfTasks(known) if tells_wakers(trace) else None

    def watch(self, events: EventArray) -> None:
        """See events before the states that follow from them."""
        if self.wakers is not None:
            self.wakers.watch(events)

    def add(self, pieces: list[Intervals]) -> None:
        if not pieces:
            return
        cycles, features, depth = self._history.feed(self._cycles.feed(pieces))
        self.dropped[CUT] += sum(
            int((piece.ends_after & (piece.tid != IDLE_TID) & _AWAKE[piece.state]).sum()) for piece in pieces
        )
        tid, time = cycles.tid, cycles.wake_ns
        asked = self._known.features(tid, time)
        woken = {} if self.wakers is None else self.wakers.features(cycles)
        features |= asked | woken
        label = cycles.burst_ns if self._labels is None else self._labels.at(tid, time)
        left = np.ones(len(cycles), np.bool_)
        for reason, bad in self._reasons(cycles, asked, woken, depth, label):
            self.dropped[reason] += int((left & bad).sum())
            left &= ~bad
        columns: Columns = {name: column[left] for name, column in features.items()}
        columns |= {
            "label": label[left],
            "time_ns": time[left] - self._begin_ns,
            "task": cycles.task[left].astype(np.uint32),
        }
        keys = (cycles.task.astype(np.uint64) << np.uint64(40)) ^ time.astype(np.uint64)
        self.rows.add(keys[left], columns)

    def _reasons(
        self,
        cycles: Cycles,
        asked: dict[str, IntArray],
        woken: dict[str, IntArray],
        depth: IntArray,
        label: IntArray,
    ) -> Iterator[tuple[str, BoolArray]]:
        own = np.isin(self._known.processes(cycles.tid, cycles.wake_ns), self._own)
        if self._recorded is not None:
            own |= ~np.isin(cycles.tid, self._recorded)
        yield OWN, own
        lost = np.zeros(len(cycles), np.bool_)
        for begin, end in self._losses.tolist():
            lost |= (cycles.end_ns >= begin) & (cycles.wake_ns - cycles.sleep_ns <= end)
        yield LOST, lost
        yield BROKEN, ~cycles.is_known
        yield NO_HISTORY, (depth == 0) & ~cycles.is_birth
        yield NOT_KNOWN, unknown(asked)
        if woken:
            yield NO_WAKER, unknown(woken)
        if self._labels is not None:
            yield NO_LABEL, label < 0


def own_processes(trace: Trace) -> Sequence[int]:
    """Return the processes of the recorder itself."""
    recorder = trace.manifest.get("recorder")
    told = [recorder.get("tgid")] if isinstance(recorder, dict) else []
    helpers = trace.manifest.get("helper_tgids", [])
    told += helpers if isinstance(helpers, list) else []
    return [tgid for tgid in told if isinstance(tgid, int)]


def lost_spans(losses: Sequence[Loss]) -> npt.NDArray[np.int64]:
    """Return from when to when events may be missing, [losses, 2] in ns."""
    rows: list[Any] = [
        (loss.first_ns, _FOREVER if loss.last_ns is None else loss.last_ns)
        for loss in losses
        if loss.nr_lost != 0
    ]
    return np.array(rows, np.int64).reshape(-1, 2)
