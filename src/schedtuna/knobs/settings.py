"""The machine-wide settings of the scheduler: one row each."""

from __future__ import annotations

from pathlib import Path

from schedtuna.knobs.base import Scope
from schedtuna.knobs.file_formats import BRACKETED, SCALING, SWITCH, feature, number
from schedtuna.knobs.kernel_files import DEBUGFS, FileKnob

SYSCTL = Path("/proc/sys/kernel")


def _sysctl(name: str) -> Path:
    return SYSCTL / name


def _debug(name: str) -> Path:
    return DEBUGFS / name


# sched_rt_runtime_us is not here on purpose: before Linux 6.12 it is what saves a machine from a realtime
# hog, and since then it bounds no task that is not SCHED_DEADLINE.
FILE_KNOBS: tuple[FileKnob, ...] = (
    FileKnob(
        "autogroup",
        (_sysctl("sched_autogroup_enabled"),),
        SWITCH,
        "each session is a group with an equal share; nice then counts only within a session",
        offered_in=frozenset({Scope.TREE, Scope.MACHINE}),
    ),
    FileKnob(
        "base_slice_us",
        (_debug("base_slice_ns"),),
        number(100, 100_000, scale=1000, unit="us"),
        "EEVDF's slice of threads that have none of their own",
    ),
    FileKnob(
        "min_granularity_us",
        (_debug("min_granularity_ns"), _sysctl("sched_min_granularity_ns")),
        number(100, 100_000, scale=1000, unit="us"),
        "CFS: the least time before a thread is preempted",
    ),
    FileKnob(
        "latency_us",
        (_debug("latency_ns"), _sysctl("sched_latency_ns")),
        number(100, 100_000, scale=1000, unit="us"),
        "CFS: the period in which every thread runs once",
    ),
    FileKnob(
        "wakeup_granularity_us",
        (_debug("wakeup_granularity_ns"), _sysctl("sched_wakeup_granularity_ns")),
        number(1, 100_000, scale=1000, unit="us"),
        "CFS: how far ahead a woken thread must be to preempt",
    ),
    FileKnob(
        "migration_cost_us",
        (_debug("migration_cost_ns"), _sysctl("sched_migration_cost_ns")),
        number(1, 50_000, scale=1000, unit="us"),
        "how long after it ran a thread counts as cache-hot and is not migrated",
    ),
    FileKnob(
        "nr_migrate",
        (_debug("nr_migrate"), _sysctl("sched_nr_migrate")),
        number(1, 128),
        "how many threads one balancing pass may move",
    ),
    FileKnob(
        "preempt",
        (_debug("preempt"),),
        BRACKETED,
        "the kernel's preemption model",
    ),
    FileKnob(
        "tunable_scaling",
        (_debug("tunable_scaling"), _sysctl("sched_tunable_scaling")),
        SCALING,
        "how slices grow with the number of CPUs",
    ),
    FileKnob(
        "cfs_bandwidth_slice_us",
        (_sysctl("sched_cfs_bandwidth_slice_us"),),
        number(100, 100_000, unit="us"),
        "how much of a group's quota a CPU takes at a time",
    ),
    FileKnob(
        "rr_timeslice_ms",
        (_sysctl("sched_rr_timeslice_ms"),),
        number(1, 1000, unit="ms"),
        "the turn of a round-robin realtime thread",
    ),
    FileKnob(
        "child_runs_first",
        (_sysctl("sched_child_runs_first"),),
        SWITCH,
        "whether a forked child runs before its parent",
    ),
    FileKnob(
        "energy_aware",
        (_sysctl("sched_energy_aware"),),
        SWITCH,
        "energy-aware placement on machines with unlike CPUs",
    ),
    FileKnob(
        "numa_balancing",
        (_sysctl("numa_balancing"),),
        number(0, 1, log=False),
        "whether memory and threads move to the same node",
    ),
    *(
        FileKnob(f"feature_{name.lower()}", (_debug("features"),), feature(name), text, token=name)
        for name, text in {
            "RUN_TO_PARITY": "EEVDF: a thread keeps its CPU until its slice is used",
            "PREEMPT_SHORT": "EEVDF: a woken thread with a shorter slice preempts",
            "PLACE_LAG": "EEVDF: a thread keeps its lag while it sleeps",
            "DELAY_DEQUEUE": "EEVDF: a sleeping thread stays queued until its lag is paid",
            "NEXT_BUDDY": "the thread just woken runs next",
            "WAKEUP_PREEMPTION": "a woken thread may preempt at all",
            "SIS_UTIL": "the search for an idle CPU is cut short when the cache's CPUs are busy",
        }.items()
    ),
)
