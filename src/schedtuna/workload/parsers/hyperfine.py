"""hyperfine: the time of commands; its text, and the file of --export-json."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from schedtuna.configfile import json_values
from schedtuna.errors import MetricError
from schedtuna.workload.parsers.base import (
    COUNT,
    MIN,
    NUMBER,
    Basis,
    Failures,
    Field,
    Options,
    OutputParser,
    blocks,
    geometric_mean,
    part_names,
    with_parts,
)

_HEADING = re.compile(r"^Benchmark #?\d+: (.*)$", re.MULTILINE)
_UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6}
_TIME = rf"{NUMBER} (s|ms|µs|us)"
_LINES = {
    ("mean_s", "stddev_s"): re.compile(rf"^ +Time \(mean ± \S\): +{_TIME} ± +{_TIME}", re.MULTILINE),
    ("mean_s",): re.compile(rf"^ +Time \(abs ≡\): +{_TIME}", re.MULTILINE),  # of a single run
    ("user_s", "system_s"): re.compile(rf"\[User: {_TIME}, System: {_TIME}\]$", re.MULTILINE),
    ("min_s", "max_s"): re.compile(rf"^ +Range \(min … max\): +{_TIME} … +{_TIME}", re.MULTILINE),
}
_RUNS = re.compile(rf" {COUNT} runs$", re.MULTILINE)
_SOME_FAILED = "Warning: Ignoring non-zero exit code."  # with -i
_JSON_FIELDS = ("mean", "stddev", "median", "user", "system", "min", "max")
Benchmark = tuple[str, dict[str, float]]


def parse(text: str) -> dict[str, float]:
    """Return the fields of each command under its name, and the geometric mean of their mean times.

    Raises:
        MetricError: Runs failed, and it is not said how many.
    """
    benchmarks = list(_json(text)) or list(_text(text))
    parts = dict(
        zip(part_names(name for name, _ in benchmarks), (fields for _, fields in benchmarks), strict=True)
    )
    if not parts:
        return {}
    return with_parts(
        parts, {"mean_s": geometric_mean(fields.get("mean_s", 0.0) for fields in parts.values())}
    )


def _json(text: str) -> Iterator[Benchmark]:
    for document in json_values(text, r"^\{"):
        try:
            results = [(str(result["command"]), _of_result(result)) for result in document["results"]]
        except (ValueError, LookupError, TypeError, AttributeError):
            continue
        yield from results
        return


def _of_result(result: dict[str, object]) -> dict[str, float]:
    fields = {
        f"{key}_s": float(value) for key in _JSON_FIELDS if isinstance(value := result[key], int | float)
    }
    codes, times = result.get("exit_codes"), result.get("times")  # before hyperfine 1.14 there are no codes
    if isinstance(codes, list) and (times is None or _is_whole(times, len(codes), fields["mean_s"])):
        fields["runs"] = float(len(codes))
        fields["failed_runs"] = float(sum(code != 0 for code in codes))
    return fields


def _is_whole(times: object, nr_runs: int, mean_s: float) -> bool:
    """Whether the times of all runs are there: a file may be cut, or lack lines."""
    return (
        isinstance(times, list)
        and len(times) == nr_runs > 0
        and math.isclose(math.fsum(map(float, times)) / nr_runs, mean_s, rel_tol=1e-6)
    )


def _text(text: str) -> Iterator[Benchmark]:
    if _SOME_FAILED in text:  # on another output than what it is of
        raise MetricError(
            "runs failed, and hyperfine's text does not say how many",
            hint="name a file with --export-json: it has the exit codes",
        )
    for command, block in blocks(_HEADING, text):
        fields: dict[str, float] = {}
        for names, pattern in _LINES.items():
            for match in pattern.finditer(block):
                pairs = zip(match.groups()[::2], match.groups()[1::2], strict=True)
                fields |= {
                    name: float(value) * _UNITS[unit]
                    for name, (value, unit) in zip(names, pairs, strict=True)
                }
        for count in _RUNS.findall(block):
            fields["runs"] = float(count)
        yield command, fields


PARSER = OutputParser(
    name="hyperfine",
    commands=(("hyperfine",),),
    fields=(
        Field("mean_s", "s", MIN, "mean time of a run"),
        Field("stddev_s", "s", MIN, "standard deviation of that time"),
        Field("median_s", "s", MIN, "median time (--export-json)"),
        Field("min_s", "s", MIN, "shortest time"),
        Field("max_s", "s", MIN, "longest time"),
        Field("user_s", "s", MIN, "mean CPU time in user space"),
        Field("system_s", "s", MIN, "mean CPU time in the kernel"),
        Field("runs", "", None, "runs"),
        Field("failed_runs", "", MIN, "runs that ended with another exit code than 0 (-i, --export-json)"),
    ),
    bases=(Basis("mean_s", required=True), Basis("runs")),
    failures=(Failures("failed_runs", ("runs",), "runs that failed"),),
    primary="mean_s",
    latency="mean_s",
    parse=parse,
    seen="1.15: its text and --export-json",
    documented="1.18 and later",
    hint="name a file with --export-json: it has the median, and more digits than the text",
    options=Options(
        short="w:m:M:r:s:p:c:C:P:D:L:S:u:n:",
        long="export-json: export-csv: export-markdown: output: "
        "input: style: sort: warmup: min-runs: max-runs: runs: setup: prepare: cleanup: conclude: shell: "
        "time-unit: command-name: reference:",
    ),
    file_options=("--export-json",),
)
