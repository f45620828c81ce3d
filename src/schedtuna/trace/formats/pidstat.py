"""What pidstat printed, as samples of processes: which column is which?"""

from __future__ import annotations

from io import BufferedIOBase

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sampled import KIB, Column, Notes, Times, Value, lines, named, row, shown
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.formats.sysstat import Calendar, is_average, split_time

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
    "StkSize": ("stack_reserved_bytes", KIB),
    "StkRef": ("stack_used_bytes", KIB),
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
_IDS = ("UID", "USER", "PID", "TGID")  # one of them is the first column, whatever the version


def parse_pidstat(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the output of `pidstat INTERVAL`, with any of its options, as `process` samples.

    Averages since boot, which pidstat prints without an interval, are left out. The zone is taken for UTC.

    Raises:
        TraceError: It is something else.
    """
    notes = Notes()
    calendar = Calendar(notes, _HINT)
    columns: list[Column] = []
    header_time, times, nr_boot = "", set[int](), 0
    for number, line in lines(stream):
        text = line.removeprefix("#")
        words = text.split()
        if not words or is_average(text):
            continue
        if words[0] == "Linux":
            calendar = Calendar(notes, _HINT, line)
            columns = []
            continue
        if words[-1] == "Command" and {"PID", "TGID"} & {*words}:
            first = min(words.index(name) for name in _IDS if name in words)
            columns = named(PIDSTAT, words[first:], "pidstat")
            _tell_caveats(words, notes)
            header_time = split_time(" ".join(words))[0]
            calendar.take_header(header_time)
            continue
        if not columns:
            raise TraceError(f"line {number}: expected the header of pidstat, got {shown(line)}", hint=_HINT)
        time, rest = split_time(text)
        if not time and times:
            notes.add("lines without a time are taken for parts of command lines (pidstat -l)")
            continue
        fields = rest.split(None, len(columns) - 1)
        time_ns = calendar.time_ns(time or words[0], "".join(fields[:-1]), number)
        if len(fields) != len(columns):
            raise TraceError(f"line {number}: expected {len(columns)} columns, got {shown(line)}", hint=_HINT)
        values = row(columns, [field.strip() for field in fields], number, _HINT, notes)
        if time == header_time:  # the header has the time of the report before; of the first, there is none
            nr_boot += 1
            continue
        sink.write_samples(time_ns, _of_thread(values), kind="process")
        times.add(time_ns)
    _finish(sink, notes, header_time, len(times), nr_boot)


def _of_thread(values: dict[str, Value]) -> dict[str, Value]:
    """A thread's name without the drawing that pidstat -t puts before it."""
    comm = values.get("comm")
    if isinstance(comm, str) and "tid" in values:
        values["comm"] = comm.removeprefix("|__")
    return values


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
