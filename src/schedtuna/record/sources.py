"""What a recorder can read of the scheduler: every event, counts per task, or nothing but who exited."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schedtuna.errors import UnavailableError
from schedtuna.machine.namespaces import in_initial_pid_namespace
from schedtuna.record.exits import KIND as EXIT_KIND
from schedtuna.record.exits import ExitSampler
from schedtuna.record.proc_tasks import CLOCK_TICK_NS, task_rows, unlisted_tasks
from schedtuna.record.stream import SHORTEST_PAUSE_S, EventStream, next_pause
from schedtuna.trace.writer import TraceWriter

if TYPE_CHECKING:
    from schedtuna.record.aggregate import Aggregator
    from schedtuna.record.picks import PickStream, PickTally

_EXITS_S = 0.2  # between two readings of exited tasks' statistics

# What samples of /proc do not show; the last is made up for by taskstats, where they are to be had.
BLIND_SPOTS = ("scheduling events", "latencies of single waits", "what a thread waited for")
UNSEEN_LIVES = "tasks that come and go between two samples"


@dataclass(frozen=True)
class Tally:
    """What a source has given: `RecordResult` says what the numbers are of."""

    nr_events: int = 0
    nr_lost: int = 0
    nr_tasks: int = 0
    picks: PickTally | None = None


class Source:
    """The protocol between a recorder and what it reads; a source overrides what it has to do.

    It is made ready on creation, and closed by `close()`.

    Attributes:
        ring_bytes: Memory that the kernel's buffers take.
        blind_to: What is not seen this way.
        pause_s: How long to wait before the next `read()`.
    """

    ring_bytes: int = 0
    blind_to: tuple[str, ...] = ()
    pause_s: float = _EXITS_S

    def begin(self, writer: TraceWriter, start_ns: int) -> None:
        """Attach, and write down what is there already."""

    def greet(self, writer: TraceWriter) -> None:
        """Write down the calling thread, which will read from here on."""

    def follow(self, tgid: int) -> None:
        """Add a process to the roots of the filter's process trees."""

    def read(self, writer: TraceWriter) -> None:
        """Take what the kernel's buffers have."""

    def sample(self, writer: TraceWriter, interval_s: float) -> None:
        """Write down what was counted since the last sample."""

    def detach(self) -> None:
        """Record no more; what waits can still be read."""

    def finish(self, writer: TraceWriter) -> Tally:  # noqa: ARG002  # as of every source
        """Write down what is left after the last reading."""
        return Tally()

    def close(self) -> None:
        """Give back what was opened; once is enough."""


class StreamSource(Source):
    """Every event.

    Args:
        stream: Where they come from.
        everybody: Whether all tasks are recorded.
        picks: What the fair class chose from is recorded, too.
    """

    pause_s = SHORTEST_PAUSE_S

    def __init__(self, stream: EventStream, *, everybody: bool, picks: PickStream | None = None) -> None:
        self._stream = stream
        self._picks = picks
        self._names_everybody = everybody and in_initial_pid_namespace()  # /proc has the kernel's numbers
        self.ring_bytes = stream.ring_bytes + (picks.ring_bytes if picks else 0)

    def begin(self, writer: TraceWriter, start_ns: int) -> None:
        """Attach, and write down who lives; of who comes later, the kernel tells."""
        self._last_read_ns = start_ns
        self._stream.attach()
        if self._picks:
            self._picks.attach()
        writer.update_manifest(self._told())
        rows = self._stream.tasks()
        writer.write_tasks(rows)
        unlisted = None
        if self._names_everybody:
            unlisted = unlisted_tasks(set(rows["tid"].tolist()))
            unlisted = unlisted[unlisted["start_time_ns"] < start_ns - CLOCK_TICK_NS]
            writer.write_tasks(unlisted)
        self._stream.write_attributes(writer, unlisted)

    def greet(self, writer: TraceWriter) -> None:
        """Write down the calling thread: its own fork is not recorded."""
        if self._names_everybody:
            own = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}")
            writer.write_tasks(task_rows([own]))

    def follow(self, tgid: int) -> None:
        """Add a process to the roots of the filter's process trees."""
        self._stream.follow(tgid)
        if self._picks:
            self._picks.follow(tgid)

    def read(self, writer: TraceWriter) -> None:
        """Take what is in the rings, and how much found no room in them."""
        started_ns, fill = self._last_read_ns, self._stream.fill
        if self._picks:
            fill = max(fill, self._picks.fill)
            self._picks.drain(writer)
        self._stream.drain(writer)
        self._last_read_ns = time.monotonic_ns()
        for loss in self._stream.new_losses():
            writer.note_lost(loss.nr_lost, cpu=loss.cpu, first_ns=started_ns, last_ns=self._last_read_ns)
        self.pause_s = next_pause(self.pause_s, fill)

    def sample(self, writer: TraceWriter, interval_s: float) -> None:  # noqa: ARG002  # as of every source
        """Look for changes of attributes that nobody tells of."""
        if not self._stream.follows_attributes:
            self._stream.write_attributes(writer)

    def detach(self) -> None:
        """Record no more."""
        if self._picks:
            self._picks.detach()
        self._stream.detach()

    def finish(self, writer: TraceWriter) -> Tally:
        """Write down what is known of who lives now."""
        writer.write_tasks(self._stream.tasks())
        self._stream.write_attributes(writer)
        writer.update_manifest(self._told())
        picks = self._picks.tally if self._picks else None
        return Tally(nr_events=self._stream.nr_events, nr_lost=self._stream.nr_lost, picks=picks)

    def _told(self) -> dict[str, object]:
        return {"attributes": self._stream.attributes_told, "groups": self._stream.groups_told}

    def close(self) -> None:
        """Detach and unload."""
        if self._picks:
            self._picks.close()
        self._stream.close()


