"""How do the records of include/task_stats.h look to numpy?

Events and rows of the task table are declared in `trace.schema`. `check_layouts()` compares all of
them with the BTF of a BPF object before it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import UnavailableError
from schedtuna.kernel.btf import Btf, Layout
from schedtuna.trace.schema import EVENT_DTYPE, TASK_DTYPE

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

STATS_BORN = 1
STATS_DEAD = 2
# Rows of the stream's ring buffer that are events, not rows of the task table.
REASON_WAKEUP = 16
REASON_WAKING = 17

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
        ("pad", "<u8"),
    ]
)

_STRUCTS: dict[str, np.dtype[Any]] = {
    "sched_event": EVENT_DTYPE,
    "task_row": TASK_DTYPE,
    "task_stats": STATS_DTYPE,
    "cpu_stats": CPU_STATS_DTYPE,
}
_RENAMED = {"task_row": {"other_tid": "reserved"}}  # user space moves it into an event


def check_layouts(btf: Btf, structs: Iterable[str], known: Mapping[str, np.dtype[Any]] = _STRUCTS) -> None:
    """Check that a BPF object writes these structures as numpy reads them.

    Raises:
        UnavailableError: It does not: the object is of another version of this package.
    """
    for name in structs:
        dtype = known[name]
        renamed = _RENAMED.get(name, {})
        found = btf.structs.get(name)
        names = {} if found is None else {renamed.get(n, n): offset for n, offset in found.offsets.items()}
        wanted = Layout(dtype.itemsize, {n: dtype.fields[n][1] for n in dtype.names or ()})  # type: ignore[index]  # structured
        if found is None or Layout(found.size, names) != wanted:
            raise UnavailableError(
                f"the BPF object's {name} is not what this version of schedtuna reads",
                hint="reinstall schedtuna: its native files are of another version",
            )
