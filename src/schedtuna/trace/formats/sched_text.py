"""Scheduler text by the million lines: perf script, ftrace's `trace` file, trace-cmd report.

Lines of the usual shape are read by native/sched_text.c; what has another shape, such as a comm with
an `=` in it, goes line by line to `sched_line`.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedIOBase

import numpy as np

from schedtuna.errors import TraceError
from schedtuna.trace.formats.names import Names
from schedtuna.trace.formats.sched_line import STATES, is_event, parse_line
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.native import library
from schedtuna.trace.schema import EVENT_DTYPE, EventArray

CHUNK_BYTES = 1 << 22

_LOST = re.compile(rb"PERF_RECORD_LOST lost (\d{1,12})|\[LOST (\d{1,12}) EVENTS\]")
_NO_STATE = 255
_STATE_OF_LETTER = np.full(256, _NO_STATE, np.uint8)
for _letter, _state in STATES.items():
    _STATE_OF_LETTER[ord(_letter)] = _state


def parse(stream: BufferedIOBase, sink: Sink) -> int:
    """Read scheduler text; return how many events it says were lost.

    Raises:
        TraceError: There are no scheduler events in it.
    """
    reader = _Reader()
    nr_events = nr_lost = last_ns = 0
    for found in _read_ahead(reader, _chunks(stream)):
        if len(found.events):
            sink.write_events(found.events)
            last_ns = int(found.events["timestamp_ns"][-1])
        if found.nr_lost:
            sink.note_lost(found.nr_lost, last_ns=last_ns)
        nr_events += len(found.events)
        nr_lost += found.nr_lost
    if not nr_events:
        raise TraceError(
            "no scheduler events in it",
            hint="expected the text of `perf script`, `trace-cmd report` or /sys/kernel/tracing/trace"
            " with sched_switch and sched_wakeup or sched_waking",
        )
    sink.write_tasks(reader.names.rows())
    sink.update_manifest({"nr_unread": reader.nr_unread, "clock": "local"})
    return nr_lost


@dataclass(frozen=True)
class _Found:
    """What a chunk says: events, and how many more it says were lost."""

    events: EventArray
    nr_lost: int


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
            raise TraceError(f"a line is longer than {CHUNK_BYTES} bytes: this is no text of perf or ftrace")
        if end:
            yield rest + data[:end]
            rest = b""
        rest += data[end:]
    if rest:
        yield rest


class _Text(ctypes.Structure):
    """Struct text of native/sched_text.c."""

    _fields_ = (
        ("data", ctypes.c_char_p),
        ("size", ctypes.c_int64),
        ("line_start", ctypes.c_int64),
        ("line_end", ctypes.c_int64),
        ("state_of_letter", ctypes.c_void_p),
        ("events", ctypes.c_void_p),
        ("nr_events", ctypes.c_int64),
        ("names", ctypes.c_void_p),
    )


class _Reader:
    """Reads chunk after chunk.

    Attributes:
        names: What tasks are called.
        nr_unread: How many lines look like events and can't be read.
    """

    def __init__(self) -> None:
        self.names = Names()
        self.nr_unread = 0

    def read(self, data: bytes) -> _Found:
        """Read lines."""
        most = len(data) // EVENT_DTYPE.itemsize + 1  # no line of an event is shorter
        events = np.empty(most, EVENT_DTYPE)
        text = _Text(
            data=data,
            size=len(data),
            state_of_letter=_STATE_OF_LETTER.ctypes.data,
            events=events.ctypes.data,
            names=self.names.address,
        )
        nr_lost = 0
        while library().schedtuna_read_text(ctypes.byref(text)):
            line = data[text.line_start : text.line_end].rstrip(b"\n")
            lost = _LOST.search(line)
            parsed = None if lost else parse_line(line)
            if lost:
                nr_lost += int(lost[1] or lost[2])
            if parsed is None:
                self.nr_unread += is_event(line)
                continue
            events[text.nr_events] = parsed.event[0]
            text.nr_events += 1
            for tid, comm in parsed.comms.items():
                self.names.note(tid, int(parsed.event["timestamp_ns"][0]), comm)
        return _Found(events[: text.nr_events], nr_lost)
