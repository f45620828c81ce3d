"""Where does a kernel's own record of a scheduler event have what? As its `format` file says.

perf.data and trace.dat carry the `format` files of the kernel that wrote them, in a section that both
share (trace-cmd.dat.v6(5), "INITIAL FORMAT").
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sched_head import TYPES
from schedtuna.trace.formats.sched_line import STATES
from schedtuna.trace.schema import EventType, PrevState

MAGIC = b"\x17\x08\x44tracing"
_FIELD = re.compile(
    r"^\tfield:(?P<type>[^;\n]*?)\b(?P<name>\w+)(?:\[[^];\n]*\])?;\s*offset:(?P<offset>\d{1,5});\s*size:(?P<size>\d{1,5});",
    re.MULTILINE,
)
_NAME = re.compile(r"^name: (\w{1,64})$", re.MULTILINE)
_ID = re.compile(r"^ID: (\d{1,9})$", re.MULTILINE)
_FLAG = re.compile(r"\{\s*(0x[0-9a-fA-F]{1,16}|\d{1,19})\s*,\s*\"([A-Za-z])\"\s*\}")

# Event -> what our fields are called in its record.
_FIELDS: dict[EventType, dict[str, str]] = {
    EventType.SWITCH: {
        "tid": "prev_pid", "other_tid": "next_pid", "prio": "prev_prio", "other_prio": "next_prio",
        "state": "prev_state", "comm": "prev_comm", "other_comm": "next_comm",
    },
    EventType.WAKEUP: {"tid": "pid", "prio": "prio", "target_cpu": "target_cpu", "comm": "comm"},
    EventType.MIGRATE: {
        "tid": "pid", "prio": "prio", "orig_cpu": "orig_cpu", "target_cpu": "dest_cpu", "comm": "comm",
    },
    EventType.FORK: {
        "tid": "child_pid", "other_tid": "parent_pid", "comm": "child_comm", "other_comm": "parent_comm",
    },
    EventType.EXEC: {"tid": "pid", "other_tid": "old_pid"},
    EventType.EXIT: {"tid": "pid", "prio": "prio", "comm": "comm"},
}  # fmt: skip
_FIELDS[EventType.WAKEUP_NEW] = _FIELDS[EventType.WAKING] = _FIELDS[EventType.WAKEUP]

# Linux 4.14 and later (include/trace/events/sched.h), where a format says nothing.
_FLAGS = {1: "S", 2: "D", 4: "T", 8: "t", 0x10: "X", 0x20: "Z", 0x40: "P", 0x80: "I"}
_INT_BYTES, _NAME_BYTES, _LOCATION_BYTES = 4, 16, 4
_NOT_THERE = -1
_NO_STATE = 255
_FIXED, _LOCATED, _RELATIVELY_LOCATED = range(3)
_NUMBERS = ("tid", "other_tid", "prio", "other_prio", "target_cpu", "orig_cpu")


class Layout(ctypes.Structure):
    """Struct layout of native/trace/raw_event.h."""

    _fields_ = (
        ("size", ctypes.c_int32),
        *((name, ctypes.c_int32) for name in _NUMBERS),
        ("state", ctypes.c_int32),
        ("comm", ctypes.c_int32),
        ("other_comm", ctypes.c_int32),
        ("comm_kind", ctypes.c_uint8),
        ("other_comm_kind", ctypes.c_uint8),
        ("state_bytes", ctypes.c_uint8),
        ("type", ctypes.c_uint8),
        ("preempted_mask", ctypes.c_uint64),
        ("state_of_bit", ctypes.c_uint8 * 64),
    )


@dataclass(frozen=True)
class _Field:
    type: str
    offset: int
    size: int


class UnreadableError(TraceError):
    """The file has something that only its own tool can read."""


def read_tracing_data(data: bytes) -> dict[int, Layout]:
    """Return the layout of each event that we keep, by its id.

    Args:
        data: The section that begins with `MAGIC`.

    Raises:
        UnreadableError: An event is laid out in another way than we know, or bytes are in another order.
        TraceError: It is not such a section.
    """
    cursor = Cursor(data)
    if cursor.take(len(MAGIC)) != MAGIC:
        raise TraceError("the formats of its events don't begin as they should")
    cursor.string()  # the version
    if cursor.number(1) != 0:
        raise UnreadableError("it is of a big-endian machine")
    if cursor.number(1) != 8:
        raise UnreadableError("it is of a 32-bit machine")
    cursor.number(4)  # the page size
    for _ in range(2):  # header_page, header_event
        cursor.string()
        cursor.take(cursor.number(8))
    for _ in range(cursor.number(4)):  # ftrace's own events
        cursor.take(cursor.number(8))
    layouts: dict[int, Layout] = {}
    for _ in range(cursor.number(4)):
        system = cursor.string()
        for _ in range(cursor.number(4)):
            text = cursor.take(cursor.number(8))
            if system == b"sched":
                layouts.update(read_format(text.decode("latin-1")))
    return layouts


def read_format(text: str) -> Mapping[int, Layout]:
    """Return the id and layout that a `format` file describes; none if the event is not kept.

    Raises:
        UnreadableError: It is laid out in another way than we know.
    """
    name, id_ = _NAME.search(text), _ID.search(text)
    kind = TYPES.get(name[1].encode()) if name else None
    if name is None or id_ is None or kind is None:
        return {}
    found = {
        match["name"]: _Field(match["type"].strip(), int(match["offset"]), int(match["size"]))
        for match in _FIELD.finditer(text)
    }
    layout = Layout(type=kind, comm=_NOT_THERE, other_comm=_NOT_THERE, state=_NOT_THERE)
    for number in _NUMBERS:
        setattr(layout, number, _NOT_THERE)
    for ours, theirs in _FIELDS[kind].items():
        if theirs not in found:
            raise UnreadableError(f"{name[1]} has no field {theirs}")
        _place(layout, ours, found[theirs], f"{name[1]}.{theirs}")
    if kind == EventType.SWITCH:
        _read_states(layout, text)
    return {int(id_[1]): layout}


def _place(layout: Layout, name: str, field: _Field, where: str) -> None:
    sizes = {"state": (4, 8), "comm": (_NAME_BYTES,), "other_comm": (_NAME_BYTES,)}.get(name, (_INT_BYTES,))
    if name.endswith("comm"):
        relative = field.type.startswith("__rel_loc")
        located = relative or field.type.startswith("__data_loc")
        setattr(layout, f"{name}_kind", _RELATIVELY_LOCATED if relative else _LOCATED if located else _FIXED)
        if located:
            sizes = (_LOCATION_BYTES,)
    if field.size not in sizes:
        raise UnreadableError(f"{where} has {field.size} bytes, expected {' or '.join(map(str, sizes))}")
    if name == "state":
        layout.state_bytes = field.size
    setattr(layout, name, field.offset)
    layout.size = max(layout.size, field.offset + field.size)


def _read_states(layout: Layout, text: str) -> None:
    """Read how prev_state is printed: a letter per bit, and the bit above for `+` (preempted)."""
    printed = _FLAG.findall(text.partition("print fmt:")[2])
    flags = {int(value, 16 if value.startswith("0x") else 10): letter for value, letter in printed}
    flags = {value: letter for value, letter in flags.items() if value.bit_count() == 1} or _FLAGS
    highest = max(flags)
    if highest >= 1 << 62:
        raise UnreadableError(f"sched_switch.prev_state has a flag {highest:#x}")
    layout.preempted_mask = 2 * highest
    states: list[Any] = [_NO_STATE] * 64
    states[0] = PrevState.RUNNABLE
    for value, letter in flags.items():
        states[value.bit_length()] = STATES.get(letter, _NO_STATE)
    layout.state_of_bit[:] = states


class Cursor:
    """Reads bytes that another program wrote, one piece after the other."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def take(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            TraceError: There are not as many.
        """
        if not 0 <= size <= len(self.data) - self.at:
            raise TraceError(f"the file is cut or damaged: a part of {size} bytes does not fit into it")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        """Return the next little-endian number."""
        return int.from_bytes(self.take(size), "little")

    def string(self) -> bytes:
        """Return the bytes up to the next NUL, which is skipped."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise TraceError("the file is cut or damaged: a name does not end")
        return self.take(end + 1 - self.at)[:-1]
