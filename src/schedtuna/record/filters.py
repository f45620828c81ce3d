"""Which tasks are recorded: by process, process tree, cgroup, name, or a sample of all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedtuna.errors import UsageError
from schedtuna.machine.mounts import CgroupMounts, read_mounts
from schedtuna.machine.probe import Probe

_COMM_LENGTH = 15


@dataclass(frozen=True)
class TaskFilter:
    """Conditions that a task must meet, all of them.

    Attributes:
        tgid: Its process.
        tree: It is one of these processes, or descends from one of them.
        cgroup: It is in this cgroup or below: a folder under /sys/fs/cgroup, or its path from the root
            of the hierarchy of the cpu controller.
        comm: Its name, as in /proc/<tid>/comm.
        sample_1_in: Record one in so many tasks, chosen by tid.
    """

    tgid: int | None = None
    tree: tuple[int, ...] = ()
    cgroup: str | None = None
    comm: str | None = None
    sample_1_in: int = 1

    def __post_init__(self) -> None:
        if self.comm is not None and not 0 < len(self.comm.encode(errors="surrogateescape")) <= _COMM_LENGTH:
            raise UsageError(
                f"no task is called {self.comm!r}: names have 1 to {_COMM_LENGTH} bytes",
                hint=f"give the first {_COMM_LENGTH} bytes, as `ps -o comm` shows them",
            )
        if self.sample_1_in < 1:
            raise UsageError(f"can't record one in {self.sample_1_in} tasks; expected 1 or more")
        for pid in (*([self.tgid] if self.tgid is not None else []), *self.tree):
            if pid < 1:
                raise UsageError(f"{pid} is not the number of a process")

    @property
    def everything(self) -> bool:
        """Whether all tasks are recorded."""
        return self == TaskFilter()

    def constants(self, layout: CgroupMounts) -> dict[str, int | bytes]:
        """The constants of bpf/record/filter.bpf.h.

        Raises:
            UsageError: There is no such cgroup.
        """
        constants: dict[str, int | bytes] = {
            "wanted_tgid": self.tgid or 0,
            "sample_1_in": self.sample_1_in,
            "filter_tree": bool(self.tree),
        }
        if self.comm is not None:
            constants |= {"filter_comm": True, "wanted_comm": self.comm.encode(errors="surrogateescape")}
        if self.cgroup is not None:
            path = cgroup_path(self.cgroup, layout)
            mount = Path("/", cpu_hierarchy(layout))
            constants |= {
                "wanted_cgroup_id": path.stat().st_ino,
                "wanted_cgroup_level": len(path.relative_to(mount).parts),
            }
        return constants

    def as_dict(self) -> dict[str, Any]:
        """What the manifest tells of it."""
        return {name: value for name, value in vars(self).items() if value != getattr(TaskFilter(), name)}


def cpu_hierarchy(layout: CgroupMounts) -> str:
    """Return the mount point of the hierarchy whose groups are recorded; empty without cgroups."""
    return layout.v1_mounts.get("cpu") or layout.v2_mount or ""


def cgroup_path(name: str, layout: CgroupMounts) -> Path:
    """Return a cgroup's folder.

    Raises:
        UsageError: There is none in the hierarchy that is recorded.
    """
    mount = Path("/", cpu_hierarchy(layout))
    path = (
        Path(name) if Path(name).is_relative_to(mount) and Path(name).is_dir() else mount / name.lstrip("/")
    )
    path = path.resolve()
    if not path.is_dir() or not path.is_relative_to(mount.resolve()):
        raise UsageError(
            f"there is no cgroup {name!r} in the hierarchy of the cpu controller, {mount}",
            hint="`cat /proc/PID/cgroup` shows the cgroups of a process",
        )
    return path


def cgroup_names(layout: CgroupMounts) -> dict[int, str]:
    """Return the path of each cgroup, from the root of its hierarchy, by the id that is recorded."""
    mount = Path("/", cpu_hierarchy(layout))
    names: dict[int, str] = {}
    folders = [mount] if cpu_hierarchy(layout) else []
    while folders:
        folder = folders.pop()
        try:
            names[folder.stat().st_ino] = "/" + str(folder.relative_to(mount)).removeprefix(".")
            folders += [entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
        except OSError:
            continue  # it went meanwhile
    return names


def current_layout() -> CgroupMounts:
    """Return the running machine's cgroups."""
    return read_mounts(Probe.live())
