"""pgbench: transactions per second and their latency."""

from __future__ import annotations

from schedtuna.workload.parsers.base import (
    COUNT,
    DECIMAL,
    MAX,
    MIN,
    Basis,
    Failures,
    Field,
    OutputParser,
    last_numbers,
)

# Before PostgreSQL 12 numbers are the system's printf's, in the user's language, and never grouped.
_PATTERNS = {
    # With --connect there is only the rate with it; without, before 14, there are both.
    "tps": rf"^tps = {DECIMAL} \((?:without initial connection time|excluding connections establishing"
    r"|including reconnection times)",
    "avg_ms": rf"^latency average(?: =|:) {DECIMAL} ms",
    "stddev_ms": rf"^latency stddev(?: =|:) {DECIMAL} ms",
    "transactions": rf"^number of transactions actually processed: {COUNT}",
    "failed_transactions": rf"^number of failed transactions: {COUNT}",
    "skipped_transactions": rf"^number of transactions skipped: {COUNT}",
    "late_transactions": rf"^number of transactions above the [\d.,]+ ms latency limit: {COUNT}",
    "schedule_lag_ms": rf"^rate limit schedule lag: avg {DECIMAL}",
    "connection_ms": rf"^(?:initial|average) connection time = {DECIMAL} ms",
}


def parse(text: str) -> dict[str, float]:
    """Return the fields of the last report."""
    return last_numbers(_PATTERNS, text)


PARSER = OutputParser(
    name="pgbench",
    commands=(("pgbench",),),
    fields=(
        Field("tps", "1/s", MAX, "transactions per second; only --connect counts the time of connecting"),
        Field("avg_ms", "ms", MIN, "mean latency of a transaction"),
        Field("stddev_ms", "ms", MIN, "standard deviation of that latency"),
        Field("schedule_lag_ms", "ms", MIN, "how late transactions began (--rate)"),
        Field("late_transactions", "", MIN, "transactions above the limit (--latency-limit)"),
        Field("failed_transactions", "", MIN, "transactions that failed"),
        Field("skipped_transactions", "", MIN, "transactions that were not begun, as they were late already"),
        Field("transactions", "", MAX, "transactions"),
        Field("connection_ms", "ms", MIN, "time of connecting; of each, with --connect"),
    ),
    bases=(Basis("transactions", required=True),),
    failures=(
        Failures("failed_transactions", ("transactions", "failed_transactions"), "failed transactions"),
        Failures("skipped_transactions", ("transactions", "skipped_transactions"), "skipped transactions"),
    ),
    primary="tps",
    throughput="tps",
    latency="avg_ms",
    parse=parse,
    seen="PostgreSQL 15",
    documented="PostgreSQL 9.5 to 17",
)
