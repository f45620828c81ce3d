"""Between which events are those that were lost, or can't be read?

A reader says after how many events of a part something is missing; `Holes` gives a sink the time from the
CPU's event before to its next. What is missing one after the other on a CPU is one hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.schema import EventArray, IntArray

_NR_CPUS_LIMIT = 1 << 16
_ANY = -1


@dataclass(frozen=True)
class Missing:
    """Something that is missing.

    Attributes:
        index: After how many events of the part.
        count: How many events; None: nobody knows.
        cpu: On which CPU; -1: on any.
        time_ns: When, if that is known.
        is_unread: It is there, and can't be read.
    """

    index: int
    count: int | None = 1
    cpu: int = _ANY
    time_ns: int | None = None
    is_unread: bool = False


class Holes:
    """Follows the events of each CPU, part by part."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._last_ns = np.zeros(_NR_CPUS_LIMIT, np.uint64)  # 0: none yet
        self._latest_ns = 0
        self._open: dict[tuple[int, bool], _Hole] = {}  # by CPU, and whether it is unread

    def take(self, events: EventArray, missing: Sequence[Missing]) -> None:
        """Take the next events, and what is missing between them."""
        time = events["timestamp_ns"]
        if missing or self._open:
            self._place(_Places(events), time.astype(np.int64), missing)
        if len(events):
            self._last_ns[events["cpu"]] = time  # the last of each CPU stays
            self._latest_ns = int(time[-1])

    def finish(self) -> None:
        """Close what is open: no event of the CPU follows."""
        for (cpu, is_unread), hole in self._open.items():
            self._note(cpu, hole, None, is_unread=is_unread)
        self._open.clear()

    def _place(self, places: _Places, time: IntArray, missing: Sequence[Missing]) -> None:
        for cpu, is_unread in list(self._open):
            following = places.next_of(cpu, 0)
            if following is not None:
                hole = self._open.pop((cpu, is_unread))
                self._note(cpu, hole, int(time[following]), is_unread=is_unread)
        holes: dict[tuple[int, bool, int], _Hole] = {}
        for one in missing:
            following = places.next_of(one.cpu, one.index)
            first_ns = self._before(one, places, time) if one.time_ns is None else one.time_ns
            if following is None:
                self._open.setdefault((one.cpu, one.is_unread), _Hole(0, first_ns)).add(one.count)
            else:
                place = (one.cpu, one.is_unread, following)
                holes.setdefault(place, _Hole(0, first_ns)).add(one.count)
        for (cpu, is_unread, following), hole in holes.items():
            self._note(cpu, hole, int(time[following]), is_unread=is_unread)

    def _before(self, one: Missing, places: _Places, time: IntArray) -> int:
        before = places.last_of(one.cpu, one.index)
        if before is not None:
            return int(time[before])
        return self._latest_ns if one.cpu == _ANY else int(self._last_ns[one.cpu])

    def _note(self, cpu: int, hole: _Hole, last_ns: int | None, *, is_unread: bool) -> None:
        self._sink.note_lost(
            hole.count, cpu=cpu, first_ns=hole.first_ns, last_ns=last_ns, is_unread=is_unread
        )


@dataclass
class _Hole:
    count: int | None
    first_ns: int

    def add(self, count: int | None) -> None:
        self.count = None if count is None or self.count is None else self.count + count


class _Places:
    """Where the events of each CPU are in a part."""

    def __init__(self, events: EventArray) -> None:
        self._size = len(events)
        self._order = np.argsort(events["cpu"], kind="stable")
        self._cpus = events["cpu"][self._order]

    def next_of(self, cpu: int, index: int) -> int | None:
        """Return the first event of a CPU (-1: of any) that is not before an index."""
        return self._near(cpu, index, 0)

    def last_of(self, cpu: int, index: int) -> int | None:
        """Return the last event of a CPU (-1: of any) that is before an index."""
        return self._near(cpu, index, -1)

    def _near(self, cpu: int, index: int, step: int) -> int | None:
        if cpu == _ANY:
            return index + step if 0 <= index + step < self._size else None
        begin, end = np.searchsorted(self._cpus, [cpu, cpu + 1])
        of_cpu = self._order[begin:end]
        at = int(np.searchsorted(of_cpu, index)) + step
        return int(of_cpu[at]) if 0 <= at < len(of_cpu) else None
