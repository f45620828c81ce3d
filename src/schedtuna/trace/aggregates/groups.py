"""Statistics of tasks and of groups of tasks: the same columns, which add up.

A group of one is a task. Everything but the maxima can be subtracted, too, which gives windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.trace.aggregates.histogram import bucket_edges_ns
from schedtuna.trace.aggregates.layout import (
    NR_BUCKETS,
    NR_HISTOGRAMS,
    STATS_BORN,
    STATS_DEAD,
    Blocked,
    Delay,
    Migration,
    StatsArray,
)
from schedtuna.trace.schema import PrevState

GroupArray = npt.NDArray[np.void]

# What tells groups apart; of a group of several, what they have in common, else 0 or empty.
_KEYS = [
    ("tid", "<u4"),
    ("tgid", "<u4"),
    ("start_time_ns", "<u8"),
    ("cgroup_id", "<u8"),
    ("comm", "S16"),
]
_SUMS = [
    ("nr_tasks", "<u8"),
    ("nr_exited", "<u8"),
    ("nr_born", "<u8"),  # forked while recording
    ("nr_turnarounds", "<u8"),  # forked and exited while recording
    ("turnaround_ns", "<u8"),  # of those
    ("run_ns", "<u8"),
    ("nr_runs", "<u8"),
    ("schedstat_run_delay_ns", "<u8"),
    ("delay_ns", "<u8", len(Delay)),
    ("nr_delays", "<u8", len(Delay)),
    ("blocked_ns", "<u8", len(Blocked)),
    ("nr_blocked", "<u8", len(Blocked)),
    ("nr_migrations", "<u8", len(Migration)),
    ("nr_voluntary", "<u8"),
    ("nr_involuntary", "<u8"),
    ("observed_ns", "<u8"),  # how long the tasks were watched
    ("weighted_ns", "<f8"),  # that, times each task's weight (nice 0: 1)
    ("histograms", "<u8", (NR_HISTOGRAMS, NR_BUCKETS)),
]
_MAXIMA = [
    ("delay_max_ns", "<u8", len(Delay)),
    ("waiting_ns", "<u8"),  # how long the task that waits longest has waited by now
]
GROUP_DTYPE = np.dtype([*_KEYS, *_SUMS, *_MAXIMA])
KEYS, SUMS, MAXIMA = ([str(column[0]) for column in columns] for columns in (_KEYS, _SUMS, _MAXIMA))


def groups_of_tasks(stats: StatsArray) -> GroupArray:
    """Return one group per record of the kernel; a task on a CPU has run up to the last tick."""
    groups = np.zeros(len(stats), GROUP_DTYPE)
    task, flags = stats["task"], stats["flags"]
    for name in KEYS:
        groups[name] = task[name]
    for name in SUMS:
        if name in (stats.dtype.names or ()):
            groups[name] = stats[name]
    dead, born = (flags & STATS_DEAD) > 0, (flags & STATS_BORN) > 0
    groups["nr_tasks"] = 1
    groups["nr_exited"] = dead
    groups["nr_born"] = born
    groups["nr_turnarounds"] = dead & born
    groups["turnaround_ns"] = np.where(dead & born, stats["turnaround_ns"], 0)
    groups["delay_max_ns"] = stats["delay_max_ns"]
    now = stats["now_ns"].astype(np.int64)
    met = stats["met_ns"] > 0
    met_ns = np.where(met, stats["met_ns"], stats["found_ns"])
    living = ~dead & (met_ns > 0)
    cpu_time_ns = np.where(met, stats["cpu_time_seen_ns"], stats["found_cpu_time_ns"])
    run_delay_ns = np.where(met, stats["schedstat_run_delay_seen_ns"], stats["found_run_delay_ns"])
    groups["run_ns"] += np.where(living, _difference(task["cpu_time_ns"], cpu_time_ns), 0)
    groups["schedstat_run_delay_ns"] += np.where(
        living, _difference(task["schedstat_run_delay_ns"], run_delay_ns), 0
    )
    waits = (stats["on_cpu_ns"] == 0) & (stats["waiting_for"] != 1 + PrevState.THROTTLED)
    groups["waiting_ns"] = np.where(waits, _elapsed(stats["queued_ns"], now), 0)
    groups["observed_ns"] = _elapsed(met_ns, now)
    groups["weighted_ns"] = groups["observed_ns"] * (task["weight"] / 1024)
    return groups


def _elapsed(start: npt.NDArray[np.uint64], now: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Time since each start; 0 without one."""
    return np.where(start > 0, np.maximum(now - start.astype(np.int64), 0), 0).astype(np.uint64)


def concatenate(arrays: Sequence[GroupArray]) -> GroupArray:
    """Return all groups in one array."""
    return np.concatenate([np.empty(0, GROUP_DTYPE), *arrays])


def identity(groups: GroupArray) -> npt.NDArray[np.void]:
    """Return what tells tasks apart, however often their numbers are used again."""
    pairs = np.empty(len(groups), [("start_time_ns", "<u8"), ("tid", "<u4")])
    for name in pairs.dtype.names or ():
        pairs[name] = groups[name]
    return pairs


def fold(groups: GroupArray, by: Sequence[str]) -> GroupArray:
    """Add up the groups that agree in some keys; without any keys, all of them.

    Args:
        groups: Any groups.
        by: Names of keys, such as ``["comm"]``.
    """
    if not len(groups):
        return groups
    if by:
        keys = np.empty(len(groups), [(name, GROUP_DTYPE[name]) for name in by])
        for name in by:
            keys[name] = groups[name]
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    else:
        first, inverse = np.zeros(1, np.intp), np.zeros(len(groups), np.intp)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(len(first)))
    result = np.zeros(len(first), GROUP_DTYPE)
    for name in by:
        result[name] = groups[name][first]
    ordered = groups[order]
    for name in SUMS:
        result[name] = np.add.reduceat(ordered[name], starts, axis=0)
    for name in MAXIMA:
        result[name] = np.maximum.reduceat(ordered[name], starts, axis=0)
    for name in set(KEYS) - set(by):
        same = ordered[name] == np.repeat(ordered[name][starts], np.diff(np.append(starts, len(groups))))
        result[name] = np.where(np.logical_and.reduceat(same, starts), ordered[name][starts], result[name])
    return result


def since(now: GroupArray, before: GroupArray) -> GroupArray:
    """Return what happened to tasks between two readings; who was not there before counts whole.

    The largest delays of the time between are not known exactly: they are bounded by the end of the
    last bucket that counted one.
    """
    identities = identity(before)
    order = np.argsort(identities)
    position = np.searchsorted(identities[order], identity(now))
    position = np.minimum(position, max(len(before) - 1, 0))
    result = now.copy()
    if len(before):
        row = order[position]
        known = identities[row] == identity(now)
        for name in SUMS:
            if name not in {"nr_tasks", "nr_exited", "nr_turnarounds", "turnaround_ns"}:
                result[name][known] = _difference(now[name][known], before[name][row[known]])
    edges = bucket_edges_ns()[1:]
    counted = result["histograms"][:, : Delay.THROTTLED] > 0
    bound = np.where(counted, edges, 0).max(axis=2, initial=0)
    maxima = result["delay_max_ns"][:, : Delay.THROTTLED]
    result["delay_max_ns"][:, : Delay.THROTTLED] = np.minimum(maxima, bound.astype(np.uint64))
    return result


def _difference(now: npt.NDArray[Any], before: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A difference of counters that were read while they were counted: never below zero."""
    return np.where(now > before, now - before, 0)
