"""schbench: wakeup and request latencies, requests per second; the older single table and JSON, too."""

from __future__ import annotations

import re

from schedtuna.configfile import json_values
from schedtuna.workload.parsers.base import (
    COUNT,
    MAX,
    MIN,
    NUMBER,
    Basis,
    Field,
    Options,
    OutputParser,
    last_numbers,
    percentile_name,
)

_SECTION = re.compile(
    rf"^(Wakeup|Request|RPS|Latency)\b.*percentiles \((?:usec|requests)\)(?:.*\({COUNT} total samples\))?",
    re.IGNORECASE,
)
_PREFIXES = {"wakeup": "wakeup", "latency": "wakeup", "request": "request", "rps": "rps"}
_PERCENTILE = re.compile(rf"^\s*\*?\s*{NUMBER}th: +{COUNT}")
_RANGE = re.compile(rf"^\s*min={COUNT}, max={COUNT}")

_JSON_KEY = re.compile(r"(wakeup|request)_latency_(?:pct([\d.]+)|min|max)|rps_pct([\d.]+)")
_LATENCIES = ("pNN_us", "min_us", "max_us")


def parse(text: str) -> dict[str, float]:
    """Return the fields of the last report of each kind; earlier ones are of unfinished intervals."""
    values = last_numbers(
        {
            "rps": rf"^(?:average|current) rps: {NUMBER}",
            "transfers_per_s": rf"^avg worker transfer: {NUMBER} ops/sec",
        },
        text,
    )
    prefix = ""
    for line in text.splitlines():
        if section := _SECTION.match(line):
            prefix = _PREFIXES[section[1].lower()]
            for field in [name for name in values if name.startswith(f"{prefix}_")]:
                del values[field]
            if section[2]:
                values[f"{prefix}_samples"] = float(section[2])
        elif prefix and (percentile := _PERCENTILE.match(line)):
            name = percentile_name(percentile[1])
            key = f"rps_{name.removesuffix('_us')}" if prefix == "rps" else f"{prefix}_{name}"
            values[key] = float(percentile[2])
        elif prefix and (bounds := _RANGE.match(line)):
            if prefix != "rps":
                values |= {f"{prefix}_min_us": float(bounds[1]), f"{prefix}_max_us": float(bounds[2])}
            prefix = ""
    return _json(text) | values


def _json(text: str) -> dict[str, float]:
    """The fields of the document of --json, which has no counts."""
    values: dict[str, float] = {}
    for document in json_values(text, r"^\{"):
        try:
            numbers = {str(key): float(value) for key, value in document["int"].items()}
        except (ValueError, LookupError, TypeError, AttributeError):
            continue
        for key, value in numbers.items():
            if match := _JSON_KEY.fullmatch(key):
                kind, percentile, rps = match.groups()
                name = percentile_name(percentile) if percentile else f"{key.rpartition('_')[2]}_us"
                values[f"rps_{percentile_name(rps).removesuffix('_us')}" if rps else f"{kind}_{name}"] = value
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
        Field("wakeup_samples", "", MAX, "wakeups that were measured"),
        Field("request_samples", "", MAX, "requests that were measured"),
        Field("rps_samples", "", None, "seconds whose requests were counted"),
    ),
    bases=tuple(
        Basis(f"{kind}_{count}", tuple(f"{kind}_{field}" for field in fields))
        for kind, count, fields in (
            ("wakeup", "samples", _LATENCIES),
            ("wakeup", "max_us", _LATENCIES),
            ("request", "samples", _LATENCIES),
            ("request", "max_us", _LATENCIES),
            ("rps", "samples", ("pNN",)),
        )
    ),
    primary="wakeup_p99_us",
    throughput="rps",
    latency="wakeup_p99_us",
    parse=parse,
    documented="1.0 with its tables and --json, and the older single table",
    options=Options(short="m:t:F:n:A:r:i:w:z:R:p:j:J:", long="json: jobname:"),
    file_options=("--json", "-j"),
)
