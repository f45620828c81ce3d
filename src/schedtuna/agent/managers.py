"""Who else decides over scheduling here: programs that set the same things, and managers of control groups.

There is one owner of a setting. What a running program of this table sets, and what is inside a manager's
groups, the agent only advises.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_COMM_LENGTH = 15  # the kernel cuts names there (TASK_COMM_LEN)
_THREADS = ("nice", "policy", "slice_us", "realtime")


@dataclass(frozen=True)
class Manager:
    """A program that owns settings while it runs.

    Attributes:
        name: Of its executable.
        unit: Its systemd unit.
        bus_name: Under which D-Bus name it is reached; empty: none.
        settings: The knobs that it sets.
        does: What it does, for people.
    """

    name: str
    unit: str
    settings: tuple[str, ...]
    does: str
    bus_name: str = ""


MANAGERS = (
    Manager("ananicy-cpp", "ananicy-cpp.service", (*_THREADS, "cpu_weight"), "sets them by name"),
    Manager("ananicy", "ananicy.service", (*_THREADS, "cpu_weight"), "sets them by name"),
    Manager(
        "system76-scheduler",
        "com.system76.Scheduler.service",
        (*_THREADS, "autogroup_nice"),
        "sets them by what is in front",
        "com.system76.Scheduler",
    ),
    Manager(
        "gamemoded",
        "gamemoded.service",
        ("nice", "policy", "affinity"),
        "sets them while a game runs",
        "com.feralinteractive.GameMode",
    ),
    Manager(
        "tuned",
        "tuned.service",
        (
            "affinity",
            "base_slice_us",
            "min_granularity_us",
            "wakeup_granularity_us",
            "migration_cost_us",
            "numa_balancing",
            "autogroup",
        ),
        "sets them by profile",
        "com.redhat.tuned",
    ),
    Manager(
        "power-profiles-daemon",
        "power-profiles-daemon.service",
        ("energy_aware",),
        "sets governor and turbo by profile",
        "net.hadess.PowerProfiles",
    ),
    Manager(
        "scx_loader",
        "scx_loader.service",
        ("scheduler",),
        "loads and swaps sched_ext schedulers",
        "org.scx.Loader",
    ),
    Manager("uresourced", "uresourced.service", ("cpu_weight",), "sets them for the active user"),
)

# Part of a control group's path -> whose it is; what is below belongs to that one.
GROUP_MANAGERS = {
    "kubepods": "Kubernetes",
    "docker": "Docker",
    "machine.slice": "systemd-machined, or Podman",
    "libpod": "Podman",
    "lxc": "LXC",
    "cri-containerd": "containerd",
    "crio": "CRI-O",
}


def running_managers(names: Iterable[str]) -> tuple[Manager, ...]:
    """Return those managers that are among the names (comm) of running threads."""
    found = set(names)
    return tuple(manager for manager in MANAGERS if manager.name[:_COMM_LENGTH] in found)


def owner_of(setting: str, running: Iterable[Manager]) -> Manager | None:
    """Return the running program that owns a setting; None: the agent may set it."""
    return next((manager for manager in running if setting in manager.settings), None)


def group_manager(cgroup: str) -> str:
    """Return who manages a control group, by its path; empty: nobody that is known."""
    parts = cgroup.split("/")
    for part in parts:
        for mark, manager in GROUP_MANAGERS.items():
            if part == mark or part.startswith((f"{mark}-", f"{mark}.", f"{mark}_")):
                return manager
    return ""
