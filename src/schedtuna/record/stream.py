"""The stream of every scheduling event: from BPF to whoever writes it down.

Frequent events come through one ring per CPU, forks, execs, renames and exits as rows of the task
table through another. Nobody is woken to read them: `drain()` is called from a timer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from schedtuna.errors import UnavailableError
from schedtuna.kernel.mapped import CpuRings, RingBuffer
from schedtuna.kernel.objects import BpfObject
from schedtuna.kernel.programs import why_not_followed
from schedtuna.machine.mounts import CgroupMounts
from schedtuna.record.attributes import (
    CALLS,
    FOLLOWERS,
    AttributeRows,
    AttributeSink,
)
from schedtuna.record.filters import TaskFilter, current_layout
from schedtuna.record.layout import REASON_WAKEUP, REASON_WAKING
from schedtuna.record.loading import nr_cpu_ids, open_object
from schedtuna.record.procfs import memory_gauges
from schedtuna.trace.groups import GROUP_DTYPE
from schedtuna.trace.schema import EVENT_DTYPE, TASK_DTYPE, EventArray, EventType, TaskArray, TaskReason

_FEWEST_ROWS_BYTES = 1 << 22  # 31,000 forks, execs and exits
_ROWS_SHARE = 8  # one part in so many of the memory for events
_NEEDS = "which takes tracefs (mount -t tracefs tracefs /sys/kernel/tracing)"
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.05  # between two readings of the rings
_COMFORTABLE_FILL = 0.1
_GROUPS_BYTES = 1 << 18  # as the object has it: 6,500 groups
_LOOK_SHARE = 50  # looking at all tasks takes one part in so many of the time
_DEFAULT_CPU_BYTES = 16 << 20  # with sched_waking, twice that
_DEFAULT_TOTAL_BYTES = 512 << 20
_DEFAULT_SHARE = 64  # one part in so many of the memory that is available

_CONSTANTS = {"ring_capacity", "nr_cpu_words"}  # of the object; other sizes are of its maps

# What a row of the task table says happened, by its reason; renames are not events.
_EVENT_OF_REASON = np.zeros(256, np.uint8)
_EVENT_OF_REASON[TaskReason.FORK] = EventType.FORK
_EVENT_OF_REASON[TaskReason.EXEC] = EventType.EXEC
_EVENT_OF_REASON[TaskReason.EXIT] = EventType.EXIT
_EVENT_OF_REASON[REASON_WAKEUP] = EventType.WAKEUP
_EVENT_OF_REASON[REASON_WAKING] = EventType.WAKING


class EventSink(AttributeSink, Protocol):
    """Where a stream goes, such as `trace.writer.TraceWriter`."""

    def write_events(self, events: EventArray) -> None:
        """Take events; the array is valid only during the call."""

    def write_tasks(self, rows: TaskArray) -> None:
        """Take rows of the task table."""


@dataclass(frozen=True)
class RingLoss:
    """Events that found no room: how many, on which CPU (-1: any)."""

    cpu: int
    nr_lost: int


class EventStream:
    """A stream of events, from entering the context to leaving it.

    Args:
        task_filter: Which tasks' events.
        ring_bytes: Memory for events, over all CPUs; None: see `default_ring_bytes()`.
        waking: Record sched_waking, too: who really woke a task that is queued on another CPU, and
            when, for about a tenth of the events more.
        btf: The kernel's types, instead of /sys/kernel/btf/vmlinux.

    Raises:
        UnavailableError: This kernel, machine or user can't record.
        UsageError: The filter names what does not exist.
    """

    def __init__(
        self,
        task_filter: TaskFilter | None = None,
        *,
        ring_bytes: int | None = None,
        waking: bool = False,
        layout: CgroupMounts | None = None,
        btf: Path | None = None,
    ) -> None:
        task_filter = task_filter or TaskFilter()
        nr_cpus = nr_cpu_ids()
        self.capacity = ring_capacity(ring_bytes or default_ring_bytes(nr_cpus, waking=waking), nr_cpus)
        rows_bytes = rows_ring_bytes(self.capacity * nr_cpus * EVENT_DTYPE.itemsize)
        self._letting_go: threading.Thread | None = None
        self._attributes = AttributeRows(nr_cpus)
        self._record = self._attributes.record_dtype
        self._why_not_followed = why_not_followed(FOLLOWERS.values(), btf)
        self._skipped = {*(FOLLOWERS if self._why_not_followed else CALLS)}
        if not waking:
            self._skipped.add("on_waking")
        sizes = {
            "ring_capacity": self.capacity,
            "nr_cpu_words": self._attributes.nr_words,
            "rings": nr_cpus,
            "events": nr_cpus * self.capacity,
            "rows": rows_bytes,
            "attributes": rows_bytes // 2,
        }
        load = partial(_loaded, task_filter, layout or current_layout(), btf, sizes)
        try:
            self._bpf = load(self._skipped)
        except UnavailableError as error:
            if self._why_not_followed:
                raise
            self._leave_followers(error)
            self._bpf = load(self._skipped)
        try:
            for pid in task_filter.tree:
                self.follow(pid)
            self._rings = CpuRings(
                self._bpf.map_array("rings"),
                self._bpf.map_array("events"),
                nr_cpus,
                self.capacity,
                EVENT_DTYPE,
            )
            self._rows = RingBuffer(self._bpf.map_fd("rows"), rows_bytes, TASK_DTYPE)
            self._attribute_records = RingBuffer(
                self._bpf.map_fd("attributes"), rows_bytes // 2, self._record
            )
            self._groups = RingBuffer(self._bpf.map_fd("groups"), _GROUPS_BYTES, GROUP_DTYPE)
        except BaseException:
            self._bpf.close()
            raise
        self._lost = self._nr_lost()
        self.nr_events = self._nr_change_calls = 0
        self._next_look_s = 0.0

    def __enter__(self) -> Self:
        self.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def attach(self) -> None:
        """Begin to record."""
        try:
            self._bpf.attach(FOLLOWERS.keys() - self._skipped)
        except UnavailableError as error:
            self._leave_followers(error)
            self._skipped |= CALLS  # they were not loaded
        try:
            self._bpf.attach(CALLS - self._skipped)
        except UnavailableError:  # what changed is found by looking
            self._skipped |= CALLS
            self._why_not_followed = f"{self._why_not_followed}; nor can system calls be followed, {_NEEDS}"
        self._bpf.attach(["on_fork", "on_exec", "on_rename", "on_exit"])  # who has events has a name
        self._bpf.attach(set(self._bpf.programs) - self._skipped)

    def close(self) -> None:
        """Detach and unload; once is enough."""
        if self._letting_go:
            self._letting_go.join()
        self._bpf.close()

    @property
    def ring_bytes(self) -> int:
        """Memory for events."""
        return self._rings.nr_rings * self.capacity * EVENT_DTYPE.itemsize

    @property
    def nr_lost(self) -> int:
        """Events that found no room so far."""
        return sum(self._nr_lost().values())

    def follow(self, tgid: int) -> None:
        """Add a process to the roots of the filter's process trees."""
        self._bpf.update("tree_tgids", tgid.to_bytes(4, "little"), b"\1")

    def _leave_followers(self, why: UnavailableError) -> None:
        """Go without them: some kernels let nobody attach to functions, or are built without ftrace."""
        self._why_not_followed = str(why)
        self._skipped = self._skipped - CALLS | FOLLOWERS.keys()

    @property
    def follows_attributes(self) -> bool:
        """Whether every change of attributes is seen when it comes."""
        return self._why_not_followed is None

    def tasks(self) -> TaskArray:
        """Return a row for every living task that the filter wants."""
        return np.frombuffer(self._bpf.iterate("snapshot"), TASK_DTYPE)

    def write_attributes(self, sink: AttributeSink, unlisted: TaskArray | None = None) -> None:
        """Pass what living tasks that the filter wants ask for now to the sink, unless the last call had it.

        Args:
            sink: Takes it.
            unlisted: Tasks that the kernel's iterator leaves out: /proc tells of them.
        """
        before_s = time.monotonic()
        records = np.frombuffer(self._bpf.iterate("found_attributes"), self._record)
        self._write_groups(sink)
        self._attributes.write_news(records, sink)
        self._next_look_s = time.monotonic() + _LOOK_SHARE * (time.monotonic() - before_s)
        if unlisted is not None:
            self._attributes.write_from_proc(unlisted, sink)

    @property
    def attributes_told(self) -> dict[str, object]:
        """What the manifest tells of attributes: why not every change was seen when it came; lost ones."""
        why, lost = self._why_not_followed, self._bpf.variable("nr_attributes_lost")
        return {**({"not_followed": why} if why else {}), "nr_lost": lost}

    @property
    def groups_told(self) -> dict[str, object]:
        """What the manifest tells of groups: how often there was no room to tell of one."""
        return {"nr_lost": self._bpf.variable("nr_groups_lost")}

    def drain(self, sink: EventSink) -> int:
        """Pass everything that waits to the sink, and return how many events that was.

        Raises:
            OSError: The sink's; events that it did not take stay in the rings, rows of tasks do not.
        """
        nr_events = 0
        self._write_groups(sink)
        self._attributes.write(self._attribute_records.take(), sink)
        calls = self._bpf.variable("nr_change_calls")
        if calls != self._nr_change_calls and time.monotonic() >= self._next_look_s:
            self._nr_change_calls = calls
            self.write_attributes(sink)
        rows = self._rows.take()
        if len(rows):
            events = events_of_rows(rows)
            rows = rows[rows["reason"] < REASON_WAKEUP]
            rows["reserved"] = 0
            sink.write_tasks(rows)
            sink.write_events(events)
            nr_events += len(events)
        for cpu in range(self._rings.nr_rings):
            for events in self._rings.waiting(cpu):
                sink.write_events(events)
                self._rings.release(cpu, len(events))
                nr_events += len(events)
        self.nr_events += nr_events
        return nr_events

    def _write_groups(self, sink: AttributeSink) -> None:
        rows = self._groups.take()
        if len(rows):
            sink.write_groups(rows)

    @property
    def fill(self) -> float:
        """How full the fullest ring is, 0 to 1."""
        return self._rings.nr_waiting / self.capacity

    def new_losses(self) -> list[RingLoss]:
        """Return what was lost since the last call."""
        now = self._nr_lost()
        losses = [
            RingLoss(cpu, count - before)
            for (cpu, count), before in zip(now.items(), self._lost.values(), strict=True)
            if count > before
        ]
        self._lost = now
        return losses

    def detach(self) -> None:
        """Stop recording; what waits in the rings can still be drained."""
        self._letting_go = threading.Thread(target=self._bpf.detach, args=(CALLS,), daemon=True)
        self._letting_go.start()  # 70 ms for each: the kernel waits for all who may be in it
        self._bpf.detach(set(self._bpf.programs) - CALLS - {"snapshot", "found_attributes"})

    def _nr_lost(self) -> dict[int, int]:
        by_cpu = {cpu: int(count) for cpu, count in enumerate(self._rings.nr_lost)}
        return {-1: self._bpf.variable("nr_rows_lost"), **by_cpu}


