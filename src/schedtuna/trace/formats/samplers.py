"""What vmstat, pidstat and dstat printed, as system and process samples.

The tables say which of their columns is which of ours (the names and units of `record.procfs` and
`record.processes`). Columns that we have no name for keep theirs, behind the tool's name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BufferedIOBase

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.tasks import clean_name

_KIB = 1024.0
LONGEST_LINE = 1 << 16

# Tool's column -> (our name, factor).
VMSTAT = {
    "r": ("run_queue_length", 1.0),
    "b": ("nr_io_blocked_threads", 1.0),
    "swpd": ("swap_used_bytes", _KIB),
    "free": ("memory_free_bytes", _KIB),
    "buff": ("buffers_bytes", _KIB),
    "cache": ("cache_bytes", _KIB),
    "inact": ("memory_inactive_bytes", _KIB),
    "active": ("memory_active_bytes", _KIB),
    "si": ("swap_in_bytes_per_s", _KIB),
    "so": ("swap_out_bytes_per_s", _KIB),
    "bi": ("io_read_bytes_per_s", _KIB),
    "bo": ("io_written_bytes_per_s", _KIB),
    "in": ("interrupts_per_s", 1.0),
    "cs": ("switches_per_s", 1.0),
    "us": ("user_percent", 1.0),
    "sy": ("system_percent", 1.0),
    "id": ("idle_percent", 1.0),
    "wa": ("iowait_percent", 1.0),
    "st": ("steal_percent", 1.0),
    "gu": ("guest_percent", 1.0),
}
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
    "VSZ": ("virtual_memory_bytes", _KIB),
    "RSS": ("memory_bytes", _KIB),
    "%MEM": ("memory_percent", 1.0),
    "kB_rd/s": ("read_bytes_per_s", _KIB),
    "kB_wr/s": ("written_bytes_per_s", _KIB),
    "kB_ccwr/s": ("cancelled_write_bytes_per_s", _KIB),
    "iodelay": ("iodelay_ticks", 1.0),
    "cswch/s": ("voluntary_switches_per_s", 1.0),
    "nvcswch/s": ("involuntary_switches_per_s", 1.0),
    "threads": ("nr_threads", 1.0),
    "fd-nr": ("nr_fds", 1.0),
    "prio": ("rt_priority", 1.0),
    "policy": ("policy", 1.0),
    "Command": ("comm", 1.0),
}
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

Value = float | str | None


def parse_vmstat(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the output of `vmstat INTERVAL`, best with `-t`: without, rows are taken to be 1 s apart.

    The first row, which covers the time since boot, is left out.

    Raises:
        TraceError: It is something else.
    """
    columns: list[str] = []
    nr_rows, timed = 0, False
    for number, line in _lines(stream):
        words = line.split()
        if not words or words[0].startswith(("procs", "--procs")):
            continue
        if words[:2] == ["r", "b"]:
            columns = [word for word in words if word in VMSTAT]
            continue
        if not columns:
            raise TraceError(f"line {number}: expected the header of vmstat, got {_shown(line)}")
        if len(words) < len(columns):
            raise TraceError(f"line {number}: expected {len(columns)} numbers, got {_shown(line)}")
        values = _row(VMSTAT, columns, words[: len(columns)], "vmstat", number)
        if "user_percent" in values and "system_percent" in values:
            values["cpu_percent"] = _number(values["user_percent"]) + _number(values["system_percent"])
        time = _date_ns(" ".join(words[len(columns) : len(columns) + 2]))
        timed |= time is not None
        if nr_rows:
            sink.write_samples(time if time is not None else nr_rows * 10**9, values)
        nr_rows += 1
    if nr_rows < 2:
        raise TraceError(
            "no rows of vmstat but the first, which covers the time since boot", hint="vmstat -t 1 > FILE"
        )
    sink.update_manifest({"clock": "realtime" if timed else "none"})


