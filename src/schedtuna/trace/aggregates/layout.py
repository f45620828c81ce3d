"""How do the records of include/task_stats.h look to numpy? Rows of the task table are in `trace.schema`."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from schedtuna.trace.schema import TASK_DTYPE

StatsArray = npt.NDArray[np.void]


class Delay(IntEnum):
    """What a runnable task waited after."""

    WAKEUP = 0
    PREEMPT = 1
    FIRST_RUN = 2
    THROTTLED = 3  # has no histogram


class Blocked(IntEnum):
    """How a task was blocked."""

    SLEEP = 0
    WAIT = 1
    IO = 2


class Migration(IntEnum):
    """What a task moved across."""

    SAME_LLC = 0
    CROSS_LLC = 1
    CROSS_NODE = 2


# Of `histograms`: the delays' are at their `Delay`, the time slices' after them.
TIME_SLICES = 3
NR_HISTOGRAMS = 4
NR_BUCKETS = 128
TURNAROUND_SCALE = 64  # the buckets of `turnarounds` are so many times as long as the others

STATS_BORN = 1
STATS_DEAD = 2

STATS_DTYPE = np.dtype(
    [
        ("task", TASK_DTYPE),
        ("met_ns", "<u8"),
        ("on_cpu_ns", "<u8"),
        ("off_cpu_ns", "<u8"),
        ("cpu_time_seen_ns", "<u8"),
        ("schedstat_run_delay_seen_ns", "<u8"),
        ("now_ns", "<u8"),
        ("queued_ns", "<u8"),
        ("turnaround_ns", "<u8"),
        ("found_ns", "<u8"),
        ("found_cpu_time_ns", "<u8"),
        ("found_run_delay_ns", "<u8"),
        ("run_ns", "<u8"),
        ("nr_runs", "<u8"),
        ("schedstat_run_delay_ns", "<u8"),
        ("delay_ns", "<u8", len(Delay)),
        ("delay_max_ns", "<u8", len(Delay)),
        ("nr_delays", "<u8", len(Delay)),
        ("blocked_ns", "<u8", len(Blocked)),
        ("nr_blocked", "<u8", len(Blocked)),
        ("nr_migrations", "<u8", len(Migration)),
        ("nr_voluntary", "<u8"),
        ("nr_involuntary", "<u8"),
        ("waiting_for", "<u4"),
        ("flags", "<u4"),
        ("histograms", "<u4", (NR_HISTOGRAMS, NR_BUCKETS)),
    ]
)

CPU_STATS_DTYPE = np.dtype(
    [
        ("nr_switches", "<u8"),
        ("idle_ns", "<u8"),
        ("idle_since_ns", "<u8"),
        ("nr_unrecorded", "<u8"),
        ("nr_exits_lost", "<u8"),
        ("clock", [("offset_ns", "<u8"), ("at_ns", "<u8")]),
        ("turnaround_ns", "<u8"),
        ("nr_turnarounds", "<u8"),
        ("turnaround_max_ns", "<u8"),
        ("pad", "<u8", 6),
        ("turnarounds", "<u4", NR_BUCKETS),
    ]
)
