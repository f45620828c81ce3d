"""Which knob acts where, and which one undoes another: what runs showed, as a table.

Each cell was measured by `tests/kernel/knob_effects.py`, with two sides that contend for one CPU, on the
kernels of benchmarks/data/knob_effects.json; a test compares the two. A knob without a row was not
measured so; it is taken to work, but under a sched_ext scheduler no search tries it unasked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schedtuna.knobs.base import Scope
from schedtuna.knobs.hierarchies import find_hierarchy, handed_down, parent_for
from schedtuna.knobs.position import Position
from schedtuna.space import Condition, Conflict, ParameterSpec


class Effect(StrEnum):
    """What a knob does, the most first; the value is its word in documents."""

    WORKS = "works"
    INSIDE = "inside"  # it only shares out what all of the target gets together
    SCHEDULERS = "its choice"  # the sched_ext scheduler may look at it or not
    UNMEASURED = "not measured"
    NOTHING = "nothing"
    REFUSED = "refused"
    NONE = "-"  # not a knob of this scope


_W, _I, _S, _U, _N, _R, _0 = Effect

# By a knob, or by one of its values, in the order of `Position`.
EFFECTS: dict[str, tuple[Effect, ...]] = {
    # root group, session, child group, container, whole group, sched_ext
    "slice_us": (_W, _W, _W, _W, _W, _N),
    "policy=batch": (_W, _W, _W, _W, _W, _S),
    "policy=idle": (_W, _I, _W, _W, _I, _S),
    "nice": (_W, _I, _W, _W, _I, _S),
    "affinity": (_W, _W, _W, _W, _W, _W),
    "timer_slack_us": (_W, _W, _W, _W, _W, _W),
    "autogroup_nice": (_R, _W, _N, _N, _0, _N),
    "autogroup": (_W, _W, _N, _R, _N, _N),
    "cpu_weight": (_W, _W, _W, _R, _W, _S),
    "cpu_quota": (_W, _W, _W, _R, _W, _S),
    "cpuset": (_W, _W, _W, _R, _W, _W),
    "realtime": (_W, _W, _W, _W, _W, _W),
    "base_slice_us": (_W, _W, _W, _W, _W, _N),
    "feature_run_to_parity": (_W, _W, _W, _W, _W, _N),
    "feature_hrtick": (_W, _W, _W, _W, _W, _N),
    "feature_preempt_short": (_W, _W, _W, _W, _W, _N),
    "feature_wakeup_preemption": (_W, _W, _W, _W, _W, _N),
    "feature_next_buddy": (_W, _W, _W, _W, _W, _N),
    "fair_server_runtime_us": (_W, _W, _W, _W, _W, _N),
    "ext_server_runtime_us": (_U, _U, _U, _U, _U, _W),
    "cgroup_mode": (_U, _W, _U, _U, _W, _N),
}

_REASONS: dict[tuple[Effect, Position], tuple[str, str]] = {
    (Effect.INSIDE, Position.SESSION): (
        "autogroup is on: it counts only among the threads of one session",
        "autogroup_nice or cpu_weight weighs the session against others",
    ),
    (Effect.INSIDE, Position.GROUP): (
        "it counts only among the threads of the control group, which all get it",
        "cpu_weight weighs the group against others",
    ),
    (Effect.NOTHING, Position.CHILD): (
        "autogroups count only in the root control group, and this is in another",
        "nice or cpu_weight does what it does there",
    ),
    (Effect.NOTHING, Position.CONTAINER): (
        "autogroups count only in the root control group, and this is in a container's",
        "nice does what it does there",
    ),
    (Effect.NOTHING, Position.GROUP): (
        "autogroups count only in the root control group",
        "cpu_weight weighs the group against others",
    ),
    (Effect.NOTHING, Position.EXT): (
        "a sched_ext scheduler is in charge of all tasks, and the kernel's own reads it no more",
        "stop that scheduler first, or tune its own flags",
    ),
    (Effect.UNMEASURED, Position.EXT): (
        "a sched_ext scheduler is in charge of all tasks, and whether it acts then was not measured",
        "stop that scheduler first; on request it is tried all the same",
    ),
    (Effect.SCHEDULERS, Position.EXT): (
        "a sched_ext scheduler is in charge of all tasks, and may ignore it",
        "",
    ),
}


@dataclass(frozen=True)
class Cancels:
    """A setting that leaves others without effect where both are set.

    Attributes:
        setting: A knob that is set, or one value of it.
        cancelled: Knobs, or values, that do nothing beside it.
        reason: Why.
        moves: The controller whose group it moves a command into; such a row is for scope tree.
    """

    setting: str
    cancelled: tuple[str, ...]
    reason: str
    moves: str = ""

    def holds(self, scope: Scope) -> bool:
        """Whether it is so in a scope, on this machine: a group of its own may have no weight."""
        if not self.moves or scope is not Scope.TREE:
            return not self.moves
        hierarchy = find_hierarchy(self.moves)
        if self.moves == "cpu" or hierarchy is None or hierarchy.version == 1:
            return self.moves == "cpu"
        above = parent_for(hierarchy, os.getpid())
        return above is not None and "cpu" in handed_down(above)

    def conflicts(self, parameters: Mapping[str, ParameterSpec]) -> list[Conflict]:
        """The rules that it makes among these parameters; a value that is there anyhow loses nothing."""
        setting, rules = _condition(self.setting), []
        for other in map(_condition, self.cancelled):
            if not {setting.parameter, other.parameter} <= parameters.keys():
                continue
            if parameters[other.parameter].default not in other.values:
                text = f"at most one of: {setting}, {other} ({self.reason}; leave {other.parameter} out)"
                rules.append(Conflict(at_most_one_of=(setting, other), description=text))
        return rules


_OWN_GROUP = "it moves the command into a control group of its own, whose weight alone counts"
_WEIGHTS = ("autogroup_nice", "nice", "policy=idle")
CANCELS = (
    Cancels("cpu_weight", _WEIGHTS, _OWN_GROUP, moves="cpu"),
    Cancels("cpu_quota", _WEIGHTS, _OWN_GROUP, moves="cpu"),
    Cancels("cpuset", _WEIGHTS, f"in version 2 of control groups {_OWN_GROUP}", moves="cpuset"),
    Cancels("policy=idle", ("nice",), "idle threads have one weight, whatever their nice"),
    Cancels(
        "realtime",
        ("slice_us", "policy", "nice", "autogroup_nice", "cpu_weight"),
        "realtime threads run before all that these are for",
    ),
)


def effect_of(knob: str, position: Position | None) -> tuple[Effect, str, str]:
    """Return what a knob does at a position, why, and what to use instead; of its values, what most does."""
    if position is None:
        return Effect.WORKS, "", ""
    index = list(Position).index(position)
    cells = [row[index] for setting, row in EFFECTS.items() if setting.partition("=")[0] == knob]
    unknown = Effect.UNMEASURED if position is Position.EXT else Effect.WORKS
    effect = min(cells, key=list(Effect).index, default=unknown)
    other = "it was not measured what it does here" if effect is Effect.UNMEASURED else ""
    return effect, *_REASONS.get((effect, position), (other, ""))


def conflicts(parameters: Mapping[str, ParameterSpec], scope: Scope) -> tuple[Conflict, ...]:
    """Return the rules among these knobs: what would do nothing beside another is not set beside it."""
    return tuple(rule for row in CANCELS if row.holds(scope) for rule in row.conflicts(parameters))


def _condition(setting: str) -> Condition:
    knob, _, value = setting.partition("=")
    return Condition(parameter=knob, values=(value,) if value else ())
