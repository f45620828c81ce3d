"""A trace as Perfetto protobuf, for https://ui.perfetto.dev: CPU tracks, thread states, wakeups, counters.

Switches and wakeups go into ftrace bundles in the compact form (`CompactSched`), so that Perfetto
derives CPU slices, thread states and wakeup arrows as it does for its own traces; names come in a
process tree; system samples are counter tracks. Where nobody knows what a CPU did, a thread of the name
`(unknown)` is on it. Field numbers are those of protos/perfetto/trace/perfetto_trace.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from schedtuna.trace.formats.protobuf import double, integer, message, packed, text
from schedtuna.trace.gaps import Gaps, Why
from schedtuna.trace.intervals import TID_LIMIT
from schedtuna.trace.reading import Reading, read_states
from schedtuna.trace.schema import IDLE_TID, EventArray, EventType, IntArray, PrevState
from schedtuna.trace.tasks import clean_name
from schedtuna.trace.trace import Trace

_PACKET = 1
_SEQUENCE = integer(10, 1)  # trusted_packet_sequence_id
_BUNDLE_EVENTS = 1 << 16
_BOOTTIME = 6
_CLOCKS = {_BOOTTIME: "boottime_ns", 3: "monotonic_ns", 1: "realtime_ns"}
_COUNTER_TRACKS = 0x5C4ED << 32  # track ids of ours begin here
_TYPE_COUNTER = 4
_UNKNOWN_TID, _UNKNOWN = TID_LIMIT, "(unknown)"  # no task has it

# The prev_state that a kernel from 4.14 on would have reported (include/linux/sched.h).
_PREV_STATES = np.zeros(len(PrevState), np.int64)
_PREV_STATES[[PrevState.PREEMPTED, PrevState.THROTTLED]] = 0x100
_PREV_STATES[PrevState.SLEEPING] = 0x01
_PREV_STATES[[PrevState.BLOCKED, PrevState.IO]] = 0x02
_PREV_STATES[PrevState.STOPPED] = 0x04
_PREV_STATES[PrevState.DEAD] = 0x10
_PREV_STATES[PrevState.IDLE] = 0x80
_KERNEL = "6.0.0"  # tells Perfetto which prev_state bits these are


def write(trace: Trace, file: BinaryIO) -> None:
    """Write a trace as a Perfetto trace file.

    Raises:
        TraceError: A part of the trace is damaged.
        OSError: The file can't be written.
    """
    shift = _offsets(trace).get("boottime_ns", 0)  # Perfetto's timestamps are on CLOCK_BOOTTIME
    begin = trace.window_ns[0] + shift
    file.write(_packet(message(45, message(1, text(1, "Linux") + text(3, _KERNEL)))))
    clocks = _clocks(trace)
    if clocks:
        file.write(_packet(integer(8, begin) + clocks))
    names = _names(trace)
    file.write(_packet(integer(8, begin) + _process_tree(trace)))
    gaps, reading = _gaps(trace)
    names[_UNKNOWN_TID] = _UNKNOWN
    wakeup = EventType.WAKEUP
    for part in reading.again().segments():
        if reading.is_partial:
            part["other_tid"][(part["type"] == EventType.SWITCH) & (part["other_tid"] == IDLE_TID)] = (
                _UNKNOWN_TID
            )
        if wakeup != EventType.WAKING and (part["type"] == EventType.WAKING).any():
            wakeup = EventType.WAKING  # it has the waker's CPU: Perfetto's own choice
        file.writelines(_packet(message(1, bundle)) for bundle in _bundles(part, names, wakeup, shift, gaps))
    file.writelines(_counters(trace, shift))


def _packet(content: bytes) -> bytes:
    return message(_PACKET, content + _SEQUENCE)


def _offsets(trace: Trace) -> dict[str, int]:
    """Return what the manifest says to add to CLOCK_MONOTONIC for other clocks, and as of when."""
    found = trace.manifest.get("clock_offsets")
    if trace.clock != "monotonic" or not isinstance(found, dict):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, int)}


def _clocks(trace: Trace) -> bytes:
    """Say how the clocks go together, so that Perfetto can show the time of day."""
    offsets = {"monotonic_ns": 0, **_offsets(trace)}
    if not {"at_ns", "boottime_ns", "realtime_ns"} <= offsets.keys():
        return b""
    clocks = [
        message(1, integer(1, clock) + integer(2, offsets["at_ns"] + offsets[name]))
        for clock, name in _CLOCKS.items()
    ]
    return message(6, b"".join(clocks) + integer(2, _BOOTTIME))


def _names(trace: Trace) -> dict[int, str]:
    """Return the last known name of each tid."""
    tasks = trace.tasks
    return {IDLE_TID: "swapper"} | dict(zip(tasks["tid"].to_list(), tasks["comm"].to_list(), strict=True))


def _process_tree(trace: Trace) -> bytes:
    """Say which thread is of which process; a tgid that is unknown is taken to be the tid."""
    processes: dict[int, bytes] = {}
    threads = []
    for row in trace.tasks.iter_rows(named=True):
        tid, tgid = row["tid"], row["tgid"] or row["tid"]
        if tid == IDLE_TID:
            continue
        if tid == tgid or tgid not in processes:
            processes[tgid] = integer(1, tgid) + integer(2, row["ppid"]) + text(3, row["comm"])
        if tid != tgid:
            threads.append(message(2, integer(1, tid) + text(2, row["comm"]) + integer(3, tgid)))
    return message(2, b"".join(message(1, process) for process in processes.values()) + b"".join(threads))


def _gaps(trace: Trace) -> tuple[Gaps, Reading]:
    """Return of which time nobody knows what a CPU did, and how the events are to be taken."""

    def take(reading: Reading) -> int:
        highest = [0]
        for _ in reading.pieces(lambda part: highest.append(int(part["cpu"].max(initial=0)))):
            pass
        return max(highest)

    highest, reading = read_states(trace, take)
    return reading.gaps(trace.nr_cpus(highest + 1)), reading


def _bundles(
    part: EventArray, names: dict[int, str], wakeup: EventType, shift: int, gaps: Gaps
) -> Iterator[bytes]:
    """Yield the ftrace bundles of a part: one per CPU and some thousand events, and one after each loss."""
    is_loss = np.isin(gaps.why, [Why.LOST, Why.UNREAD])
    for cpu in np.unique(part["cpu"]).tolist():
        here = _hide(part[part["cpu"] == cpu], gaps.start_ns[gaps.cpu == cpu])
        time, ends_ns = here["timestamp_ns"].astype(np.int64), gaps.end_ns[is_loss & (gaps.cpu == cpu)]
        after_loss = np.searchsorted(time, ends_ns[(ends_ns >= time[0]) & (ends_ns <= time[-1])])
        cuts = {*range(0, len(here), _BUNDLE_EVENTS), *after_loss.tolist()}
        bounds = [*sorted(cuts), len(here)]
        for begin, end in pairwise(bounds):
            events = here[begin:end]
            compact = _compact(events, names, wakeup, shift)
            others = b"".join(_others(events, names, shift))
            loss = integer(3, 1) if begin in after_loss else b""
            if compact or others or loss:
                yield integer(1, int(cpu)) + others + loss + message(4, compact)


def _hide(events: EventArray, unknown_ns: IntArray) -> EventArray:
    """Return a CPU's events, with nobody known to run from the last switch before each time on."""
    shown = events.copy()
    switches = np.flatnonzero(shown["type"] == EventType.SWITCH)
    here = unknown_ns[unknown_ns <= int(events["timestamp_ns"][-1])]
    at = np.searchsorted(shown["timestamp_ns"][switches].astype(np.int64), here, side="right") - 1
    which = switches[at[at >= 0]]
    shown["other_tid"][which], shown["other_prio"][which] = _UNKNOWN_TID, 0
    return shown


