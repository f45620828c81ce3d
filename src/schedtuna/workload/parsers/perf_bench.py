"""perf bench: sched messaging and pipe, syscall, futex, epoll, mem; --format=simple of sched and mem.

perf prints counts with `%'d` and other numbers with `%f`, as the user's language has them; the seconds
of a total time always have a point (tools/perf/bench).
"""

from __future__ import annotations

import re

from schedtuna.workload.parsers.base import (
    DECIMAL,
    GROUPED_COUNT,
    MAX,
    MIN,
    NUMBER,
    Basis,
    Field,
    OutputParser,
    decimal,
    grouped_count,
    last_numbers,
)

_PATTERNS = {
    "total_time_s": rf"^ +Total time: +{NUMBER} \[sec\]",
    "us_per_op": rf"^ +{DECIMAL} usecs/op",
}
_SIMPLE = {"total_time_s": r"^(\d+\.\d{3})$"}
_OPS = re.compile(rf"^(?: +|Averaged ){GROUPED_COUNT} (?:ops|operations)/sec\b", re.MULTILINE)
_SPEED = re.compile(rf"^(?: +{DECIMAL} ([GMK]?)B/sec|(\d+[.,]\d{{6}}))$", re.MULTILINE)
_BYTES = {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30}


def parse(text: str) -> dict[str, float]:
    """Return the fields of the last benchmark; of a bare number the decimals say what it is.

    With --format=simple a time has three of them, and the speed of memory, in bytes per second, six.
    """
    values = last_numbers(_PATTERNS, text) or last_numbers(_SIMPLE, text)
    for found in _OPS.findall(text):
        values["ops_per_s"] = grouped_count(found)
    for found, scale, bare in _SPEED.findall(text):
        values["gb_per_s"] = decimal(found or bare) * _BYTES[scale] / _BYTES["G"]
    return values


PARSER = OutputParser(
    name="perf-bench",
    commands=(("perf", "bench"),),
    fields=(
        Field("total_time_s", "s", MIN, "time that the benchmark took"),
        Field("us_per_op", "us", MIN, "time of one operation"),
        Field("ops_per_s", "1/s", MAX, "operations per second"),
        Field("gb_per_s", "GB/s", MAX, "memory bandwidth (mem)"),
    ),
    primary="total_time_s",
    throughput="ops_per_s",
    latency="total_time_s",
    # A short run's time is rounded to 0, and its rates are from the time as it was.
    bases=(
        Basis("total_time_s", ("total_time_s",)),
        Basis("ops_per_s"),
        Basis("us_per_op"),
        Basis("gb_per_s"),
    ),
    parse=parse,
    seen="perf 6.1, in English, French and German",
    hint="messaging reports total_time_s alone, futex and epoll ops_per_s alone, mem gb_per_s alone: name "
    "one with --metric",
)
