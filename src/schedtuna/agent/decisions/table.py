"""Decisions in a trace's schema: samples of the kinds `decision` and `outcome`, one row each, as Parquet.

A decision's probabilities are in columns `propensity ARM`, its features in `feature NAME`, an outcome's terms
in `term NAME`; what a row does not have is null there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from schedtuna.agent.decisions.log import read_decision_rows
from schedtuna.agent.decisions.rows import DECISION, LEFT_OUT, OUTCOME
from schedtuna.configfile import parse_json
from schedtuna.errors import EvidenceError, TraceError, UsageError
from schedtuna.files import open_to_read, read_all

_PROPENSITY, _FEATURE, _TERM = "propensity ", "feature ", "term "
_MODE = "decisions"  # of the manifest
_MANIFEST = "manifest.json"


def write_decision_table(rows: Iterable[Mapping[str, Any]], folder: Path, *, force: bool = False) -> int:
    """Write rows of decisions, as they are stored, as a trace; return how many decisions there were.

    Raises:
        UsageError: The folder holds something already.
        MissingExtraError: polars is not installed.
        OSError: It can't be written.
    """
    from schedtuna.trace.writer import TraceWriter

    nr_decisions = nr_left_out = 0
    with TraceWriter(folder, {"mode": _MODE}, force=force) as writer:
        for row in rows:
            kind = row.get("kind")
            if kind == LEFT_OUT:
                nr_left_out += int(row.get("nr", 0))
            elif kind in (DECISION, OUTCOME):
                nr_decisions += kind == DECISION
                writer.write_samples(int(row["time_ns"]), _flat(row), kind=kind)
        writer.update_manifest({"nr_decisions": nr_decisions, "nr_left_out": nr_left_out})
    return nr_decisions


def read_decisions(place: Path | None) -> Iterator[dict[str, Any]]:
    """Give rows of decisions as they are stored, oldest first.

    Args:
        place: An agent's folder, a file of JSON lines, or a trace that `write_decision_table` wrote; default:
            the folder of this machine's agent.

    Raises:
        UsageError: There is nothing of the kind.
        EvidenceError: A line is damaged.
        TraceError: A trace can't be read.
    """
    if place is None or (place.is_dir() and not (place / _MANIFEST).exists()):
        yield from read_decision_rows(place)
    elif place.is_dir():
        yield from _read_table(place)
    elif place.is_file():
        yield from _read_lines(place)
    else:
        raise UsageError(f"{place}: there is no such file or folder")


def _flat(row: Mapping[str, Any]) -> dict[str, float | str | None]:
    flat = {
        name: value
        for name, value in row.items()
        if name not in ("kind", "time_ns", "arms", "propensities", "features", "terms")
    }
    if row["kind"] == OUTCOME:
        return flat | {_TERM + name: value for name, value in row["terms"].items()}
    flat["arms"] = json.dumps(row["arms"])
    given = row["propensities"]
    flat |= {} if given is None else {_PROPENSITY + n: p for n, p in zip(row["arms"], given, strict=True)}
    return flat | {_FEATURE + name: value for name, value in row["features"].items()}


def _read_table(folder: Path) -> Iterator[dict[str, Any]]:
    from schedtuna.trace.store import open_trace

    trace = open_trace(folder)
    if trace.manifest.get("mode") != _MODE:
        raise TraceError(
            f"{folder} is a trace without decisions", hint="`schedtuna agent log --out` writes one"
        )
    for kind in (DECISION, OUTCOME):
        if kind in trace.sample_frames:
            for row in trace.samples(kind).iter_rows(named=True):
                yield _nested(kind, row)
    if left_out := int(trace.manifest.get("nr_left_out") or 0):
        yield {"kind": LEFT_OUT, "nr": left_out}


def _nested(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    whole = {name: value for name, value in row.items() if " " not in name and name != "timestamp_ns"}
    whole |= {"kind": kind, "time_ns": row["timestamp_ns"]}
    if kind == OUTCOME:
        return whole | {"terms": _part(row, _TERM)}
    try:
        arms = parse_json(row["arms"], any_text=True)
        given = [row.get(_PROPENSITY + arm) for arm in arms]
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceError("a decision names no arms", hint="the file is damaged, or not ours") from error
    known = None if None in given else given
    return whole | {"arms": arms, "propensities": known, "features": _part(row, _FEATURE)}


def _part(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in row.items()
        if name.startswith(prefix) and value is not None
    }


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    file = open_to_read(path)
    try:
        data = read_all(file)
    finally:
        os.close(file)
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, any_text=True)
        except ValueError as error:
            raise EvidenceError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise EvidenceError(f"{path}, line {number}: expected an object")
        yield row
