"""Where are the control groups' hierarchies? All that recording has to know of them, and quick to import."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schedtuna.kernel.text import lines_of
from schedtuna.machine.probe import Probe


@dataclass(frozen=True)
class CgroupMounts:
    """Mount points, relative to the machine's root.

    Attributes:
        v1_mounts: Controller -> mount point of its v1 hierarchy.
        v2_mount: Mount point of the v2 hierarchy.
    """

    v1_mounts: dict[str, str] = field(default_factory=dict)
    v2_mount: str | None = None


def read_mounts(probe: Probe) -> CgroupMounts:
    """Read them from /proc/self/mounts."""
    return CgroupMounts(*_mounts(probe, own_groups(probe).keys()))


def _mounts(probe: Probe, controllers: Iterable[str]) -> tuple[dict[str, str], str | None]:
    v1: dict[str, str] = {}
    v2: str | None = None
    for line in lines_of(probe.read("proc/self/mounts") or ""):
        fields = line.split(" ")
        if len(fields) < 4:
            continue
        mount, kind, options = fields[1].lstrip("/"), fields[2], fields[3].split(",")
        if kind == "cgroup2":
            v2 = v2 or mount
        elif kind == "cgroup":
            for controller in controllers:
                if controller in options and not controller.startswith("name="):
                    v1.setdefault(controller, mount)
    return v1, v2


def own_groups(probe: Probe) -> dict[str, str]:
    """Controller -> this process's group; the empty name is v2's."""
    own: dict[str, str] = {}
    for line in lines_of(probe.read("proc/self/cgroup") or ""):
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        for controller in controllers.split(","):
            own[controller] = group
    return own
