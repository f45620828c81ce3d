"""perf bench: sched messaging and pipe, syscall, futex, epoll, mem; --format=simple of sched."""

from __future__ import annotations

from schedtuna.workload.parsers.base import COUNT, MAX, MIN, NUMBER, Basis, Field, OutputParser, last_numbers

_PATTERNS = {
    "total_time_s": rf"^ +Total time: +{NUMBER} \[sec\]",
    "us_per_op": rf"^ +{NUMBER} usecs/op",
    "ops_per_s": rf"^(?: +|Averaged ){COUNT} (?:ops|operations)/sec\b",
    "gb_per_s": rf"^ +{NUMBER} GB/sec",
}
_SIMPLE = {"total_time_s": rf"^{NUMBER}$"}


def parse(text: str) -> dict[str, float]:
    """Return the fields of the last benchmark; a bare number is the time that --format=simple prints."""
    return last_numbers(_PATTERNS, text) or last_numbers(_SIMPLE, text)


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
    hint="messaging reports total_time_s alone, futex and epoll ops_per_s alone: name one with --metric",
)
