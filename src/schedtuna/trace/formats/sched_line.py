"""One line of scheduler text, whoever printed it: perf script, ftrace, trace-cmd report.

The three differ in the header (perf: `comm pid [cpu] time: sched:event: `, ftrace and trace-cmd:
`comm-pid [cpu] flags time: event: `), and trace-cmd's plugins in the fields (`comm:pid [prio]`
instead of `comm=... pid=... prio=...`). The regular expressions here read them all, some microseconds
per line; `sched_text` reads the usual ones faster and leaves the rest to this module. Fields in another
order, or with others between them, are found by their names; where two could be meant, the line is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from schedtuna.trace.formats.sched_head import TYPES
from schedtuna.trace.schema import EVENT_DTYPE, EventArray, EventType, PrevState

# The longest that an event's line can be has a path of 4,096 bytes; in longer ones names could end anywhere,
# and trying each place takes the square of their length.
LONGEST = 8192
_HEADER = re.compile(
    rb"\[(?P<cpu>\d{1,5})\]\s+(?:[^\s\d]\S{0,11}\s+)?(?P<seconds>\d{1,10})\.(?P<fraction>\d{1,9}):\s+"
    rb"(?:\d+\s+)?(?:sched:)?(?P<event>sched_[a-z_]{1,32}):\s*(?P<fields>.*)",
    re.DOTALL,
)
# What every such line has, whoever's event it is of, and as much of it as an event that can't be read has.
_ANY_HEADER = re.compile(
    rb"\[(?P<cpu>\d{1,5})\]\s+(?:[^\s\d]\S{0,11}\s+)?(?P<seconds>\d{1,10})\.(?P<fraction>\d{1,9}):\s+"
    rb"(?:\d+\s+)?(?:[\w-]+:)?(?P<event>[\w.-]{1,64}):",
)
_CURRENT = re.compile(
    rb"(?:.*[-\s])?(?:(?P<tgid>\d{1,10})/)?(?P<tid>\d{1,10})\s+(?:\(\s*(?:\d+|-+)\)\s+)?", re.DOTALL
)
# perf's -1 for a task that was gone when it was looked at.
_NOBODY = re.compile(rb"(?:.*[\s/])?-1\s+", re.DOTALL)
_TID, _PRIO, _CPU = rb"\d{1,10}", rb"-?\d{1,5}", rb"\d{1,5}"
_SWITCH = (
    rb"prev_comm=(?P<comm>.*) prev_pid=(?P<tid>%b) prev_prio=(?P<prio>%b) prev_state=(?P<state>\S+) ==> "
    rb"next_comm=(?P<other_comm>.*) next_pid=(?P<other>%b) next_prio=(?P<other_prio>%b)"
) % (_TID, _PRIO, _TID, _PRIO)
_SWITCH_BY_PLUGIN = (
    rb"(?P<comm>.*):(?P<tid>%b) \[(?P<prio>%b)\] (?P<state>\S+) ==> "
    rb"(?P<other_comm>.*):(?P<other>%b) \[(?P<other_prio>%b)\]"
) % (_TID, _PRIO, _TID, _PRIO)
_WAKEUP = (
    rb"comm=(?P<comm>.*) pid=(?P<tid>%b) prio=(?P<prio>%b)(?: success=\d)? target_cpu=(?P<target>%b)"
    % (
        _TID,
        _PRIO,
        _CPU,
    )
)
_WAKEUP_BY_PLUGIN = rb"(?P<comm>.*):(?P<tid>%b) \[(?P<prio>%b)\](?: success=\d)? CPU:(?P<target>%b)" % (
    _TID,
    _PRIO,
    _CPU,
)
_MIGRATE = (
    rb"comm=(?P<comm>.*) pid=(?P<tid>%b) prio=(?P<prio>%b) orig_cpu=(?P<orig>%b) dest_cpu=(?P<target>%b)"
) % (_TID, _PRIO, _CPU, _CPU)
_FORK = rb"comm=(?P<other_comm>.*) pid=(?P<other>%b) child_comm=(?P<comm>.*) child_pid=(?P<tid>%b)" % (
    _TID,
    _TID,
)
_EXEC = rb"filename=.* pid=(?P<tid>%b) old_pid=(?P<other>%b)" % (_TID, _TID)
_EXIT = rb"comm=(?P<comm>.*) pid=(?P<tid>%b) prio=(?P<prio>%b)(?: .*)?" % (_TID, _PRIO)
_FIELDS: dict[bytes, list[bytes]] = {
    b"sched_switch": [_SWITCH, _SWITCH_BY_PLUGIN],
    b"sched_wakeup": [_WAKEUP, _WAKEUP_BY_PLUGIN],
    b"sched_wakeup_new": [_WAKEUP, _WAKEUP_BY_PLUGIN],
    b"sched_waking": [_WAKEUP, _WAKEUP_BY_PLUGIN],
    b"sched_migrate_task": [_MIGRATE],
    b"sched_process_fork": [_FORK],
    b"sched_process_exec": [_EXEC],
    b"sched_process_exit": [_EXIT],
}
EVENT_NAMES = frozenset(name.decode() for name in TYPES)
_IS_EVENT = re.compile(rb"(?<![\w=])(?:%b)\s*:" % b"|".join(TYPES))
# By event: our fields, and what they are called. Without those in `_MAY_LACK` a line is not read.
_NAMES = {
    EventType.SWITCH: {
        "comm": b"prev_comm", "tid": b"prev_pid", "prio": b"prev_prio", "state": b"prev_state",
        "other_comm": b"next_comm", "other": b"next_pid", "other_prio": b"next_prio",
    },
    EventType.WAKEUP: {"comm": b"comm", "tid": b"pid", "prio": b"prio", "target": b"target_cpu"},
    EventType.MIGRATE: {
        "comm": b"comm", "tid": b"pid", "prio": b"prio", "orig": b"orig_cpu", "target": b"dest_cpu",
    },
    EventType.FORK: {"other_comm": b"comm", "other": b"pid", "comm": b"child_comm", "tid": b"child_pid"},
    EventType.EXEC: {"tid": b"pid", "other": b"old_pid"},
    EventType.EXIT: {"comm": b"comm", "tid": b"pid", "prio": b"prio"},
}  # fmt: skip
_NAMES[EventType.WAKEUP_NEW] = _NAMES[EventType.WAKING] = _NAMES[EventType.WAKEUP]
_MAY_LACK = {"comm", "other_comm", "prio", "other_prio"}
_FIELD = re.compile(rb"(?:^|(?<=[\s,]))([a-z_][a-z0-9_]*)=")
# perf script -F ip,sym,dso, or ip alone: longer than what may be a part of a name
_ADDRESS = re.compile(rb"(?<!\s)\s+(?:[0-9a-f]{16}|[0-9a-f]{8,16} [^\s=]+(?: \([^()=]*\))?)\s*\Z")
_NUMBER = re.compile(rb"-?\d{1,10}|0x[0-9a-f]{1,8}")
_LETTERS = re.compile(rb"[A-Za-z](?:\|(?:[A-Za-z]|0x[0-9a-f]+))*\+?")
_PATTERNS = {
    event: [re.compile(p + rb"\s*", re.DOTALL) for p in patterns] for event, patterns in _FIELDS.items()
}

# The first letter of a printed prev_state; a `+` behind it means preempted.
STATES = {
    "R": PrevState.RUNNABLE,
    "S": PrevState.SLEEPING,
    "D": PrevState.BLOCKED,
    "K": PrevState.BLOCKED,
    "W": PrevState.BLOCKED,
    "T": PrevState.STOPPED,
    "t": PrevState.STOPPED,
    "X": PrevState.DEAD,
    "x": PrevState.DEAD,
    "Z": PrevState.DEAD,
    "I": PrevState.IDLE,
    "P": PrevState.IDLE,
    "N": PrevState.IDLE,
}
# A prev_state that is a number: what its lowest bit means, counted from 1, since Linux 4.14
# (include/linux/sched.h, TASK_REPORT); what 0 means.
STATE_OF_BIT = (
    PrevState.RUNNABLE,
    *(STATES[letter] for letter in ("S", "D", "T", "t", "X", "Z", "P", "I")),
)
_LOW_BITS = 0xFF  # above: TASK_REPORT_MAX, or what it was in older kernels: preempted
_NOT_LOAD = 0x402  # D that counts for no load, before 4.14
_MAX_TID = 0xFFFFFFFF
_MAX_CPU = 0xFFFF


@dataclass
class Line:
    """What a line says: one event (of length 1), and names of tasks."""

    event: EventArray
    comms: dict[int, bytes] = field(default_factory=dict)


def is_event(line: bytes) -> bool:
    """Return whether a line should be one of the events that we keep."""
    if _IS_EVENT.search(line) is None:
        return False
    header = _ANY_HEADER.search(line)
    return header is None or header["event"] in TYPES


def has_header(line: bytes) -> bool:
    """Return whether a line is of an event, whoever's and whatever it says."""
    return _ANY_HEADER.search(line) is not None


