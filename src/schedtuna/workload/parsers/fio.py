"""fio 3: I/O operations per second, bandwidth and latency; normal output and JSON (also JSON+)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schedtuna.configfile import json_values
from schedtuna.errors import MetricError
from schedtuna.workload.parsers.base import (
    MAX,
    MIN,
    Basis,
    Failures,
    Field,
    Options,
    OutputParser,
    blocks,
    part_names,
    percentile_name,
    with_parts,
)

_DIRECTIONS = ("read", "write", "trim")
_JOB = re.compile(r"^(.+): \(groupid=\d+, jobs=\d+\): err= *\d+", re.MULTILINE)
_SCALE = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_US = {"nsec": 1e-3, "usec": 1.0, "msec": 1e3, "sec": 1e6}
_SCALED = r"(\d+(?:\.\d+)?)([kMG]?)"
# In powers of 1024, or of 1000 with kb_base=1000; in bits with unit_base=1.
_DIRECTION = re.compile(
    r"^ +(read|write|trim): IOPS=[\d.]+[kMG]?, BW=(\d+(?:\.\d+)?)([kMGT]|[KMGT]i)?(B|bit)/s "
    r".*\([\d.]+[kKMGTi]*B/(\d+)msec\)"
)
_LATENCY = re.compile(
    rf"^ +(slat|clat|lat) \((nsec|usec|msec|sec)\): min= *{_SCALED}, max= *{_SCALED}, avg= *(\d+\.\d+)"
)
_PERCENTILES = re.compile(r"^ +(\w+) percentiles \((nsec|usec|msec|sec)\):")
_PERCENTILE = re.compile(r"(\d+\.\d+)th=\[ *(\d+)\]")
_ISSUED = re.compile(r"^ +issued rwts: total=(\d+),(\d+),(\d+),")
_OF_ALL = re.compile(r'^ +mixed: IOPS=|"mixed" *: *\{', re.MULTILINE)
_OF_ONE = re.compile(r'^ +(?:read|write|trim): IOPS=|"(?:read|write|trim)" *: *\{', re.MULTILINE)
_BEHIND_JOBS = "\nRun status group "
_ERRORS = re.compile(r"^ +errors +: total=(\d+),")


@dataclass
class Done:
    """What one job did in one direction.

    Attributes:
        ios: Operations.
        runtime_s: How long it was at it.
        bytes_per_s: Bandwidth.
        latency: min, max and avg of the whole latency, in microseconds.
        percentiles: Of latency, by field.
    """

    ios: float = 0.0
    runtime_s: float = 0.0
    bytes_per_s: float = 0.0
    latency: dict[str, float] = field(default_factory=dict)
    percentiles: dict[str, float] = field(default_factory=dict)

    def fields(self, direction: str) -> dict[str, float]:
        """Its fields; a rate is exact, where the text rounds it."""
        values = {
            "ios": self.ios,
            "iops": self.ios / self.runtime_s if self.runtime_s else 0.0,
            "bytes_per_s": self.bytes_per_s,
            **self.latency,
            **self.percentiles,
        }
        return {f"{direction}_{name}": value for name, value in values.items()}


@dataclass
class Job:
    """A job, or a group of them with group_reporting."""

    name: str
    done: dict[str, Done] = field(default_factory=dict)
    errors: float | None = None

    def fields(self) -> dict[str, float]:
        """Its fields, by direction and over all of them."""
        values: dict[str, float] = {}
        done = {direction: done for direction, done in self.done.items() if done.ios}
        for direction, one in done.items():
            values |= one.fields(direction)
        for name in ("ios", "iops", "bytes_per_s"):
            values[name] = sum(values[f"{direction}_{name}"] for direction in done)
        return values if self.errors is None else values | {"errors": self.errors}


def parse(text: str) -> dict[str, float]:
    """Return the fields of each job (``JOB.read_iops``) and of all of them together.

    Together: rates are summed, and means weighted by operations; percentiles can't be merged. Of several
    reports (--status-interval) the last counts: it has what the earlier ones have.

    Raises:
        MetricError: Directions are not told apart (unified_rw_reporting=mixed).
    """
    if _OF_ALL.search(text) and not _OF_ONE.search(text):
        raise MetricError(
            "fio reports reads, writes and trims as one (mixed)",
            hint="leave out unified_rw_reporting, or set it to both",
        )
    jobs = _json(text) or _text(text)
    fields = [job.fields() for job in jobs]
    return with_parts(dict(zip(part_names(job.name for job in jobs), fields, strict=True)), _together(fields))


def _together(jobs: list[dict[str, float]]) -> dict[str, float]:
    values: dict[str, float] = {}
    for prefix in ("", *(f"{direction}_" for direction in _DIRECTIONS)):
        of = [job for job in jobs if f"{prefix}ios" in job]
        for name in ("ios", "iops", "bytes_per_s", "errors"):
            if rows := [job[prefix + name] for job in of if prefix + name in job]:
                values[prefix + name] = sum(rows)
        if prefix and of and all(f"{prefix}avg_us" in job for job in of):
            values[f"{prefix}min_us"] = min(job[f"{prefix}min_us"] for job in of)
            values[f"{prefix}max_us"] = max(job[f"{prefix}max_us"] for job in of)
            total = sum(job[f"{prefix}ios"] * job[f"{prefix}avg_us"] for job in of)
            values[f"{prefix}avg_us"] = total / values[f"{prefix}ios"]
    return values


def _json(text: str) -> list[Job]:
    jobs: list[Job] = []
    for document in json_values(text, r"^\{"):
        try:
            jobs = [_of_json(job) for job in document["jobs"]]
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            continue
    return jobs


def _of_json(job: Mapping[str, Any]) -> Job:
    done = {}
    for direction in _DIRECTIONS:
        row = job[direction]
        latency = row["lat_ns"]
        # Which of the two has percentiles is an option of the job.
        percentiles = row["clat_ns"].get("percentile") or latency.get("percentile") or {}
        done[direction] = Done(
            ios=float(row["total_ios"]),
            runtime_s=float(row["runtime"]) / 1e3,
            bytes_per_s=float(row["bw_bytes"]),
            latency={
                f"{name}_us": float(latency[key]) / 1e3
                for name, key in (("min", "min"), ("max", "max"), ("avg", "mean"))
            }
            if latency["max"]
            else {},
            percentiles={percentile_name(key): float(ns) / 1e3 for key, ns in percentiles.items()},
        )
    return Job(str(job["jobname"]), done, float(job["total_err"]) if "total_err" in job else None)


def _text(text: str) -> list[Job]:
    jobs: list[Job] = []
    is_complete = False
    for name, block in blocks(_JOB, text):
        if is_complete:
            jobs = []
        jobs.append(_of_block(name, block))
        is_complete = _BEHIND_JOBS in block
    return jobs


def _of_block(name: str, block: str) -> Job:
    """One job's block; a line belongs to the direction whose line stood before it."""
    job, now, kind, unit = Job(name), Done(), "", 1.0
    for line in block.splitlines():
        if match := _DIRECTION.match(line):
            direction, bandwidth, scale, unit_name, runtime = match.groups()
            bytes_per_s = float(bandwidth) * _SCALE[scale or ""] / (8 if unit_name == "bit" else 1)
            now = job.done[direction] = Done(runtime_s=float(runtime) / 1e3, bytes_per_s=bytes_per_s)
        elif match := _LATENCY.match(line):
            if now.latency:  # of all directions once more (unified_rw_reporting=both)
                now = Done()
            if match[1] == "lat":
                now.latency = _of_latency(match)
        elif match := _PERCENTILES.match(line):
            kind, unit = match[1], _US[match[2]]
        elif kind in ("clat", "lat") and (found := _PERCENTILE.findall(line)):
            now.percentiles |= {percentile_name(percent): float(value) * unit for percent, value in found}
        elif match := _ISSUED.match(line):
            for direction, count in zip(_DIRECTIONS, match.groups(), strict=True):
                if direction in job.done:
                    job.done[direction].ios = float(count)
        elif match := _ERRORS.match(line):
            job.errors = float(match[1])
    return job


