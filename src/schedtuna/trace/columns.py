"""How are events laid out in a file so that they take 3 bytes instead of 32?

Rows are sorted by CPU, then by time, and what the rows before imply is left out:

- `dt_low`, `dt_mid`, `dt_high`: nanoseconds since the CPU's previous row (its first row: since 0),
  the two low bytes apart from the rest, as noise does not compress and keeps its neighbours from it;
- `current`: the task on the CPU, XORed with the one that the CPU's last switch put there (mostly 0);
- `subject`: the other task: who comes (SWITCH), wakes up, moves or is born;
- `target_cpu`, `orig_cpu`: XORed with `cpu`;
- `prio`: of the subject; `current_prio`: XORed like `current`.

The dictionary encoding of Parquet and zstd do the rest. The way back is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.trace.schema import EVENT_DTYPE, EventArray, EventType

Columns = dict[str, npt.NDArray[Any]]

COLUMN_TYPES: dict[str, str] = {
    "cpu": "u2",
    "type": "u1",
    "dt_low": "u1",
    "dt_mid": "u1",
    "dt_high": "u8",
    "subject": "u4",
    "current": "u4",
    "prev_state": "u1",
    "aux": "u4",
    "target_cpu": "u2",
    "orig_cpu": "u2",
    "prio": "i2",
    "current_prio": "i2",
}

# Types of which `tid` is the task on the CPU; of the others it is `other_tid`.
_CURRENT_IS_TID = np.zeros(256, bool)
_CURRENT_IS_TID[[EventType.SWITCH, EventType.EXEC, EventType.EXIT]] = True
_KNOWN_TYPE = np.zeros(256, bool)
_KNOWN_TYPE[list(EventType)] = True


def encode(events: EventArray) -> Columns:
    """Return the stored columns of events, which may be in any order."""
    rows = _by_cpu_and_time(events)
    previous_switch, cpu_starts = _previous_switch(rows["cpu"], rows["type"])
    current_is_tid = _CURRENT_IS_TID[rows["type"]]
    current = np.where(current_is_tid, rows["tid"], rows["other_tid"])
    subject = np.where(current_is_tid, rows["other_tid"], rows["tid"])
    is_exec = rows["type"] == EventType.EXEC
    is_switch = rows["type"] == EventType.SWITCH
    prio = np.where(is_switch, rows["other_prio"], rows["prio"])
    current_prio = np.where(is_switch, rows["prio"], rows["other_prio"])
    time = rows["timestamp_ns"]
    delta = np.diff(time, prepend=time[:1])
    delta[cpu_starts] = time[cpu_starts]
    columns = {
        "cpu": rows["cpu"],
        "type": rows["type"],
        "dt_low": delta & 0xFF,
        "dt_mid": (delta >> np.uint64(8)) & 0xFF,
        "dt_high": delta >> np.uint64(16),
        "subject": np.where(is_exec, subject ^ current, subject),
        "current": current ^ _expected(subject, previous_switch, always=True),
        "prev_state": rows["prev_state"],
        "aux": rows["aux"],
        "target_cpu": rows["target_cpu"] ^ rows["cpu"],
        "orig_cpu": rows["orig_cpu"] ^ rows["cpu"],
        "prio": prio,
        "current_prio": current_prio ^ _expected(prio, previous_switch, always=is_switch),
    }
    return {name: np.ascontiguousarray(columns[name].astype(type_)) for name, type_ in COLUMN_TYPES.items()}


def _by_cpu_and_time(events: EventArray) -> EventArray:
    """The events as they are stored: by CPU, then by time; equal ones stay in order."""
    order = np.argsort(events["timestamp_ns"], kind="stable")
    order = order[np.argsort(events["cpu"][order], kind="stable")]
    # As words, which numpy gathers ten times as fast as records.
    words = np.ascontiguousarray(events).view(np.uint64).reshape(-1, EVENT_DTYPE.itemsize // 8)
    return np.take(words, order, axis=0).view(EVENT_DTYPE).reshape(len(events))


def decode(columns: Mapping[str, npt.NDArray[Any]]) -> EventArray:
    """Return the events of stored columns, by CPU, then by time.

    Raises:
        TraceError: The columns were not made by `encode()`.
    """
    kinds, cpu = columns["type"], columns["cpu"]
    if not _KNOWN_TYPE[kinds].all():
        raise TraceError(f"unknown event type {int(kinds[~_KNOWN_TYPE[kinds]][0])}")
    if np.any(cpu[1:] < cpu[:-1]):
        raise TraceError("the rows are not sorted by CPU")
    previous_switch, cpu_starts = _previous_switch(cpu, kinds)
    is_switch = kinds == EventType.SWITCH
    current_is_tid = _CURRENT_IS_TID[kinds]
    subject = columns["subject"]
    current = columns["current"] ^ _expected(subject, previous_switch, always=True)
    subject = np.where(kinds == EventType.EXEC, subject ^ current, subject)
    prio = columns["prio"]
    current_prio = columns["current_prio"] ^ _expected(prio, previous_switch, always=is_switch)
    events = np.empty(len(kinds), EVENT_DTYPE)
    delta = (columns["dt_high"] << np.uint64(16)) | columns["dt_low"]
    delta |= columns["dt_mid"].astype(np.uint64) << np.uint64(8)
    events["timestamp_ns"] = _times(delta, cpu_starts)
    events["tid"] = np.where(current_is_tid, current, subject)
    events["other_tid"] = np.where(current_is_tid, subject, current)
    events["aux"] = columns["aux"]
    events["cpu"] = cpu
    events["target_cpu"] = columns["target_cpu"] ^ cpu
    events["orig_cpu"] = columns["orig_cpu"] ^ cpu
    events["type"] = kinds
    events["prev_state"] = columns["prev_state"]
    events["prio"] = np.where(is_switch, current_prio, prio)
    events["other_prio"] = np.where(is_switch, prio, current_prio)
    return events


def _times(delta: npt.NDArray[np.uint64], cpu_starts: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
    """Sum the deltas up, anew for each CPU."""
    total = np.cumsum(delta, dtype=np.uint64)
    before = np.zeros(len(cpu_starts), np.uint64)
    before[1:] = total[cpu_starts[1:] - 1]
    return total - np.repeat(before, np.diff(np.append(cpu_starts, len(delta))))


def _previous_switch(
    cpu: npt.NDArray[np.uint16], kinds: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each row, the CPU's last switch before it (-1: none); and the first row of each CPU."""
    rows = np.arange(len(cpu))
    starts = np.flatnonzero(np.diff(cpu, prepend=cpu[:1] ^ 1)) if len(cpu) else rows
    last = np.maximum.accumulate(np.where(kinds == EventType.SWITCH, rows, -1))
    last = np.concatenate([[-1], last[:-1]]) if len(cpu) else last
    first_of_cpu = np.repeat(starts, np.diff(np.append(starts, len(cpu))))
    return np.where(last >= first_of_cpu, last, -1), starts


def _expected(
    values: npt.NDArray[Any], previous_switch: npt.NDArray[np.intp], *, always: Any
) -> npt.NDArray[Any]:
    """What the previous switch implies: its value, or 0 without one or where not `always`."""
    if not len(values):
        return values
    known = (previous_switch >= 0) & always
    return np.where(known, values[previous_switch], values.dtype.type(0))
