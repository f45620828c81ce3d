"""Records a trace into a folder: events or statistics from the kernel, and samples of the system.

A thread reads the kernel's buffers and samples /proc while the caller waits, runs a command, or does
something else. What goes wrong there (a full disk) ends the recording and is raised on leaving. All that
can wait until recording has begun does: the description of the machine, the first look at each process,
and the import of what the end needs.
"""

from __future__ import annotations

import importlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from schedtuna.errors import TraceError, UsageError
from schedtuna.machine.namespaces import in_initial_pid_namespace
from schedtuna.priority import READER_NICE, raise_priority, soon
from schedtuna.record.filters import TaskFilter, cgroup_names, cpu_hierarchy, current_layout
from schedtuna.record.loading import nr_cpu_ids
from schedtuna.record.processes import ProcessSampler
from schedtuna.record.procfs import SystemSampler
from schedtuna.record.sources import CountSource, ExitSource, Source, StreamSource
from schedtuna.record.stream import EventStream
from schedtuna.trace.folder import remove_trace
from schedtuna.trace.writer import TraceWriter

if TYPE_CHECKING:
    from schedtuna.record.picks import PickStream, PickTally

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Mode(StrEnum):
    """What is recorded of the scheduler."""

    STREAM = "stream"  # every event
    AGGREGATE = "aggregate"  # histograms and sums per task, counted in the kernel
    PROCFS = "procfs"  # nothing: only what /proc tells


@dataclass(frozen=True)
class RecordOptions:
    """How to record.

    Attributes:
        mode: What is recorded of the scheduler.
        task_filter: Of which tasks.
        interval_s: Time between two samples of the system.
        processes: Sample every process, too.
        ring_bytes: Memory for events; None: see `EventStream`.
        waking: Record sched_waking, too.
        pick_levels: Record what the fair class chose from, too: 1: of each task's own queue; 2, 3: of the
            queues that its group and the group above are on; 0: not.
        label: For supervised learning: what this trace is an example of.
        command: What runs meanwhile, for the manifest.
        btf: The kernel's types, instead of /sys/kernel/btf/vmlinux.
    """

    mode: Mode = Mode.STREAM
    task_filter: TaskFilter = field(default_factory=TaskFilter)
    interval_s: float = 1.0
    processes: bool = True
    ring_bytes: int | None = None
    waking: bool = False
    pick_levels: int = 0
    label: str | None = None
    command: tuple[str, ...] = ()
    btf: Path | None = None


class _EndedError(Exception):
    """The recording is to end before a sample is taken; it never leaves this module."""


@dataclass(frozen=True)
class RecordResult:
    """What came of a recording.

    Attributes:
        duration_s: From attaching to detaching.
        nr_events: Events written.
        nr_lost: Events that found no room in the kernel's buffers; of `aggregate`, tasks of which an exit, or
            the first run, found none.
        nr_tasks: Tasks counted (`aggregate`), or exits accounted for (`procfs`).
        own_cpu_s: CPU time of the recorder itself, the kernel's part of recording not included.
        ring_bytes: Memory that the kernel's buffers took.
        blind_to: What is not seen this way (`procfs`).
        picks: What came of recording picks; None: they were not asked for.
    """

    duration_s: float
    nr_events: int
    nr_lost: int
    nr_tasks: int
    own_cpu_s: float
    ring_bytes: int
    blind_to: tuple[str, ...] = ()
    picks: PickTally | None = None


