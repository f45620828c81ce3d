"""Where is a target in the scheduler's hierarchy? What a knob does there depends on it (`effects.py`)."""

from __future__ import annotations

from enum import StrEnum

from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy, same_group
from schedtuna.knobs.scheduler_process import SYSFS, read_sysfs
from schedtuna.knobs.task_attributes import autogroup_enabled
from schedtuna.machine.cgroups import has_own_share, in_root_task_group
from schedtuna.machine.namespaces import in_initial


class Position(StrEnum):
    """Where a target is; the value is its name in documents.

    `root`: in the root group of the cpu controller, autogroup off. `session`: there, autogroup on.
    `child`: in another group, as systemd's services and containers are. `container`: the same from
    inside of a cgroup namespace, where no group may be written. `group`: the target is a whole
    group. `sched_ext`: a sched_ext scheduler is in charge of all tasks.
    """

    ROOT = "root group"
    SESSION = "session"
    CHILD = "child group"
    CONTAINER = "container"
    GROUP = "whole group"
    EXT = "sched_ext"


def position_of(target: Target) -> Position | None:
    """Return where a target is; None where that makes no difference: the machine, under its own scheduler."""
    if read_sysfs(SYSFS / "state") == "enabled" and read_sysfs(SYSFS / "switch_all") == "1":
        return Position.EXT
    if target.scope is Scope.MACHINE:
        return None
    hierarchy = find_hierarchy("cpu")
    if hierarchy is not None:
        named, pid = target.cgroup, target.model_pid
        group = hierarchy.group_of(pid) if named is None else same_group(hierarchy, named)
        if named is not None and group is not None and has_own_share(group):
            return Position.GROUP
        if group is None or not in_root_task_group(group):  # what is out of sight is not the root
            return Position.CHILD if in_initial("cgroup") else Position.CONTAINER
    return Position.SESSION if autogroup_enabled() else Position.ROOT