def _loaded(
    task_filter: TaskFilter,
    layout: CgroupMounts,
    btf: Path | None,
    sizes: Mapping[str, int],
    skipped: Iterable[str],
) -> BpfObject:
    structs = ["sched_event", "task_row", "task_attributes", "sched_group"]
    bpf = open_object("sched_stream", structs, task_filter, layout, btf=btf)
    try:
        bpf.set_constants({name: sizes[name] for name in _CONSTANTS})
        for name in sizes.keys() - _CONSTANTS:
            bpf.set_max_entries(name, sizes[name])
        bpf.skip(skipped)
        bpf.load()
    except BaseException:
        bpf.close()
        raise
    return bpf


def default_ring_bytes(nr_cpus: int, *, waking: bool = False, available_bytes: int | None = None) -> int:
    """Return the memory for events where nobody says how much: a reader may be held up for a while.

    Args:
        nr_cpus: How many share it; each gets 16 MB, half a million events.
        waking: sched_waking is recorded, too: 32 MB each.
        available_bytes: Memory that can be had, of which it takes a 64th at most, and 512 MB at most;
            None: as /proc/meminfo says.
    """
    if available_bytes is None:
        gauges = memory_gauges(Path("/proc/meminfo").read_text())
        available_bytes = int(gauges.get("memory_available_bytes", _DEFAULT_SHARE * _DEFAULT_TOTAL_BYTES))
    wanted = _DEFAULT_CPU_BYTES * nr_cpus * (2 if waking else 1)
    return min(wanted, _DEFAULT_TOTAL_BYTES, available_bytes // _DEFAULT_SHARE)


def ring_capacity(ring_bytes: int, nr_cpus: int) -> int:
    """Return how many events each CPU's ring holds: a power of two, within the bytes for all."""
    each = max(ring_bytes // nr_cpus // EVENT_DTYPE.itemsize, 64)
    return 1 << (each.bit_length() - 1)


def rows_ring_bytes(ring_bytes: int) -> int:
    """Return the memory for forks, execs and exits beside that much for other events: a power of two."""
    return max(_FEWEST_ROWS_BYTES, 1 << (ring_bytes // _ROWS_SHARE).bit_length() - 1)


def next_pause(pause_s: float, fill: float) -> float:
    """Return how long to wait before the next reading: rings must not come near full meanwhile.

    Args:
        pause_s: The last pause.
        fill: How full the fullest ring was after it, 0 to 1.
    """
    wanted_s = pause_s * _COMFORTABLE_FILL / fill if fill > 0 else LONGEST_PAUSE_S
    return min(LONGEST_PAUSE_S, 2 * pause_s, max(SHORTEST_PAUSE_S, wanted_s))


def events_of_rows(rows: TaskArray) -> EventArray:
    """Return the events that rows of the task table stand for."""
    types = _EVENT_OF_REASON[rows["reason"]]
    rows, types = rows[types > 0], types[types > 0]
    events = np.zeros(len(rows), EVENT_DTYPE)
    for name in ("timestamp_ns", "tid", "cpu", "prio"):
        events[name] = rows[name]
    events["other_tid"] = rows["reserved"]
    events["aux"] = np.where(rows["reason"] < REASON_WAKEUP, rows["tgid"], 0)
    events["target_cpu"] = events["orig_cpu"] = rows["cpu"]
    events["type"] = types
    return events
