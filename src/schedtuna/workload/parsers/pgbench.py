"""pgbench: transactions per second and their latency."""

from __future__ import annotations

from schedtuna.workload.parsers.base import MAX, MIN, Field, OutputParser, last_numbers

_NUMBER = r"(\d+(?:\.\d+)?)"
_PATTERNS = {
    # Before PostgreSQL 14 there are two; the other one counts the time of connecting, too.
    "tps": rf"^tps = {_NUMBER} \((?:without initial connection time|excluding connections establishing)",
    "avg_ms": rf"^latency average = {_NUMBER} ms",
    "stddev_ms": rf"^latency stddev = {_NUMBER} ms",
    "transactions": r"^number of transactions actually processed: (\d+)",
    "failed_transactions": r"^number of failed transactions: (\d+)",
    "late_transactions": r"^number of transactions above the [\d.]+ ms latency limit: (\d+)",
    "schedule_lag_ms": rf"^rate limit schedule lag: avg {_NUMBER}",
    "connection_ms": rf"^initial connection time = {_NUMBER} ms",
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
    primary="tps",
    throughput="tps",
    latency="avg_ms",
    parse=parse,
)
