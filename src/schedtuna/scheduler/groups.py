"""Which control groups ask for what a sched_ext scheduler does not give?

Under sched_ext the kernel gives nobody a weight, a quota or the place behind all others (cpu.idle): the
scheduler does, or nobody. Most do not, and say nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.printable import printable
from schedtuna.scheduler.spec import SchedulerConfig

# The kernel's file -> what it sets, and the values that ask for nothing; by the hierarchy's version.
_FILES = {
    2: {"cpu.weight": ("weight", {"100"}), "cpu.max": ("quota", {"max"}), "cpu.idle": ("idle", {"0"})},
    1: {
        "cpu.shares": ("weight", {"1024"}),
        "cpu.cfs_quota_us": ("quota", {"-1"}),
        "cpu.idle": ("idle", {"0"}),
    },
}
# What a scheduler gives, of those that give any of it (see its own documentation), and the member of struct
# sched_ext_ops by which the kernel tells it; "": all kernels with sched_ext do.
_TUNA = {"weight": "", "quota": "cgroup_set_bandwidth", "idle": "cgroup_set_idle"}
HONOURED: Mapping[str, Mapping[str, str]] = {
    "scx_tuna": _TUNA,
    "scx_flashyspark": _TUNA,  # it is scx_tuna by that name
    "scx_flatcg": {"weight": ""},
}
_MOST_NAMED = 10


@dataclass(frozen=True)
class GroupLimit:
    """What a group asks for.

    Attributes:
        group: Its folder.
        kind: ``weight``, ``quota`` or ``idle``.
        text: The kernel's file and what is in it: ``cpu.max=50000 100000``.
    """

    group: Path
    kind: str
    text: str


def group_limits(root: Path, version: int) -> Iterator[GroupLimit]:
    """Yield what the groups below a hierarchy's root ask for, in the order of their names."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name, (kind, nothing) in _FILES[version].items():
            if name not in files or folder == str(root):
                continue
            with suppress(OSError):  # it may go meanwhile
                text = Path(folder, name).read_text().strip()
                if text.split()[:1] and text.split()[0] not in nothing:
                    yield GroupLimit(Path(folder), kind, f"{name}={text}")


def kernel_callbacks() -> frozenset[str]:
    """What this kernel can tell a scheduler: members of its struct sched_ext_ops; empty: not known."""
    try:
        with KernelBtf() as kernel:
            return frozenset(kernel.members("sched_ext_ops"))
    except UnavailableError:
        return frozenset()


def require_honoured(
    scheduler: SchedulerConfig,
    *,
    ignored: bool,
    root: Path | None = None,
    callbacks: Callable[[], frozenset[str]] = kernel_callbacks,
) -> None:
    """Refuse a scheduler for the whole machine under which groups would lose what they ask for.

    Args:
        scheduler: It.
        ignored: Whether that is wanted.
        root: Of a hierarchy of version 2; default: where the cpu controller is.
        callbacks: What the kernel can tell a scheduler; asked where it matters.

    Raises:
        UsageError: Some would; the message names them.
    """
    hierarchy = None if root else find_hierarchy("cpu")
    if ignored or (root is None and hierarchy is None):
        return
    version, folder = (hierarchy.version, hierarchy.mount) if hierarchy else (2, root)
    gives = HONOURED.get(scheduler.name, {})
    asked = [one for one in group_limits(folder or Path(), version) if gives.get(one.kind) != ""]
    told = callbacks() if any(one.kind in gives for one in asked) else frozenset()
    lost = [one for one in asked if gives.get(one.kind) not in told]
    if not lost:
        return
    named = "; ".join(printable(f"{one.group}: {one.text}") for one in lost[:_MOST_NAMED])
    more = f"; and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
    untold = sorted({gives[one.kind] for one in lost if one.kind in gives})
    why = f" (it would, but this kernel has no {', '.join(untold)} to tell it)" if untold else ""
    raise UsageError(
        f"{scheduler.name} does not give control groups what they ask for: {named}{more}{why}",
        hint="--ignore-cgroup-limits starts it all the same: these groups run as if they asked for nothing",
    )
