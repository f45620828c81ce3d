"""Which knobs there are, in the order in which they are safe to apply."""

from __future__ import annotations

from functools import cache
from typing import Protocol

from schedtuna.errors import UsageError, nearest
from schedtuna.knobs.affinity import Affinity
from schedtuna.knobs.autogroup import AutogroupNice
from schedtuna.knobs.base import Knob, Reverted, Scope
from schedtuna.knobs.cgroup import CpuQuota, Cpuset, CpuWeight
from schedtuna.knobs.realtime import Realtime
from schedtuna.knobs.records import Record
from schedtuna.knobs.scheduler_parameter import SchedulerParameter
from schedtuna.knobs.scheduler_process import SchedulerProcess
from schedtuna.knobs.scx_loader import LoaderScheduler
from schedtuna.knobs.settings import FILE_KNOBS
from schedtuna.knobs.task_attributes import Nice, Policy, Slice, TimerSlack
from schedtuna.knobs.unit import SystemUnit


class Reverter(Protocol):
    """What puts back the changes of one name."""

    name: str

    def revert(self, record: Record) -> Reverted:
        """Put back what one record of the journal says. May be done twice.

        Raises:
            KnobError: It could not be put back.
        """
        ...


# What is journalled and undone as a knob is, but has no values to search.
OTHER_CHANGES: tuple[Reverter, ...] = (
    SchedulerProcess(),
    SchedulerParameter(),
    LoaderScheduler(),
    SystemUnit(),
)


@cache
def all_knobs() -> tuple[Knob, ...]:
    """Every knob, in the order of application; reverting goes backwards.

    The machine first, then the group a process is in, then its threads. Among those the slice
    comes before the policy (an idle thread can't be given one) and realtime last (a thread that
    hogs its CPU must not stand between us and the rest).
    """
    return (
        *FILE_KNOBS,
        Cpuset(),
        CpuQuota(),
        CpuWeight(),
        AutogroupNice(),
        Affinity(),
        TimerSlack(),
        Slice(),
        Nice(),
        Policy(),
        Realtime(),
    )


def knobs_for(scope: Scope) -> tuple[Knob, ...]:
    """The knobs that work in a scope."""
    return tuple(knob for knob in all_knobs() if scope in knob.scopes)


def knob_named(name: str) -> Knob:
    """The knob of this name.

    Raises:
        UsageError: There is none.
    """
    for knob in all_knobs():
        if knob.name == name:
            return knob
    raise UsageError(f"unknown knob {name!r}", hint=nearest(name, [knob.name for knob in all_knobs()]))


def reverter(name: str) -> Reverter:
    """What puts back the changes that the journal has under a name.

    Raises:
        UsageError: Nothing does.
    """
    return next((change for change in OTHER_CHANGES if change.name == name), None) or knob_named(name)
