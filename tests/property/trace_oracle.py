"""The slow, plain way from events to task states, one event at a time: what the fast way must equal.

Written from the prose of `trace.states`, not from its tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schedtuna.trace.schema import EventType, PrevState
from schedtuna.trace.states import TaskState as S

OUT = {
    PrevState.PREEMPTED: S.RUNNABLE_PREEMPTED,
    PrevState.RUNNABLE: S.RUNNABLE_PREEMPTED,
    PrevState.SLEEPING: S.SLEEPING,
    PrevState.BLOCKED: S.BLOCKED,
    PrevState.IO: S.IO,
    PrevState.STOPPED: S.STOPPED,
    PrevState.DEAD: S.DEAD,
    PrevState.THROTTLED: S.THROTTLED,
    PrevState.IDLE: S.IDLE,
}
ASLEEP = {S.SLEEPING, S.BLOCKED, S.IO, S.STOPPED, S.IDLE}
WAITS = {S.RUNNABLE_WOKEN, S.RUNNABLE_PREEMPTED, S.RUNNABLE_NEW}


@dataclass
class Task:
    nth: int
    state: S
    since: int
    cpu: int
    began_before: bool


Row = tuple[int, int, str, int, int, int, bool, bool]


def reference_intervals(events: Any, start_ns: int, end_ns: int) -> list[Row]:
    """Return (tid, nth task of the tid, state, start, end, cpu, began before, ends after), sorted."""
    types = {int(t) for t in events["type"]}
    wakeup = EventType.WAKEUP if EventType.WAKEUP in types else EventType.WAKING
    tasks: dict[int, Task] = {}
    rows: list[Row] = []
    on_cpu: dict[int, int] = {}

    def end(tid: int, time: int, state: S | None = None, *, after: bool = False) -> None:
        task = tasks[tid]
        if task.state != S.DEAD:
            shown = task.state if state is None else state
            rows.append((tid, task.nth, shown.name, task.since, time, task.cpu, task.began_before, after))

    def enter(tid: int, time: int, state: S, cpu: int, *, credible: bool = True, new: bool = False) -> None:
        task = tasks[tid]
        if state == task.state and credible and not new:
            return
        end(tid, time, None if credible else S.UNKNOWN)
        nth = task.nth + 1 if new or (task.state == S.DEAD and state != S.DEAD) else task.nth
        tasks[tid] = Task(nth, state, time, cpu, began_before=False)
        if state == S.DEAD:
            rows.append((tid, nth, state.name, time, time, cpu, False, False))

    def get(tid: int, before: S) -> Task:
        if tid not in tasks:
            nth = -1 if before == S.DEAD else 0
            tasks[tid] = Task(nth, before, start_ns, 0, began_before=True)
        return tasks[tid]

    for event in events:
        time, kind = int(event["timestamp_ns"]), int(event["type"])
        tid, cpu = int(event["tid"]), int(event["target_cpu"])
        if kind == EventType.SWITCH:
            here = int(event["cpu"])
            ran = on_cpu.get(here, tid)
            on_cpu[here] = int(event["other_tid"])
            for lost in (ran, tid) if ran != tid else ():
                if lost and get(lost, S.UNKNOWN).state == S.RUNNING:
                    enter(lost, time, S.UNKNOWN, here, credible=False)
            if tid:
                task = get(tid, S.RUNNING)
                credible = task.state in {S.RUNNING, S.UNKNOWN, S.DEAD}
                enter(tid, time, OUT[PrevState(int(event["prev_state"]))], cpu, credible=credible)
            other = int(event["other_tid"])
            if other:
                task = get(other, S.UNKNOWN)
                credible = task.state not in ASLEEP | {S.RUNNING}
                enter(other, time, S.RUNNING, cpu, credible=credible)
        elif not tid:
            continue
        elif kind == wakeup:
            task = get(tid, S.UNKNOWN)
            if task.state == S.NEW:
                enter(tid, time, S.RUNNABLE_NEW, cpu)
            elif task.state in ASLEEP | {S.UNKNOWN, S.DEAD}:
                enter(tid, time, S.RUNNABLE_WOKEN, cpu)
            elif task.state in {S.RUNNABLE_WOKEN, S.RUNNABLE_NEW}:
                enter(tid, time, S.RUNNABLE_WOKEN, cpu, credible=False)
        elif kind == EventType.WAKEUP_NEW:
            task = get(tid, S.DEAD)
            credible = task.state in {S.NEW, S.UNKNOWN, S.DEAD}
            enter(tid, time, S.RUNNABLE_NEW, cpu, credible=credible, new=task.state != S.NEW)
        elif kind == EventType.FORK:
            task = get(tid, S.DEAD)
            enter(tid, time, S.NEW, cpu, credible=task.state in {S.UNKNOWN, S.DEAD}, new=True)
        elif kind == EventType.EXIT:
            get(tid, S.RUNNING)
        elif kind == EventType.MIGRATE:
            get(tid, S.UNKNOWN)
    for tid, task in tasks.items():
        end(tid, max(end_ns, task.since), after=True)
    return sorted(rows)


def canonical(intervals: Any) -> list[Row]:
    """Return what `trace.intervals` found in the form of `reference_intervals()`."""
    by_task = intervals.sorted()
    order: dict[int, dict[int, int]] = {}
    first: dict[int, tuple[int, int]] = {}
    for task, tid, start in zip(by_task.task, by_task.tid, by_task.start_ns, strict=True):
        first.setdefault(int(task), (int(tid), int(start)))
    for task, (tid, _) in sorted(first.items(), key=lambda item: (item[1], item[0])):
        order.setdefault(tid, {})[task] = len(order.get(tid, {}))
    return sorted(
        (
            int(tid),
            order[int(tid)][int(task)],
            S(int(state)).name,
            int(start),
            int(end),
            int(cpu),
            bool(before),
            bool(after),
        )
        for task, tid, state, start, end, cpu, before, after in zip(
            intervals.task,
            intervals.tid,
            intervals.state,
            intervals.start_ns,
            intervals.end_ns,
            intervals.cpu,
            intervals.began_before,
            intervals.ends_after,
            strict=True,
        )
    )
