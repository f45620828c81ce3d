"""schbench: wakeup and request latencies, requests per second; the older single table, too."""

from __future__ import annotations

import re

from schedtuna.workload.parsers.base import MAX, MIN, Field, OutputParser, last_numbers, percentile_name

_NUMBER = r"(\d+(?:\.\d+)?)"
_SECTION = re.compile(r"^(Wakeup|Request|RPS|Latency)\b.*percentiles \((?:usec|requests)\)", re.IGNORECASE)
_PREFIXES = {"wakeup": "wakeup", "latency": "wakeup", "request": "request", "rps": "rps"}
_PERCENTILE = re.compile(rf"^\s*\*?\s*{_NUMBER}th: +(\d+)")
_RANGE = re.compile(r"^\s*min=(\d+), max=(\d+)")


def parse(text: str) -> dict[str, float]:
    """Return the fields of the last report of each kind; earlier ones are of unfinished intervals."""
    values = last_numbers(
        {
            "rps": rf"^(?:average|current) rps: {_NUMBER}",
            "transfers_per_s": rf"^avg worker transfer: {_NUMBER} ops/sec",
        },
        text,
    )
    prefix = ""
    for line in text.splitlines():
        if section := _SECTION.match(line):
            prefix = _PREFIXES[section[1].lower()]
        elif prefix and (percentile := _PERCENTILE.match(line)):
            name = percentile_name(percentile[1])
            key = f"rps_{name.removesuffix('_us')}" if prefix == "rps" else f"{prefix}_{name}"
            values[key] = float(percentile[2])
        elif prefix and (bounds := _RANGE.match(line)):
            if prefix != "rps":
                values |= {f"{prefix}_min_us": float(bounds[1]), f"{prefix}_max_us": float(bounds[2])}
            prefix = ""
    return values


PARSER = OutputParser(
    name="schbench",
    commands=(("schbench",),),
    fields=(
        Field("wakeup_pNN_us", "us", MIN, "percentiles of the time from a worker's wakeup until it runs"),
        Field("wakeup_min_us", "us", MIN, "shortest wakeup latency"),
        Field("wakeup_max_us", "us", MIN, "longest wakeup latency"),
        Field("request_pNN_us", "us", MIN, "percentiles of the time that a request takes"),
        Field("request_min_us", "us", MIN, "shortest request"),
        Field("request_max_us", "us", MIN, "longest request"),
        Field("rps", "1/s", MAX, "requests per second"),
        Field("rps_pNN", "1/s", MAX, "percentiles over seconds of the requests per second"),
        Field("transfers_per_s", "1/s", MAX, "transfers per second (--pipe)"),
    ),
    primary="wakeup_p99_us",
    throughput="rps",
    latency="wakeup_p99_us",
    parse=parse,
)
