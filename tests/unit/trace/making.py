"""Short spellings of events and tasks, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.trace.picks import CANDIDATE_DTYPE, PICK_DTYPE, RAW_CANDIDATE_DTYPE
from schedtuna.trace.schema import EVENT_DTYPE, TASK_DTYPE, EventArray, EventType, PrevState, TaskArray

Row = dict[str, Any]


def switch(time: int, prev: int, next_: int, state: PrevState = PrevState.SLEEPING, *, cpu: int = 0) -> Row:
    return {"timestamp_ns": time, "type": EventType.SWITCH, "tid": prev, "other_tid": next_, "cpu": cpu} | {
        "prev_state": state
    }


def wakeup(time: int, tid: int, *, cpu: int = 0, kind: EventType = EventType.WAKEUP, waker: int = 0) -> Row:
    return {"timestamp_ns": time, "type": kind, "tid": tid, "other_tid": waker, "cpu": cpu}


def fork(time: int, child: int, parent: int = 0, *, cpu: int = 0) -> Row:
    return {"timestamp_ns": time, "type": EventType.FORK, "tid": child, "other_tid": parent, "cpu": cpu}


def exit_(time: int, tid: int, *, cpu: int = 0) -> Row:
    return {"timestamp_ns": time, "type": EventType.EXIT, "tid": tid, "cpu": cpu}


def migrate(time: int, tid: int, origin: int, target: int) -> Row:
    return {
        "timestamp_ns": time,
        "type": EventType.MIGRATE,
        "tid": tid,
        "orig_cpu": origin,
        "cpu": origin,
    } | {"target_cpu": target}


def events(*rows: Row) -> EventArray:
    array = np.zeros(len(rows), EVENT_DTYPE)
    for event, row in zip(array, rows, strict=True):
        for name, value in {"target_cpu": row["cpu"], "orig_cpu": row["cpu"], **row}.items():
            event[name] = value
    return array


def tasks(*rows: Row) -> TaskArray:
    array = np.zeros(len(rows), TASK_DTYPE)
    for task, row in zip(array, rows, strict=True):
        for name, value in {"prio": 120, "static_prio": 120, **row}.items():
            task[name] = value
    return array


def pick_rows(picks: Sequence[Sequence[Row]], *, zero_vruntime: int = 1 << 63) -> npt.NDArray[np.void]:
    """Rows as BPF writes them, of picks whose first candidate was chosen; virtual times relative to zero."""
    rows = []
    for candidates in picks:
        queue = np.zeros(1, PICK_DTYPE)
        table = np.zeros(len(candidates), CANDIDATE_DTYPE)
        for number, (row, values) in enumerate(zip(table, candidates, strict=True)):
            for name, value in {"tid": number + 1, "weight": 1024, "kind": 2, **values}.items():
                row[name] = value
        queue["sum_weight"] = table["weight"][1:].sum()
        queue["sum_w_vruntime"] = (table["weight"][1:] * table["vruntime"][1:]).sum()
        queue["zero_vruntime"], queue["kind"], queue["tid"] = zero_vruntime, 1, table["tid"][0]
        queue["nr_queued"] = queue["nr_candidates"] = len(table)
        absolute = table.view(RAW_CANDIDATE_DTYPE)
        for name in ("vruntime", "deadline", "vprot"):
            absolute[name] += np.uint64(zero_vruntime)
        rows += [queue, absolute.view(PICK_DTYPE)]
    return np.concatenate([np.empty(0, PICK_DTYPE), *rows])


def random_events(
    rng: np.random.Generator, nr_events: int, *, nr_cpus: int = 4, nr_tasks: int = 20
) -> EventArray:
    """Events of every type, in time order, that obey no rule of the scheduler."""
    array = np.zeros(nr_events, EVENT_DTYPE)
    array["timestamp_ns"] = 10**9 + np.cumsum(rng.integers(0, 5_000, nr_events))
    array["type"] = rng.choice(list(EventType), nr_events)
    array["cpu"] = rng.integers(0, nr_cpus, nr_events)
    array["target_cpu"] = rng.integers(0, nr_cpus, nr_events)
    array["orig_cpu"] = rng.integers(0, nr_cpus, nr_events)
    array["tid"] = rng.integers(0, nr_tasks, nr_events)
    array["other_tid"] = rng.integers(0, nr_tasks, nr_events)
    array["prio"] = rng.integers(-1, 140, nr_events)
    array["aux"] = rng.integers(0, 1 << 32, nr_events)
    is_switch = array["type"] == EventType.SWITCH
    array["prev_state"][is_switch] = rng.integers(0, len(PrevState), is_switch.sum())
    array["other_prio"][is_switch] = rng.integers(-1, 140, is_switch.sum())
    return array
