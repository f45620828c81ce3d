"""Which files of other programs can be read as traces?

A row of `READERS` per format. A reader takes a file and gives events, tasks and samples to a sink,
which is a `TraceWriter` or a `Collector`. Any bytes give a trace or a TraceError.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path

from schedtuna.errors import TraceError, UsageError, nearest
from schedtuna.trace.formats import (
    dstat,
    json_lines,
    pidstat,
    sar,
    sched_stats,
    sched_text,
    simpleperf,
    timehist,
    tools,
    vmstat,
)
from schedtuna.trace.formats.sched_head import TYPES, what_lacks
from schedtuna.trace.formats.sink import Collector, Sink
from schedtuna.trace.formats.textfile import HEAD_BYTES, blocks, open_text
from schedtuna.trace.trace import Trace

_EVENTS = b"|".join(TYPES)
# The time above a report, in any language; USER with -U, no UID in old versions.
_PIDSTAT = (
    rb"^(?:# Time|[^A-Za-z\n]{4,40}(?:[AP]M)?)[ \t]+(?:(?:UID|USER)[ \t]+)?(?:PID|TGID)[ \t]"
    rb".*\bCommand[ \t\r]*$"
)
_NAMELESS = re.compile(rb"\bprev_prio=\S{1,20} prev_state=\S{1,20} ==> next_comm=")


@dataclass(frozen=True)
class Reader:
    """How to read a format, and how to know it.

    Attributes:
        summary: What it is, for people.
        seen: Which versions' own output it was tried with; docs/reading.md has both.
        read: Reads a file.
        is_it: Whether a file that begins with these bytes is one.
    """

    summary: str
    seen: str
    read: Callable[[Path, Sink], None]
    is_it: Callable[[bytes], bool]


def _text(parse: Callable[[BufferedIOBase, Sink], object]) -> Callable[[Path, Sink], None]:
    def read(path: Path, sink: Sink) -> None:
        with open_text(path) as file:
            parse(file, sink)

    return read


def _has(pattern: bytes) -> Callable[[bytes], bool]:
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda head: compiled.search(head) is not None


READERS: dict[str, Reader] = {
    "perf-data": Reader(
        "perf record's or perf sched record's perf.data",
        "perf 6.1",
        tools.parse_perf_data,
        _has(rb"\APERFILE2"),
    ),
    "trace-dat": Reader(
        "trace-cmd record's trace.dat (needs trace-cmd)",
        "trace-cmd 3.1.6",
        tools.parse_trace_dat,
        _has(rb"\A\x17\x08\x44tracing"),
    ),
    "jsonl": Reader("JSON lines", "Schedtuna", _text(json_lines.parse), _has(rb"\A\s*\{")),
    "vmstat": Reader("vmstat's output", "procps-ng 4.0.2", _text(vmstat.parse_vmstat), vmstat.is_vmstat),
    "vmstat-y": Reader(
        "vmstat -y's output, which can't be told from vmstat's",
        "procps-ng 4.0.2",
        _text(vmstat.parse_vmstat_without_boot),
        lambda _: False,
    ),
    "pidstat": Reader("pidstat's output", "sysstat 12.6.1", _text(pidstat.parse_pidstat), _has(_PIDSTAT)),
    "sadf": Reader(
        "sadf -d's output",
        "sysstat 12.6.1",
        _text(sar.parse_sadf),
        _has(rb"\A# hostname;interval;timestamp;"),
    ),
    "sar": Reader(
        "sar's or mpstat's output",
        "sysstat 12.6.1",
        _text(sar.parse_sar),
        _has(rb"\ALinux \S+ \([^\n]*\)\s"),
    ),
    "dstat": Reader(
        "CSV of dstat, dool or pcp-dstat",
        "dool 1.3.8, pcp 6.0.3",
        _text(dstat.parse_dstat),
        _has(rb'\A"(?:pcp-)?[Dd](?:stat|ool) [^"]*CSV'),
    ),
    "perf-timehist": Reader(
        "perf sched timehist's text",
        "perf 6.1",
        _text(timehist.parse_timehist),
        _has(rb"^ {1,40}time    cpu  (?:[0-9a-f]+  )?task name\s.*\bsch delay\s"),
    ),
    "perf-sched-stats": Reader(
        "perf sched stats report's text",
        "perf 7.2.13, Linux 7.3.4",
        _text(sched_stats.parse_sched_stats),
        _has(rb"^Time elapsed \(in jiffies\) {1,60}:"),
    ),
    "simpleperf": Reader(
        "report_sample.py's text with --show_tracing_data, of simpleperf's scheduler events",
        "none: from its documentation",
        _text(simpleperf.parse_simpleperf),
        _has(simpleperf.HEAD),
    ),
    "perf-script": Reader(
        "perf script's or perf sched script's text",
        "perf 6.1",
        _text(sched_text.parse),
        _has(rb"(?<!\S)sched:(?:%b):(?!\S)" % _EVENTS),
    ),
    "ftrace": Reader(
        "/sys/kernel/tracing/trace, or trace-cmd report's text",
        "Linux 6.18, trace-cmd 3.1.6",
        _text(sched_text.parse),
        _has(rb"\A# tracer: |(?<!\S)(?:%b):(?!\S)" % _EVENTS),
    ),
    "ftrace-ns": Reader(
        "the same, with times that are whole nanoseconds, which can't be told from other clocks'",
        "none: from trace-cmd's documentation",
        _text(partial(sched_text.parse, in_ns=True)),
        lambda _: False,
    ),
}
_NOT_READ = (
    (
        _has(rb"^disk- -+reads-|^ {1,20}[0-9]+ (?:K total memory|disks)|^Cache {5,40}Num  Total"),
        "the output of vmstat -d, -D, -m or -s, which has totals since boot",
        "LC_ALL=C vmstat -t 1 > FILE",
    ),
    (
        _has(rb"^avg-cpu:  |^(?:Device:?)?[ \t]+(?:tps +[kMB]\S*_read/s|r/s +[rkM]\S*B/s)\s"),
        "iostat's output",
        "what it says is read of LC_ALL=C sar -u ALL -b 1",
    ),
    (
        _has(
            rb"^sample:\r?\n  event_type: |^context_switch:\r?\n  switch_on: "
            rb"|^Total Runtime: [0-9.]{1,20} ms\r?$"
        ),
        "text of simpleperf report-sample or trace-sched, which has no CPUs",
        simpleperf.HINT,
    ),
    (_has(rb'\A\s*\{\s*"sysstat"'), "JSON of sysstat", "its text is read: sar, mpstat, pidstat, or sadf -d"),
)


def detect(path: Path) -> str:
    """Return the name of a file's format, by how it begins.

    Raises:
        TraceError: It is none of `READERS`.
        OSError: It can't be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    for name in ("perf-data", "trace-dat"):
        if READERS[name].is_it(head):
            return name
    with open_text(path) as file:
        for block in blocks(file):
            for is_it, what, hint in _NOT_READ:
                if is_it(block):
                    raise TraceError(f"{path} is {what}", hint=hint)
            for name, reader in READERS.items():
                if reader.is_it(block):
                    return name
            nameless = _NAMELESS.search(block)
            lack = nameless and what_lacks(block[nameless.start() - 1 : nameless.end()])
            if lack:
                raise TraceError(f"{path} has {lack.reason}", hint=lack.hint)
    raise TraceError(
        f"{path} is not in a format that can be imported",
        hint=f"say which with --format: {', '.join(READERS)}",
    )


def read(path: Path, sink: Sink, format_: str | None = None) -> str:
    """Read a file into a sink; return the name of its format.

    Raises:
        TraceError: It is not what it should be.
        UsageError: There is no such format.
        UnavailableError: The tool that reads the format is missing.
        OSError: It can't be read.
    """
    name = format_ or detect(path)
    if name not in READERS:
        raise UsageError(f"there is no format {name!r}: {nearest(name, READERS)}")
    sink.update_manifest({"imported_from": {"format": name, "file": path.name}})
    READERS[name].read(path, sink)
    return name


def load(path: Path, format_: str | None = None) -> Trace:
    """Read a file of another program as a trace, into memory. Raises as `read()` does."""
    collector = Collector()
    read(path, collector, format_)
    return collector.trace()
