"""What stands before an event in the less usual texts, and what is missing where a line can't be read?

`usual_head()` writes a line of ftrace's latency format (also verbose, and `trace-cmd report -l`) or of
`trace-cmd report --ts-diff` as ftrace usually does: `comm-tid [cpu] flags seconds.fraction: event: ...`.
`what_lacks()` names what a line lacks, and what prints it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from schedtuna.trace.schema import EventType

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
_TIME = rb"\d{1,10}\.\d{1,9}"
_CPU = rb"\[\d{1,5}\]\s+(?:[^\s\d]\S{0,11}\s+)?"  # with the flags behind it
_LATENCY_CPU = rb"-\d{1,10}\s+\d{1,5}[^\s\d]\S{3,11}\s+"
_EVENT = rb"(?:\d{1,20}\s+)?(?:sched:)?(?:%b):" % b"|".join(TYPES)
# kernel/trace/trace_output.c: trace_print_lat_context(); behind a time a mark tells of long waits.
_LATENCY = re.compile(
    rb"(?P<task>.*-\d{1,10})\s+(?P<cpu>\d{1,5})(?P<flags>[^\s\d]\S{3,11})\s+"
    rb"(?:(?P<us>\d{1,15})us[ +!#*@$]|(?P<time>%b)):\s+(?P<rest>.*)" % _TIME,
    re.DOTALL,
)
_VERBOSE = re.compile(
    rb"(?P<task>.*\s\d{1,10})\s+(?P<cpu>\d{1,5})\s+\d+\s+[0-9a-f]{8}\s+[0-9a-f]{8}\s+"
    rb"\[(?P<hex_us>[0-9a-f]{8,13})\]\s+\d+\.\d{3}ms\s+\(\+\d+\.\d{3}ms\):\s+(?P<rest>.*)",
    re.DOTALL,
)
_DIFFERENCE = re.compile(rb"(?<=\d:)\s+\(\+\s*\d{1,19}\)\s+")
_NANOSECONDS = re.compile(rb"(%b)(\d{1,19})(?=:\s+%b)" % (_CPU, _EVENT))


class Lack(NamedTuple):
    """Why lines can't be read, and what helps."""

    reason: str
    hint: str


_NO_UNIT = Lack(
    "times that are whole numbers, and nothing tells of what: of nanoseconds, or of a clock that counts"
    " something else (counter, uptime, x86-tsc)",
    "if they are nanoseconds, say --format ftrace-ns; else record with another clock:"
    " trace-cmd record -C mono, or echo mono > /sys/kernel/tracing/trace_clock",
)
_NO_CONTEXT = Lack(
    "lines without task, CPU and time",
    "record with context-info: echo 1 > /sys/kernel/tracing/options/context-info",
)
_PRINT = "print it: perf script --ns -F comm,pid,tid,cpu,time,event,trace"
# The first row that fits counts.
_LACKS = [
    (re.compile(pattern, re.DOTALL), lack)
    for pattern, lack in (
        (rb"\s*" + _EVENT, _NO_CONTEXT),
        (rb".*?" + _CPU + _EVENT, Lack("lines without a time", _PRINT)),
        (
            rb".*?(?:%b|%b|\[[0-9a-f]{16}\]\s+)\d{1,20}(?: \(\+\d+\))?:\s+%b" % (_CPU, _LATENCY_CPU, _EVENT),
            _NO_UNIT,
        ),
        (
            rb"(?!.*?%b%b:).*?%b:\s+%b" % (_CPU, _TIME, _TIME, _EVENT),
            Lack("lines without a CPU", _PRINT),
        ),
        (rb".*?%b%b:\s+%b\s*\Z" % (_CPU, _TIME, _EVENT), Lack("events without fields", _PRINT)),
        (
            rb"(?!.*?[-\s]\d{1,10}\s+(?:\([\s\d-]+\)\s+)?\[).*?%b%b:\s+%b" % (_CPU, _TIME, _EVENT),
            Lack("lines without a thread id", _PRINT),
        ),
        (
            rb".*\sprev_prio=\S{1,20} prev_state=\S{1,20} ==> next_comm=",
            Lack("events without a name", _PRINT),
        ),
    )
]


def usual_head(line: bytes, *, in_ns: bool = False) -> bytes:
    """Return a line as ftrace usually writes it, or as it is.

    Args:
        line: The line.
        in_ns: Times that are whole numbers are nanoseconds.
    """
    line = _DIFFERENCE.sub(b" ", line, count=1)
    if in_ns:
        return _NANOSECONDS.sub(lambda found: found[1] + _seconds(int(found[2])), line, count=1)
    latency = _LATENCY.fullmatch(line)
    if latency:
        time = latency["time"] or _seconds(int(latency["us"]) * 1000)
        return b"%b [%b] %b %b: %b" % (
            latency["task"], latency["cpu"], latency["flags"], time, latency["rest"],
        )  # fmt: skip
    verbose = _VERBOSE.fullmatch(line)
    if verbose:
        time = _seconds(int(verbose["hex_us"], 16) * 1000)
        return b"%b [%b] %b: %b" % (verbose["task"], verbose["cpu"], time, verbose["rest"])
    return line


def what_lacks(line: bytes) -> Lack | None:
    """Return what keeps a line from being read; None: nothing that we know of."""
    return next((lack for pattern, lack in _LACKS if pattern.match(line)), None)


def _seconds(time_ns: int) -> bytes:
    return b"%d.%09d" % divmod(time_ns, 10**9)