class Recorder:
    """Records from entering the context to leaving it.

    Ctrl-C leaves either a complete trace or, before recording has begun, none.

    Args:
        folder: Where the trace goes; must be new, or `force` be given.
        options: How to record.
        force: Replace an existing trace.

    Raises:
        UnavailableError: This kernel, machine or user can't record like this.
        UsageError: The filter names what does not exist; on entering: the folder is in use.
        TraceError: On leaving: it could not be written to its end; what is there is readable.
    """

    def __init__(self, folder: Path, options: RecordOptions | None = None, *, force: bool = False) -> None:
        self.folder = folder
        self.options = options or RecordOptions()
        self._force = force
        self._layout = current_layout()
        self._stack = ExitStack()
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._end_s = self._next_sample_s = math.inf
        self._known_cgroups: dict[int, str] = {}
        self._notes: dict[str, Any] = {}
        self._noted: SimpleQueue[tuple[int, Mapping[str, Any], str]] = SimpleQueue()
        self.result: RecordResult | None = None
        with ExitStack() as stack:
            with _signals_held():
                self._source = self._open_source()
                stack.callback(self._source.close)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        try:
            with _signals_held(), soon():
                self._begin()
        except BaseException:
            if self.has_begun:  # Ctrl-C came meanwhile
                self.__exit__(None, None, None)
            self._stack.close()
            raise
        return self

    def _begin(self) -> None:
        with self._stack as stack:
            self._writer = TraceWriter(self.folder, self._manifest(), force=self._force)
            try:
                self._start()
            except BaseException:
                with suppress(OSError):
                    self._writer.close()
                with suppress(OSError):
                    remove_trace(self.folder)
                raise
            self._stack = stack.pop_all()

    def _start(self) -> None:
        self._start_ns = time.monotonic_ns()
        self._source.begin(self._writer, self._start_ns)
        self._name_cgroups()
        before_s, before_cpu_s = time.monotonic(), time.thread_time()
        self._own_cpu_s: list[float] = []  # of each thread
        self._sampled_s, self._sample_cost_s = -math.inf, 0.0
        thread = threading.Thread(target=self._work, name="schedtuna-record", daemon=True)
        thread.start()
        try:
            self._system = SystemSampler()
            self._processes = ProcessSampler() if self.options.processes else None
            self._sample_cost_s = time.monotonic() - before_s
            self._describe_machine()
        except BaseException:
            self._stop.set()
            thread.join()
            raise
        self._next_sample_s = time.monotonic() + self.options.interval_s
        self._thread = thread
        self._own_cpu_s.append(time.thread_time() - before_cpu_s)

    def _describe_machine(self) -> None:
        from schedtuna.machine.manifest import build_manifest

        origin = build_manifest(self.options.command).model_dump(mode="json")
        self._writer.update_manifest({"origin": origin})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            self._stop.set()
            if self._thread:
                self._thread.join()
            with soon():
                if self._failure is None:
                    self._attempt(self._finish)
                try:
                    self._close()
                except BaseException:
                    self.result = None
                    raise

    @property
    def has_begun(self) -> bool:
        """Whether there is a trace."""
        return self._thread is not None

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep while recording; True at once if the recording failed meanwhile."""
        return self._stop.wait(seconds)

    def plan_end(self, seconds: float) -> float:
        """Have recording end when it has gone on for so long, its last sample taken; return the time left.

        Whoever calls this still has to wait, and leave.
        """
        self._end_s = self._start_ns / 1e9 + seconds
        before_s = time.thread_time()
        with _signals_held():  # half an import can't be completed
            importlib.import_module("polars")  # the end needs it, and would have to wait for it
        self._own_cpu_s.append(time.thread_time() - before_s)
        return max(0.0, self._end_s - time.monotonic())

    @property
    def helper_pids(self) -> list[int]:
        """The processes that work for this recorder."""
        return self._writer.helper_pids

    @property
    def nr_raw_segments(self) -> int:
        """How many segments of events are still to be compacted."""
        return self._writer.nr_raw_segments

    def annotate(self, values: Mapping[str, Any]) -> None:
        """Add to the manifest, once the recording has ended."""
        self._notes |= values

    def note_sample(self, timestamp_ns: int, values: Mapping[str, Any], kind: str) -> None:
        """Add a row of samples of a kind of one's own; from any thread, while recording."""
        self._noted.put((timestamp_ns, values, kind))

    def _write_noted(self) -> None:
        while not self._noted.empty():
            timestamp_ns, values, kind = self._noted.get()
            self._writer.write_samples(timestamp_ns, values, kind=kind)

    def follow(self, tgid: int) -> None:
        """Add a process to the roots of the filter's process trees."""
        self._source.follow(tgid)

    def _open_source(self) -> Source:
        options = self.options
        if options.mode is Mode.STREAM:
            stream = EventStream(
                options.task_filter,
                ring_bytes=options.ring_bytes,
                waking=options.waking,
                layout=self._layout,
                btf=options.btf,
            )
            try:
                picks = self._open_picks()
            except BaseException:
                stream.close()
                raise
            return StreamSource(stream, everybody=options.task_filter.everything, picks=picks)
        if options.mode is Mode.AGGREGATE:
            from schedtuna.record.aggregate import Aggregator

            return CountSource(Aggregator(options.task_filter, layout=self._layout, btf=options.btf))
        if not options.task_filter.everything:
            raise UsageError(
                "samples of /proc are of all processes: they can't be filtered",
                hint="filter what was recorded, or record without --procfs, which needs privileges",
            )
        return ExitSource()

    def _open_picks(self) -> PickStream | None:
        options = self.options
        if not options.pick_levels:
            return None
        from schedtuna.record.picks import PickStream

        return PickStream(
            options.task_filter,
            levels=options.pick_levels,
            ring_bytes=options.ring_bytes,
            layout=self._layout,
            btf=options.btf,
        )

    def _manifest(self) -> dict[str, Any]:
        options = self.options
        now_ns = time.monotonic_ns()
        return {
            "mode": options.mode,
            "label": options.label,
            "command": list(options.command),
            "interval_s": options.interval_s,
            "filter": options.task_filter.as_dict(),
            "recorder": {
                "tgid": os.getpid(),
                "nice_of_reader": READER_NICE,
                "note": "its own wakeups, forks and migrations are left out; switches are kept",
                "in_initial_pid_namespace": in_initial_pid_namespace(),
            },
            "waking": options.waking,
            "ring_bytes": self._source.ring_bytes,
            "blind_to": list(self._source.blind_to),
            "clock_offsets": {
                "at_ns": now_ns,
                "realtime_ns": time.time_ns() - now_ns,
                "boottime_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now_ns,
            },
            "nr_cpus": nr_cpu_ids(),
            "cgroup_hierarchy": cpu_hierarchy(self._layout),
        }

    def _work(self) -> None:
        """The thread: read and sample until told to stop."""
        raise_priority()
        self._attempt(lambda: self._source.greet(self._writer))
        before_s = time.thread_time()
        while not self._stop.wait(min(self._source.pause_s, max(0.0, self._due_s() - time.monotonic()))):
            if not self._attempt(lambda: self._source.read(self._writer)):
                break
            if time.monotonic() >= self._due_s():
                self._next_sample_s += self.options.interval_s
                if not self._attempt(self._sample_meanwhile):
                    break
        self._own_cpu_s.append(time.thread_time() - before_s)

    def _due_s(self) -> float:
        return next_sample_s(
            self._next_sample_s,
            end_s=self._end_s,
            interval_s=self.options.interval_s,
            last_s=self._sampled_s,
            cost_s=self._sample_cost_s,
        )

    def _attempt(self, step: Callable[[], None]) -> bool:
        """Do one step; after a failure, remember it and stop."""
        try:
            step()
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            self._failure = self._failure or error
            self._stop.set()
            return False
        return True

    def _sample_meanwhile(self) -> None:
        """Sample, unless the end comes first, which has a sample of its own."""

        def check() -> None:
            if self._stop.is_set():
                raise _EndedError

        before_s = time.monotonic()
        with suppress(_EndedError):
            self._sample(check)
            self._sampled_s = time.monotonic()
            self._sample_cost_s = self._sampled_s - before_s

    def _sample(self, check: Callable[[], None] = lambda: None) -> None:
        """Write down how things are."""
        timestamp_ns, metrics = self._system.sample()
        self._writer.write_samples(timestamp_ns, metrics, kind="system")
        if self._processes:
            timestamp_ns, rows = self._processes.sample(check)
            if rows:
                columns = {name: [row[name] for row in rows] for name in rows[0]}
                self._writer.write_sample_table(timestamp_ns, columns, kind="process")
        self._source.sample(self._writer, self.options.interval_s)
        self._name_cgroups()
        self._write_noted()

    def _name_cgroups(self) -> None:
        names = cgroup_names(self._layout)
        new = {id_: name for id_, name in names.items() if self._known_cgroups.get(id_) != name}
        if new:
            self._known_cgroups |= new
            self._writer.write_cgroups(new)

    def _finish(self) -> None:
        """Stop recording, and write what is left."""
        before_s, ended_s = time.thread_time(), time.monotonic()
        self._source.detach()
        duration_s = (time.monotonic_ns() - self._start_ns) / 1e9
        self._source.read(self._writer)
        if not is_recent(self._sampled_s, ended_s, self.options.interval_s):
            self._sample()
        self._write_noted()
        tally = self._source.finish(self._writer)
        own_cpu_s = sum(self._own_cpu_s) + time.thread_time() - before_s
        self.result = RecordResult(
            duration_s=duration_s,
            nr_events=tally.nr_events,
            nr_lost=tally.nr_lost,
            nr_tasks=tally.nr_tasks,
            own_cpu_s=own_cpu_s,
            ring_bytes=self._source.ring_bytes,
            blind_to=self._source.blind_to,
            picks=tally.picks,
        )
        picks = {"picks": {"levels": self.options.pick_levels, **asdict(tally.picks)}} if tally.picks else {}
        self._writer.update_manifest(
            {
                "duration_s": duration_s,
                "own_cpu_s": own_cpu_s,
                "nr_tasks": tally.nr_tasks,
                "helper_tgids": self._writer.helper_pids,
                **picks,
                **self._notes,
            }
        )

    def _close(self) -> None:
        """Close the trace; the first failure is the one that is raised."""
        failure = self._failure
        if failure:
            with suppress(OSError):  # there is no room even for that
                self._writer.update_manifest({"ended_by": str(failure) or type(failure).__name__})
        try:
            self._writer.close()
        except OSError as error:
            failure = failure or error
        if isinstance(failure, OSError):
            raise TraceError(
                f"the recording into {self.folder} ended early: {failure.strerror}",
                hint=f"what was recorded until then can be read: schedtuna stats {self.folder}",
            ) from failure
        if failure:
            raise failure


def is_recent(last_s: float, now_s: float, interval_s: float) -> bool:
    """Whether the last sample will do: one takes long where thousands of processes live."""
    return now_s - last_s < interval_s / 2


def next_sample_s(due_s: float, *, end_s: float, interval_s: float, last_s: float, cost_s: float) -> float:
    """Return when to sample next: at the end for the last time, so early that it is done by then.

    Args:
        due_s: When the next one is due; infinite until there is something to compare with.
        end_s: When the recording is to end; infinite where nobody knows.
        interval_s: Time between two.
        last_s: When the last one was done.
        cost_s: How long that took.
    """
    if not is_recent(due_s, end_s, interval_s):
        return due_s
    return math.inf if is_recent(last_s, end_s, interval_s) else end_s - 2 * cost_s


@contextmanager
def _signals_held() -> Iterator[None]:
    """Have what would end the recording wait until this is done.

    Any thread may take a signal (numpy has some), and Python then calls the handler in the main one: only
    another handler holds it. The mask is inherited by threads begun meanwhile, so that later signals wake
    the main thread.
    """
    late: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in _ENDING if is_main}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        for number in handlers:
            signal.signal(number, lambda number, _frame: late.append(number))
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for held in late:
            signal.raise_signal(held)
