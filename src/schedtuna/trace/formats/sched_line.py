"""One line of scheduler text, whoever printed it: perf script, ftrace, trace-cmd report.

The three differ in the header (perf: `comm pid [cpu] time: sched:event: `, ftrace and trace-cmd:
`comm-pid [cpu] flags time: event: `), and trace-cmd's plugins in the fields (`comm:pid [prio]`
instead of `comm=... pid=... prio=...`). The regular expressions here read them all, a microsecond or
two per line; `sched_text` reads the usual ones faster and leaves the rest to this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from schedtuna.trace.schema import EVENT_DTYPE, EventArray, EventType, PrevState

_HEADER = re.compile(
    rb"\[(?P<cpu>\d{1,5})\]\s+(?:[^\s\d]\S{2,7}\s+)?(?P<seconds>\d{1,10})\.(?P<fraction>\d{1,9}):\s+"
    rb"(?:\d+\s+)?(?:sched:)?(?P<event>sched_[a-z_]{1,32}):\s+(?P<fields>.*)",
    re.DOTALL,
)
_CURRENT = re.compile(
    rb".*[-\s](?:(?P<tgid>\d{1,10})/)?(?P<tid>\d{1,10})\s+(?:\(\s*(?:\d+|-+)\)\s+)?", re.DOTALL
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
TYPES = {
    b"sched_switch": EventType.SWITCH,
    b"sched_wakeup": EventType.WAKEUP,
    b"sched_wakeup_new": EventType.WAKEUP_NEW,
    b"sched_waking": EventType.WAKING,
    b"sched_migrate_task": EventType.MIGRATE,
    b"sched_process_fork": EventType.FORK,
    b"sched_process_exec": EventType.EXEC,
    b"sched_process_exit": EventType.EXIT,
}
EVENT_NAMES = frozenset(name.decode() for name in TYPES)
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
_MAX_TID = 0xFFFFFFFF
_MAX_CPU = 0xFFFF


@dataclass
class Line:
    """What a line says: one event (of length 1), and names of tasks."""

    event: EventArray
    comms: dict[int, bytes] = field(default_factory=dict)


def is_event(line: bytes) -> bool:
    """Return whether a line should be one of the events that we keep."""
    return any(event + b": " in line for event in TYPES)


def parse_line(line: bytes) -> Line | None:
    """Return what a line says, None if it is no event that we keep."""
    header = _HEADER.search(line)
    if header is None or header["event"] not in TYPES:
        return None
    current = _CURRENT.fullmatch(line, 0, header.start())
    if current is None:
        return None
    kind = TYPES[header["event"]]
    for pattern in _PATTERNS[header["event"]]:
        match = pattern.fullmatch(header["fields"])
        if match is not None:
            gone = _NOBODY.fullmatch(line, 0, header.start()) is not None
            return _line(kind, 0 if gone else int(current["tid"]), header, match)
    return None


def _line(kind: EventType, current: int, header: re.Match[bytes], match: re.Match[bytes]) -> Line | None:
    found = match.groupdict()
    cpu, tid = int(header["cpu"]), int(found["tid"])
    other = int(found["other"]) if "other" in found else 0 if kind == EventType.EXIT else current
    target = int(found.get("target") or cpu)
    orig = int(found.get("orig") or cpu)
    if max(tid, other) > _MAX_TID or max(cpu, target, orig) > _MAX_CPU:
        return None
    event = np.zeros(1, EVENT_DTYPE)
    event["timestamp_ns"] = int(header["seconds"]) * 10**9 + int(header["fraction"].ljust(9, b"0"))
    event["tid"], event["other_tid"] = tid, other
    event["cpu"], event["target_cpu"], event["orig_cpu"] = cpu, target, orig
    event["type"] = kind
    event["prio"], event["other_prio"] = _prio(found.get("prio")), _prio(found.get("other_prio"))
    if kind == EventType.SWITCH:
        state = match["state"]
        preempted = state.endswith(b"+")
        letter = state[:1].decode("latin-1")
        if letter not in STATES:
            return None
        event["prev_state"] = PrevState.PREEMPTED if preempted else STATES[letter]
    elif kind == EventType.FORK:
        event["prio"] = 0
    comms = {}
    for name, owner in (("comm", tid), ("other_comm", other)):
        comm = found.get(name)
        if comm is not None:
            comms[owner] = comm[:16]
    return Line(event, comms)


def _prio(text: bytes | None) -> int:
    return max(-(1 << 15), min(int(text), (1 << 15) - 1)) if text else 0
