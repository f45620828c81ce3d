"""Which waits may be a quota's doing, in a trace that does not tell throttled tasks?

The events of perf and ftrace show a task that its cgroup's quota holds back like one that was preempted
(`R` or `R+`, by kernel), but nobody preempts it: its CPU goes idle. A sched_ext scheduler that keeps
tasks from idle CPUs looks the same, so such waits are told, not taken for throttled time.
"""

from __future__ import annotations

import numpy as np

from schedtuna.trace.schema import IDLE_TID, EventArray, EventType, PrevState


def nr_held_back(events: EventArray, start_ns: int, end_ns: int) -> int:
    """Return how often a CPU went idle while the task that left it was runnable.

    Args:
        events: All of the machine: in a filtered trace, CPUs only seem to go idle.
        start_ns: Of the window, which this is in.
        end_ns: Likewise.
    """
    runnable = (events["prev_state"] == PrevState.PREEMPTED) | (events["prev_state"] == PrevState.RUNNABLE)
    to_idle = (events["other_tid"] == IDLE_TID) & (events["tid"] != IDLE_TID)
    inside = (events["timestamp_ns"] >= start_ns) & (events["timestamp_ns"] <= end_ns)
    return int(np.count_nonzero((events["type"] == EventType.SWITCH) & runnable & to_idle & inside))
