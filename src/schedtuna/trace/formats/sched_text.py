"""Scheduler text by the million lines: perf script, ftrace's `trace` file, trace-cmd report.

Lines of the usual shape are read with array arithmetic (`words`), a few megabytes at a time; what has
another shape, such as a comm with an `=` in it, goes line by line to `sched_line`. Every field is
found by its name right before its `=`, and a line whose number of `=` is not the expected one is not
of the usual shape: a comm can't pass for a field.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BufferedIOBase

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sched_line import STATES, is_event, parse_line
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.formats.words import (
    HIGH_BITS,
    Positions,
    Text,
    ends_with,
    highest_byte,
    leading_number,
    matching,
    starts_with,
    trailing_number,
)
from schedtuna.trace.schema import EVENT_DTYPE, TASK_DTYPE, EventArray, EventType, IntArray, PrevState

CHUNK_BYTES = 1 << 22
_NR_THREADS = 2

BoolArray = npt.NDArray[np.bool_]

# Event -> the fields that it must have, and no others, in order; each is read by the last characters
# of its name (7 at most) and its `=`. `==> ` of a switch has two more `=`.
_SHAPES: dict[EventType, tuple[str, ...]] = {
    EventType.SWITCH: (
        "prev_comm", "prev_pid", "prev_prio", "prev_state", " ", "", "next_comm", "next_pid", "next_prio",
    ),
    EventType.WAKEUP: ("comm", "pid", "prio", "target_cpu"),
    EventType.MIGRATE: ("comm", "pid", "prio", "orig_cpu", "dest_cpu"),
    EventType.FORK: ("comm", "pid", "child_comm", "child_pid"),
}  # fmt: skip
_SHAPES[EventType.WAKEUP_NEW] = _SHAPES[EventType.WAKING] = _SHAPES[EventType.WAKEUP]
# Event names, by what follows `sched_` (8 characters at most).
_NAMES = {
    "switch: ": EventType.SWITCH,
    "waking: ": EventType.WAKING,
    "wakeup: ": EventType.WAKEUP,
    "wakeup_n": EventType.WAKEUP_NEW,
    "migrate_": EventType.MIGRATE,
    "process_": EventType.FORK,
}
_NR_EQUALS = np.full(256, -1)
_NR_EQUALS[list(_SHAPES)] = [len(shape) for shape in _SHAPES.values()]
_NO_STATE = 255
_STATE_OF_LETTER = np.full(256, _NO_STATE, np.uint8)
for _letter, _state in STATES.items():
    _STATE_OF_LETTER[ord(_letter)] = _state
_LOST = re.compile(rb"PERF_RECORD_LOST lost (\d{1,12})|\[LOST (\d{1,12}) EVENTS\]")


@dataclass(frozen=True)
class _Comms:
    """Names that tasks had, the last one of each, and the tgid where it is printed."""

    names: dict[int, bytes] = field(default_factory=dict)
    tgids: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """What some lines say.

    Attributes:
        events: The events that we keep.
        comms: Names of their tasks.
        nr_unread: How many lines look like events and can't be read.
        nr_lost: How many events the lines say were lost.
    """

    events: EventArray
    comms: _Comms
    nr_unread: int
    nr_lost: int


def parse(stream: BufferedIOBase, sink: Sink) -> None:
    """Read scheduler text.

    Raises:
        TraceError: There are no scheduler events in it.
    """
    names: dict[int, bytes] = {}
    tgids: dict[int, int] = {}
    nr_events = nr_unread = last_ns = 0
    with ThreadPoolExecutor(_NR_THREADS) as pool:
        for found in _in_turn(pool, _chunks(stream)):
            if len(found.events):
                sink.write_events(found.events)
                last_ns = int(found.events["timestamp_ns"][-1])
            if found.nr_lost:
                sink.note_lost(found.nr_lost, last_ns=last_ns)
            nr_events += len(found.events)
            nr_unread += found.nr_unread
            names |= found.comms.names
            tgids |= found.comms.tgids
    if not nr_events:
        raise TraceError(
            "no scheduler events in it",
            hint="expected the text of `perf script`, `trace-cmd report` or /sys/kernel/tracing/trace"
            " with sched_switch and sched_wakeup or sched_waking",
        )
    sink.write_tasks(task_rows(names, tgids))
    sink.update_manifest({"nr_unread_lines": nr_unread, "clock": "local"})


def _chunks(stream: BufferedIOBase) -> Iterator[tuple[Text, Positions]]:
    """Yield text that begins and ends with lines, and where they end; buffers are used again in turn."""
    texts = [Text(CHUNK_BYTES) for _ in range(_NR_THREADS + 2)]
    rest, reading = b"", True
    for text in itertools.cycle(texts):
        reading = text.fill(stream, rest)
        if not reading and 0 < text.size < CHUNK_BYTES:
            text.append("\n")
        line_ends = text.find("\n")
        if not len(line_ends) and text.size == CHUNK_BYTES:
            raise TraceError(f"a line is longer than {CHUNK_BYTES} bytes: this is no text of perf or ftrace")
        rest = text.slice(int(line_ends[-1]) + 1 if len(line_ends) else 0, text.size)
        yield text, line_ends
        if not reading:
            return


def _in_turn(pool: ThreadPoolExecutor, chunks: Iterator[tuple[Text, Positions]]) -> Iterator[_Found]:
    """Read chunks in several threads; yield what was found in the order of the chunks."""
    pending: deque[Future[_Found]] = deque()
    for text, line_ends in chunks:
        pending.append(pool.submit(_parse_lines, text, line_ends))
        if len(pending) > _NR_THREADS:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def task_rows(names: dict[int, bytes], tgids: dict[int, int]) -> npt.NDArray[np.void]:
    """Return rows of the task table for tasks of which little more than the name is known."""
    rows = np.zeros(len(names), TASK_DTYPE)
    rows["tid"] = list(names)
    rows["comm"] = list(names.values())
    rows["tgid"] = [tgids.get(tid, 0) for tid in names]
    rows["static_prio"] = 120
    return rows


def _parse_lines(text: Text, line_ends: Positions) -> _Found:
    """Read the lines that end there."""
    comms = _Comms()
    line, name_at = _named_lines(text, line_ends)
    nr_lost = _nr_lost(text.raw.tobytes()) if len(line) < len(line_ends) else 0
    kind = _event_types(text, name_at)
    known = np.flatnonzero(kind)
    line, kind = line[known], kind[known]
    line_starts = np.concatenate([[0], line_ends[:-1] + 1])
    lines = _Lines(text, line_starts[line], line_ends[line], name_at[known], kind)
    _read_headers(lines, comms)
    equals = text.find("=")
    first_equal = np.searchsorted(equals, lines.name_at)
    nr_equals = np.searchsorted(equals, lines.end) - first_equal
    lines.good &= nr_equals == _NR_EQUALS[kind]
    for type_, shape in _SHAPES.items():
        rows = np.flatnonzero(lines.good & (kind == type_))
        if len(rows):
            at = first_equal[rows, None] + np.arange(len(shape))
            lines.good[rows] = _read_fields(lines, type_, rows, equals[at])
    lines.note_names(comms)
    nr_unread = _read_others(lines, comms)
    return _Found(lines.events[lines.good], comms, nr_unread, nr_lost)


class _Lines:
    """Lines of events that we keep, and what was read of them.

    Attributes:
        text: What they are in.
        start, end: Where each begins, and its newline.
        name_at: Where its event's name goes on after `sched_`.
        events: One per line.
        good: Whether the line is of the usual shape, so far.
    """

    def __init__(
        self, text: Text, start: Positions, end: Positions, name_at: Positions, kind: npt.NDArray[np.uint8]
    ) -> None:
        self.text, self.start, self.end, self.name_at = text, start, end, name_at
        self.events = np.zeros(len(start), EVENT_DTYPE)
        self.events["type"] = kind
        self.good = np.ones(len(start), np.bool_)
        self._named = np.full((3, len(start), 2), -1, np.int32)  # tid, start, end of up to two names

    def put_name(self, rows: Positions, slot: int, tid: IntArray, span: tuple[Positions, Positions]) -> None:
        """Note that lines name a task there."""
        for values, target in zip((tid, *span), self._named, strict=True):
            target[rows, slot] = values

    def note_names(self, comms: _Comms) -> None:
        """Note each task's last name."""
        tid, start, end = (values.reshape(-1) for values in self._named)
        tid = np.where(np.repeat(self.good, 2), tid, -1)
        last = np.full(int(tid.max(initial=-1)) + 2, -1, np.int32)
        last[tid] = np.arange(len(tid))  # tid -1 is the last element: no task
        last[-1] = -1
        tids = np.flatnonzero(last >= 0)
        row = last[tids]
        for one, begin, stop in zip(tids.tolist(), start[row].tolist(), end[row].tolist(), strict=True):
            comms.names[one] = self.text.slice(begin, stop)[:16]


