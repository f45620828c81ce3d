"""What a trace holds: events, tasks, system samples, losses; and what each field means.

One row of `EventType` per thing that the scheduler does, one field of `EVENT_DTYPE` per fact about
it. Recorded, imported and simulated traces share this schema; docs/trace-format.md describes how
it is stored.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError
from schedtuna.files.versions import StoredFormat


def _without_attributes(manifest: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had no table of attributes."""
    if manifest.get("mode") == "import":
        return manifest
    return manifest | {"attributes": {"unknown": "it was made by a version that did not record them"}}


FORMER_ATTRIBUTES = "former_attributes"  # of a manifest: the rows of attributes beside it have no groups


def _without_groups(manifest: dict[str, Any]) -> dict[str, Any]:
    """Version 2 told no groups: neither in rows of attributes nor in a table of their own."""
    former = manifest | {FORMER_ATTRIBUTES: True}
    if manifest.get("mode") == "import":
        return former
    return former | {"groups": {"unknown": "it was made by a version that did not record them"}}


# Of the manifest, and of the tables beside it.
STORED = StoredFormat(TraceError, {1: _without_attributes, 2: _without_groups}, key="schema_version")

EventArray = npt.NDArray[np.void]
TaskArray = npt.NDArray[np.void]
IntArray = npt.NDArray[np.int64]

IDLE_TID = 0  # swapper, the task of every idle CPU


class EventType(IntEnum):
    """What happened; the comments say what `tid` and `other_tid` are."""

    SWITCH = 1  # tid leaves the CPU, other_tid runs from now on
    WAKEUP = 2  # tid is runnable; other_tid was current where it was queued
    WAKEUP_NEW = 3  # tid, a new task, is runnable for the first time; other_tid is current
    WAKING = 4  # tid is about to be woken; other_tid is the waker
    MIGRATE = 5  # tid moves from orig_cpu to target_cpu; other_tid is current
    FORK = 6  # tid is the child, other_tid the parent
    EXEC = 7  # tid runs a new program; other_tid was its tid before
    EXIT = 8  # tid is exiting; it runs until its last switch


class Waker(IntEnum):
    """Who woke a task (the `aux` of a waking)."""

    UNKNOWN = 0
    TASK = 1  # other_tid
    INTERRUPT = 2  # that came while other_tid ran


class PrevState(IntEnum):
    """Why a task left its CPU (the `prev_state` of a switch)."""

    PREEMPTED = 0  # could have run on
    RUNNABLE = 1  # could have run on: it yielded, was woken in time, or preempted on its way to user space
    SLEEPING = 2  # S
    BLOCKED = 3  # D
    IO = 4  # D or S in io_schedule()
    STOPPED = 5  # T, t
    DEAD = 6  # X, Z
    THROTTLED = 7  # runnable, but its cgroup used up its quota
    IDLE = 8  # D that counts for no load average (I), or parked


class TaskReason(IntEnum):
    """Why a row of the task table was written."""

    SNAPSHOT = 0
    FORK = 1
    EXEC = 2
    RENAME = 3
    EXIT = 4


# Events, in time order: struct sched_event of include/sched_event.h; tests/native and record/ compare them.
EVENT_DTYPE = np.dtype(
    [
        ("timestamp_ns", "<u8"),  # on the clock that the manifest names
        ("tid", "<u4"),
        ("other_tid", "<u4"),
        (
            "aux",
            "<u4",
        ),  # SWITCH: the kernel's prev_state; FORK: the child's tgid; EXEC, EXIT: tgid; WAKING: Waker
        ("cpu", "<u2"),  # where it was recorded
        ("target_cpu", "<u2"),  # wakeups: where tid is queued; MIGRATE: destination; else cpu
        ("orig_cpu", "<u2"),  # MIGRATE: origin; else cpu
        ("type", "u1"),  # EventType
        ("prev_state", "u1"),  # SWITCH: PrevState; else 0
        ("prio", "<i2"),  # of tid, the kernel's: 120 + nice, below 100 real-time, -1 deadline
        ("other_prio", "<i2"),  # SWITCH: of other_tid; else 0
    ]
)

# What is known of a task at one moment: struct task_row of include/task_stats.h. (tid, start_time_ns) is a
# task's identity.
TASK_DTYPE = np.dtype(
    [
        ("timestamp_ns", "<u8"),
        ("start_time_ns", "<u8"),  # when it was forked, on the events' clock; 0: unknown
        ("cgroup_id", "<u8"),
        ("cpu_time_ns", "<u8"),
        ("schedstat_run_delay_ns", "<u8"),  # waiting, and what a quota held it back
        ("nr_voluntary_switches", "<u8"),
        ("nr_involuntary_switches", "<u8"),
        ("tid", "<u4"),
        ("tgid", "<u4"),
        ("ppid", "<u4"),
        ("weight", "<u4"),  # 1024 is nice 0; 0: unknown
        ("slice_ns", "<u8"),  # 0: unknown
        ("prio", "<i2"),
        ("static_prio", "<i2"),  # 120 + nice
        ("policy", "u1"),  # index into POLICIES
        ("reason", "u1"),  # TaskReason
        ("cpu", "<u2"),
        ("flags", "<u4"),  # PF_*
        ("reserved", "<u4"),
        ("comm", "S16"),  # chosen by the task itself: hostile
    ]
)

# Columns of the task table and of `record --aggregate`, by their names in older traces.
FORMER_COLUMNS = {"schedstat_run_delay_ns": "run_delay_ns"}

POLICIES = ("OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE", "EXT")
PF_KTHREAD = 0x00200000
STATIC_PRIO_NICE_0 = 120


def empty_events() -> EventArray:
    """Return no events, of the right type."""
    return np.empty(0, EVENT_DTYPE)
