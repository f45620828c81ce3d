"""sysbench 0.4 to 1.1: cpu, memory, threads, mutex, fileio and the database tests."""

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

_PATTERNS = {
    "events_per_s": rf"^ +(?:events per second|events/s \(eps\)): +{NUMBER}",
    "total_time_s": rf"^ +(?:total time|time elapsed): +{NUMBER}s",
    "events": rf"^ +total number of events: +{COUNT}",
    # memory, and before 1.0 fileio, too, which counts requests
    "operations_per_s": rf"^(?:(?:Total operations|Operations performed): \d+ \()? *{NUMBER} "
    r"(?:per second\)|ops/sec\)|Requests/sec executed)",
    "mib_per_s": rf"(?:MiB|MB) transferred \({NUMBER} (?:MiB|MB)/sec\)",
    "transactions_per_s": rf"^ +transactions: +\d+ +\({NUMBER} per sec\.\)",
    "queries_per_s": rf"^ +queries: +\d+ +\({NUMBER} per sec\.\)",
    "reads_per_s": rf"^ +(?:reads/s: +|read: +IOPS=){NUMBER}",
    "writes_per_s": rf"^ +(?:writes/s: +|write: +IOPS=){NUMBER}",
    "fsyncs_per_s": rf"^ +(?:fsyncs/s: +|fsync: +IOPS=){NUMBER}",
    "read_mib_per_s": rf"^ +read(?:, MiB/s:|: +IOPS=[\d.]+) +{NUMBER}",
    "written_mib_per_s": rf"^ +writ(?:ten, MiB/s:|e: +IOPS=[\d.]+) +{NUMBER}",
    "ignored_errors": rf"^ +(?:ignored errors|deadlocks): +{COUNT} +\(",
    "min_ms": rf"^ +min: +{NUMBER}(?:ms)?$",
    "avg_ms": rf"^ +avg: +{NUMBER}(?:ms)?$",
    "max_ms": rf"^ +max: +{NUMBER}(?:ms)?$",
    "thread_events_stddev": rf"^ +events \(avg/stddev\): +[\d.]+/{NUMBER}",
}
_PERCENTILE = re.compile(
    rf"^ +(?:approx\. +)?(\d+)(?:st|nd|rd|th)? percentile: +{NUMBER}(?:ms)?$", re.MULTILINE
)


def parse(text: str) -> dict[str, float]:
    """Return the fields of the last report; where sysbench gives no rate of events, it is derived."""
    values = last_numbers(_PATTERNS, text)
    for percentile, value in _PERCENTILE.findall(text):
        values["tail_ms"] = values[percentile_name(percentile, "ms")] = float(value)
    if "events_per_s" not in values and "events" in values and values.get("total_time_s"):
        values["events_per_s"] = values["events"] / values["total_time_s"]
    return values


PARSER = OutputParser(
    name="sysbench",
    commands=(("sysbench",),),
    fields=(
        Field("events_per_s", "1/s", MAX, "events per second"),
        Field("operations_per_s", "1/s", MAX, "memory operations per second"),
        Field("transactions_per_s", "1/s", MAX, "database transactions per second"),
        Field("queries_per_s", "1/s", MAX, "database queries per second"),
        Field("mib_per_s", "MiB/s", MAX, "memory transferred"),
        Field("reads_per_s", "1/s", MAX, "file reads per second"),
        Field("writes_per_s", "1/s", MAX, "file writes per second"),
        Field("fsyncs_per_s", "1/s", MAX, "fsync calls per second"),
        Field("read_mib_per_s", "MiB/s", MAX, "file data read"),
        Field("written_mib_per_s", "MiB/s", MAX, "file data written"),
        Field("events", "", MAX, "events"),
        Field("ignored_errors", "", MIN, "database errors that were ignored"),
        Field("total_time_s", "s", MIN, "real time"),
        Field("min_ms", "ms", MIN, "shortest latency of an event"),
        Field("avg_ms", "ms", MIN, "mean latency of an event"),
        Field("max_ms", "ms", MIN, "longest latency of an event"),
        Field("tail_ms", "ms", MIN, "the latency percentile that sysbench reports (--percentile, 95)"),
        Field("pNN_ms", "ms", MIN, "the same, by its number"),
        Field("thread_events_stddev", "", MIN, "standard deviation of events over threads: unfairness"),
    ),
    bases=(Basis("events", required=True), Basis("total_time_s")),
    failures=(Failures("ignored_errors", ("events", "ignored_errors"), "database errors"),),
    primary="events_per_s",
    throughput="events_per_s",
    latency="tail_ms",
    parse=parse,
    seen="1.0.20: cpu, memory, threads, mutex, fileio",
    documented="0.4, 0.5, 1.1, and the database tests",
    hint="sysbench reports at the end of `run`",
)
