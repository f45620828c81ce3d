"""Traces as JSON lines: one object per event, task sighting or sample, to read and to write.

`{"kind": "event", "timestamp_ns": 1, "type": "SWITCH", "tid": 7, ...}`, likewise `"kind": "task"`;
any other kind is one of samples: `{"kind": "system", "timestamp_ns": 1, "cpu_percent": 3.5}`. Fields
that are left out are 0. `{"kind": "attributes", ...}` names its CPUs by the number of a `{"kind": "cpu_set",
"number": 1, "cpus": "0-3,8"}`, its group by the id of a `{"kind": "group", "id": 5, "parent_id": 1, ...}`.
`{"kind": "loss", ...}` and `{"kind": "cgroup", "id": 1, "path": "/a"}` too.
The first line, `{"kind": "manifest", ...}`, says how the events are to be taken.
"""

from __future__ import annotations

import json
from io import BufferedIOBase
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from schedtuna.configfile import parse_json
from schedtuna.errors import TraceError
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE, checked_cpus
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.groups import GROUP_DTYPE
from schedtuna.trace.parts import check_kind
from schedtuna.trace.reading import EVERYBODY, SLACK_NS, SOME_TASKS, begin_of_cpus, records_everybody
from schedtuna.trace.schema import (
    EVENT_DTYPE,
    FORMER_COLUMNS,
    TASK_DTYPE,
    EventType,
    PrevState,
    TaskReason,
)
from schedtuna.trace.trace import Trace

LONGEST_LINE = 1 << 20
_BATCH = 1 << 14
_CARRIED = ("nr_cpus", "filter")  # of the manifest
_ENUMS: dict[str, Any] = {"type": EventType, "prev_state": PrevState, "reason": TaskReason}


def parse(stream: BufferedIOBase, sink: Sink) -> None:
    """Read JSON lines.

    Raises:
        TraceError: A line is not such an object; it is named.
    """
    events: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    attributes: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    number = nr_rows = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if not line.strip():
            continue
        row = _object(line, number)
        kind = row.pop("kind", "system")
        try:
            if kind == "event":
                events.append(row)
            elif kind == "task":
                tasks.append(row)
            elif kind == "loss":
                sink.note_lost(
                    _int_or_none(row["nr_lost"]),
                    cpu=_int(row.get("cpu", -1)),
                    first_ns=_int(row.get("first_ns", 0)),
                    last_ns=_int_or_none(row.get("last_ns")),
                    is_unread=row.get("is_unread") is True,
                )
            elif kind == "attributes":
                attributes.append(row)
            elif kind == "cpu_set":
                cpus = checked_cpus(row["cpus"], "a set of CPUs")
                sink.write_cpu_sets({_int(row["number"]): cpus})
            elif kind == "group":
                groups.append(row)
            elif kind == "cgroup":
                sink.write_cgroups({_int(row["id"]): str(row["path"])})
            elif kind == "manifest":
                sink.update_manifest(_facts(row))
            else:
                _sample(row, kind, sink)
            if len(events) == _BATCH:
                sink.write_events(_records(events, EVENT_DTYPE))
                events.clear()
        except (TypeError, ValueError, KeyError, OverflowError, TraceError) as error:
            raise TraceError(f"line {number}: {error}") from error
        nr_rows += 1
    try:
        if events:
            sink.write_events(_records(events, EVENT_DTYPE))
        if tasks:
            former = {old: name for name, old in FORMER_COLUMNS.items()}
            tasks = [{former.get(name, name): value for name, value in row.items()} for row in tasks]
            sink.write_tasks(_records(tasks, TASK_DTYPE))
        if attributes:
            sink.write_attributes(_records(attributes, ATTRIBUTE_DTYPE))
        if groups:
            sink.write_groups(_records(groups, GROUP_DTYPE))
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise TraceError(f"an event, a task or its attributes before line {number + 1}: {error}") from error
    if not nr_rows:
        raise TraceError("no JSON lines in it")