def _nr_lost(data: bytes) -> int:
    return sum(int(match[1] or match[2]) for match in _LOST.finditer(data)) if b"LOST" in data else 0


def _read_others(lines: _Lines, comms: _Comms) -> int:
    """Read the lines of another shape one by one; return how many can't be read."""
    nr_unread = 0
    for row in np.flatnonzero(~lines.good):
        line = lines.text.slice(int(lines.start[row]), int(lines.end[row]))
        parsed = parse_line(line)
        if parsed is not None:
            lines.events[row] = parsed.event[0]
            comms.names.update(parsed.comms)
            lines.good[row] = True
        else:
            nr_unread += is_event(line)
    return nr_unread


def _named_lines(text: Text, ends: Positions) -> tuple[Positions, Positions]:
    """Return the lines that name a `sched_` event, and where the name goes on after that."""
    at = text.find_pair("d_")
    at = at[at < ends[-1]] if len(ends) else at[:0]
    before = text.words(at - 6)  # 8 bytes that end with the `_`
    at = at[ends_with(before, " sched_") | ends_with(before, ":sched_")]
    line = np.searchsorted(ends, at)
    first = np.ones(len(line), np.bool_)
    first[1:] = line[1:] != line[:-1]
    return line[first], at[first] + 2


def _event_types(text: Text, name_at: Positions) -> npt.NDArray[np.uint8]:
    words = text.words(name_at)
    kind = np.zeros(len(name_at), np.uint8)
    for name, type_ in _NAMES.items():
        kind[starts_with(words, name)] = type_
    process = np.flatnonzero(kind == EventType.FORK)
    rest = text.words(name_at[process] + 8)
    kind[process] = 0
    for name, type_ in (("fork: ", EventType.FORK), ("exec: ", EventType.EXEC), ("exit: ", EventType.EXIT)):
        kind[process[starts_with(rest, name)]] = type_
    return kind


