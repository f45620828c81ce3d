"""wrk and wrk2: requests per second, and latencies with --latency."""

from __future__ import annotations

import re

from schedtuna.workload.parsers.base import (
    COUNT,
    MAX,
    MIN,
    NUMBER,
    Basis,
    Failures,
    Field,
    OutputParser,
    last_numbers,
    percentile_name,
)

_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_BYTES = {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40}
_PATTERNS = {
    "requests_per_s": rf"^Requests/sec: +{NUMBER}$",
    "requests": rf"^ +{COUNT} requests in ",
    "bad_responses": rf"^ +Non-2xx or 3xx responses: {COUNT}$",
}
_TIME = rf"{NUMBER}(us|ms|s|m|h)"
_LATENCY = re.compile(rf"^ +Latency +{_TIME} +{_TIME} +{_TIME} ", re.MULTILINE)
_PERCENTILE = re.compile(rf"^ *{NUMBER}% +{_TIME}$", re.MULTILINE)
# wrk2 -U prints a second table: from when a request was sent, not from when it was due. Rows below no
# heading could be of either.
_TABLE = re.compile(
    r"^ *Latency Distribution(?P<uncorrected>.*Uncorrected Latency)?.*\n(?P<rows>(?: *[\d.]+% .*(?:\n|\Z))+)",
    re.MULTILINE,
)
_TRANSFER = re.compile(rf"^Transfer/sec: +{NUMBER}([KMGT]?)B$", re.MULTILINE)
_SOCKET_ERRORS = re.compile(rf"Socket errors: connect {COUNT}, read {COUNT}, write {COUNT}, timeout {COUNT}")


def parse(text: str) -> dict[str, float]:
    """Return the fields of the report."""
    values = last_numbers(_PATTERNS, text)
    if "requests" in values:  # wrk is silent where there were none
        values = {"bad_responses": 0.0, "socket_errors": 0.0} | values
    for mean, mean_unit, spread, spread_unit, most, most_unit in _LATENCY.findall(text):
        values["avg_us"] = float(mean) * _US[mean_unit]
        values["stddev_us"] = float(spread) * _US[spread_unit]
        values["max_us"] = float(most) * _US[most_unit]
    for table in _TABLE.finditer(text):
        prefix = "uncorrected_" if table["uncorrected"] else ""
        for percentile, value, unit in _PERCENTILE.findall(table["rows"]):
            values[prefix + percentile_name(percentile)] = float(value) * _US[unit]
    for value, unit in _TRANSFER.findall(text):
        values["bytes_per_s"] = float(value) * _BYTES[unit]
    for counts in _SOCKET_ERRORS.findall(text):
        values["socket_errors"] = float(sum(map(int, counts)))
    return values


PARSER = OutputParser(
    name="wrk",
    commands=(("wrk",), ("wrk2",)),
    fields=(
        Field("requests_per_s", "1/s", MAX, "requests per second"),
        Field("requests", "", MAX, "requests"),
        Field("bytes_per_s", "B/s", MAX, "bytes read per second"),
        Field("avg_us", "us", MIN, "mean latency"),
        Field("stddev_us", "us", MIN, "standard deviation of latency"),
        Field("max_us", "us", MIN, "longest latency"),
        Field("pNN_us", "us", MIN, "percentiles of latency (--latency)"),
        Field("uncorrected_pNN_us", "us", MIN, "the same without the time that requests were late (wrk2 -U)"),
        Field("bad_responses", "", MIN, "responses other than 2xx and 3xx"),
        Field("socket_errors", "", MIN, "socket errors"),
    ),
    bases=(Basis("requests", required=True),),
    failures=(
        Failures("bad_responses", ("requests",), "responses other than 2xx and 3xx"),
        Failures("socket_errors", ("requests", "socket_errors"), "socket errors"),
    ),
    primary="requests_per_s",
    throughput="requests_per_s",
    latency="p99_us",
    parse=parse,
    seen="wrk 4.1",
    documented="wrk2 4.0",
    hint="percentiles of latency need --latency",
)
