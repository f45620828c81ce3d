"""Which scheduler has a name: the kernel's own with the knobs of a target, or a registered one."""

from __future__ import annotations

from schedtuna.errors import UsageError, nearest
from schedtuna.knobs.base import Target
from schedtuna.plugins import installed
from schedtuna.scheduler.fair import EVERYTHING, NAME, fair
from schedtuna.scheduler.own import named_in_module
from schedtuna.scheduler.registry import ENTRY_POINTS, OWN_HINT, known, names
from schedtuna.scheduler.spec import SchedulerConfig


def lookup(name: str, target: Target | None = None) -> SchedulerConfig:
    """Return the scheduler of a name with every parameter that it has here.

    Raises:
        UsageError: No scheduler has this name; the hint has the nearest ones.
    """
    return fair(target, include=[EVERYTHING]) if name == NAME else registered(name)


def registered(name: str) -> SchedulerConfig:
    """Return a scheduler, other than the kernel's own, with the parameters of its newest release.

    Raises:
        UsageError: No scheduler has this name, or another package brings one that is none.
    """
    if (scheduler := known(name)) is not None:
        return scheduler
    if (brought := installed(ENTRY_POINTS).get(name)) is not None:
        return named_in_module(brought.path, what=name)
    raise UsageError(f"unknown scheduler {name!r}", hint=f"{nearest(name, [NAME, *names()])}; {OWN_HINT}")
