"""The kernel's own fair scheduler (EEVDF, and CFS before it), with the machine's knobs as parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schedtuna.errors import SchedtunaError, UnavailableError, UsageError, nearest
from schedtuna.knobs.base import Availability, Knob, Scope, Target
from schedtuna.knobs.effects import Effect, conflicts, effect_of
from schedtuna.knobs.position import Position, position_of
from schedtuna.knobs.registry import knobs_for
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import Condition, ParameterSpec, spell_value

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
    rows = survey(target)
    for name in asked:
        if name != EVERYTHING and name not in {row.knob.name for row in rows}:
            known = [row.knob.name for row in rows]
            raise UsageError(f"no knob {name!r} in scope {target.scope}", hint=nearest(name, known))
    parameters = {}
    for row in rows:
        knob, found = row.knob, row.availability
        if row.spec is None and knob.name in asked:
            raise UnavailableError(f"{knob.name} can't be changed: {found.reason}", hint=found.hint or None)
        if row.spec is not None and (row.searched(target.scope) or knob.name in asked or EVERYTHING in asked):
            parameters[knob.name] = row.spec
            if row.condition is not None and not {knob.name, EVERYTHING} & set(asked):
                parameters[knob.name] = row.spec.model_copy(update={"condition": row.condition})
    if {"autogroup", "autogroup_nice"} <= parameters.keys():  # without autogroups there is no such nice
        on = Condition(parameter="autogroup", values=(True,))
        parameters["autogroup_nice"] = parameters["autogroup_nice"].model_copy(update={"condition": on})
    return SchedulerConfig(
        name=NAME,
        parameters=parameters,
        description="the kernel's own fair scheduler with its knobs",
        constraints=conflicts(parameters, target.scope),
    ).knowing({row.knob.name: row.missed for row in rows if row.knob.name not in parameters})


def unavailable(target: Target | None = None) -> dict[str, str]:
    """The knobs of the target's scope that can't be turned here: name -> reason."""
    return {row.knob.name: row.availability.reason for row in survey(target or Target()) if row.spec is None}


def left_out(target: Target) -> list[str]:
    """Say which knobs a search would vary in the target's scope, but for what they do where it is."""
    names: dict[str, list[str]] = {}
    for row in survey(target):
        less = (Effect.INSIDE, Effect.UNMEASURED, Effect.NOTHING)
        void = row.effect in less and not row.searched(target.scope)
        if void and target.scope in row.knob.offered_in:
            names.setdefault(row.why, []).append(row.knob.name)
    return [f"not searched: {', '.join(knobs)}: {why}" for why, knobs in names.items()]


@dataclass(frozen=True)
class SurveyedKnob:
    """A knob, whether it can be turned for a target, and if so its parameter.

    Attributes:
        knob: The knob.
        availability: Whether it can be turned, and does something.
        spec: Its parameter; None where not.
        effect: What it does where the target is.
        why: Why it does no more than that, and what does.
        condition: Beside which setting of the search it does more; None where none changes that.
    """

    knob: Knob
    availability: Availability
    spec: ParameterSpec | None
    effect: Effect = Effect.WORKS
    why: str = ""
    condition: Condition | None = None

    def searched(self, scope: Scope) -> bool:
        """Whether a search varies it unasked: what was seen to act, and not only among what all has it."""
        whole = self.effect is Effect.INSIDE and scope in (Scope.TREE, Scope.CGROUP)
        acts = self.effect is not Effect.UNMEASURED and (not whole or self.condition is not None)
        return self.spec is not None and scope in self.knob.offered_in and acts

    @property
    def missed(self) -> tuple[str, str]:
        """Why it is no parameter, and what helps."""
        if self.spec is None:
            return self.availability.reason, self.availability.hint
        why = f"not searched unasked{f': {self.why}' if self.why else ''}"
        return why, f"fair(include=[{self.knob.name!r}]) has it"

    def to_dict(self, scope: Scope) -> dict[str, Any]:
        """All of it, for programs; `searched` is whether a search in this scope varies it unasked."""
        return {
            "name": self.knob.name,
            "available": self.availability.ok,
            "reason": self.availability.reason,
            "hint": self.availability.hint,
            "effect": str(self.effect),
            "searched": self.searched(scope),
            "value": None if self.spec is None else self.spec.default,
            "spec": None if self.spec is None else self.spec.model_dump(mode="json", exclude_defaults=True),
            "description": self.knob.description,
        }


def survey(target: Target) -> list[SurveyedKnob]:
    """Probe every knob of the target's scope, in the order of application."""
    position = position_of(target)
    rows = [examine(knob, target, position) for knob in knobs_for(target.scope)]
    off = Condition(parameter="autogroup", values=(False,))  # what starts then is in no session's group
    if position is Position.SESSION and any(
        row.knob.name == off.parameter and row.searched(target.scope) for row in rows
    ):
        return [replace(row, condition=off) if row.effect is Effect.INSIDE else row for row in rows]
    return rows


def examine(knob: Knob, target: Target, position: Position | None) -> SurveyedKnob:
    """Probe a knob for a target that is at a position."""
    effect, reason, hint = effect_of(knob.name, position)
    why = f"{reason}; {hint}" if hint else reason
    try:
        found = knob.probe(target)
        if found.ok and effect is Effect.NOTHING:
            found = Availability(False, reason, hint)
        elif found.ok and why:
            found = replace(found, hint=why)
        return SurveyedKnob(knob, found, knob.spec(target) if found.ok else None, effect, why)
    except (SchedtunaError, OSError) as error:  # a process that ends while it is looked at
        return SurveyedKnob(knob, Availability(False, str(error)), None)


def notes(target: Target, values: Mapping[str, Any]) -> list[str]:
    """Say what is to be known of knobs before they are set to these values for a target."""
    position = position_of(target)
    if position is Position.SESSION and target.scope is Scope.TREE and values.get("autogroup") is False:
        position = Position.ROOT
    rows = [examine(knob, target, position) for knob in knobs_for(target.scope) if knob.name in values]
    return [f"{row.knob.name}: {row.availability.hint}" for row in rows if row.spec and row.availability.hint]


def moved_defaults(target: Target, scheduler: SchedulerConfig) -> list[str]:
    """Say which knobs are set otherwise now than when a scheduler was planned: its default is another."""
    now = {row.knob.name: row.spec.default for row in survey(target) if row.spec}
    return [
        f"{name} is {spell_value(now[name])} now, and was {spell_value(spec.default)} when this was planned: "
        "runs of the default have what is set now"
        for name, spec in scheduler.parameters.items()
        if now.get(name, spec.default) != spec.default
    ]
