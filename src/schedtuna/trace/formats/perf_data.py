"""Which scheduler events are in a perf.data file? Read without perf.

The layout is that of tools/perf/Documentation/perf.data-file-format.txt. native/trace/perf_records.c reads
the records; `perf_header` reads what their header says of them. What only perf can read raises
`UnreadableError`, before anything is given to the sink.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from schedtuna.errors import TraceError
from schedtuna.trace.formats import zstd
from schedtuna.trace.formats.event_formats import UnreadableError
from schedtuna.trace.formats.names import Names
from schedtuna.trace.formats.perf_header import (
    AT_THE_END,
    CPU,
    ID,
    IDENTIFIER,
    SAMPLE_ID_ALL,
    TIME,
    Header,
    Sampling,
    read_header,
    sampling_of,
)
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.native import library
from schedtuna.trace.parts import in_time_order
from schedtuna.trace.reading import EVERYBODY, SOME_TASKS
from schedtuna.trace.schema import EVENT_DTYPE

CHUNK_BYTES = 1 << 20
_RECORD_BYTES = 1 << 16  # no record is larger
_EVENTS_AT_FIRST = 1 << 17
_NR_CPUS_LIMIT = 1 << 16
_MOST_LOST = 1 << 48

# enum perf_event_type, and perf's own above 63.
_COMM, _LOST, _FORK, _SAMPLE, _LOST_SAMPLES = 3, 2, 7, 9, 13
_FINISHED_ROUND, _AUXTRACE, _THREAD_MAP, _COMPRESSED_RECORDS, _COMPRESSED2 = 68, 71, 73, 81, 83
_ANYBODY = (1 << 64) - 1  # instead of a tid, in a THREAD_MAP
_LOST_BY_FILTER = 1 << 15  # of a record's misc
_READS, _STOPS, _ENDS_ROUND = 1, 2, 3
_NEEDS_MORE, _IS_FULL, _AT_RECORD, _IS_BAD, _AT_UNREAD = range(5)
_ACTIONS = np.zeros(256, np.uint8)
_ACTIONS[[_COMM, _FORK, _SAMPLE]] = _READS
_ACTIONS[[_LOST, _LOST_SAMPLES, _AUXTRACE, _THREAD_MAP, _COMPRESSED_RECORDS, _COMPRESSED2]] = _STOPS
_ACTIONS[_FINISHED_ROUND] = _ENDS_ROUND


def parse(path: Path, sink: Sink) -> None:
    """Read a perf.data file.

    Raises:
        UnreadableError: It has something that only perf can read; the sink got nothing.
        TraceError: It is damaged, or has no scheduler events.
    """
    with path.open("rb") as file:
        header = read_header(file)
        records = _Records(header, sink)
        file.seek(header.data_at)
        records.read(file, header.data_bytes)
    records.finish()
    sink.update_manifest(header.facts)
    if records.has_all_tasks is not None and not (records.has_all_tasks and header.leaves_out):
        sink.update_manifest({"records": EVERYBODY if records.has_all_tasks else SOME_TASKS})


class _Perf(ctypes.Structure):
    """Struct perf of native/trace/perf_records.c."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("at", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("action", "samplings", "ids", "sampling_of_id")),
        ("nr_ids", ctypes.c_int64),
        ("id_at", ctypes.c_int32),
        ("time_end", ctypes.c_int32),
        ("events", ctypes.c_void_p),
        ("nr_events", ctypes.c_int64),
        ("room", ctypes.c_int64),
        ("names", ctypes.c_void_p),
        ("last_ns", ctypes.c_void_p),
        *((name, ctypes.c_uint64) for name in ("latest_ns", "round_ns", "settled_ns")),
    )