def write(trace: Trace, file: BinaryIO) -> None:
    """Write a trace as JSON lines."""

    def put(row: dict[str, Any]) -> None:
        file.write(json.dumps(row, default=_plain, ensure_ascii=True).encode() + b"\n")

    facts = {name: trace.manifest[name] for name in _CARRIED if trace.manifest.get(name)}
    why = trace.why_no_attributes
    facts["attributes"] = {"unknown": why} if why else trace.manifest["attributes"]
    why = trace.why_no_groups
    facts["groups"] = {"unknown": why} if why else trace.manifest["groups"]
    if trace.manifest.get("records") == SOME_TASKS:
        facts["records"] = SOME_TASKS
    elif records_everybody(trace):
        facts["records"] = EVERYBODY
    begin = (
        {"cpus_begin": begin_of_cpus(trace), "window_ns": list(trace.window_ns)} if trace.has_events else {}
    )
    if trace.sample_notes:
        facts |= {"sample_times": trace.sample_times, "sample_notes": trace.sample_notes}
    put({"kind": "manifest", "clock": trace.clock, **begin, **facts})
    for loss in trace.losses:
        put({"kind": "loss", **vars(loss)})
    for id_, path in trace.cgroups.items():
        put({"kind": "cgroup", "id": id_, "path": path})
    for part in trace.segments():
        for values in part.tolist():
            row = dict(zip(EVENT_DTYPE.names or (), values, strict=True))
            put({"kind": "event", **row, "type": EventType(row["type"]).name})
    for values in trace.task_rows.tolist():
        row = dict(zip(TASK_DTYPE.names or (), values, strict=True))
        put({"kind": "task", **row, "comm": row["comm"].decode("latin-1")})
    for number, cpus in trace.cpu_sets.items():
        put({"kind": "cpu_set", "number": number, "cpus": cpus})
    for values in trace.attribute_rows.tolist():
        put({"kind": "attributes", **dict(zip(ATTRIBUTE_DTYPE.names or (), values, strict=True))})
    for values in trace.group_rows.tolist():
        put({"kind": "group", **dict(zip(GROUP_DTYPE.names or (), values, strict=True))})
    for kind, frame in trace.sample_frames.items():
        for row in frame.iter_rows(named=True):
            put({"kind": kind, **row})


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    """Return what of a manifest says how its events are to be taken."""
    facts: dict[str, Any] = {"clock": str(row.get("clock", "unknown"))[:40]}
    facts |= {name: row[name] for name in ("sample_times", "sample_notes") if name in row}
    if row.get("cpus_begin") in SLACK_NS:
        facts["cpus_begin"] = row["cpus_begin"]
    if row.get("records") in {EVERYBODY, SOME_TASKS}:
        facts["records"] = row["records"]
    for name in ("filter", "attributes", "groups"):
        if isinstance(row.get(name), dict):
            facts[name] = row[name]
    if "nr_cpus" in row:
        facts["nr_cpus"] = _int(row["nr_cpus"])
    if "window_ns" in row:
        begin, end = (_int(time) for time in row["window_ns"])
        if not 0 <= begin <= end < 1 << 63:
            raise ValueError("window_ns is out of range")
        facts["window_ns"] = [begin, end]
    return facts


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = parse_json(line, any_name=True)
    except ValueError as error:
        hint = "expected an object per line, as `trace export --jsonl` writes; of perf, import the perf.data"
        raise TraceError(f"line {number}: not JSON: {error}", hint=hint) from error
    if not isinstance(row, dict):
        raise TraceError(f"line {number}: expected an object")
    return row


def _sample(row: dict[str, Any], kind: Any, sink: Sink) -> None:
    time = _int(row.pop("timestamp_ns"))
    for name, value in row.items():
        if not (value is None or isinstance(value, float | int | str)):
            raise TraceError(f"{name[:40]!r} is {type(value).__name__}, expected a number or a string")
    if not -(1 << 63) <= time < 1 << 63:
        raise TraceError("timestamp_ns is out of range")
    sink.write_samples(time, row, kind=check_kind(str(kind)))


def _records(rows: list[dict[str, Any]], dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    array = np.zeros(len(rows), dtype)
    for name in {name for row in rows for name in row}:
        if name not in (dtype.names or ()):
            raise ValueError(f"unknown field {name[:40]!r}")
        if name == "comm":
            array[name] = [str(row.get(name, "")).encode("latin-1", "replace")[:16] for row in rows]
            continue
        values = [_value(name, row.get(name, 0)) for row in rows]
        limits = np.iinfo(dtype[name])
        if min(values) < limits.min or max(values) > limits.max:
            raise ValueError(f"{name} is out of range")
        array[name] = np.array(values, dtype[name])
    if dtype == EVENT_DTYPE:
        cpu_if_missing(rows, array)
    return array


def cpu_if_missing(rows: list[dict[str, Any]], array: npt.NDArray[np.void]) -> None:
    """Fill in the CPUs that are left out: `cpu`."""
    for name in ("target_cpu", "orig_cpu"):
        missing = np.array([name not in row for row in rows])
        array[name][missing] = array["cpu"][missing]
    if np.any((array["type"] < 1) | (array["type"] > max(EventType))):
        raise ValueError("an event's type is missing or unknown")
    if np.any(array["prev_state"] > max(PrevState)):
        raise ValueError("unknown prev_state")


def _value(name: str, value: Any) -> int:
    if isinstance(value, str) and name in _ENUMS:
        try:
            return int(_ENUMS[name][value])
        except KeyError:
            raise ValueError(f"unknown {name} {value[:40]!r}") from None
    return _int(value)


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected an integer, got {str(value)[:40]!r}")
    return value


def _int_or_none(value: Any) -> int | None:
    return None if value is None else _int(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
