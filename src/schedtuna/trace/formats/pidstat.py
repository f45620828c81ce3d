"""What pidstat printed, as samples of processes: which column is which, and which day is it?

A line has the time of day alone; the first line of a run has the date as the locale writes it. Where
that leaves day and month open, a rule decides and the trace says so.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from io import BufferedIOBase

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sampled import DAY_NS, KIB, Column, Notes, S, Times, lines, named, row, shown
from schedtuna.trace.formats.sink import Sink

# pidstat's column -> (our name, factor).
PIDSTAT = {
    "UID": ("uid", 1.0),
    "USER": ("user", 1.0),
    "PID": ("pid", 1.0),
    "TGID": ("pid", 1.0),
    "TID": ("tid", 1.0),
    "%usr": ("user_percent", 1.0),
    "%system": ("system_percent", 1.0),
    "%guest": ("guest_percent", 1.0),
    "%wait": ("runqueue_wait_percent", 1.0),
    "%CPU": ("cpu_percent", 1.0),
    "CPU": ("cpu", 1.0),
    "minflt/s": ("minor_faults_per_s", 1.0),
    "majflt/s": ("major_faults_per_s", 1.0),
    "VSZ": ("virtual_memory_bytes", KIB),
    "RSS": ("memory_bytes", KIB),
    "%MEM": ("memory_percent", 1.0),
    "kB_rd/s": ("read_bytes_per_s", KIB),
    "kB_wr/s": ("written_bytes_per_s", KIB),
    "kB_ccwr/s": ("cancelled_write_bytes_per_s", KIB),
    "iodelay": ("iodelay_ticks", 1.0),
    "cswch/s": ("voluntary_switches_per_s", 1.0),
    "nvcswch/s": ("involuntary_switches_per_s", 1.0),
    "threads": ("nr_threads", 1.0),
    "fd-nr": ("nr_fds", 1.0),
    "prio": ("rt_priority", 1.0),
    "policy": ("policy", 1.0),
    "Command": ("comm", 1.0),
}
# What a number is not, whatever its name suggests: told with every recording that has the column.
_CAVEATS = {
    "%wait": "runqueue_wait_percent (%wait) counts waiting for a CPU and being held back by a quota as one;"
    " `schedtuna record` tells them apart",
}
_CAVEATS_OF_PROCESSES = {
    "cswch/s": "voluntary_switches_per_s and involuntary_switches_per_s (cswch/s, nvcswch/s) of a process are"
    " of its main thread alone; pidstat -t has all threads",
}
_HINT = "LC_ALL=C S_TIME_FORMAT=ISO pidstat -h -urdw 1 > FILE"
_YEAR_FIRST = re.compile(r"(?<![0-9])([0-9]{4})[-./年년]\s*([0-9]{1,2})[-./月월]\s*([0-9]{1,2})(?![0-9])")
_YEAR_LAST = re.compile(r"(?<![0-9])([0-9]{1,2})([-./])\s?([0-9]{1,2})\2\s?([0-9]{4}|[0-9]{2})(?![0-9])")
_EPOCH = re.compile(r"[0-9]{9,11}")
_CLOCKS = ("%H:%M:%S", "%I:%M:%S %p")


class _Calendar:
    """Turns times of day into times: the day is that of the run's first line, and goes on past midnight."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._banner = ""
        self._day_ns: int | None = None
        self._before_ns = -1
        self._began_ns = -1  # the time of day of the first header, if it has one

    def begin(self, banner: str) -> None:
        """Take the first line of a run."""
        self._banner, self._day_ns, self._before_ns, self._began_ns = banner, None, -1, -1

    def take_header(self, time: str) -> None:
        """Take the time above a report: of the first, when the run began."""
        if self._day_ns is None:
            self._began_ns = -1 if (began_ns := clock_ns(time)) is None else began_ns

    def time_ns(self, text: str, values: str, line: int) -> int:
        """Return the time of a row.

        Args:
            text: Its time of day, or seconds since 1970.
            values: The rest of it, which shows whether the locale has decimal commas.
            line: For errors.

        Raises:
            TraceError: It is not a time, or its day is not known.
        """
        if _EPOCH.fullmatch(text):
            return int(text) * S
        of_day = clock_ns(text)
        if of_day is None:
            raise TraceError(f"line {line}: expected a time, got {shown(text)}", hint=_HINT)
        if self._day_ns is None:
            self._day_ns = self._date_ns("," in values)
            if self._began_ns >= 0:
                self._before_ns = self._day_ns + self._began_ns
            self._notes.add("times are of the machine's zone, and taken for UTC; record with TZ=UTC")
        time = self._day_ns + of_day
        if time < self._before_ns - DAY_NS // 2:
            self._day_ns += DAY_NS
            time += DAY_NS
        elif time < self._before_ns:
            self._notes.add(f"line {line}: the clock went back, or more than 12 hours passed")
        self._before_ns = time
        return time

    def _date_ns(self, has_commas: bool) -> int:
        host, separator, rest = self._banner.partition(")")
        day = _date(rest if separator else host, has_commas, self._notes)
        if day is None:
            raise TraceError(
                "the first line does not name the day in a known way:"
                f" {shown(self._banner) if self._banner else 'it is missing'}",
                hint=_HINT,
            )
        return int(day.timestamp()) * S


