"""Whether CPU time can be shared out by control groups, and what they leave to this process."""

from __future__ import annotations

from schedtuna.machine.cgroups import CgroupLayout, read_cgroups
from schedtuna.machine.checks.finding import Check, Finding, missing, ok, warning
from schedtuna.machine.cpu_lists import format_cpu_list
from schedtuna.machine.probe import Probe
from schedtuna.machine.topology import read_topology

_COST = "cgroup weight, quota and cpuset can't be varied"


def check_layout(probe: Probe) -> Finding:
    """Which hierarchies there are."""
    layout = read_cgroups(probe)
    given = layout.model_dump(mode="json")
    if layout.version == "none":
        return missing("not mounted", _COST, "mount -t cgroup2 cgroup2 /sys/fs/cgroup", **given)
    v1 = f"v1: {' '.join(sorted(layout.v1_mounts))}" if layout.v1_mounts else ""
    v2 = f"v2: {' '.join(layout.v2_controllers) or 'no controllers'}" if layout.v2_mount else ""
    return ok("; ".join(filter(None, (v1, v2))), **given)


def check_cpu_controller(probe: Probe) -> Finding:
    """Whether this process may make a group with its own CPU weight."""
    layout = read_cgroups(probe)
    where = _cpu_hierarchy(layout)
    if where is None:
        return missing(
            "no hierarchy has the cpu controller for this process",
            _COST,
            "systemd-run --user --scope -p Delegate=cpu, or run as root",
        )
    version, folder = where
    if not probe.writable(folder):
        return missing(
            f"{version}, /{folder} is not writable",
            _COST,
            "systemd-run --user --scope -p Delegate=cpu, or run as root",
            version=version,
            folder=folder,
        )
    return ok(f"{version}, groups can be made in /{folder}", version=version, folder=folder)


def _cpu_hierarchy(layout: CgroupLayout) -> tuple[str, str] | None:
    if layout.cpu_folder is None:
        return None
    if "cpu" in layout.v1_mounts:
        return "v1", layout.cpu_folder
    return ("v2", layout.cpu_folder) if "cpu" in layout.v2_controllers else None


def check_limits(probe: Probe) -> Finding:
    """What is left to this process of the machine's CPUs."""
    layout = read_cgroups(probe)
    online = read_topology(probe.path("sys")).online
    allowed = tuple(cpu for cpu in layout.cpus_allowed if cpu in online) or online
    seen = []
    if len(allowed) < len(online):
        seen.append(f"CPUs {format_cpu_list(allowed)} of {format_cpu_list(online)}")
    if layout.cpu_quota is not None:
        seen.append(f"a quota of {layout.cpu_quota:g} CPUs")
    given = {"cpus_allowed": allowed, "cpu_quota": layout.cpu_quota}
    if not seen:
        return ok("none: all CPUs, no quota", **given)
    return warning(
        " and ".join(seen),
        "a quota stops the load for the rest of each period, which no scheduler can mend",
        "raise cpu.max and cpuset of the container or service",
        **given,
    )


CHECKS = (
    Check("cgroups", "hierarchies", check_layout),
    Check("cgroup_cpu", "cpu controller", check_cpu_controller),
    Check("cpu_limits", "limits", check_limits),
)