def place_of(line: bytes) -> tuple[int, int | None]:
    """Return the CPU (-1: not told) and the time (None: not told) of a line that can't be read."""
    header = _ANY_HEADER.search(line)
    if header is None or int(header["cpu"]) > _MAX_CPU:
        return -1, None
    return int(header["cpu"]), _time_ns(header)


def parse_line(line: bytes) -> Line | None:
    """Return what a line says, None if it is not an event that we keep."""
    if len(line) > LONGEST:
        return None
    header = _HEADER.search(line)
    if header is None or header["event"] not in TYPES:
        return None
    current = _CURRENT.fullmatch(line, 0, header.start())
    if current is None:
        return None
    kind = TYPES[header["event"]]
    gone = _NOBODY.fullmatch(line, 0, header.start()) is not None
    for pattern in _PATTERNS[header["event"]]:
        match = pattern.fullmatch(header["fields"])
        if match is not None:
            return _line(kind, 0 if gone else int(current["tid"]), header, match.groupdict())
    found = _by_name(kind, _ADDRESS.sub(b"", header["fields"]))
    return None if found is None else _line(kind, 0 if gone else int(current["tid"]), header, found)


def _by_name(kind: EventType, text: bytes) -> dict[str, bytes | None] | None:
    """Return our fields, wherever they stand; None if one is missing, or could be two."""
    places = list(_FIELD.finditer(text))
    ends = [place.start() for place in places[1:]] + [len(text)] * bool(places)
    values: dict[bytes, list[bytes]] = {}
    for place, end in zip(places, ends, strict=True):
        values.setdefault(place[1], []).append(
            text[place.end() : end].strip(b" \t").removesuffix(b"==>").strip(b" \t,")
        )
    found: dict[str, bytes | None] = {}
    for ours, theirs in _NAMES[kind].items():
        candidates = values.get(theirs, [])
        if len(candidates) > 1 or (not candidates and ours not in _MAY_LACK):
            return None
        if (
            candidates
            and not ours.endswith("comm")
            and ours != "state"
            and not _NUMBER.fullmatch(candidates[0])
        ):
            return None
        found[ours] = candidates[0] if candidates else None
    return found


