"""cyclictest (rt-tests): how late a periodic thread wakes up. Summary lines, histogram, --json FILE."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schedtuna.configfile import json_values
from schedtuna.workload.parsers.base import (
    COUNT,
    MAX,
    MIN,
    Basis,
    Field,
    Options,
    OutputParser,
    percentile_name,
)

_SUMMARY = re.compile(
    r"\bT: *(\d+) \( *\d+\) P: *\d+ I: *\d+ "
    rf"C: *{COUNT} Min: *{COUNT} Act: *\d+ Avg: *{COUNT} Max: *{COUNT}"
)
_BUCKET = re.compile(r"^(\d{6,})((?:[ \t]+\d+)+)\s*$", re.MULTILINE)
_COMMENTS = {
    name: re.compile(rf"^# {title}: *(\d+(?: +\d+)*) *$", re.MULTILINE)
    for name, title in {
        "total": "Total",
        "min": "Min Latencies",
        "avg": "Avg Latencies",
        "max": "Max Latencies",
        "overflows": "Histogram Overflows",
    }.items()
}
Row = tuple[float, float, float, float]  # of a thread: cycles, min, avg, max
_PERCENTILES = ("50", "90", "99", "99.9")


def parse(text: str) -> dict[str, float]:
    """Return the fields over all threads; the mean is weighted by their cycles.

    Percentiles need a histogram, and are left out where they lie beyond its last bucket.
    """
    return _json(text) or _histogram(text) or _summary(text)


def _summary(text: str) -> dict[str, float]:
    threads = {thread: tuple(map(float, rest)) for thread, *rest in _SUMMARY.findall(text)}
    rows = [(cycles, low, mean, high) for cycles, low, mean, high in threads.values()]
    return _over_threads(rows) | _cycles(threads, rows)


def _cycles(names: Iterable[str | int], rows: Sequence[Row]) -> dict[str, float]:
    return {f"T{name}.nr_cycles": row[0] for name, row in zip(names, rows, strict=True)}


def _over_threads(rows: Sequence[Row]) -> dict[str, float]:
    """Merge (cycles, min, avg, max) of threads; nothing where one of them never ran."""
    if not rows or min(cycles for cycles, *_ in rows) <= 0:
        return {}
    total = sum(cycles for cycles, *_ in rows)
    return {
        "min_us": min(low for _, low, _, _ in rows),
        "avg_us": sum(cycles * mean for cycles, _, mean, _ in rows) / total,
        "max_us": max(high for *_, high in rows),
    }


def _histogram(text: str) -> dict[str, float]:
    found = {name: match[-1].split() for name, p in _COMMENTS.items() if (match := p.findall(text))}
    if not {"min", "avg", "max"} <= found.keys():
        return {}
    nr_threads = len(found["avg"])
    if len(found["max"]) == nr_threads + 1:  # -H adds a column over all threads, but for two of the lines
        for name in found.keys() - {"min", "avg"}:
            found[name] = found[name][:-1]
    buckets: Counter[int] = Counter()
    for latency, counts in _BUCKET.findall(text):
        buckets[int(latency)] += sum(map(int, counts.split()[:nr_threads]))
    overflows = [int(count) for count in found.get("overflows", [])]
    inside = [int(count) for count in found.get("total", [])]
    if inside and sum(inside) != buckets.total():
        raise ValueError(f"its histogram has {buckets.total()} of {sum(inside)} cycles")
    # `Total` leaves out what overflowed.
    cycles = [a + b for a, b in zip(inside, overflows, strict=True)]
    columns = (map(float, found[name]) for name in ("min", "avg", "max"))
    # A line that is shorter than the others was cut: that is an error.
    rows = list(zip(map(float, cycles or [1] * len(found["avg"])), *columns, strict=True))
    values = _over_threads(rows) | (_cycles(range(len(rows)), rows) if cycles else {})
    return values | _percentiles(buckets, sum(overflows))


def _percentiles(buckets: Mapping[int, int], nr_beyond: int) -> dict[str, float]:
    total = sum(buckets.values()) + nr_beyond
    values: dict[str, float] = {}
    for percentile in _PERCENTILES:
        below = 0
        for latency in sorted(buckets):
            below += buckets[latency]
            if total and below * 100 >= total * float(percentile):
                values[percentile_name(percentile)] = float(latency)
                break
    return values


def _json(text: str) -> dict[str, float]:
    document: dict[str, Any] = next(json_values(text, r'\{\n  "file_version"'), {})
    try:
        unit = 1e-3 if document.get("resolution_in_ns") else 1.0
        threads = {name: _thread(thread) for name, thread in document["thread"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return {}
    buckets: Counter[int] = Counter()
    for _, histogram in threads.values():
        buckets.update(histogram)
    rows = [row for row, _ in threads.values()]
    nr_beyond = round(sum(row[0] for row in rows)) - sum(buckets.values()) if buckets else 0
    values = _over_threads(rows) | (_percentiles(buckets, nr_beyond) if buckets else {})
    return {name: value * unit for name, value in values.items()} | _cycles(threads, rows)


def _thread(thread: dict[str, Any]) -> tuple[Row, dict[int, int]]:
    cycles, low, mean, high = (float(thread[key]) for key in ("cycles", "min", "avg", "max"))
    histogram = {int(latency): int(count) for latency, count in thread["histogram"].items()}
    return (cycles, low, mean, high), histogram


_NSECS = "its fields would be nanoseconds under names that say microseconds"

PARSER = OutputParser(
    name="cyclictest",
    commands=(("cyclictest",),),
    fields=(
        Field("min_us", "us", MIN, "shortest wakeup latency"),
        Field("avg_us", "us", MIN, "mean wakeup latency"),
        Field("max_us", "us", MIN, "longest wakeup latency"),
        Field("pNN_us", "us", MIN, "percentiles of wakeup latency (-h BUCKETS)"),
        Field("nr_cycles", "", MAX, "wakeups of a thread"),
    ),
    bases=(Basis("nr_cycles"),),
    primary="avg_us",
    latency="avg_us",
    parse=parse,
    seen="rt-tests 2.4: -q, -h, -H, --histfile and --json",
    hint="run cyclictest with -q and -D SECONDS or -l LOOPS; percentiles need -h US, with US beyond them",
    options=Options(
        short="a::A:b:c:d:D:F:h:H:i:l:o:p:t::",
        long="json: histfile: nsecs aligned breaktrace: clock: distance: duration: fifo: histogram: "
        "histofall: interval: latency: loops: mainaffinity: oscope: priority: policy: spike: spike-nodes:",
    ),
    file_options=("--json", "--histfile"),
    refused_options={"-N": _NSECS, "--nsecs": _NSECS},
)