class CountSource(Source):
    """Histograms and sums per task, counted in the kernel."""

    def __init__(self, aggregator: Aggregator) -> None:
        self._aggregator = aggregator

    def begin(self, writer: TraceWriter, start_ns: int) -> None:  # noqa: ARG002  # as of every source
        """Attach."""
        self._start_ns = self._counted_ns = start_ns
        self._aggregator.attach()

    def follow(self, tgid: int) -> None:
        """Add a process to the roots of the filter's process trees."""
        self._aggregator.follow(tgid)

    def read(self, writer: TraceWriter) -> None:  # noqa: ARG002
        """Take the statistics of exited tasks out of the kernel."""
        self._aggregator.drain()

    def sample(self, writer: TraceWriter, interval_s: float) -> None:  # noqa: ARG002  # as of every source
        """Write down the `sched.*` metrics since the last sample."""
        from schedtuna.trace.aggregates.summary import sched_metrics

        window = self._aggregator.window()
        now_ns = time.monotonic_ns()
        values = sched_metrics(window.tasks, len(os.sched_getaffinity(0)), now_ns - self._counted_ns)
        self._counted_ns = now_ns
        writer.write_samples(now_ns, values, kind="sched")

    def detach(self) -> None:
        """Count no more."""
        self._aggregator.detach()

    def finish(self, writer: TraceWriter) -> Tally:
        """Write down the statistics."""
        from schedtuna.trace.aggregates.stored import KIND, columns_of_groups

        snapshot = self._aggregator.snapshot()
        writer.write_sample_table(snapshot.timestamp_ns, columns_of_groups(snapshot.tasks), kind=KIND)
        nr_lost = snapshot.nr_exits_lost + snapshot.nr_unrecorded
        if nr_lost:  # nobody counted when
            writer.note_lost(nr_lost, first_ns=self._start_ns, last_ns=snapshot.timestamp_ns)
        return Tally(nr_lost=nr_lost, nr_tasks=int(snapshot.tasks["nr_tasks"].sum()))

    def close(self) -> None:
        """Detach and unload."""
        self._aggregator.close()


class ExitSource(Source):
    """Nothing of the scheduler but taskstats of who exits, where they are to be had."""

    def __init__(self) -> None:
        self._exits: ExitSampler | None = None
        self._nr_exits = self._nr_lost = 0
        self.blind_to = BLIND_SPOTS
        try:
            self._exits = ExitSampler()
        except UnavailableError as error:
            self.blind_to += (f"{UNSEEN_LIVES} ({error})",)

    def begin(self, writer: TraceWriter, start_ns: int) -> None:  # noqa: ARG002
        """Begin here."""
        self._last_read_ns = start_ns

    def read(self, writer: TraceWriter) -> None:
        """Write down who exited."""
        if self._exits is None:
            return
        started_ns, self._last_read_ns = self._last_read_ns, time.monotonic_ns()
        for row in self._exits.rows():
            writer.write_samples(self._last_read_ns, row, kind=EXIT_KIND)
            self._nr_exits += 1
        lost = self._exits.nr_lost - self._nr_lost
        if lost:
            self._nr_lost += lost
            writer.note_lost(lost, cpu=-1, first_ns=started_ns, last_ns=self._last_read_ns)

    def finish(self, writer: TraceWriter) -> Tally:  # noqa: ARG002
        """Tell how many exits there were."""
        return Tally(nr_lost=self._nr_lost, nr_tasks=self._nr_exits)

    def close(self) -> None:
        """Receive no more."""
        if self._exits:
            self._exits.close()
