"""What runs already and is to be tuned: which target, and which control group systemd runs a unit in."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from schedtuna.errors import UsageError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy, mounts
from schedtuna.knobs.unit import systemd_runs

_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")
_WITH_GROUP = (".service", ".scope", ".slice")
_ANSWER_WITHIN_S = 30.0


def target_of(
    scope: Scope | None, pid: int | None, cgroup: Path | None, unit: str | None, *, force: bool = False
) -> Target:
    """Return the target that options name; a process, a control group or a unit implies its scope.

    Raises:
        UsageError: They contradict each other, or there is no such process, control group or unit.
    """
    named: dict[Scope, list[object]] = {Scope.PID: [pid], Scope.CGROUP: [cgroup, unit]}
    implied = [kind for kind, given in named.items() for one in given if one is not None]
    if len(implied) > 1 or (scope is not None and implied not in ([], [scope])):
        raise UsageError("--scope, --pid, --cgroup and --unit contradict each other", hint="give one of them")
    folder = cgroup if unit is None else unit_group(unit)
    return Target(scope or (implied[0] if implied else Scope.TREE), pid=pid, cgroup=folder, force=force)


def unit_name(name: str) -> str:
    """The unit's full name: a service where nothing else is said.

    Raises:
        UsageError: systemd takes no such name (systemd.unit(5)).
    """
    if not _UNIT_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a unit", hint="`systemctl list-units` shows those that there are"
        )
    return name if name.endswith(_WITH_GROUP) else f"{name}.service"


def unit_group(name: str, folders: Sequence[Path] | None = None) -> Path:
    """Return the control group of a unit that runs: as systemd says it, else the one that is called so.

    Args:
        name: Of the unit; `.service` may be left out.
        folders: Where control groups are; default: the mounted hierarchies, that of the cpu controller first.

    Raises:
        UsageError: It does not run, or several control groups are called so.
    """
    unit = unit_name(name)
    told = _told_by_systemd(unit) if folders is None else None
    for folder in _hierarchies() if folders is None else folders:
        if told:
            if (group := folder / told.lstrip("/")).is_dir():
                return group
            continue
        found = [Path(at) for at, _, _ in os.walk(folder) if Path(at).name == unit]
        if len(found) > 1:
            raise UsageError(
                f"{unit} is the name of several control groups: {', '.join(map(str, found))}",
                hint="name one of them with --cgroup",
            )
        if found:
            return found[0]
    raise UsageError(
        f"there is no control group of {unit}: it does not run here",
        hint="`systemctl status` shows what runs; --pid and --cgroup name what is no unit",
    )


def _hierarchies() -> Iterator[Path]:
    cpu = find_hierarchy("cpu")
    if cpu is not None:
        yield cpu.mount
    yield from mounts()


def _told_by_systemd(unit: str) -> str | None:
    """The group as systemd says it; empty where it can't be asked, or runs no such unit."""
    if not systemd_runs():
        return None
    argv = ["systemctl", "show", "--property=ControlGroup", "--value", "--", unit]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_ANSWER_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()