def state_of(text: bytes) -> PrevState | None:
    """Return what a printed prev_state means; None: nobody knows."""
    if _NUMBER.fullmatch(text):
        return _state_of_number(int(text, 0 if b"x" in text else 10))
    if not _LETTERS.fullmatch(text):
        return None
    state = STATES.get(text[:1].decode("latin-1"))
    return PrevState.PREEMPTED if text.endswith(b"+") and state is not None else state


def _state_of_number(number: int) -> PrevState | None:
    if number == _NOT_LOAD:
        return PrevState.IDLE
    if number > _LOW_BITS:
        # With a lower bit it could be a sleep that an older kernel says more of, or a preempted task's.
        return None if number & _LOW_BITS else PrevState.PREEMPTED
    return STATE_OF_BIT[(number & -number).bit_length()] if number >= 0 else None


def _line(
    kind: EventType, current: int, header: re.Match[bytes], found: Mapping[str, bytes | None]
) -> Line | None:
    cpu, tid = int(header["cpu"]), _int(found["tid"])
    other = _int(found["other"]) if "other" in found else 0 if kind == EventType.EXIT else current
    target = _int(found.get("target") or header["cpu"])
    orig = _int(found.get("orig") or header["cpu"])
    if min(tid, other, target, orig) < 0 or max(tid, other) > _MAX_TID or max(cpu, target, orig) > _MAX_CPU:
        return None
    event = np.zeros(1, EVENT_DTYPE)
    event["timestamp_ns"] = _time_ns(header)
    event["tid"], event["other_tid"] = tid, other
    event["cpu"], event["target_cpu"], event["orig_cpu"] = cpu, target, orig
    event["type"] = kind
    event["prio"], event["other_prio"] = _prio(found.get("prio")), _prio(found.get("other_prio"))
    if kind == EventType.SWITCH:
        state = state_of(found["state"] or b"")
        if state is None:
            return None
        event["prev_state"] = state
    elif kind == EventType.FORK:
        event["prio"] = 0
    comms = {}
    for name, owner in (("comm", tid), ("other_comm", other)):
        comm = found.get(name)
        if comm is not None:
            comms[owner] = comm[:16]
    return Line(event, comms)


def _time_ns(header: re.Match[bytes]) -> int:
    return int(header["seconds"]) * 10**9 + int(header["fraction"].ljust(9, b"0"))


def _int(text: bytes | None) -> int:
    return int(text or b"0", 16 if text and b"x" in text else 10)


def _prio(text: bytes | None) -> int:
    return max(-(1 << 15), min(_int(text), (1 << 15) - 1))
