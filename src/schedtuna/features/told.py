"""What would samples of the system have been, by what its events tell?

So a window of a recorded or simulated trace has features that a host's samples have, too, under the same
names. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from schedtuna.features.windows import Sample
from schedtuna.trace.intervals import Intervals
from schedtuna.trace.schema import IDLE_TID, EventArray, EventType, PrevState
from schedtuna.trace.states import RUNNABLE, TaskState

_FOREVER = np.iinfo(np.int64).max
_INVOLUNTARY = (PrevState.PREEMPTED, PrevState.RUNNABLE)
# How many threads are in one of these states at the moment.
_GAUGES = {
    "run_queue_length": (TaskState.RUNNING, *RUNNABLE),
    "nr_active_threads": (TaskState.RUNNING, *RUNNABLE),
    "nr_blocked_threads": (TaskState.BLOCKED, TaskState.IO),
    "nr_io_blocked_threads": (TaskState.IO,),
    "nr_threads": tuple(state for state in TaskState if state is not TaskState.DEAD),
}
_COUNTERS = ("switches_per_s", "voluntary_switches_per_s", "involuntary_switches_per_s", "forks_per_s")
# Features whose samples can be told: rows of `features.table`.
TOLD = ("cpu_percent", *_GAUGES, *_COUNTERS)


def told_samples(
    found: Intervals, events: EventArray, times_ns: Sequence[int], *, begin_ns: int, nr_cpus: int
) -> list[Sample]:
    """Return what samples of some moments would have been.

    Args:
        found: The task states.
        events: Of the same time, at least from `begin_ns` to the last sample.
        times_ns: When samples are taken, in time order.
        begin_ns: Rates and CPU time of the first sample are since then.
        nr_cpus: Of the machine.

    Returns:
        For `windows`: (time, metrics), whose names are `TOLD`.
    """
    bounds = np.array([begin_ns, *times_ns], np.int64)
    seconds = np.diff(bounds) / 1e9
    end_ns = np.where(found.ends_after, _FOREVER, found.end_ns)
    columns: dict[str, npt.NDArray[np.float64]] = {
        name: _at(found.start_ns, end_ns, np.isin(found.state, states), bounds[1:])
        for name, states in _GAUGES.items()
    }
    runs = found.state == TaskState.RUNNING
    running_ns = _until(found.start_ns[runs], found.end_ns[runs], bounds)
    columns["cpu_percent"] = 100 * np.diff(running_ns) / np.maximum(np.diff(bounds) * nr_cpus, 1)
    columns |= {name: _count(events, which, bounds) / seconds for name, which in _counted(events).items()}
    return [(time_ns, {name: float(columns[name][i]) for name in TOLD}) for i, time_ns in enumerate(times_ns)]


def _counted(events: EventArray) -> dict[str, npt.NDArray[np.bool_]]:
    switches = events["type"] == EventType.SWITCH
    of_tasks = switches & (events["tid"] != IDLE_TID)
    involuntary = of_tasks & np.isin(events["prev_state"], _INVOLUNTARY)
    born = events["type"] == EventType.WAKEUP_NEW
    return dict(zip(_COUNTERS, (switches, of_tasks & ~involuntary, involuntary, born), strict=True))


def _count(
    events: EventArray, which: npt.NDArray[np.bool_], bounds: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    times = events["timestamp_ns"][which].astype(np.int64)
    return np.diff(np.searchsorted(times, bounds, side="right"))


def _at(
    start_ns: npt.NDArray[np.int64],
    end_ns: npt.NDArray[np.int64],
    which: npt.NDArray[np.bool_],
    times_ns: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    start_ns, end_ns = start_ns[which], end_ns[which]
    there = [
        np.count_nonzero(start_ns <= time) - np.count_nonzero(end_ns <= time) for time in times_ns.tolist()
    ]
    return np.array(there, np.float64)


def _until(
    start_ns: npt.NDArray[np.int64], end_ns: npt.NDArray[np.int64], times_ns: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return how long intervals were before each time, added up."""
    return np.array([np.maximum(np.minimum(end_ns, time) - start_ns, 0).sum() for time in times_ns.tolist()])
