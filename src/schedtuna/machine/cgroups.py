"""Which control groups there are, which controllers they have, and what they allow this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict

from schedtuna.errors import UsageError
from schedtuna.kernel.text import lines_of
from schedtuna.machine.cpu_lists import parse_cpu_list
from schedtuna.machine.mounts import own_groups, read_mounts
from schedtuna.machine.probe import Probe


class CgroupLayout(BaseModel):
    """The control groups as this process sees them. Paths are relative to the machine's root.

    Attributes:
        version: `v1`, `v2`, `hybrid` (controllers on v1, v2 mounted beside), or `none`.
        v1_mounts: Controller -> mount point of its v1 hierarchy.
        v2_mount: Mount point of the v2 hierarchy.
        v2_controllers: Controllers that this process's own v2 group has.
        own_v2: This process's v2 group, below the mount point.
        own_v1_cpu: This process's group in the v1 `cpu` hierarchy, below the mount point.
        cpu_quota: CPUs that quotas leave to this process, over all its ancestors; None: no limit.
        cpus_allowed: CPUs that affinity and cpusets leave to this process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    v1_mounts: dict[str, str] = {}
    v2_mount: str | None = None
    v2_controllers: tuple[str, ...] = ()
    own_v2: str | None = None
    own_v1_cpu: str | None = None
    cpu_quota: float | None = None
    cpus_allowed: tuple[int, ...] = ()

    @property
    def cpu_folder(self) -> str | None:
        """The folder of this process's group where its CPU weight and quota live; None: nowhere."""
        if "cpu" in self.v1_mounts and self.own_v1_cpu is not None:
            return _join(self.v1_mounts["cpu"], self.own_v1_cpu)
        if self.v2_mount and self.own_v2 is not None:
            return _join(self.v2_mount, self.own_v2)
        return None


def read_cgroups(probe: Probe) -> CgroupLayout:
    """Read the layout from /proc/self/mounts and /proc/self/cgroup."""
    own = own_groups(probe)
    mounts = read_mounts(probe)
    v1_mounts, v2_mount = mounts.v1_mounts, mounts.v2_mount
    own_v2 = own.get("")
    v2_controllers: tuple[str, ...] = ()
    if v2_mount and own_v2 is not None:
        text = probe.read(f"{_join(v2_mount, own_v2)}/cgroup.controllers")
        v2_controllers = tuple((text or "").split())
    layout = CgroupLayout(
        version=_version(v1_mounts, v2_mount),
        v1_mounts=v1_mounts,
        v2_mount=v2_mount,
        v2_controllers=v2_controllers,
        own_v2=own_v2,
        own_v1_cpu=own.get("cpu"),
        cpus_allowed=_cpus_allowed(probe),
    )
    return layout.model_copy(update={"cpu_quota": _cpu_quota(probe, layout)})


def in_root_task_group(group: Path) -> bool:
    """Whether the processes of a group are scheduled beside all sessions, and not inside a CPU group.

    Only there autogroups apply (kernel/sched/autogroup.c, `task_wants_autogroup`). A group without the
    controller counts as the nearest one above that has it; one outside of this namespace is not the root.
    """
    return ".." not in group.parts and not any(map(has_own_share, (group, *group.parents)))


def has_own_share(group: Path) -> bool:
    """Whether the scheduler weighs a group as a whole: not the root, nor without the cpu controller.

    The root of a version 1 hierarchy has a release_agent, which the group that a container sees as its
    root lacks; in version 2 the true root has no cpu.weight.
    """
    if (group / "cpu.weight").exists():  # version 2, handed down by the parent
        return True
    return (group / "cpu.shares").exists() and not (group / "release_agent").exists()


def _version(v1_mounts: dict[str, str], v2_mount: str | None) -> str:
    if v1_mounts:
        return "hybrid" if v2_mount else "v1"
    return "v2" if v2_mount else "none"


def _cpus_allowed(probe: Probe) -> tuple[int, ...]:
    for line in lines_of(probe.read("proc/self/status") or ""):
        name, _, value = line.partition(":")
        if name == "Cpus_allowed_list":
            try:
                return parse_cpu_list(value)
            except UsageError:
                return ()
    return ()


def _cpu_quota(probe: Probe, layout: CgroupLayout) -> float | None:
    quotas: list[float] = []
    if "cpu" in layout.v1_mounts and layout.own_v1_cpu is not None:
        for folder in _lineage(layout.v1_mounts["cpu"], layout.own_v1_cpu):
            quota_us = probe.read_int(f"{folder}/cpu.cfs_quota_us")
            period_us = probe.read_int(f"{folder}/cpu.cfs_period_us")
            if quota_us and period_us and quota_us > 0:
                quotas.append(quota_us / period_us)
    elif layout.v2_mount and layout.own_v2 is not None:
        for folder in _lineage(layout.v2_mount, layout.own_v2):
            quota, _, period = (probe.read(f"{folder}/cpu.max") or "max").partition(" ")
            if quota.isdecimal() and period.isdecimal() and int(period):
                quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _lineage(mount: str, group: str) -> Iterator[str]:
    """The folders of a group and its ancestors, up to the mount point."""
    path = PurePosixPath(group.lstrip("/"))
    for part in (path, *path.parents):
        yield _join(mount, str(part))


def _join(mount: str, group: str) -> str:
    return str(PurePosixPath(mount) / group.lstrip("/"))
