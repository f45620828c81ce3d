"""The machine-wide settings of the scheduler: one row each."""

from __future__ import annotations

import time
from pathlib import Path

from schedtuna.knobs.base import Availability, Scope
from schedtuna.knobs.cpu_files import CpuFilesKnob
from schedtuna.knobs.file_formats import BRACKETED, SCALING, SWITCH, feature, number
from schedtuna.knobs.kernel_files import DEBUGFS, FileKnob
from schedtuna.machine.topology import topology_now

SYSCTL = Path("/proc/sys/kernel")


def _sysctl(name: str) -> Path:
    return SYSCTL / name


def _debug(name: str) -> Path:
    return DEBUGFS / name


def _several_llcs() -> Availability:
    """Cache-aware scheduling is off for good otherwise (kernel/sched/topology.c, sched_cache_present)."""
    if len(topology_now().llcs) > 1:
        return Availability(ok=True)
    return Availability(False, "it does nothing where all CPUs share their last-level cache")


def _fine_timers() -> Availability:
    """What kernel/sched/sched.h, hrtick_enabled(), asks of the machine."""
    if time.clock_getres(time.CLOCK_MONOTONIC) < 1e-6:
        return Availability(ok=True)
    return Availability(False, "it does nothing without high-resolution timers", "boot without highres=off")


# sched_rt_runtime_us is not here on purpose: before Linux 6.12 it is what saves a machine from a realtime
# hog, and since then it bounds no task that is not SCHED_DEADLINE.
FILE_KNOBS: tuple[FileKnob, ...] = (
    FileKnob(
        "autogroup",
        (_sysctl("sched_autogroup_enabled"),),
        SWITCH,
        "each session that starts is a group with an equal share; nice then counts only within a session",
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
    FileKnob(
        "cgroup_mode",
        (_debug("cgroup_mode"),),
        BRACKETED,
        "how a control group's weight is shared out to the CPUs that it runs on",
    ),
    *(
        FileKnob(name, (_debug(f"llc_balancing/{file}"),), form, text, acts=_several_llcs)
        for name, file, form, text in (
            ("llc_balancing", "enabled", SWITCH, "a process's threads are drawn to one last-level cache"),
            (
                "llc_aggr_tolerance",
                "aggr_tolerance",
                number(0, 100, log=False),
                "how large a process is drawn: 0 none, 1 what fits into the cache, 100 any",
            ),
            (
                "llc_overaggr_pct",
                "overaggr_pct",
                number(1, 100, unit="%", log=False),
                "how busy a cache's CPUs may be to draw threads",
            ),
            (
                "llc_imb_pct",
                "imb_pct",
                number(0, 100, unit="%", log=False),
                "how much busier than others that are busy, too",
            ),
            (
                "llc_epoch_period_ticks",
                "epoch_period",
                number(1, 250, unit="ticks"),
                "how often it is judged which cache a process prefers",
            ),
            (
                "llc_epoch_affinity_timeout",
                "epoch_affinity_timeout",
                number(1, 100, unit="epochs"),
                "how long after it ran a process keeps its preference",
            ),
        )
    ),
    *(
        CpuFilesKnob(
            f"{server}_runtime_us",
            (_debug(f"{server}/runtime"),),
            number(1000, 500_000, scale=1000, unit="us"),
            f"what {tasks} keep of each period (1 s) on a CPU that realtime threads never leave",
            offered_in=frozenset(),
        )
        for server, tasks in (("fair_server", "normal threads"), ("ext_server", "those of sched_ext"))
    ),
    *(
        FileKnob(
            f"feature_{name.lower()}",
            (_debug("features"),),
            feature(name),
            text,
            token=name,
            acts=_fine_timers if name == "HRTICK" else None,
        )
        for name, text in {
            "RUN_TO_PARITY": "EEVDF: a thread keeps its CPU until its slice is used",
            "PREEMPT_SHORT": "EEVDF: a woken thread with a shorter slice preempts",
            "PLACE_LAG": "EEVDF: a thread keeps its lag while it sleeps",
            "DELAY_DEQUEUE": "EEVDF: a sleeping thread stays queued until its lag is paid",
            "NEXT_BUDDY": "the thread just woken runs next",
            "HRTICK": "slices end on time, and not at the next tick",
            "WAKEUP_PREEMPTION": "a woken thread may preempt at all",
            "SIS_UTIL": "the search for an idle CPU is cut short when the cache's CPUs are busy",
        }.items()
    ),
)
