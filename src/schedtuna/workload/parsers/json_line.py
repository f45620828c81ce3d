"""Schedtuna's own workload programs, and any command that ends its output with one JSON object.

The last line of output that is a JSON object gives the fields; what is not a number is left out.
"""

from __future__ import annotations

from schedtuna.configfile import parse_json
from schedtuna.errors import NothingMeasuredError
from schedtuna.workload.measured import empty_count
from schedtuna.workload.parsers.base import MAX, MIN, Field, OutputParser


def parse(text: str) -> dict[str, float]:
    """Return the numbers of the last line that is a JSON object."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                document = parse_json(line, any_text=True)
                if reason := empty_count(document, lists=True):
                    raise NothingMeasuredError(f"nothing was measured: {reason}")
                return {
                    name: float(value)
                    for name, value in document.items()
                    if isinstance(value, (int, float)) and not isinstance(value, bool)
                }
            except (ValueError, OverflowError):
                continue
    return {}


PARSER = OutputParser(
    name="json",
    reports_more=True,
    commands=(),
    fields=(
        Field("p50_us", "us", MIN, "median latency"),
        Field("p99_us", "us", MIN, "latency that 99% keep"),
        Field("pNN_us", "us", MIN, "percentiles of latency"),
        Field("avg_us", "us", MIN, "mean latency"),
        Field("max_us", "us", MIN, "longest latency"),
        Field("ops_per_s", "1/s", MAX, "operations per second"),
    ),
    primary="p99_us",
    throughput="ops_per_s",
    latency="p99_us",
    parse=parse,
    hint='the output\'s last line should be a JSON object of numbers, such as {"p99_us": 12.5}',
)
