"""What dstat, dool and pcp-dstat wrote with `--output`, as system samples: what is it, and when was it?

The CSV has a line that names the command, which tells the interval, and when it began; with -T or -t it
has a column of times, too.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BufferedIOBase

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sampled import (
    KIB,
    LONGEST_LINE,
    Column,
    Notes,
    S,
    Times,
    Value,
    check_shares,
    named,
    row,
    shown,
)
from schedtuna.trace.formats.sink import Sink

# Group of columns: column -> (our name, factor).
DSTAT = {
    "total cpu usage:usr": ("user_percent", 1.0),
    "total cpu usage:sys": ("system_percent", 1.0),
    "total cpu usage:idl": ("idle_percent", 1.0),
    "total cpu usage:wai": ("iowait_percent", 1.0),
    "total cpu usage:hiq": ("irq_percent", 1.0),
    "total cpu usage:siq": ("softirq_percent", 1.0),
    "total cpu usage:stl": ("steal_percent", 1.0),
    "dsk/total:read": ("io_read_bytes_per_s", 1.0),
    "dsk/total:writ": ("io_written_bytes_per_s", 1.0),
    "paging:in": ("swap_in_bytes_per_s", 1.0),
    "paging:out": ("swap_out_bytes_per_s", 1.0),
    "system:int": ("interrupts_per_s", 1.0),
    "system:csw": ("switches_per_s", 1.0),
    "memory usage:used": ("memory_used_bytes", 1.0),
    "memory usage:free": ("memory_free_bytes", 1.0),
    "memory usage:buff": ("buffers_bytes", 1.0),
    "memory usage:cach": ("cache_bytes", 1.0),
    "swap:used": ("swap_used_bytes", 1.0),
    "procs:run": ("run_queue_length", 1.0),
    "procs:blk": ("nr_io_blocked_threads", 1.0),
    "procs:new": ("forks_per_s", 1.0),
    "load avg:1m": ("load_1min", 1.0),
}
# The same of pcp-dstat, which writes disks and memory in KiB, as the metrics of PCP are.
PCP_DSTAT = {
    key.replace("total cpu usage:", "total usage:"): value
    for key, value in DSTAT.items()
    if not key.startswith(("paging:", "swap:"))
} | {
    "dsk/total:read": ("io_read_bytes_per_s", KIB),
    "dsk/total:writ": ("io_written_bytes_per_s", KIB),
    "memory usage:used": ("memory_used_bytes", KIB),
    "memory usage:free": ("memory_free_bytes", KIB),
    "memory usage:buf": ("buffers_bytes", KIB),
    "memory usage:cach": ("cache_bytes", KIB),
    "total:used": ("swap_used_bytes", KIB),
}
_SHARES = tuple(name for key, (name, _) in DSTAT.items() if key.startswith("total cpu usage:"))
_EPOCH, _CLOCK = "epoch:epoch", "system:time"
_CLOCKS = ("%d-%m %H:%M:%S", "%b-%d %H:%M:%S")  # dstat's, dool's: without the year
_TAKES_A_VALUE = re.compile(r"-[a-zA-Z]*[oCDIMNS]|--(?:output|pidfile|diskset|netset)")
_HINT = "LC_ALL=C dool -T --output FILE 1 (dstat likewise)"


class _Run:
    """One run of the tool: its header, its columns, and when its rows were."""

    def __init__(self, notes: Notes, *, is_pcp: bool = False) -> None:
        self._notes = notes
        self.is_pcp = is_pcp
        self.groups: list[str] = []
        self.words: list[str] = []
        self.columns: list[Column] = []
        self.interval_s = 0  # 0: not known
        self._date: datetime | None = None
        self._zone = ""
        self._before: datetime | None = None
        self.nr_rows = 0

    def describe(self, cells: list[str]) -> None:
        """Take a line of the head: pairs of a name and a value."""
        pairs = dict(itertools.pairwise(cells))
        if "Cmdline:" in pairs:
            self.interval_s = interval_of(pairs["Cmdline:"])
        day, _, self._zone = pairs.get("Date:", "").rpartition(" ")
        try:
            self._date = datetime.strptime(day, "%d %b %Y %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            self._date = None

    def take_header(self, cells: list[str]) -> None:
        """Take one of the two lines above the rows: the groups, then the columns' words."""
        if not self.groups:
            self.groups, filled = cells, ""
            self.words = [filled := cell or filled for cell in cells]
            return
        if len(cells) != len(self.groups):
            raise TraceError(f"the header has {len(self.groups)} groups and {len(cells)} columns", hint=_HINT)
        self.words = [
            cell if cell.startswith(f"{group}:") else f"{group}:{cell}"
            for group, cell in zip(self.words, cells, strict=True)
        ]
        self.columns = named(PCP_DSTAT if self.is_pcp else DSTAT, self.words, "dstat")

    def time_ns(self, cells: list[str], line: int) -> tuple[int, Times]:
        """Return when a row was, and where that is known from."""
        of = dict(zip(self.words, cells, strict=True))
        if _EPOCH in of:
            if not re.fullmatch(r"[0-9]{9,11}(\.[0-9]{1,9})?", of[_EPOCH]):
                raise TraceError(
                    f"line {line}: expected seconds since 1970, got {shown(of[_EPOCH])}", hint=_HINT
                )
            seconds, _, rest = of[_EPOCH].partition(".")
            return int(seconds) * S + int(rest.ljust(9, "0")), Times.COLUMN
        if _CLOCK in of:
            return self._clock_ns(of[_CLOCK], line), Times.COLUMN
        if self.interval_s:
            start_ns = int(self._date.timestamp()) * S if self._date else 0
            return start_ns + (self.nr_rows - 1) * self.interval_s * S, Times.INTERVAL
        return self.nr_rows * S, Times.MADE_UP

    def _clock_ns(self, text: str, line: int) -> int:
        """Day and month are in the column, the year in the head."""
        start = self._before or self._date
        if start is None:
            raise TraceError("times are without a year, and the head has no date", hint=_HINT)
        for form in _CLOCKS:
            try:
                time = datetime.strptime(f"{start.year} {text}", f"%Y {form}").replace(tzinfo=UTC)
            except ValueError:
                continue
            if (start - time).days > 180:  # a new year began
                time = time.replace(year=time.year + 1)
            self._before = time
            if self._zone not in {"UTC", "GMT"}:
                self._notes.add(
                    f"times are local (zone {self._zone[:12] or 'not given'}), taken for UTC; record with -T"
                )
            return int(time.timestamp()) * S
        raise TraceError(f"line {line}: expected a day and a time, got {shown(text)}", hint=_HINT)

    def values(self, cells: list[str], line: int) -> dict[str, Value]:
        """Return a row's values without its times."""
        pairs = [
            (column, cell or "-")
            for column, cell in zip(self.columns, cells, strict=True)
            if column.word not in {_EPOCH, _CLOCK}
        ]
        values = row([column for column, _ in pairs], [cell for _, cell in pairs], line, _HINT)
        idle, iowait = values.get("idle_percent"), values.get("iowait_percent")
        if isinstance(idle, float):
            check_shares(values, _SHARES, line, _HINT)
            if isinstance(iowait, float):
                values["cpu_percent"] = 100 - idle - iowait
        return values


