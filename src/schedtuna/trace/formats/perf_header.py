"""Where has a perf.data file what? As its header says: features, events, and the layout of their samples."""

from __future__ import annotations

import ctypes
import re
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from schedtuna.errors import TraceError
from schedtuna.trace.formats import zstd
from schedtuna.trace.formats.event_formats import Cursor, Layout, UnreadableError, read_tracing_data
from schedtuna.trace.reading import APART

_SECTION_BYTES = 1 << 26  # no part of a header is larger

_MAGIC = b"PERFILE2"
_HEADER_BYTES = 104
_TRACING_DATA, _NR_CPUS, _COMMAND, _AUX_TRACE, _DIR_FORMAT = 1, 7, 11, 18, 24  # features
_COMPRESSED, _CLOCK_DATA = 27, 29
_NR_FEATURES = 256
_CLOCKS = {0: "realtime", 1: "monotonic", 4: "monotonic_raw", 7: "boottime", 11: "tai"}

# enum perf_event_sample_format, in the order in which a sample has them; then what has no fixed place.
IDENTIFIER, _IP, _TID, TIME, _ADDR, ID, _STREAM_ID, CPU, _PERIOD = (
    1 << 16, 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 6, 1 << 9, 1 << 7, 1 << 8,
)  # fmt: skip
_FIXED = (IDENTIFIER, _IP, _TID, TIME, _ADDR, ID, _STREAM_ID, CPU, _PERIOD)
_READ, _CALL_CHAIN, _RAW = 1 << 4, 1 << 5, 1 << 10
AT_THE_END = (_TID, TIME, ID, _STREAM_ID, CPU, IDENTIFIER)  # of other records, with sample_id_all
_READ_ENABLED, _READ_RUNNING, _READ_ID, _READ_GROUP, _READ_LOST = 1, 2, 4, 8, 16
SAMPLE_ID_ALL, _USE_CLOCKID, _WRITE_BACKWARD = 1 << 18, 1 << 25, 1 << 27
_TRACEPOINT = 2
# Options of perf record that leave out tasks or switches though all tasks are looked at (-a).
_LEAVES_OUT = re.compile(rb"-[A-Za-z]*[Gu]|--(cg|filter|exclude-perf|uid|bpf)")


@dataclass(frozen=True)
class Attr:
    """What was asked of the kernel for one event."""

    type: int
    config: int
    sample_type: int
    read_format: int
    flags: int
    clockid: int
    ids: tuple[int, ...]

    def place(self, field: int) -> int | None:
        """Return where a sample has a field, from the record's header; None: nowhere."""
        if not self.sample_type & field:
            return None
        before = _FIXED[: _FIXED.index(field)]
        return 8 + 8 * sum(bool(self.sample_type & one) for one in before)

    def place_from_end(self, field: int) -> int:
        """Return where other records have a field, from their end; 0: nowhere."""
        if not (self.sample_type & field and self.flags & SAMPLE_ID_ALL):
            return 0
        since = AT_THE_END[AT_THE_END.index(field) :]
        return 8 * sum(bool(self.sample_type & one) for one in since)


@dataclass(frozen=True)
class Header:
    """What a file says of its records.

    Attributes:
        data_at, data_bytes: Where they are.
        attrs: Its events.
        layouts: By tracepoint, how its record is laid out.
        leaves_out: perf record's options may have left out tasks, or are not known.
        facts: For the manifest.
    """

    data_at: int
    data_bytes: int
    attrs: list[Attr]
    layouts: dict[int, Layout]
    leaves_out: bool
    facts: dict[str, Any]


def read_header(file: BinaryIO) -> Header:
    """Read what stands before and after the records.

    Raises:
        UnreadableError: Only perf can read it.
        TraceError: It is damaged, cut, or without tracepoints.
    """
    file_bytes = file.seek(0, 2)
    head = Cursor(_part(file, 0, min(_HEADER_BYTES, file_bytes), file_bytes))
    magic = head.take(len(_MAGIC))
    if magic == _MAGIC[::-1]:
        raise UnreadableError("it is of a big-endian machine")
    if magic != _MAGIC:
        raise TraceError("it is not a perf.data file")
    if head.number(8) == 16:
        raise UnreadableError("it was written to a pipe")
    attr_bytes = head.number(8)
    attrs_at, attrs_bytes, data_at, data_bytes, _, _ = (head.number(8) for _ in range(6))
    features = head.number(32)
    if not data_bytes:
        raise TraceError(
            "perf did not finish it: its header does not say how much data there is",
            hint="end `perf record` with Ctrl-C, not with kill -9",
        )
    if data_at + data_bytes > file_bytes:
        raise TraceError("the file is cut: it ends before its records do")
    sections = _sections(file, data_at + data_bytes, features, file_bytes)
    if sections.keys() & {_AUX_TRACE, _DIR_FORMAT}:
        raise UnreadableError("it holds hardware traces, or is spread over several files")
    if _COMPRESSED in sections and not zstd.is_available():
        raise UnreadableError("it is compressed, and this system has no libzstd.so.1")
    if _TRACING_DATA not in sections:
        raise TraceError(
            "it has no tracepoints", hint="record with `perf sched record`, or `perf record -e 'sched:*' -a`"
        )
    attrs = _attrs(file, attrs_at, attrs_bytes, attr_bytes, file_bytes)
    layouts = read_tracing_data(_part(file, *sections[_TRACING_DATA], file_bytes))
    facts = _facts(
        attrs,
        {
            feature: _part(file, *sections[feature], file_bytes)
            for feature in (_NR_CPUS, _CLOCK_DATA)
            if feature in sections
        },
    )
    command = _part(file, *sections[_COMMAND], file_bytes) if _COMMAND in sections else b""
    leaves_out = not command or any(_LEAVES_OUT.match(word) for word in _words(command))
    return Header(data_at, data_bytes, attrs, layouts, leaves_out, facts)


