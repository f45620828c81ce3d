"""Of whose switches does a recording have all: everybody's, or those of some tasks?

Our own recorder says so (the manifest's `filter`). A recording of perf without -a, or of ftrace with a pid
filter, does not: its CPUs' switches do not fit together, and which tasks it has whole follows from which of
their stretches do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from schedtuna.trace.schema import IDLE_TID, EventArray, EventType
from schedtuna.trace.trace import Trace

Tids = npt.NDArray[np.uint32]


def filtered_tids(trace: Trace) -> Tids | None:
    """Return the tids that our own recorder was told to record; None: it was told no filter."""
    return np.unique(trace.task_rows["tid"]) if trace.manifest.get("filter") else None


def recorded_segments(segments: Iterable[EventArray], recorded: Tids | None) -> Iterator[EventArray]:
    """Yield events of recorded tasks only (None: all are); whoever else ran is tid 0 in their switches.

    Little more is known of the others than that they came after, or went before, one who was recorded.
    """
    for segment in segments:
        if recorded is None:
            yield segment
            continue
        switches = segment["type"] == EventType.SWITCH
        part = segment[switches | np.isin(segment["tid"], recorded)]
        switches = part["type"] == EventType.SWITCH
        for name in ("tid", "other_tid"):
            part[name][switches & ~np.isin(part[name], recorded)] = IDLE_TID
        yield part


def tids_recorded_whole(segments: Iterable[EventArray]) -> Tids:
    """Return the tasks of which a recording of single tasks has every switch.

    A stretch of a task on a CPU is whole if the CPU's next switch is away from that task. A task is recorded
    if all its stretches are whole; but not if each of its switches is also that of another such task, as then
    it may be there because of the other only, and have run where nobody looked.

    Where only those who leave were recorded (perf without -a), nobody is whole: no CPU leaves its idle task
    then, and nobody who ever left comes twice without leaving (once: a task's last leaving is not recorded).
    """
    whole: Counter[int] = Counter()
    broken: set[int] = set()
    stayed: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    on_cpu: dict[int, int] = {}
    for part in segments:
        switches = part[part["type"] == EventType.SWITCH]
        for cpu in np.unique(switches["cpu"]).tolist():
            here = switches[switches["cpu"] == cpu]
            left, came = here["tid"].astype(np.int64), here["other_tid"].astype(np.int64)
            before = np.concatenate([[on_cpu.get(cpu, left[0])], came[:-1]])
            on_cpu[cpu] = int(came[-1])
            fits = before == left
            whole.update(before[1:][fits[1:]].tolist())
            broken.update(left[~fits].tolist())
            stayed.update(before[~fits].tolist())
            pairs.update(zip(left.tolist(), came.tolist(), strict=True))
    leavers = {left for left, _ in pairs}
    if IDLE_TID not in leavers and all(stayed[tid] < 2 for tid in leavers):
        return np.empty(0, np.uint32)
    candidates = set(whole) - broken - set(stayed) - {IDLE_TID}
    return np.array(sorted(_needed(candidates, pairs)), np.uint32)


def share_of_others(segments: Iterable[EventArray], recorded: Tids) -> float:
    """Return the share of switches that are neither to nor from a recorded task."""
    nr_others = nr_switches = 0
    for part in segments:
        switches = part[part["type"] == EventType.SWITCH]
        is_theirs = np.isin(switches["tid"], recorded) | np.isin(switches["other_tid"], recorded)
        nr_switches += len(switches)
        nr_others += int(np.count_nonzero(~is_theirs))
    return nr_others / max(nr_switches, 1)


def _needed(candidates: set[int], pairs: Counter[tuple[int, int]]) -> set[int]:
    """Leave out tasks whose switches are all explained by others, the rarest first."""
    partners: dict[int, set[int]] = {tid: set() for tid in candidates}
    count: Counter[int] = Counter()
    for (left, came), number in pairs.items():
        for one, other in ((left, came), (came, left)):
            if one in partners:
                partners[one].add(other)
                count[one] += number
    needed = set(candidates)
    for tid in sorted(candidates, key=lambda one: (count[one], one)):
        if partners[tid] <= needed - {tid}:
            needed.discard(tid)
    return needed


def others_of(segments: Iterable[EventArray], recorded: Tids) -> Tids:
    """Return the tids that a recording has events of, but not all."""
    seen = [np.empty(0, np.uint32)]
    for part in segments:
        switches = part["type"] == EventType.SWITCH
        seen += [np.unique(part["tid"]), np.unique(part["other_tid"][switches])]
    return np.setdiff1d(np.concatenate(seen), np.append(recorded, np.uint32(IDLE_TID)))