class _Records:
    """Reads records, and gives the events in them to a sink in time order.

    perf writes what it finds in each CPU's buffer, one after the other, and then a FINISHED_ROUND: what
    comes after the next one is not earlier than what is before this one.

    Attributes:
        has_all_tasks: Whether perf looked at all tasks, not at some; None: the file does not say.
    """

    def __init__(self, header: Header, sink: Sink) -> None:
        self.sink = sink
        self.nr_events = self.nr_lost = self.nr_lost_samples = self.nr_unread = 0
        self.has_all_tasks: bool | None = None
        self._unread: dict[int, _Unread] = {}  # by CPU; -1: nobody knows which
        self._settled_ns = 0
        self._zstd: zstd.Decompressor | None = None
        self._is_decompressing = False
        self._decompressed = _Buffer()
        attrs = header.attrs
        self._samplings = (Sampling * len(attrs))(*(sampling_of(attr, header.layouts) for attr in attrs))
        if not any(sampling.layout.type for sampling in self._samplings):
            raise TraceError(
                "it has no scheduler events",
                hint="record with `perf sched record`, or `perf record -e 'sched:*' -a`",
            )
        id_places = {attr.place(IDENTIFIER) or attr.place(ID) for attr in attrs}
        if len(attrs) > 1 and (len(id_places) > 1 or None in id_places):
            raise UnreadableError("its samples don't all say in the same place which event they are of")
        by_id = {id_: k for k, attr in enumerate(attrs) for id_ in attr.ids} if len(attrs) > 1 else {}
        tails = {(attr.sample_type & sum(AT_THE_END), attr.flags & SAMPLE_ID_ALL) for attr in attrs}
        self._attr = attrs[0] if len(tails) == 1 else None  # whatever event another record is about
        self._sampling_of_id = by_id
        self.names = Names()
        self._last_ns = np.zeros(_NR_CPUS_LIMIT, np.uint64)
        self._events = np.empty(_EVENTS_AT_FIRST, EVENT_DTYPE)
        self._ids = np.array(sorted(by_id), np.uint64)
        self._of_id = np.array([by_id[int(id_)] for id_ in self._ids], np.int32)
        self.native = _Perf(
            action=_ACTIONS.ctypes.data,
            samplings=ctypes.addressof(self._samplings),
            ids=self._ids.ctypes.data,
            sampling_of_id=self._of_id.ctypes.data,
            nr_ids=len(by_id),
            id_at=next(iter(id_places)) or 0,
            time_end=self._attr.place_from_end(TIME) if self._attr else 0,
            events=self._events.ctypes.data,
            room=len(self._events),
            names=self.names.address,
            last_ns=self._last_ns.ctypes.data,
        )

    def read(self, file: BinaryIO, size: int) -> None:
        """Read the records that are there in the file."""
        buffer = _Buffer()
        while size:
            nr_read = buffer.fill(file, size)
            if not nr_read:
                raise TraceError("the file became shorter while it was read")
            size -= nr_read
            self._take(buffer)
        if buffer.size or self._decompressed.size:
            raise TraceError("the file is damaged: its last record is not whole")

    def finish(self) -> None:
        """Give the sink what is left."""
        self._give(self.native.latest_ns)
        if self.nr_lost_samples > self.nr_lost:
            self.sink.note_lost(self.nr_lost_samples - self.nr_lost)
        if not self.nr_events:
            raise TraceError("no scheduler events in it", hint="nothing was scheduled while perf recorded")
        self.sink.write_tasks(self.names.rows())
        self._note_unread()
        self.sink.update_manifest({"nr_unread": self.nr_unread})

    def _take(self, buffer: _Buffer) -> None:
        """Read whole records; what is left of the last one stays."""
        native, at = self.native, 0
        while True:
            native.data, native.size, native.at = buffer.address, buffer.size, at
            why = library().schedtuna_read_perf(ctypes.byref(native))
            at = native.at
            if why == _IS_BAD:
                raise TraceError("the file is damaged: a record is shorter than its header")
            if why == _NEEDS_MORE:
                break
            if why == _IS_FULL:
                self._make_room()
            elif why == _AT_UNREAD:
                record = buffer.record(at)
                self._take_unread(record)
                at += len(record)
            else:
                record = buffer.record(at)
                self._take_one(record)
                at += len(record)
        buffer.drop(at)
        if native.settled_ns > self._settled_ns:
            self._settled_ns = native.settled_ns
            self._note_unread()
            self._give(native.settled_ns)

    def _take_one(self, record: bytes) -> None:
        """Read a record that the library leaves to us."""
        type_, misc = struct.unpack_from("<IH", record)
        if type_ in {_COMPRESSED_RECORDS, _COMPRESSED2}:
            self._decompress(record[8:] if type_ == _COMPRESSED_RECORDS else _sized(record))
        elif type_ == _AUXTRACE:
            raise TraceError("it holds hardware traces", hint="perf script FILE > TEXT, and import TEXT")
        elif type_ == _THREAD_MAP and len(record) >= 24:
            self.has_all_tasks = struct.unpack_from("<Q", record, 16)[0] == _ANYBODY
        elif type_ == _LOST and len(record) >= 24:
            self._note_lost(record, struct.unpack_from("<Q", record, 16)[0])
        elif type_ == _LOST_SAMPLES and len(record) >= 16 and not misc & _LOST_BY_FILTER:
            id_ = self._from_end(record, IDENTIFIER) or self._from_end(record, ID)
            sampling = self._samplings[self._sampling_of_id.get(id_ or 0, 0)]
            if sampling.layout.type:
                self.nr_lost_samples += min(struct.unpack_from("<Q", record, 8)[0], _MOST_LOST)

    def _take_unread(self, record: bytes) -> None:
        """Note a sample that can't be read: with its CPU and time, if it has as much."""
        self.nr_unread += 1
        attr = self._attr
        places = (attr.place(CPU), attr.place(TIME)) if attr else (None, None)
        cpu, time = (None if place is None else _number_at(record, place) for place in places)
        cpu = -1 if cpu is None or time is None else cpu & 0xFFFFFFFF
        cpu = cpu if cpu < _NR_CPUS_LIMIT else -1
        latest_ns = int(self._last_ns.max() if cpu < 0 else self._last_ns[cpu])
        first_ns = last_ns = latest_ns if time is None else time
        hole = self._unread.setdefault(cpu, _Unread(min(first_ns, latest_ns or first_ns), last_ns))
        hole.count += 1
        hole.last_ns = max(hole.last_ns, last_ns)

    def _note_unread(self) -> None:
        """Give the sink what can't be read, one hole per CPU and round."""
        for cpu, hole in self._unread.items():
            last_ns = None if cpu < 0 else hole.last_ns
            self.sink.note_lost(hole.count, cpu=cpu, first_ns=hole.first_ns, last_ns=last_ns, is_unread=True)
        self._unread.clear()

    def _note_lost(self, record: bytes, nr_lost: int) -> None:
        """Note a loss: after the CPU's last sample, before this record."""
        cpu, time = self._from_end(record, CPU), self._from_end(record, TIME)
        nr_lost = min(nr_lost, _MOST_LOST)
        self.nr_lost += nr_lost
        if cpu is None or time is None:
            self.sink.note_lost(nr_lost)
            return
        cpu &= _NR_CPUS_LIMIT - 1
        self.sink.note_lost(nr_lost, cpu=cpu, first_ns=int(self._last_ns[cpu]), last_ns=time)

    def _from_end(self, record: bytes, field: int) -> int | None:
        place = self._attr.place_from_end(field) if self._attr else 0
        if not place or len(record) < 8 + place:
            return None
        return int.from_bytes(record[len(record) - place :][:8], "little")

    def _decompress(self, data: bytes) -> None:
        if self._is_decompressing:
            raise TraceError("the file is damaged: what is compressed is compressed again")
        if self._zstd is None:
            if not zstd.is_available():
                raise TraceError("it is compressed, and this system has no libzstd.so.1")
            self._zstd = zstd.Decompressor()
        self._is_decompressing = True
        for piece in self._zstd.feed(data):
            self._decompressed.append(piece)
            self._take(self._decompressed)
        self._is_decompressing = False

    def _make_room(self) -> None:
        more = np.empty(2 * len(self._events), EVENT_DTYPE)
        more[: len(self._events)] = self._events
        self._events = more
        self.native.events, self.native.room = more.ctypes.data, len(more)

    def _give(self, until_ns: int) -> None:
        """Give the sink the events up to a time: nothing earlier can follow."""
        events = in_time_order(self._events[: self.native.nr_events])
        cut = int(np.searchsorted(events["timestamp_ns"], np.uint64(until_ns), side="right"))
        if cut:
            self.sink.write_events(events[:cut].copy() if events.base is self._events else events[:cut])
            self._events[: len(events) - cut] = events[cut:]
            self.native.nr_events = len(events) - cut
            self.nr_events += cut