def _read_headers(lines: _Lines, comms: _Comms) -> None:
    """Read `comm pid [cpu] time: ` before the event's name, from its end to its beginning."""
    text, events = lines.text, lines.events
    colon = lines.name_at - len("sched_")
    colon = np.where(ends_with(text.words(colon - 8), "sched:"), colon - len("sched:"), colon)
    for _ in range(3):  # at most 24 spaces between the time and the name
        colon = colon - _nr_spaces_before(text, colon)
    colon -= 1
    good = (text.at(colon) == ord(":")) & (colon > lines.start)
    events["timestamp_ns"], seconds_at, fine = _times_before(text, colon)
    good &= fine

    bracket = _bracket_before(text, seconds_at)
    cpu, digits = trailing_number(text.words(bracket - 8))
    good &= (bracket > lines.start) & (digits == 3) & (text.at(bracket - 4) == ord("["))
    events["cpu"] = events["target_cpu"] = events["orig_cpu"] = cpu
    spaces = _nr_spaces_before(text, bracket - 4)
    pid_end = bracket - 4 - spaces
    pid, digits = trailing_number(text.words(pid_end - 8))
    separator = text.at(pid_end - digits - 1)
    good &= (spaces > 0) & (spaces < 8) & (digits > 0) & (digits < 8)
    good &= (separator == ord(" ")) | (separator == ord("-")) | (separator == ord("/"))
    with_tgid = np.flatnonzero(good & (separator == ord("/")))
    if len(with_tgid):
        tgid, _ = trailing_number(text.words(pid_end[with_tgid] - digits[with_tgid] - 9))
        comms.tgids.update(zip(pid[with_tgid].tolist(), tgid.tolist(), strict=True))
    events["other_tid"] = pid
    lines.good &= good


