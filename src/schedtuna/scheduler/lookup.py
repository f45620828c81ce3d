"""Which scheduler has a name: the kernel's own with the knobs of a target, or a registered one."""

from __future__ import annotations

from schedtuna.knobs.base import Target
from schedtuna.scheduler.fair import EVERYTHING, NAME, fair
from schedtuna.scheduler.registry import registered
from schedtuna.scheduler.spec import SchedulerConfig


def lookup(name: str, target: Target | None = None) -> SchedulerConfig:
    """Return the scheduler of a name with every parameter that it has here.

    Raises:
        UsageError: No scheduler has this name; the hint has the nearest ones.
    """
    return fair(target, include=[EVERYTHING]) if name == NAME else registered(name)
