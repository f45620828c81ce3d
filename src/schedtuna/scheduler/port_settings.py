"""Can settings that were found for one release of a scheduler be used with another?

A setting that the other release lacks changes what the optimum means, so it is never dropped in
silence: flags that were renamed are followed, values at the default need no flag, the rest refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schedtuna.errors import SpaceError
from schedtuna.scheduler.registry import Entry
from schedtuna.space import ParameterValue


@dataclass(frozen=True)
class Ported:
    """What became of an assignment.

    Attributes:
        values: For the other release: only what differs from its defaults.
        notes: What was renamed or is a default there, one sentence each.
        refusals: Why it can't be used; empty where it can.
    """

    values: dict[str, ParameterValue]
    notes: tuple[str, ...]
    refusals: tuple[str, ...]


def port_settings(entry: Entry, values: Mapping[str, Any], *, source: str, target: str) -> Ported:
    """Carry an assignment from one release to another.

    Args:
        entry: The scheduler.
        values: What differed from the defaults under the source release.
        source: The release that they were found with.
        target: The release that they are wanted for.
    """
    old, new = entry.config(source), entry.config(target)
    renames = {_name(row.old): _name(row.new) for row in entry.renames}
    complete = old.space.validate_assignment(entry.translate(values))
    ported: dict[str, Any] = {}
    notes: list[str] = []
    refusals: list[str] = []
    for name, value in complete.items():
        chosen = value != old.parameters[name].default
        there = name if name in new.parameters else renames.get(name, name)
        if there not in new.parameters:
            if chosen:
                refusals.append(f"{name}={value} has no counterpart in {entry.name} {target}")
            continue
        if there != name and chosen:
            notes.append(f"{name} is called {there} in {target}")
        spec = new.parameters[there]
        if not chosen and spec.default == value:
            continue
        if not chosen:
            notes.append(f"{there}: the default was {value} and is {spec.default} now; the old one is kept")
        try:
            ported[there] = spec.validate_value(value)
        except SpaceError as error:
            refusals.append(f"{error} in {entry.name} {target}")
    if not refusals:
        broken = new.space.broken_rules({**new.space.default(), **ported})
        refusals += [f"against a rule of {target}: {rule}" for rule in broken]
    return Ported(ported, tuple(notes), tuple(refusals))


def _name(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")
