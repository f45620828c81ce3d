"""What sar, mpstat and `sadf -d` printed, as samples of the machine and of each CPU: which table is which?

A text has several tables, one after the other (a file of sar) or in turn (sar with an interval). What they
say of one moment becomes one sample. Tables of disks, networks and other things than CPUs are left out, and
that is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedIOBase
from typing import NamedTuple

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sampled import (
    KIB,
    Column,
    Notes,
    S,
    Times,
    Value,
    check_shares,
    lines,
    named,
    row,
    shown,
)
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.formats.sysstat import Calendar, is_average, split_time

# Column -> (our name, factor), of sar and of mpstat. Blocks of sar's -b are 512 bytes.
SAR = {
    "%user": ("user_percent", 1.0),
    "%usr": ("user_percent", 1.0),
    "%nice": ("nice_percent", 1.0),
    "%system": ("system_percent", 1.0),
    "%sys": ("system_percent", 1.0),
    "%iowait": ("iowait_percent", 1.0),
    "%irq": ("irq_percent", 1.0),
    "%soft": ("softirq_percent", 1.0),
    "%steal": ("steal_percent", 1.0),
    "%guest": ("guest_percent", 1.0),
    "%gnice": ("guest_nice_percent", 1.0),
    "%idle": ("idle_percent", 1.0),
    "intr/s": ("interrupts_per_s", 1.0),
    "proc/s": ("forks_per_s", 1.0),
    "cswch/s": ("switches_per_s", 1.0),
    "runq-sz": ("run_queue_length", 1.0),
    "plist-sz": ("nr_tasks", 1.0),
    "ldavg-1": ("load_1min", 1.0),
    "ldavg-5": ("load_5min", 1.0),
    "ldavg-15": ("load_15min", 1.0),
    "blocked": ("nr_io_blocked_threads", 1.0),
    "bread/s": ("io_read_bytes_per_s", 512.0),
    "bwrtn/s": ("io_written_bytes_per_s", 512.0),
    "kbmemfree": ("memory_free_bytes", KIB),
    "kbavail": ("memory_available_bytes", KIB),
    "kbmemused": ("memory_used_bytes", KIB),
    "%memused": ("memory_percent", 1.0),
    "kbbuffers": ("buffers_bytes", KIB),
    "kbcached": ("cache_bytes", KIB),
    "kbactive": ("memory_active_bytes", KIB),
    "kbinact": ("memory_inactive_bytes", KIB),
    "kbswpused": ("swap_used_bytes", KIB),
}
_OF_USERS = ("nice_percent", "guest_percent", "guest_nice_percent")  # `user_percent` has them, as everywhere
_NOT_USED = ("idle_percent", "iowait_percent", "steal_percent")
_SHARES = ("user_percent", "system_percent", "irq_percent", "softirq_percent", *_OF_USERS, *_NOT_USED)
_ALL = {"all", "-1"}  # sadf's number for all CPUs
_PLACES = ("CORE", "SOCK", "NODE")  # columns of mpstat -T, which are blank for all CPUs
_IS_VALUE = re.compile(r"-?[0-9][0-9.,]*[BkKMGTPE%]?|-")
_HINT = "LC_ALL=C S_TIME_FORMAT=ISO sar -u ALL -q -w 1 > FILE (mpstat -P ALL 1 likewise)"


@dataclass
class _Table:
    """A header, and what was printed below it.

    Attributes:
        item: What a row is of (`CPU`, `DEV`); "": of the machine.
        columns: Without the item.
        calendar: When: each table of a file begins at the first moment again.
        nr_places: How many columns say where a CPU is (mpstat -T); of all CPUs they are blank.
        header_time: The time above the rows.
    """

    item: str
    columns: list[Column]
    calendar: Calendar
    nr_places: int = 0
    header_time: str = ""


@dataclass
class _Samples:
    """What the tables say of each moment."""

    notes: Notes
    system: dict[int, dict[str, Value]] = field(default_factory=dict)
    cpus: dict[tuple[int, float], dict[str, Value]] = field(default_factory=dict)
    left_out: dict[str, None] = field(default_factory=dict)

    def take(self, time_ns: int, table: _Table, item: str, values: dict[str, Value]) -> None:
        """Take a row; what is no CPU's nor the machine's is left out."""
        if table.item and table.item != "CPU":
            self.left_out[table.item] = None
        elif not table.item or item in _ALL:
            self.system.setdefault(time_ns, {}).update(values)
        else:
            self.cpus.setdefault((time_ns, float(item)), {"cpu": float(item)}).update(values)

    def write(self, sink: Sink) -> None:
        """Write them in time order.

        Raises:
            TraceError: There are none.
        """
        if not self.system and not self.cpus:
            raise TraceError("no rows of sar or mpstat but averages, and tables of other things", hint=_HINT)
        for time_ns in sorted(self.system):
            sink.write_samples(time_ns, self.system[time_ns])
        for time_ns, cpu in sorted(self.cpus):
            sink.write_samples(time_ns, self.cpus[time_ns, cpu], kind="cpu")
        if self.left_out:
            self.notes.add(f"left out: tables of {', '.join(self.left_out)}")
        self.notes.write(sink, Times.COLUMN)


def parse_sar(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the output of `sar` or `mpstat`, with an interval or of a file, as `system` and `cpu` samples.

    Averages since boot, which mpstat prints without an interval, are left out. The zone is taken for UTC.

    Raises:
        TraceError: It is something else.
    """
    notes = Notes()
    samples = _Samples(notes)
    tables: dict[tuple[str, ...], _Table] = {}
    table: _Table | None = None
    banner = ""
    for number, line in lines(stream):
        if not line.strip() or is_average(line):
            continue
        if line.startswith("Linux"):
            banner, table, tables = line, None, {}
            continue
        time, rest = split_time(line)
        words = rest.split()
        if "RESTART" in words or words[:1] == ["COM"]:
            notes.add(f"line {number}: {rest.strip()[:60]}")
        elif not any(_IS_VALUE.fullmatch(word) for word in words):
            key = tuple(words)
            if key not in tables:
                tables[key] = _table(words, Calendar(notes, _HINT, banner))
            table = tables[key]
            table.header_time = time
            table.calendar.take_header(time)
        elif table is None:
            raise TraceError(f"line {number}: expected the header of a table, got {shown(line)}", hint=_HINT)
        else:
            item = words[0] if table.item else ""
            time_ns = table.calendar.time_ns(time or line.split()[0], "".join(words), number)
            if time == table.header_time:
                notes.add("left out: averages since boot (mpstat without an interval)")
            else:
                samples.take(time_ns, table, item, _values(table, item, words, number, notes))
    samples.write(sink)


