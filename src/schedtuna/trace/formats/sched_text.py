"""Scheduler text by the million lines: perf script, ftrace's `trace` file, trace-cmd report.

Lines of the usual shape are read by native/trace/sched_text.c; what has another shape, such as a comm with
an `=` in it, goes line by line to `sched_line`.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BufferedIOBase

import numpy as np

from schedtuna.errors import TraceError
from schedtuna.trace.formats.holes import Holes, Missing
from schedtuna.trace.formats.marks import read_mark
from schedtuna.trace.formats.names import Names
from schedtuna.trace.formats.sched_head import Lack, usual_head, what_lacks
from schedtuna.trace.formats.sched_line import (
    STATE_OF_BIT,
    STATES,
    has_header,
    is_event,
    parse_line,
    place_of,
)
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.native import library
from schedtuna.trace.reading import APART
from schedtuna.trace.schema import EVENT_DTYPE, EventArray
from schedtuna.trace.tasks import clean_name

CHUNK_BYTES = 1 << 22

_NO_STATE = 255
_STATE_OF_LETTER = np.full(256, _NO_STATE, np.uint8)
for _letter, _state in STATES.items():
    _STATE_OF_LETTER[ord(_letter)] = _state
_STATE_OF_BIT = np.array(STATE_OF_BIT, np.uint8)
_EXAMPLE_CHARS = 160
_BOTH = re.compile(rb"=0x[0-9a-f]{1,16} \((-?\d{1,20})\)")
_TORN = re.compile(rb"(pid=)\d+\Z")  # at the end of a text without a last newline: digits may be missing
# Texts are in time order, but for a few that were joined; of differences every second one is a step back, if
# it is not the same again: of microseconds most are 0 or 1 where events are close.
_FEWEST_BACK, _MOST_BACK = 8, 1 / 3


def parse(stream: BufferedIOBase, sink: Sink, *, in_ns: bool = False) -> int:
    """Read scheduler text; return how many events it says were lost, as far as it says so.

    Args:
        stream: The text.
        sink: Where events go.
        in_ns: Times that are whole numbers are nanoseconds.

    Raises:
        TraceError: There are no scheduler events in it, or its times are differences.
    """
    reader = _Reader(in_ns=in_ns)
    holes = Holes(sink)
    nr_events = nr_lost = nr_back = nr_steps = 0
    for found in _read_ahead(reader, _chunks(stream)):
        if len(found.events):
            sink.write_events(found.events)
        holes.take(found.events, found.missing)
        nr_events += len(found.events)
        steps = np.diff(found.events["timestamp_ns"].astype(np.int64))
        nr_back, nr_steps = nr_back + int((steps < 0).sum()), nr_steps + int((steps != 0).sum())
        nr_lost += sum(one.count or 0 for one in found.missing if not one.is_unread)
    if not nr_events or (reader.lack and reader.nr_unread > nr_events):
        raise reader.nothing()
    if nr_back >= _FEWEST_BACK and nr_back > nr_steps * _MOST_BACK:
        raise TraceError(
            f"times go back {nr_back:,} times in {nr_events:,} events: they are differences between events",
            hint="print times: perf script without --deltatime",
        )
    holes.finish()
    sink.write_tasks(reader.names.rows())
    facts = {"cpus_begin": reader.cpus_begin, "unread_example": reader.unread}
    sink.update_manifest(
        {"nr_unread": reader.nr_unread, "clock": "local"} | {name: one for name, one in facts.items() if one}
    )
    return nr_lost


@dataclass(frozen=True)
class _Found:
    """What a chunk says: events, and what is missing between them."""

    events: EventArray
    missing: list[Missing] = field(default_factory=list)


def _read_ahead(reader: _Reader, chunks: Iterator[bytes]) -> Iterator[_Found]:
    """Read a chunk while the one before is taken; reading runs outside of Python's lock."""
    with ThreadPoolExecutor(1) as pool:
        pending: Future[_Found] | None = None
        for chunk in chunks:
            coming = pool.submit(reader.read, chunk)
            if pending is not None:
                yield pending.result()
            pending = coming
        if pending is not None:
            yield pending.result()