def _part(file: BinaryIO, at: int, size: int, file_bytes: int) -> bytes:
    """Return a part of the file that is small, if it is a file of perf's."""
    if size > _SECTION_BYTES or at + size > file_bytes:
        raise TraceError(f"the file is cut or damaged: a part of its header has {size} bytes at {at}")
    file.seek(at)
    return file.read(size)


def _sections(file: BinaryIO, at: int, features: int, file_bytes: int) -> dict[int, tuple[int, int]]:
    """Return where the features are: their places follow the data, in the order of their bits."""
    present = [bit for bit in range(_NR_FEATURES) if features >> bit & 1]
    places = struct.iter_unpack("<QQ", _part(file, at, 16 * len(present), file_bytes))
    return dict(zip(present, places, strict=True))


def _attrs(file: BinaryIO, at: int, size: int, attr_bytes: int, file_bytes: int) -> list[Attr]:
    # The fields up to sample_type, read_format and flags came with the first version, of 64 bytes.
    if attr_bytes < 64 + 16 or size % attr_bytes or not size:
        raise TraceError(f"the file is damaged: {size} bytes of events of {attr_bytes} each")
    attrs = []
    for raw in struct.iter_unpack(f"{attr_bytes}s", _part(file, at, size, file_bytes)):
        one = raw[0]
        type_, _, config, _, sample_type, read_format, flags = struct.unpack_from("<IIQQQQQ", one)
        clockid = struct.unpack_from("<i", one, 92)[0] if flags & _USE_CLOCKID and attr_bytes >= 112 else -1
        ids_at, ids_bytes = struct.unpack_from("<QQ", one, attr_bytes - 16)
        ids = _part(file, ids_at, ids_bytes - ids_bytes % 8, file_bytes)
        attrs.append(
            Attr(
                type_,
                config,
                sample_type,
                read_format,
                flags,
                clockid,
                struct.unpack(f"<{len(ids) // 8}Q", ids),
            )
        )
    return attrs


def _words(command: bytes) -> list[bytes]:
    """Return the words of perf's own command: each is a length, and a string filled up with zeros."""
    part = Cursor(command)
    return [part.take(part.number(4)).rstrip(b"\0") for _ in range(part.number(4))]


def _facts(attrs: list[Attr], parts: dict[int, bytes]) -> dict[str, Any]:
    """Return what goes into the manifest: the clock, how it goes with the time of day, the CPUs."""
    clock = _CLOCKS.get(attrs[0].clockid, "local")
    facts: dict[str, Any] = {"clock": clock}
    if any(attr.flags & _WRITE_BACKWARD for attr in attrs):
        facts["cpus_begin"] = APART  # perf record --overwrite: each buffer begins wherever it was overwritten
    if len(parts.get(_NR_CPUS, b"")) >= 8:
        facts["nr_cpus"] = struct.unpack_from("<II", parts[_NR_CPUS])[1]  # online
    if len(parts.get(_CLOCK_DATA, b"")) >= 24 and clock == "monotonic":
        _, _, realtime_ns, at_ns = struct.unpack_from("<IIQQ", parts[_CLOCK_DATA])
        facts["clock_offsets"] = {"at_ns": at_ns, "realtime_ns": realtime_ns - at_ns}
    return facts


class Sampling(ctypes.Structure):
    """Struct sampling of native/trace/perf_records.c."""

    _fields_ = (
        ("layout", Layout),
        *((name, ctypes.c_int32) for name in ("tid", "time", "cpu", "rest")),
        *((name, ctypes.c_int32) for name in ("read_words", "read_group_words", "has_call_chain")),
    )


def sampling_of(attr: Attr, layouts: dict[int, Layout]) -> Sampling:
    """Return where an event's samples have what; nothing of an event that is of no interest.

    Raises:
        TraceError: Its samples lack something that is needed.
    """
    layout = layouts.get(attr.config) if attr.type == _TRACEPOINT else None
    if layout is None:
        return Sampling()
    places = {name: attr.place(field) for name, field in (("tid", _TID), ("time", TIME), ("cpu", CPU))}
    missing = [name for name, place in places.items() if place is None]
    if not attr.sample_type & _RAW:
        missing.append("raw records")
    if missing:
        raise TraceError(
            f"its samples have no {', '.join(missing)}",
            hint="record with `perf sched record`, or with -a -R -T",
        )
    asked = attr.read_format
    read_words, group_words = 0, -1
    if attr.sample_type & _READ:
        times = bool(asked & _READ_ENABLED) + bool(asked & _READ_RUNNING)
        read_words = 1 + bool(asked & _READ_ID) + bool(asked & _READ_LOST)
        if asked & _READ_GROUP:
            group_words = 1 + times
        else:
            read_words += times
    return Sampling(
        layout=layout,
        **places,
        rest=8 + 8 * sum(bool(attr.sample_type & one) for one in _FIXED),
        read_words=read_words,
        read_group_words=group_words,
        has_call_chain=bool(attr.sample_type & _CALL_CHAIN),
    )