def parse_dstat(stream: BufferedIOBase, sink: Sink) -> None:
    """Read what dstat, dool or pcp-dstat wrote with `--output FILE` (CSV), best with `-T`.

    The first row of each run, which covers the time since boot, is left out.

    Raises:
        TraceError: It is something else.
    """
    notes = Notes()
    run = _Run(notes)
    nr_runs, before_ns, kinds = 0, 0, set[Times]()
    for number, cells in _table(stream):
        if "csv output" in cells[0].lower():
            run, nr_runs = _Run(notes, is_pcp=cells[0].startswith("pcp")), nr_runs + 1
        elif cells[0].endswith(":"):
            run.describe(cells)
        elif not run.columns or cells == run.groups:
            if run.columns:  # the header again
                run.groups, run.columns = [], []
            run.take_header(cells)
        elif run.is_pcp and not run.nr_rows and not cells[0]:
            run.nr_rows = 1  # only what needs no second look is there, and a cell less for each other group
        elif len(cells) != len(run.columns):
            raise TraceError(
                f"line {number}: expected {len(run.columns)} cells, got {len(cells)}",
                hint=_HINT,
            )
        else:
            run.nr_rows += 1
            time_ns, times = run.time_ns(cells, number)
            values = run.values(cells, number)
            if run.nr_rows == 1:
                continue
            if time_ns <= before_ns and times is Times.MADE_UP:
                time_ns = before_ns + S
            elif time_ns < before_ns:
                notes.add(f"line {number}: the clock went back")
            before_ns = time_ns
            kinds.add(times)
            sink.write_samples(time_ns, values)
    if not kinds:
        raise TraceError("no rows of dstat but the first, which covers the time since boot", hint=_HINT)
    what = "the first row" if nr_runs < 2 else f"the first row of each of {nr_runs} runs"
    notes.add(
        f"left out: {what}, which may be a sample (dstat's covers the time since boot, pcp-dstat's does not)"
        if run.is_pcp
        else f"left out as averages since boot: {what}"
    )
    if run.is_pcp:
        notes.add("disks and memory were taken for KiB, which pcp-dstat writes where dstat has bytes")
    notes.write(sink, max(kinds, key=list(Times).index), remedy="record with -T")


def interval_of(command: str) -> int:
    """Return the seconds between two rows, by the command that is in the head; 0 if that can't be known."""
    rest = command.split()[1:]
    found: list[str] = []
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            found.append(word)
        elif _TAKES_A_VALUE.fullmatch(word):
            del rest[:1]
    if not found:
        return 1  # both tools' default
    return int(found[0]) if len(found) <= 2 and re.fullmatch("[1-9][0-9]{0,6}", found[0]) else 0


def _table(stream: BufferedIOBase) -> Iterator[tuple[int, list[str]]]:
    text = (
        line.decode("utf-8", "backslashreplace") for line in iter(lambda: stream.readline(LONGEST_LINE), b"")
    )
    reader = csv.reader(text)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise TraceError(f"this is not CSV: {error}") from error
