"""pgbench: transactions per second and their latency."""

from __future__ import annotations

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
)

_PATTERNS = {
    # Before PostgreSQL 14 there are two; the other one counts the time of connecting, too.
    "tps": rf"^tps = {NUMBER} \((?:without initial connection time|excluding connections establishing)",
    "avg_ms": rf"^latency average = {NUMBER} ms",
    "stddev_ms": rf"^latency stddev = {NUMBER} ms",
    "transactions": rf"^number of transactions actually processed: {COUNT}",
    "failed_transactions": rf"^number of failed transactions: {COUNT}",
    "late_transactions": rf"^number of transactions above the [\d.]+ ms latency limit: {COUNT}",
    "schedule_lag_ms": rf"^rate limit schedule lag: avg {NUMBER}",
    "connection_ms": rf"^initial connection time = {NUMBER} ms",
}


def parse(text: str) -> dict[str, float]:
    """Return the fields of the last report."""
    return last_numbers(_PATTERNS, text)


PARSER = OutputParser(
    name="pgbench",
    commands=(("pgbench",),),
    fields=(
        Field("tps", "1/s", MAX, "transactions per second, the time of connecting left out"),
        Field("avg_ms", "ms", MIN, "mean latency of a transaction"),
        Field("stddev_ms", "ms", MIN, "standard deviation of that latency"),
        Field("schedule_lag_ms", "ms", MIN, "how late transactions began (--rate)"),
        Field("late_transactions", "", MIN, "transactions above the limit (--latency-limit)"),
        Field("failed_transactions", "", MIN, "transactions that failed"),
        Field("transactions", "", MAX, "transactions"),
        Field("connection_ms", "ms", MIN, "time of connecting"),
    ),
    bases=(Basis("transactions", required=True),),
    failures=(
        Failures("failed_transactions", ("transactions", "failed_transactions"), "failed transactions"),
    ),
    primary="tps",
    throughput="tps",
    latency="avg_ms",
    parse=parse,
)