def _chunks(stream: BufferedIOBase) -> Iterator[bytes]:
    """Yield text that begins and ends with lines."""
    rest = b""
    while data := stream.read(CHUNK_BYTES - len(rest)):
        end = data.rfind(b"\n") + 1
        if not end and len(rest) + len(data) >= CHUNK_BYTES:
            raise TraceError(
                f"a line is longer than {CHUNK_BYTES} bytes: this is not a text of perf or ftrace"
            )
        if end:
            yield rest + data[:end]
            rest = b""
        rest += data[end:]
    if rest:
        yield _TORN.sub(rb"\1", rest)  # which can't be read, and is counted


class _Text(ctypes.Structure):
    """Struct text of native/trace/sched_text.c."""

    _fields_ = (
        ("data", ctypes.c_char_p),
        ("size", ctypes.c_int64),
        ("line_start", ctypes.c_int64),
        ("line_end", ctypes.c_int64),
        ("state_of_letter", ctypes.c_void_p),
        ("state_of_bit", ctypes.c_void_p),
        ("events", ctypes.c_void_p),
        ("nr_events", ctypes.c_int64),
        ("names", ctypes.c_void_p),
    )


class _Reader:
    """Reads chunk after chunk.

    Attributes:
        names: What tasks are called.
        nr_unread: How many lines look like events and can't be read.
        unread: The first of these, for people.
        lack: What it lacks, if that is known.
        cpus_begin: How the recording of the CPUs began (`reading`), where the text says so.
    """

    def __init__(self, *, in_ns: bool) -> None:
        self._in_ns = in_ns
        self.names = Names()
        self.nr_unread = 0
        self.unread = ""
        self.lack: Lack | None = None
        self.cpus_begin: str | None = None

    def read(self, data: bytes) -> _Found:
        """Read lines."""
        most = len(data) // EVENT_DTYPE.itemsize + 1  # no line of an event is shorter
        found = _Found(np.empty(most, EVENT_DTYPE))
        text = _Text(
            data=data,
            size=len(data),
            state_of_letter=_STATE_OF_LETTER.ctypes.data,
            state_of_bit=_STATE_OF_BIT.ctypes.data,
            events=found.events.ctypes.data,
            names=self.names.address,
        )
        while library().schedtuna_read_text(ctypes.byref(text)):
            line = data[text.line_start : text.line_end].rstrip(b"\r\n")
            if b"pid=0x" in line:  # ftrace with the option fields
                line = _BOTH.sub(rb"=\1", line)
            if b"sched_" in line and not has_header(line):
                line = usual_head(line, in_ns=self._in_ns)
            parsed = parse_line(line) if b"sched_" in line else None
            if parsed is None:
                self._note(line, text.nr_events, found.missing)
                continue
            found.events[text.nr_events] = parsed.event[0]
            text.nr_events += 1
            for tid, comm in parsed.comms.items():
                self.names.note(tid, int(parsed.event["timestamp_ns"][0]), comm)
        return _Found(found.events[: text.nr_events], found.missing)

    def nothing(self) -> TraceError:
        """Return why a text has no events, or next to none."""
        if self.lack is not None:
            return TraceError(f"it has {self.lack.reason}; for example {self.unread!r}", hint=self.lack.hint)
        return TraceError(
            "no scheduler events in it"
            + (f" that can be read; one that can't is {self.unread!r}" if self.nr_unread else ""),
            hint="expected the text of `perf script`, `trace-cmd report` or /sys/kernel/tracing/trace"
            " with sched_switch and sched_wakeup or sched_waking; of ftrace without its options raw, hex, bin"
            " (echo 0 > /sys/kernel/tracing/options/raw)",
        )

    def _note(self, line: bytes, index: int, missing: list[Missing]) -> None:
        """Note what a line that is not a readable event says of missing events."""
        if is_event(line):
            cpu, time_ns = place_of(line)
            missing.append(Missing(index, cpu=cpu, time_ns=time_ns, is_unread=True))
            self.nr_unread += 1
            if not self.unread:
                self.unread = clean_name(line[:_EXAMPLE_CHARS].strip())
                self.lack = what_lacks(line)
            return
        mark = None if has_header(line) else read_mark(line)
        if mark is None:
            return
        if mark.is_loss:
            missing.append(Missing(index, mark.nr_lost, mark.cpu))
        if mark.cpus_begin and self.cpus_begin != APART:
            self.cpus_begin = mark.cpus_begin