@dataclass
class _Unread:
    """Samples of a CPU that can't be read."""

    first_ns: int
    last_ns: int
    count: int = 0


def _number_at(record: bytes, place: int) -> int | None:
    """Return the number of 64 bits that is there; None: the record ends before."""
    return int.from_bytes(record[place : place + 8], "little") if len(record) >= place + 8 else None


class _Buffer:
    """Holds records; the beginning of one that is not whole moves to the front."""

    def __init__(self) -> None:
        self._bytes = np.empty(CHUNK_BYTES + 2 * _RECORD_BYTES, np.uint8)
        self.address = self._bytes.ctypes.data
        self.size = 0

    def fill(self, file: BinaryIO, most: int) -> int:
        """Read on, and return how many bytes there were."""
        nr_read = file.readinto(self._bytes[self.size :][: min(most, CHUNK_BYTES)].data)  # type: ignore[attr-defined]  # files have it
        self.size += nr_read
        return int(nr_read)

    def append(self, data: bytes) -> None:
        """Add some bytes, at most `CHUNK_BYTES`."""
        self._bytes[self.size : self.size + len(data)] = np.frombuffer(data, np.uint8)
        self.size += len(data)

    def record(self, at: int) -> bytes:
        """Return the record that begins there."""
        length = int(self._bytes[at + 6]) | int(self._bytes[at + 7]) << 8
        return self._bytes[at : at + length].tobytes()

    def drop(self, count: int) -> None:
        """Forget the first bytes."""
        self._bytes[: self.size - count] = self._bytes[count : self.size]
        self.size -= count


def _sized(record: bytes) -> bytes:
    """Return the compressed bytes of a COMPRESSED2 record: their number comes first."""
    (size,) = struct.unpack_from("<Q", record.ljust(16, b"\0"), 8)
    return record[16 : 16 + size]
