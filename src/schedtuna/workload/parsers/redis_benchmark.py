"""redis-benchmark and valkey-benchmark: requests per second of each test, and their latency."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from schedtuna.workload.parsers.base import (
    COUNT,
    MAX,
    MIN,
    NUMBER,
    Basis,
    Field,
    OutputParser,
    blocks,
    geometric_mean,
    last_numbers,
    part_names,
    with_parts,
)

_HEADING = re.compile(r"^====== (.+) ======$", re.MULTILINE)
_PATTERNS = {
    # before Redis 6.2 a bare line
    "requests_per_s": rf"^(?: +throughput summary: )?{NUMBER} requests per second$",
    "requests": rf"^ +{COUNT} requests completed in ",
}
_SUMMARY = re.compile(r"^ +latency summary \(msec\):\n((?: +\w+)+) *\n((?: +[\d.]+)+) *$", re.MULTILINE)
# -q: "GET: 45454.55 requests per second, p50=0.495 msec", without a median before 6.2
_QUIET = re.compile(rf"^(\S.*): {NUMBER} requests per second(?:, p50={NUMBER} msec)?$", re.MULTILINE)
_CSV_ROW = re.compile(r'"[^"]*"(?:,"[^"]*")+')
_CSV_NAMES = {"rps": "requests_per_s"}
Test = tuple[str, dict[str, float]]


def parse(text: str) -> dict[str, float]:
    """Return the fields of each test (``GET.p99_ms``), and the geometric mean of their rates."""
    tests = list(_blocks(text)) or list(_csv(text)) or list(_quiet(text))
    parts = dict(zip(part_names(name for name, _ in tests), (fields for _, fields in tests), strict=True))
    if not parts:
        return {}
    rates = [fields.get("requests_per_s", 0.0) for fields in parts.values()]
    return with_parts(parts, {"requests_per_s": geometric_mean(rates)})


def _blocks(text: str) -> Iterator[Test]:
    for name, block in blocks(_HEADING, text):
        fields = last_numbers(_PATTERNS, block)
        for names, values in _SUMMARY.findall(block):
            fields |= _latencies(names.split(), values.split())
        yield name, fields


def _latencies(names: Sequence[str], values: Sequence[str]) -> dict[str, float]:
    return {f"{name}_ms": float(value) for name, value in zip(names, values, strict=True)}


def _csv(text: str) -> Iterator[Test]:
    """The rows of --csv; before 6.2 they have no header, and the rate alone."""
    header = ["test", "rps"]
    for line in text.splitlines():
        if not _CSV_ROW.fullmatch(line):
            continue
        row = re.findall('"([^"]*)"', line)
        if row[0] == "test":
            header = row
            continue
        cells = dict(zip(header[1:], row[1:], strict=True))
        fields = {
            _CSV_NAMES.get(key, key.replace("_latency", "")): float(value) for key, value in cells.items()
        }
        yield row[0], fields


def _quiet(text: str) -> Iterator[Test]:
    for name, rate, median in _QUIET.findall(text):
        yield name, {"requests_per_s": float(rate)} | ({"p50_ms": float(median)} if median else {})


PARSER = OutputParser(
    name="redis-benchmark",
    commands=(("redis-benchmark",), ("valkey-benchmark",)),
    fields=(
        Field("requests_per_s", "1/s", MAX, "requests per second"),
        Field("requests", "", MAX, "requests"),
        Field("avg_ms", "ms", MIN, "mean latency"),
        Field("min_ms", "ms", MIN, "shortest latency"),
        Field("pNN_ms", "ms", MIN, "percentiles of latency; with -q the median alone"),
        Field("max_ms", "ms", MIN, "longest latency"),
    ),
    bases=(Basis("requests_per_s", required=True), Basis("requests")),
    primary="requests_per_s",
    throughput="requests_per_s",
    latency="p99_ms",
    parse=parse,
    seen="Redis 7.0",
    documented="Redis 5 and 6.0, whose latencies are not read, and Valkey",
    hint="choose one test with -t, such as -t get, and leave out -q: of several, latencies have the test's "
    "name (GET.p99_ms)",
)