def _compact(events: EventArray, names: dict[int, str], wakeup: EventType, shift: int) -> bytes:
    """Encode switches and wakeups as `CompactSched`."""
    switches = events[events["type"] == EventType.SWITCH]
    wakings = events[events["type"] == wakeup]
    tids = np.unique(np.concatenate([switches["other_tid"], wakings["tid"]]))
    table = b"".join(text(5, names.get(tid, f"tid {tid}")) for tid in tids.tolist())
    return b"".join(
        [
            table,
            packed(1, _deltas(switches, shift)),
            packed(2, _PREV_STATES[switches["prev_state"]]),
            packed(3, switches["other_tid"]),
            packed(4, switches["other_prio"]),
            packed(6, np.searchsorted(tids, switches["other_tid"])),
            packed(7, _deltas(wakings, shift)),
            packed(8, wakings["tid"]),
            packed(9, wakings["target_cpu"]),
            packed(10, wakings["prio"]),
            packed(11, np.searchsorted(tids, wakings["tid"])),
            packed(12, np.zeros(len(wakings), np.int64)),
        ]
    )


def _deltas(events: EventArray, shift: int) -> npt.NDArray[np.int64]:
    return np.diff(events["timestamp_ns"].astype(np.int64) + shift, prepend=0)


def _others(events: EventArray, names: dict[int, str], shift: int) -> Iterator[bytes]:
    """Encode the rare events one by one: first wakeups, forks, exits."""
    rare = events[np.isin(events["type"], [EventType.WAKEUP_NEW, EventType.FORK, EventType.EXIT])]
    for event in rare:
        tid, other, prio = int(event["tid"]), int(event["other_tid"]), int(event["prio"])
        name = names.get(tid, f"tid {tid}")
        if event["type"] == EventType.WAKEUP_NEW:
            content = (
                text(1, name) + integer(2, tid) + integer(3, prio) + integer(5, int(event["target_cpu"]))
            )
            body, current = message(114, content), other
        elif event["type"] == EventType.FORK:
            content = text(1, names.get(other, f"tid {other}")) + integer(2, other)
            body, current = message(239, content + text(3, name) + integer(4, tid)), other
        else:
            content = text(1, name) + integer(2, tid) + integer(3, int(event["aux"])) + integer(4, prio)
            body, current = message(238, content), tid
        yield message(2, integer(1, int(event["timestamp_ns"]) + shift) + integer(2, current) + body)


def _counters(trace: Trace, shift: int) -> Iterator[bytes]:
    """Yield a counter track for each number that was sampled of the system."""
    frame = trace.sample_frames.get("system")
    if frame is None:
        return
    times = (frame["timestamp_ns"].to_numpy() + shift).tolist()
    track = _COUNTER_TRACKS
    for name in frame.columns:
        column: Any = frame[name]
        if name == "timestamp_ns" or not column.dtype.is_numeric():
            continue
        track += 1
        descriptor = integer(1, track) + text(2, clean_name(name)) + message(8, b"")
        yield _packet(message(60, descriptor))
        head = integer(9, _TYPE_COUNTER) + integer(11, track)
        for time, value in zip(times, column.to_list(), strict=True):
            if value is not None:
                yield _packet(integer(8, time) + message(11, head + double(44, float(value))))
