"""Where a process is in the control groups, for either version, and how a group is made and removed."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import KnobError
from schedtuna.kernel.text import read_lines
from schedtuna.knobs.kernel_files import write_kernel_file

PREFIX = "schedtuna-"
_EMPTY_PATIENCE_S = 2.0  # exiting processes leave their group a moment after their parent has seen it


@dataclass(frozen=True)
class Hierarchy:
    """The mounted hierarchy that has a controller.

    Attributes:
        version: 1 or 2.
        controller: Its name in the hierarchy: `cpu` or `cpuset`.
        mount: Where it is mounted.
        root: What part of the hierarchy the mount shows; `/` for all of it.
    """

    version: int
    controller: str
    mount: Path
    root: str = "/"

    def group_of(self, pid: int) -> Path | None:
        """The directory of a process's group; None where it is gone or out of sight."""
        try:
            lines = read_lines(f"/proc/{pid}/cgroup")
        except (FileNotFoundError, ProcessLookupError):
            return None
        return self.group_in(lines)

    def group_in(self, lines: Iterable[str]) -> Path | None:
        """The directory of the group that the lines of /proc/PID/cgroup name; None where out of sight."""
        for line in lines:
            _, _, rest = line.partition(":")
            controllers, _, group = rest.partition(":")
            here = self.controller in controllers.split(",") if self.version == 1 else not controllers
            if here and (visible := self._visible(group)) is not None:
                return visible
        return None

    def _visible(self, group: str) -> Path | None:
        if self.root != "/":
            if group != self.root and not group.startswith(self.root + "/"):
                return None
            group = group[len(self.root) :]
        if ".." in group.split("/"):  # outside of this cgroup namespace
            return None
        return self.mount / group.lstrip("/")


def find_hierarchy(controller: str, mountinfo: Path = Path("/proc/self/mountinfo")) -> Hierarchy | None:
    """The hierarchy that has a controller; v1 wins, as the kernel lets only one have it."""
    v2: Hierarchy | None = None
    for line in read_lines(mountinfo):
        before, _, after = line.partition(" - ")
        fields, kind, options = before.split(" "), after.split(" ")[0], after.split(" ")[-1].split(",")
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, mount = _unescape(fields[3]), Path(_unescape(fields[4]))
        if kind == "cgroup" and controller in options:
            return Hierarchy(1, controller, mount, root)
        if kind == "cgroup2" and v2 is None and controller in _words(mount / "cgroup.controllers"):
            v2 = Hierarchy(2, controller, mount, root)
    return v2


def mounts(mountinfo: Path = Path("/proc/self/mountinfo")) -> list[Path]:
    """Where hierarchies are mounted, version 2 first."""
    found: dict[str, list[Path]] = {"cgroup2": [], "cgroup": []}
    for line in read_lines(mountinfo):
        before, _, after = line.partition(" - ")
        found.setdefault(after.split(" ")[0], []).append(Path(_unescape(before.split(" ")[4])))
    return [*found["cgroup2"], *found["cgroup"]]


def parent_for(hierarchy: Hierarchy, pid: int) -> Path | None:
    """The group below which a new one for the process gets the controller; None where none may be made.

    In v1 that is the process's own group. In v2 it is the nearest group above (or its own) that
    hands the controller down and that this user may write to; groups with processes of their own
    can't hand any down, except the root.
    """
    own = hierarchy.group_of(pid)
    if own is None:
        return None
    if hierarchy.version == 1:
        return own if _may_add(own) else None
    for group in (own, *own.parents):
        if hierarchy.controller in handed_down(group):
            # Moving needs write access to the common ancestor's cgroup.procs, too.
            return group if _may_add(group) else None
        if group == hierarchy.mount:
            break
    return None


def handed_down(group: Path) -> list[str]:
    """The controllers that a group of version 2 hands down to those below it."""
    return _words(group / "cgroup.subtree_control")


def same_group(hierarchy: Hierarchy, named: Path) -> Path | None:
    """The named group, or its namesake in another v1 hierarchy."""
    named = named.resolve()
    if hierarchy.mount == named or hierarchy.mount in named.parents:
        return named
    for other in ("cpu", "cpuset", "memory"):
        elsewhere = find_hierarchy(other)
        if elsewhere is not None and elsewhere.mount in named.parents:
            return hierarchy.mount / named.relative_to(elsewhere.mount)
    return None


def transient_name(pid: int, started_ticks: int) -> str:
    """The name of the group made for one process; no other process ever has the same."""
    return f"{PREFIX}{pid}-{started_ticks}"


def make_group(hierarchy: Hierarchy, group: Path, pid: int) -> None:
    """Make a group and move a process into it.

    Raises:
        OSError: The kernel refused.
    """
    group.mkdir(exist_ok=True)
    if hierarchy.controller == "cpuset" and hierarchy.version == 1:
        for name in ("cpuset.cpus", "cpuset.mems"):  # a v1 cpuset takes no processes before it has both
            write_kernel_file(group / name, (group.parent / name).read_text().strip())
    write_kernel_file(group / "cgroup.procs", str(pid))


def remove_group(group: Path, destination: Path) -> None:
    """Move what is left in a group, and in groups below it, elsewhere, and remove it.

    Quotas are lifted first: what ends can't be moved, and would be held back.

    Raises:
        KnobError: Something would not go.
    """
    for folder, _, _ in os.walk(group):
        for name, unlimited in (("cpu.cfs_quota_us", "-1"), ("cpu.max", "max")):
            with contextlib.suppress(OSError):  # the other version's; or gone, with all that was in it
                write_kernel_file(Path(folder) / name, unlimited)
    deadline = time.monotonic() + _EMPTY_PATIENCE_S
    while True:
        try:
            for folder, _, _ in os.walk(group, topdown=False):
                _evacuate(Path(folder), destination)
                with contextlib.suppress(FileNotFoundError):
                    Path(folder).rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise KnobError(
                    f"control group {group} can't be removed: {error.strerror}",
                    hint=f"see what is in it: cat {group}/cgroup.procs",
                ) from error
            time.sleep(0.01)
        else:
            return


def _evacuate(group: Path, destination: Path) -> None:
    for pid in _members(group):
        with contextlib.suppress(ProcessLookupError):
            write_kernel_file(destination / "cgroup.procs", str(pid))


def _members(group: Path) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError):
        yield from (int(line) for line in (group / "cgroup.procs").read_text().split())


def _may_add(group: Path) -> bool:
    return os.access(group, os.W_OK) and os.access(group / "cgroup.procs", os.W_OK)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _unescape(field: str) -> str:
    """Undo the octal escapes of /proc/PID/mountinfo."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
