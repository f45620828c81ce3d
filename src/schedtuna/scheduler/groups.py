"""Which control groups ask for what a sched_ext scheduler does not give?

Under sched_ext the kernel gives nobody a weight, a quota or the place behind all others (cpu.idle): the
scheduler does, or nobody. Most do not, and say nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UsageError
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
# What a scheduler gives, of those that give any of it; see its own documentation.
HONOURED = {
    "scx_tuna": frozenset({"weight"}),
    "scx_flashyspark": frozenset({"weight"}),  # it is scx_tuna by that name
    "scx_flatcg": frozenset({"weight"}),
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


def require_honoured(scheduler: SchedulerConfig, *, ignored: bool, root: Path | None = None) -> None:
    """Refuse a scheduler for the whole machine under which groups would lose what they ask for.

    Args:
        scheduler: It.
        ignored: Whether that is wanted.
        root: Of a hierarchy of version 2; default: where the cpu controller is.

    Raises:
        UsageError: Some would; the message names them.
    """
    hierarchy = None if root else find_hierarchy("cpu")
    if ignored or (root is None and hierarchy is None):
        return
    version, folder = (hierarchy.version, hierarchy.mount) if hierarchy else (2, root)
    honoured = HONOURED.get(scheduler.name, frozenset())
    lost = [one for one in group_limits(folder or Path(), version) if one.kind not in honoured]
    if not lost:
        return
    named = "; ".join(printable(f"{one.group}: {one.text}") for one in lost[:_MOST_NAMED])
    more = f"; and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
    raise UsageError(
        f"{scheduler.name} does not give control groups what they ask for: {named}{more}",
        hint="--ignore-cgroup-limits starts it all the same: these groups run as if they asked for nothing",
    )