def parse_sadf(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the output of `sadf -d`, with `-h` or without, as `system` and `cpu` samples.

    Raises:
        TraceError: It is something else.
    """
    notes = Notes()
    samples = _Samples(notes)
    header: _SadfHeader | None = None
    for number, cells in _cells(stream):
        if cells[0] == "# hostname":
            header = _sadf_header(cells[3:], number, notes)
        elif header is None or len(cells) < 4:
            raise TraceError(f"line {number}: expected sadf -d's header, got {shown(cells[0])}", hint=_HINT)
        elif cells[3].startswith("LINUX-RESTART") or cells[1] == "-1":
            notes.add(f"line {number}: {cells[3][:60]}")
        else:
            time_ns = _sadf_time_ns(cells[2], number, notes)
            for table, words in header.split(cells[3:], number):
                item = words[0] if table.item else ""
                samples.take(time_ns, table, item, _values(table, item, words, number, notes))
    samples.write(sink)


class _SadfHeader(NamedTuple):
    """A header of sadf -d: with -h, the columns of each CPU may be followed (`[...]`) by those of the next.

    Attributes:
        table: What a row has, or what comes again in it.
        others: What stands before and behind that; None: nothing comes again.
        nr_before: How much of it stands before.
    """

    table: _Table
    others: _Table | None = None
    nr_before: int = 0

    def split(self, words: list[str], line: int) -> Iterator[tuple[_Table, list[str]]]:
        """Yield the parts of a row, each with its table."""
        if self.others is None:
            yield self.table, words
            return
        size = len(self.table.columns) + 1
        end = len(words) - len(self.others.columns) + self.nr_before
        if end <= self.nr_before or (end - self.nr_before) % size:
            raise TraceError(
                f"line {line}: expected {size} values per {self.table.item}, got {shown(';'.join(words))}",
                hint="run sadf -d without -h",
            )
        for at in range(self.nr_before, end, size):
            yield self.table, words[at : at + size]
        if self.others.columns:
            yield self.others, [*words[: self.nr_before], *words[end:]]


def _sadf_header(words: list[str], line: int, notes: Notes) -> _SadfHeader:
    plain = [word.removesuffix("[...]") for word in words]
    ends = [at for at, word in enumerate(words) if word.endswith("[...]")]
    calendar = Calendar(notes, _HINT)
    begin = next((at for at, word in enumerate(plain) if word.isupper()), 0)
    if not ends:
        return _SadfHeader(_table(plain, calendar))
    if len(ends) > 1:
        raise TraceError(
            f"line {line}: columns of several things come again in one row", hint="run sadf -d without -h"
        )
    end = ends[0] + 1
    others = [*plain[:begin], *plain[end:]]
    return _SadfHeader(
        _table(plain[begin:end], calendar), _Table("", named(SAR, others, "sar"), calendar), begin
    )


def _cells(stream: BufferedIOBase) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines(stream):
        if line.strip():
            yield number, [cell.strip() for cell in line.split(";")]


def _sadf_time_ns(text: str, line: int, notes: Notes) -> int:
    if re.fullmatch("[0-9]{9,11}", text):  # sadf -U
        return int(text) * S
    day, _, zone = text.partition(" ")
    clock, _, zone = zone.partition(" ")
    if zone != "UTC":
        notes.add("times are of the machine's zone, and taken for UTC; record without sadf -t or -T")
    try:
        time = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise TraceError(f"line {line}: expected a time, got {shown(text)}", hint=_HINT) from error
    return int(time.timestamp()) * S


def _table(words: list[str], calendar: Calendar) -> _Table:
    """Return the table of a header: an item's name is in capitals: the first, or of long names the last."""
    item = next((word for word in (words[0], words[-1]) if word.isupper()), "")
    values = [word for word in words if word != item and not (item == "CPU" and word in _PLACES)]
    nr_places = len(words) - len(values) - 1 if item else 0
    return _Table(item, named(SAR, values, "sar"), calendar, nr_places)


def _values(table: _Table, item: str, words: list[str], line: int, notes: Notes) -> dict[str, Value]:
    """Return the values of a row.

    Raises:
        TraceError: They can't be what the header says.
    """
    if table.item not in {"", "CPU"}:
        return {}
    words = words[1:] if table.item else words
    nr_columns = len(table.columns)
    if len(words) == nr_columns + table.nr_places:
        words = words[table.nr_places :]
    if len(words) != nr_columns or (table.item and item not in _ALL and not item.isdecimal()):
        got = shown(" ".join([item, *words]).strip())
        raise TraceError(f"line {line}: expected {nr_columns} values, got {got}", hint=_HINT)
    values = row(table.columns, words, line, _HINT, notes)
    if "idle_percent" in values and any(values.get(name) for name in _SHARES):  # of an offline CPU all are 0
        total = check_shares(values, _SHARES, line, _HINT)
        values["cpu_percent"] = max(0.0, total - _sum(values, _NOT_USED))
        values["user_percent"] = _sum(values, ("user_percent", *_OF_USERS))
    return values


def _sum(values: dict[str, Value], names: tuple[str, ...]) -> float:
    return sum(value for name in names if isinstance(value := values.get(name), float))
