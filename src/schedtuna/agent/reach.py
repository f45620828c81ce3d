"""Which processes belong together: this one with what it descends from, others with what they start."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from schedtuna.agent.contract import ChangeTarget, Sensed
from schedtuna.agent.limits import Limits
from schedtuna.machine.tasks import read_stat


def with_descendants(limits: Limits, sensed: Sensed) -> Limits:
    """Return limits whose processes have those with them that they have started."""
    if not limits.tgids:
        return limits
    found, tasks = set(limits.tgids), sensed.tasks
    while True:
        children = np.isin(tasks["ppid"], list(found)) & ~np.isin(tasks["tgid"], list(found))
        if not children.any():
            return replace(limits, tgids=frozenset(found))
        found |= set(tasks["tgid"][children].tolist())


def fellows(leader: ChangeTarget, sensed: Sensed) -> frozenset[tuple[int, str]]:
    """Return process and control group of all threads of a session."""
    rows = sensed.tasks[sensed.tasks["session"] == leader.tid]
    paths = [sensed.cgroups.get(group, "") for group in rows["cgroup_id"].tolist()]
    return frozenset(zip(rows["tgid"].tolist(), paths, strict=True))


def own_processes() -> frozenset[int]:
    """Return this process and what it descends from."""
    found, pid = {os.getpid()}, os.getpid()
    while (stat := read_stat(f"/proc/{pid}")) is not None and stat.ppid:
        pid = stat.ppid
        found.add(pid)
    return frozenset(found)
