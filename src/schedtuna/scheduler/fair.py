"""The kernel's own fair scheduler (EEVDF, and CFS before it), with the machine's knobs as parameters."""

from __future__ import annotations

from collections.abc import Sequence

from schedtuna.errors import SchedtunaError, UnavailableError, UsageError, nearest
from schedtuna.knobs.base import Availability, Knob, Target
from schedtuna.knobs.registry import knobs_for
from schedtuna.scheduler.spec import SchedulerConfig

NAME = "fair"
EVERYTHING = "all"


def fair(target: Target | None = None, *, include: Sequence[str] | None = None) -> SchedulerConfig:
    """Return the fair scheduler with the knobs that can be turned for a target.

    Args:
        target: What will be changed; default: the process tree of a command that this process starts.
        include: Knobs on request, beside the usual ones: those that only limit (`cpu_quota`,
            `cpuset`), `realtime`, and machine-wide ones; `all` stands for every available one.

    Raises:
        UsageError: An included knob does not exist in the target's scope.
        UnavailableError: An included knob can't be turned here.
    """
    target = target or Target()
    asked = list(include or ())
    usable = knobs_for(target.scope)
    for name in asked:
        if name != EVERYTHING and name not in {knob.name for knob in usable}:
            raise UsageError(
                f"no knob {name!r} in scope {target.scope}", hint=nearest(name, [k.name for k in usable])
            )
    parameters = {}
    for knob in usable:
        wanted = target.scope in knob.offered_in or knob.name in asked or EVERYTHING in asked
        if not wanted:
            continue
        found = _availability(knob, target)
        if found.ok:
            parameters[knob.name] = knob.spec(target)
        elif knob.name in asked:
            raise UnavailableError(f"{knob.name} can't be changed: {found.reason}", hint=found.hint or None)
    return SchedulerConfig(
        name=NAME, parameters=parameters, description="the kernel's own fair scheduler with its knobs"
    )


def unavailable(target: Target | None = None) -> dict[str, str]:
    """The knobs of the target's scope that can't be turned here: name -> reason."""
    target = target or Target()
    found = {knob.name: _availability(knob, target) for knob in knobs_for(target.scope)}
    return {name: availability.reason for name, availability in found.items() if not availability.ok}


def _availability(knob: Knob, target: Target) -> Availability:
    try:
        return knob.probe(target)
    except (SchedtunaError, OSError) as error:
        return Availability(False, str(error))