def _times_before(text: Text, colon: Positions) -> tuple[IntArray, Positions, BoolArray]:
    """Read `seconds.fraction` before a colon; return nanoseconds, where it begins, and whether it is one."""
    nanoseconds = text.at(colon - 10) == ord(".")
    dot = np.where(nanoseconds, colon - 10, colon - 7)
    fraction, digits = leading_number(text.words(dot + 1))
    last = text.at(colon - 1).astype(np.int64) - ord("0")
    good = np.where(nanoseconds, (digits == 8) & (last >= 0) & (last <= 9), digits == 6)
    good &= text.at(dot) == ord(".")
    second, digits = trailing_number(text.words(dot - 8))
    more = np.flatnonzero(digits == 8)
    if len(more):
        higher, nr_higher = trailing_number(text.words(dot[more] - 16))
        second[more] += higher * 10**8
        digits[more] += nr_higher
    good &= (digits > 0) & (digits <= 10)
    time = second * 10**9 + np.where(nanoseconds, fraction * 10 + last, fraction * 1000)
    return time, dot - digits, good


def _nr_spaces_before(text: Text, position: Positions) -> IntArray:
    """Return how many spaces are right before each position (8: perhaps more)."""
    return 7 - highest_byte(~matching(text.words(position - 8), " ") & HIGH_BITS)


def _bracket_before(text: Text, position: Positions) -> Positions:
    """Return where the last `]` of the 16 characters before each position is (-1: nowhere)."""
    near = highest_byte(matching(text.words(position - 8), "]"))
    far = highest_byte(matching(text.words(position - 16), "]"))
    return np.where(near >= 0, position - 8 + near, np.where(far >= 0, position - 16 + far, -1))


def _read_fields(lines: _Lines, type_: EventType, rows: Positions, equals: Positions) -> BoolArray:
    """Read the fields of events of one type, found by their `=`; return where that went well."""
    text, events = lines.text, lines.events
    good = np.ones(len(rows), np.bool_)
    numbers: dict[str, IntArray] = {}
    for column, name in enumerate(_SHAPES[type_]):
        at = equals[:, column]
        good &= ends_with(text.words(at - 8), name[-8:])
        if name.endswith(("pid", "prio", "cpu")):
            numbers[name], digits = leading_number(text.words(at + 1))
            good &= (digits > 0) & (digits < 8)
    if type_ == EventType.SWITCH:
        good &= _read_switch(lines, rows, equals, numbers)
    elif type_ == EventType.FORK:
        events["tid"][rows], events["other_tid"][rows] = numbers["child_pid"], numbers["pid"]
        span = (equals[:, 2] + 1, equals[:, 3] - len(" child_pid"))
        lines.put_name(rows, 0, numbers["child_pid"], span)
    else:
        target = numbers["dest_cpu" if type_ == EventType.MIGRATE else "target_cpu"]
        good &= (target <= 0xFFFF) & (numbers["prio"] <= 0x7FFF)
        events["tid"][rows], events["prio"][rows] = numbers["pid"], numbers["prio"]
        events["target_cpu"][rows] = target
        if type_ == EventType.MIGRATE:
            events["orig_cpu"][rows] = numbers["orig_cpu"]
            good &= numbers["orig_cpu"] <= 0xFFFF
        lines.put_name(rows, 0, numbers["pid"], (equals[:, 0] + 1, equals[:, 1] - len(" pid")))
    return good


def _read_switch(
    lines: _Lines, rows: Positions, equals: Positions, numbers: dict[str, IntArray]
) -> BoolArray:
    text, events = lines.text, lines.events
    state_at = equals[:, 3] + 1
    state = _STATE_OF_LETTER[text.at(state_at)]
    good = (state != _NO_STATE) & (numbers["prev_prio"] <= 0x7FFF) & (numbers["next_prio"] <= 0x7FFF)
    good &= starts_with(text.words(equals[:, 4]), "==> ")
    following = text.words(state_at + 1)
    plus = starts_with(following, "+ ")
    good &= plus | starts_with(following, " ==") | starts_with(following, "|")
    events["prev_state"][rows] = np.where(plus, np.uint8(PrevState.PREEMPTED), state)
    events["tid"][rows], events["other_tid"][rows] = numbers["prev_pid"], numbers["next_pid"]
    events["prio"][rows], events["other_prio"][rows] = numbers["prev_prio"], numbers["next_prio"]
    lines.put_name(rows, 0, numbers["prev_pid"], (equals[:, 0] + 1, equals[:, 1] - len(" prev_pid")))
    lines.put_name(rows, 1, numbers["next_pid"], (equals[:, 6] + 1, equals[:, 7] - len(" next_pid")))
    return np.asarray(good)
