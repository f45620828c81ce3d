"""stress-ng: --metrics, --metrics-brief, and the file of --yaml."""

from __future__ import annotations

import math
import re

from schedtuna.workload.parsers.base import (
    COUNT,
    MAX,
    MIN,
    NUMBER,
    Basis,
    Failures,
    Field,
    Options,
    OutputParser,
    geometric_mean,
    last_numbers,
    numbers,
    percentile_name,
)

# "stress-ng: metrc: [123] ", and with --timestamp a time in it
_PREFIX = r"^stress-ng: (?:[\d:.]+ )?\w+: +\[\d+\] "
_BRIEF_HEADING = re.compile(r"^stressor +bogo ops ", re.MULTILINE)  # --log-brief leaves the prefix out
_ROW = re.compile(_PREFIX + r"([\w-]+)" + rf" +{NUMBER}" * 6 + rf"(?: +{NUMBER} +{NUMBER})? *$", re.MULTILINE)
# A metric's name is the same for every number of instances.
_EXTRA = re.compile(
    _PREFIX + rf"([\w-]+) +{NUMBER} ([a-zA-Z].*?)(?: \([\w ]+ of \d+ instances?\))?$", re.MULTILINE
)
# A row that says something else than numbers: its stressor ran, and what it did is not known.
_ODD_ROW = re.compile(_PREFIX + r"([\w-]+)(?: +[-+\d.,naife]+){6,8} *$", re.MULTILINE)
_COLUMNS = (
    "bogo_ops",
    "real_time_s",
    "usr_time_s",
    "sys_time_s",
    "bogo_ops_per_s",
    "bogo_ops_per_cpu_s",
    "cpu_percent",
    "rss_max_kib",
)
_YAML_COLUMNS = {
    "bogo-ops": "bogo_ops",
    "bogo-ops-per-second-usr-sys-time": "bogo_ops_per_cpu_s",
    "bogo-ops-per-second-real-time": "bogo_ops_per_s",
    "wall-clock-time": "real_time_s",
    "user-time": "usr_time_s",
    "system-time": "sys_time_s",
    "cpu-usage-per-instance": "cpu_percent",
    "max-rss": "rss_max_kib",
}
_YAML_ROW = re.compile(r"^ +(- )?([\w-]+): (\S+)$", re.MULTILINE)
# `--cyclic` reports the wakeup latencies of a task of its own.
_CYCLIC = {
    "min_us": rf"{_PREFIX}cyclic: +min: (\d+) ns",
    "max_us": rf"{_PREFIX}cyclic: +min: \d+ ns, max: (\d+) ns",
    "avg_us": rf"{_PREFIX}cyclic: +mean: {NUMBER} ns",
}
_COUNTS = {
    "samples": rf"{_PREFIX}cyclic: .* {COUNT} samples$",
    "passed": rf"{_PREFIX}passed: {COUNT}\b",
    "failed": rf"{_PREFIX}failed: {COUNT}\b",
}
_CYCLIC_PERCENTILE = re.compile(_PREFIX + rf"cyclic: +{NUMBER}%: +(\d+) ns", re.MULTILINE)


def parse(text: str) -> dict[str, float]:
    """Return the fields of every stressor (``cpu.bogo_ops_per_s``), and of all of them together.

    Together: the geometric mean of rates, as stressors count operations that can't be compared.
    A single stressor's fields are also there without its name.
    """
    stressors: dict[str, dict[str, float]] = {}
    _add_yaml(stressors, text)
    if _BRIEF_HEADING.search(text):
        text = re.sub("^", "stress-ng: metrc: [0] ", text, flags=re.MULTILINE)
    for name, *columns in _ROW.findall(text):
        row = zip(_COLUMNS, columns, strict=True)
        stressors.setdefault(name, {}).update({column: float(value) for column, value in row if value})
    for name, value, title in _EXTRA.findall(text):
        if name in stressors:
            stressors[name][_slug(title)] = float(value)
    for name in _ODD_ROW.findall(text):
        stressors.setdefault(name, {})
    values = last_numbers(_COUNTS, text) | _cyclic(text)
    for name, fields in stressors.items():
        fields.setdefault("bogo_ops", math.nan)  # which is refused
        values |= {f"{name}.{column}": value for column, value in fields.items()}
    if len(stressors) == 1:
        values |= next(iter(stressors.values()))
    for rate in ("bogo_ops_per_s", "bogo_ops_per_cpu_s"):
        rates = [fields[rate] for fields in stressors.values() if rate in fields]
        if 1 < len(rates) == len(stressors):  # over some of them it would be another mean
            values[rate] = geometric_mean(rates)
    return values


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def _add_yaml(stressors: dict[str, dict[str, float]], text: str) -> None:
    name = ""
    for first, key, value in _YAML_ROW.findall(text):
        if first:
            name = value if key == "stressor" else ""
        elif name and re.fullmatch(NUMBER, value):
            column = _YAML_COLUMNS.get(key, _slug(key))
            stressors.setdefault(name, {})[column] = float(value)


def _cyclic(text: str) -> dict[str, float]:
    found = {name: values[-1] / 1e3 for name, p in _CYCLIC.items() if (values := numbers(p, text))}
    return found | {percentile_name(p): float(ns) / 1e3 for p, ns in _CYCLIC_PERCENTILE.findall(text)}


PARSER = OutputParser(
    name="stress-ng",
    reports_more=True,
    commands=(("stress-ng",),),
    fields=(
        Field("bogo_ops_per_s", "1/s", MAX, "operations per second of real time"),
        Field("bogo_ops_per_cpu_s", "1/s", MAX, "operations per second of CPU time"),
        Field("bogo_ops", "", MAX, "operations"),
        Field("real_time_s", "s", MIN, "real time"),
        Field("usr_time_s", "s", MIN, "CPU time in user space"),
        Field("sys_time_s", "s", MIN, "CPU time in the kernel"),
        Field("cpu_percent", "%", None, "CPU used per instance"),
        Field("rss_max_kib", "KiB", MIN, "peak memory of the largest process"),
        Field("min_us", "us", MIN, "shortest wakeup latency (--cyclic)"),
        Field("avg_us", "us", MIN, "mean wakeup latency (--cyclic)"),
        Field("max_us", "us", MIN, "longest wakeup latency (--cyclic)"),
        Field("pNN_us", "us", MIN, "percentiles of wakeup latency (--cyclic)"),
        Field("samples", "", MAX, "wakeups that were measured (--cyclic)"),
        Field("passed", "", MAX, "instances that ended well"),
        Field("failed", "", MIN, "instances that did not"),
    ),
    bases=(Basis("bogo_ops"), Basis("samples", ("min_us", "avg_us", "max_us", "pNN_us"))),
    failures=(Failures("failed", ("passed", "failed"), "failed instances of stressors"),),
    primary="bogo_ops_per_s",
    throughput="bogo_ops_per_s",
    latency="p99_us",
    parse=parse,
    seen="0.15.06: tables with --metrics, --metrics-brief, --timestamp, --log-brief and --sn, and --yaml",
    documented="0.17 to 0.19: other names of means",
    hint="add --metrics to stress-ng, and leave out --quiet; latencies come from its stressor --cyclic",
    options=Options(
        short="a:b:B:c:C:d:D:f:F:i:j:l:m:o:p:P:r:R:s:S:t:T:u:x:y:Y:", long="yaml: job: log-file: temp-path:"
    ),
    file_options=("--yaml", "-Y"),
)
