"""What is read of a change's target: its value now, and whose it is."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from schedtuna.agent.contract import Intent
from schedtuna.agent.limits import ThreadFacts
from schedtuna.errors import KnobError
from schedtuna.kernel.text import lines_of
from schedtuna.knobs.affinity import Affinity
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.scheduler_parameter import SchedulerParameter, is_same
from schedtuna.knobs.task_knob import TaskKnob
from schedtuna.machine.tasks import Task, read_stat
from schedtuna.space import ParameterValue

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_DELEGATE = ("trusted.delegate", "user.delegate")  # systemd.resource-control(5), Delegate=


def is_in_force(intent: Intent, now: ParameterValue) -> bool:
    """Return whether a value that was read is the one that an intent has set."""
    if intent.target.kind == "scheduler":
        return is_same(now, intent.new)
    knob = knob_named(intent.setting)
    if isinstance(knob, Affinity):
        return knob.is_same(now, intent.new, Target(Scope.TREE, pid=intent.target.tid))
    return now == intent.new


def value_now(intent: Intent) -> ParameterValue | None:
    """Return what a setting has now; None where its target is gone, or has no such attribute.

    Raises:
        KnobError: It can't be read.
    """
    target = intent.target
    if target.kind == "scheduler":
        return SchedulerParameter().show(target.scheduler, intent.setting)
    knob = knob_named(intent.setting)
    if target.kind == "thread" and isinstance(knob, TaskKnob):
        try:
            state = knob.read(target.tid)
        except ProcessLookupError:
            return None
        except OSError as error:
            raise KnobError(f"{knob.name} of thread {target.tid}: {error.strerror}") from error
        return None if state is None else knob.to_value(state, Target(Scope.TREE, pid=target.tid))
    if target.kind == "cgroup":
        folder = group_folder(target.cgroup)
        return knob.show(Target(Scope.CGROUP, cgroup=folder)) if folder.is_dir() else None
    return knob.show(Target(Scope.MACHINE))


def group_folder(cgroup: str) -> Path:
    """Return the folder of a control group of the cpu controller's hierarchy.

    Raises:
        KnobError: There is no such hierarchy.
    """
    hierarchy = find_hierarchy("cpu")
    if hierarchy is None:
        raise KnobError("no control group hierarchy has the cpu controller")
    return hierarchy.mount / cgroup.lstrip("/")


def same_thread(tid: int, tgid: int) -> Task | None:
    """Return a thread, as the journal identifies it; None where it is gone."""
    found = read_stat(f"/proc/{tgid}/task/{tid}")
    return None if found is None else Task(tid, tgid, found.start_ticks)


def boot_ticks() -> int:
    """Return the time since boot in the kernel's clock ticks, as /proc tells start times."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _TICKS_PER_S // 10**9


def thread_facts(tid: int, tgid: int, sensed_ns: int) -> ThreadFacts | None:
    """Read what limits are judged by; None where the thread is gone, or another one has its number.

    Args:
        tid: The thread.
        tgid: Its process.
        sensed_ns: When it was sensed (CLOCK_MONOTONIC): what started later is another one.
    """
    folder = f"/proc/{tgid}/task/{tid}"
    found = read_stat(folder)
    if found is None:
        return None
    age_ns = time.monotonic_ns() - sensed_ns
    if found.start_ticks > boot_ticks() - age_ns * _TICKS_PER_S // 10**9 + 1:
        return None
    try:
        policy = os.sched_getscheduler(tid) & ~os.SCHED_RESET_ON_FORK
    except OSError:
        return None
    return ThreadFacts(tgid, found.is_kernel_thread, policy, cgroup_of(folder))


def cgroup_of(folder: str) -> str:
    """Return the path of the control group that a folder of /proc names; empty where it can't be read."""
    try:
        text = Path(folder, "cgroup").read_text()
    except OSError:
        return ""
    named: Mapping[str, str] = {
        controllers: path
        for _, controllers, path in (line.split(":", 2) for line in lines_of(text) if line.count(":") >= 2)
    }
    cpu = next((path for names, path in named.items() if "cpu" in names.split(",")), None)
    return cpu if cpu is not None else named.get("", "")


def is_delegated(cgroup: str) -> bool:
    """Return whether systemd has given a control group, or one above it, to somebody else."""
    try:
        folder = group_folder(cgroup)
        root = group_folder("/")
    except KnobError:
        return False
    for group in [folder, *folder.parents]:
        if group in (root, root.parent):
            break
        for name in _DELEGATE:
            try:
                if os.getxattr(group, name) == b"1":
                    return True
            except OSError:
                continue
    return False