def _of_latency(match: re.Match[str]) -> dict[str, float]:
    _, unit, low, low_scale, high, high_scale, mean = match.groups()
    return {
        "min_us": float(low) * _SCALE[low_scale] * _US[unit],
        "max_us": float(high) * _SCALE[high_scale] * _US[unit],
        "avg_us": float(mean) * _US[unit],
    }


PARSER = OutputParser(
    name="fio",
    commands=(("fio",),),
    fields=(
        Field("iops", "1/s", MAX, "operations per second of all jobs, in all directions"),
        Field("bytes_per_s", "B/s", MAX, "bytes per second of all jobs, in all directions"),
        Field("ios", "", MAX, "operations"),
        *(
            row
            for direction in _DIRECTIONS
            for row in (
                Field(f"{direction}_iops", "1/s", MAX, f"{direction} operations per second"),
                Field(f"{direction}_bytes_per_s", "B/s", MAX, f"bytes per second of {direction} operations"),
                Field(f"{direction}_ios", "", MAX, f"{direction} operations"),
                Field(f"{direction}_min_us", "us", MIN, f"shortest latency of {direction} operations"),
                Field(f"{direction}_avg_us", "us", MIN, f"mean latency of {direction} operations"),
                Field(f"{direction}_max_us", "us", MIN, f"longest latency of {direction} operations"),
                Field(f"{direction}_pNN_us", "us", MIN, f"percentiles of {direction} operations, of one job"),
            )
        ),
        Field("errors", "", MIN, "operations that failed (continue_on_error)"),
    ),
    bases=(Basis("ios", required=True), Basis("iops")),
    failures=(Failures("errors", ("ios", "errors"), "failed operations"),),
    primary="iops",
    throughput="iops",
    parse=parse,
    seen="3.33: normal output, json and json+",
    hint="add --output-format=json to fio; percentiles of several jobs need --group_reporting, or have the "
    "job's name (JOB.read_p99_us)",
    options=Options(one_dash=True, long="output: output-format: section: max-jobs: server: client:"),
    file_options=("--output",),
)