def parse_pidstat(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the output of `pidstat INTERVAL`, with any of its options, as `process` samples.

    Averages since boot, which pidstat prints without an interval, are left out. The zone is taken for UTC.

    Raises:
        TraceError: It is something else.
    """
    notes = Notes()
    calendar = _Calendar(notes)
    columns: list[Column] = []
    header_time, times, nr_boot = "", set[int](), 0
    for number, line in lines(stream):
        words = line.removeprefix("#").split()
        if not words or words[0] == "Average:":
            continue
        if words[0] == "Linux":
            calendar.begin(line)
            columns = []
            continue
        time_words = 2 if len(words) > 1 and words[1] in {"AM", "PM"} else 1
        if words[0] == "Time" or words[-1] == "Command":
            columns = named(PIDSTAT, words[time_words:], "pidstat")
            _tell_caveats(words, notes)
            header_time = "" if words[0] == "Time" else " ".join(words[:time_words])
            calendar.take_header(header_time)
            continue
        if not columns:
            raise TraceError(f"line {number}: expected the header of pidstat, got {shown(line)}", hint=_HINT)
        fields = line.removeprefix("#").strip().split(None, len(columns) + time_words - 1)
        if len(fields) != len(columns) + time_words:
            raise TraceError(f"line {number}: expected {len(columns)} columns, got {shown(line)}", hint=_HINT)
        time, rest = " ".join(fields[:time_words]), fields[time_words:]
        time_ns = calendar.time_ns(time, "".join(rest[:-1]), number)
        values = row(columns, rest, number, _HINT)
        if time == header_time:  # the header has the time of the report before; of the first, there is none
            nr_boot += 1
            continue
        sink.write_samples(time_ns, values, kind="process")
        times.add(time_ns)
    _finish(sink, notes, header_time, len(times), nr_boot)


def _tell_caveats(header: list[str], notes: Notes) -> None:
    told = _CAVEATS if "TID" in header else _CAVEATS | _CAVEATS_OF_PROCESSES
    for column, caveat in told.items():
        if column in header:
            notes.add(caveat)


def _finish(sink: Sink, notes: Notes, header_time: str, nr_times: int, nr_boot: int) -> None:
    if not nr_times:
        raise TraceError(
            "no rows of pidstat" + (" but averages since boot" if nr_boot else ""),
            hint=f"name an interval: {_HINT}",
        )
    if nr_boot:
        notes.add(f"left out: {nr_boot:,} rows of averages since boot (pidstat without an interval)")
    if nr_times == 1 and not header_time:
        notes.add("one report alone: if pidstat ran without an interval, it is the average since boot")
    notes.write(sink, Times.COLUMN)


def _date(text: str, has_commas: bool, notes: Notes) -> datetime | None:
    """Return the day that a locale wrote; None if that is not understood.

    Day and month of 03/05/2024 are told apart by what can be known: one above 12 is the day, and a locale
    with decimal commas is neither C nor en_US, the only ones with the month first.
    """
    found = _YEAR_FIRST.search(text)
    if found:
        return _day(int(found[1]), int(found[2]), int(found[3]))
    found = _YEAR_LAST.search(text)
    if not found:
        return None
    first, second, year = int(found[1]), int(found[3]), int(found[4]) % 100 + 2000
    if len(found[4]) == 4:
        year = int(found[4])
    day_first = first > 12 or (second <= 12 and (found[2] != "/" or has_commas))
    if max(first, second) <= 12 and first != second and found[2] == "/":
        order = "day" if day_first else "month"
        notes.add(
            f"the date {found[0]} is read with the {order} first, which it does not say itself;"
            " record with S_TIME_FORMAT=ISO"
        )
    return _day(year, second, first) if day_first else _day(year, first, second)


def _day(year: int, month: int, day: int) -> datetime | None:
    try:
        return datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        return None


def clock_ns(text: str) -> int | None:
    """Return a time of day in nanoseconds; None if it is not one."""
    for form in _CLOCKS:
        try:
            time = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return (time.hour * 3600 + time.minute * 60 + time.second) * S
    return None