def parse_pidstat(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the output of `pidstat INTERVAL`, with any of its options, as `process` samples.

    Clock times are of the day that the first line names, and go on past midnight; the zone is taken
    for UTC.

    Raises:
        TraceError: It is something else.
    """
    columns: list[str] = []
    day_ns, before_ns, nr_rows = 0, -1, 0
    for number, line in _lines(stream):
        words = line.removeprefix("#").split()
        if not words or words[0] == "Average:":
            continue
        if words[0] == "Linux":
            day_ns = _banner_date_ns(words)
            continue
        time_words = 2 if len(words) > 1 and words[1] in {"AM", "PM"} else 1
        if words[0] == "Time" or "Command" in words:
            columns = words[time_words:]
            continue
        if not columns:
            raise TraceError(f"line {number}: expected the header of pidstat, got {_shown(line)}")
        fields = _split_last(line, len(columns) + time_words)
        if len(fields) != len(columns) + time_words:
            raise TraceError(f"line {number}: expected {len(columns)} columns, got {_shown(line)}")
        time = _clock_ns(" ".join(fields[:time_words]), number)
        if time < 86_400 * 10**9:  # a time of day
            time += day_ns
            while time < before_ns - 43_200 * 10**9:
                time, day_ns = time + 86_400 * 10**9, day_ns + 86_400 * 10**9
        before_ns = time
        values = _row(PIDSTAT, columns, fields[time_words:], "pidstat", number)
        sink.write_samples(time, values, kind="process")
        nr_rows += 1
    if not nr_rows:
        raise TraceError("no rows of pidstat", hint="pidstat -h -urdw 1 > FILE")
    sink.update_manifest({"clock": "realtime"})


def parse_dstat(stream: BufferedIOBase, sink: Sink) -> None:
    """Read what `dstat --output FILE` wrote (CSV), best with `-T`.

    Raises:
        TraceError: It is something else.
    """
    text = (
        line.decode("utf-8", "backslashreplace") for line in iter(lambda: stream.readline(LONGEST_LINE), b"")
    )
    groups: list[str] = []
    columns: list[str] = []
    nr_rows, timed = 0, False
    try:
        for number, row in enumerate(csv.reader(text), start=1):
            if not row or row[0].endswith(":") or "CSV output" in row[0]:
                groups, columns = ([], []) if row and "CSV output" in row[0] else (groups, columns)
            elif not groups:
                groups = _carry_on(row)
            elif not columns:
                columns = [f"{group}:{name}" for group, name in zip(groups, row, strict=False)]
            else:
                time = _dstat_time(columns, row)
                timed |= time is not None
                values = _dstat_row(columns, row, number)
                nr_rows += 1
                if nr_rows > 1:  # the first row covers the time since boot
                    sink.write_samples(time if time is not None else nr_rows * 10**9, values)
    except csv.Error as error:
        raise TraceError(f"this is no CSV: {error}") from error
    if nr_rows < 2:
        raise TraceError("no rows of dstat but the first", hint="dstat -T --output FILE 1")
    sink.update_manifest({"clock": "realtime" if timed else "none"})


def _lines(stream: BufferedIOBase) -> Iterator[tuple[int, str]]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise TraceError(f"line {number} is longer than {LONGEST_LINE} bytes")
        yield number, line.decode("utf-8", "backslashreplace").rstrip("\n")


def _row(
    names: dict[str, tuple[str, float]], columns: list[str], words: list[str], tool: str, line: int
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for column, word in zip(columns, words, strict=True):
        name, factor = names.get(column, (f"{tool}_{_identifier(column)}", 1.0))
        if name in {"comm", "user", "policy"}:
            values[name] = word
        elif word != "-":
            try:
                values[name] = float(word.replace(",", ".")) * factor
            except ValueError:
                raise TraceError(
                    f"line {line}: expected a number for {clean_name(column[:40])}, got {_shown(word)}"
                ) from None
    return values


def _split_last(line: str, nr_fields: int) -> list[str]:
    """Split at spaces, but leave the spaces in the last field."""
    return line.removeprefix("#").strip().split(None, nr_fields - 1)


def _carry_on(row: list[str]) -> list[str]:
    """Give empty cells of the header the group before them."""
    groups: list[str] = []
    for cell in row:
        groups.append(cell or (groups[-1] if groups else ""))
    return groups


def _dstat_row(columns: list[str], row: list[str], line: int) -> dict[str, Value]:
    pairs = [
        (column, cell)
        for column, cell in zip(columns, row, strict=False)
        if column not in {"epoch:epoch", "system:time", "time:time"}
    ]
    renamed = [_dstat_name(column) for column, _ in pairs]
    names = {name: DSTAT.get(column, (name, 1.0)) for name, (column, _) in zip(renamed, pairs, strict=True)}
    values = _row(names, renamed, [cell or "-" for _, cell in pairs], "dstat", line)
    if "idle_percent" in values and "iowait_percent" in values:
        values["cpu_percent"] = 100 - _number(values["idle_percent"]) - _number(values["iowait_percent"])
    return values


def _dstat_name(column: str) -> str:
    return DSTAT[column][0] if column in DSTAT else f"dstat_{_identifier(column)}"


def _dstat_time(columns: list[str], row: list[str]) -> int | None:
    for column, cell in zip(columns, row, strict=False):
        if column == "epoch:epoch":
            try:
                return int(float(cell) * 1e9)
            except (ValueError, OverflowError):
                raise TraceError(f"expected seconds since 1970, got {_shown(cell)}") from None
    return None


def _identifier(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60] or "column"


def _number(value: Value) -> float:
    return value if isinstance(value, float) else 0.0


def _shown(text: str) -> str:
    return repr(text[:60])


def _date_ns(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        return None


def _banner_date_ns(words: list[str]) -> int:
    """Return the day that sysstat's first line names: ISO, or month/day/year."""
    for word in words:
        for form in ("%Y-%m-%d", "%m/%d/%y", "%m/%d/%Y"):
            try:
                return int(datetime.strptime(word, form).replace(tzinfo=UTC).timestamp()) * 10**9
            except ValueError:
                continue
    return 0


def _clock_ns(text: str, line: int) -> int:
    """Return a time of day, or seconds since 1970, in nanoseconds."""
    for form in ("%H:%M:%S", "%I:%M:%S %p"):
        try:
            time = datetime.strptime(text, form).replace(tzinfo=UTC)
            return (time.hour * 3600 + time.minute * 60 + time.second) * 10**9
        except ValueError:
            continue
    if text.isdecimal() and len(text) < 12:
        return int(text) * 10**9
    raise TraceError(f"line {line}: expected a time, got {_shown(text)}")
