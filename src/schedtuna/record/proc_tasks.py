"""Rows of the task table as /proc tells them, for tasks that the kernel's task iterator leaves out.

Some guests' kernels keep an agent's threads (those of process 1) out of the iterator and out of
sched_switch when they leave a CPU, but the tasks before and after them name them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from schedtuna.record.processes import split_stat
from schedtuna.trace.schema import STATIC_PRIO_NICE_0, TASK_DTYPE, TaskArray, TaskReason

CLOCK_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_PRIO_OF_PRIORITY_0 = 100  # proc_pid_stat(5): priority is the kernel's prio less MAX_RT_PRIO


def unlisted_tasks(listed: Container[int], proc: Path = Path("/proc")) -> TaskArray:
    """Return a row for each living thread that is not listed.

    Weights, slices and cgroups stay 0, unknown; start times are exact to a clock tick.

    Args:
        listed: The tids that the iterator gave.
        proc: Where procfs is mounted.
    """
    threads: list[Path] = []
    for process in os.listdir(proc):  # noqa: PTH208  # 5 times as fast as Path
        if process.isdecimal():
            threads += [thread for thread in _threads(proc / process) if int(thread.name) not in listed]
    return task_rows(threads)


def task_rows(threads: Iterable[Path]) -> TaskArray:
    """Return a row for each folder /proc/<tgid>/task/<tid> that is still there."""
    return np.array([row for row in map(_row, threads) if row], TASK_DTYPE)


def _threads(process: Path) -> list[Path]:
    try:
        return list((process / "task").iterdir())
    except OSError:
        return []  # it is gone


def _row(thread: Path) -> tuple[int | bytes, ...] | None:
    """The fields of `TASK_DTYPE`; None of a thread that is gone."""
    try:
        stat = (thread / "stat").read_bytes()
        schedstat = _schedstat(thread)
    except OSError:
        return None
    comm, words = split_stat(stat)
    fields = [0, 0, 0, *map(int, words[3:])]
    now_ns = time.monotonic_ns()
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now_ns
    values: dict[str, int | bytes] = {
        "timestamp_ns": now_ns,
        "start_time_ns": max(fields[21] * CLOCK_TICK_NS - boot_ns, 0),
        "cpu_time_ns": schedstat[0],
        "schedstat_run_delay_ns": schedstat[1],
        "tid": int(thread.name),
        "tgid": int(thread.parent.parent.name),
        "ppid": fields[3],
        "prio": fields[17] + _PRIO_OF_PRIORITY_0,
        "static_prio": fields[18] + STATIC_PRIO_NICE_0,
        "policy": fields[40],
        "reason": int(TaskReason.SNAPSHOT),
        "cpu": fields[38],
        "flags": fields[8],
        "comm": comm,
    }
    return tuple(values.get(name, 0) for name in TASK_DTYPE.names or ())


def _schedstat(thread: Path) -> tuple[int, int]:
    try:
        run_ns, delay_ns, _ = map(int, (thread / "schedstat").read_text().split())
    except (OSError, ValueError):
        return 0, 0  # the kernel has none
    return run_ns, delay_ns
