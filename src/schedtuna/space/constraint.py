"""Rules between parameters: conflicts, requirements, orderings and equal counts.

Each rule can tell whether an assignment follows it, and change an assignment towards following it.
A rule's repair is a best effort; `ParameterSpace.repair` falls back on the defaults, which follow
every rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schedtuna.errors import SpaceError
from schedtuna.space.condition import Condition, ParameterValue
from schedtuna.space.parameter import NUMERIC, ParameterSpec, ParameterType

Values = dict[str, ParameterValue]
Specs = Mapping[str, ParameterSpec]


class _Rule(BaseModel):
    """What all rules have: a description for messages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""


class Conflict(_Rule):
    """At most one of several conditions holds: flags that exclude each other."""

    kind: Literal["conflict"] = "conflict"
    at_most_one_of: tuple[Condition, ...] = Field(min_length=2)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that it speaks of."""
        return tuple(c.parameter for c in self.at_most_one_of)

    def holds(self, values: Values, default: Values) -> bool:
        """Whether a complete assignment follows the rule."""
        return len(self._met(values, default)) <= 1

    def repair(self, values: Values, specs: Specs) -> Values:
        """Keep the first condition that was chosen, reset the parameters of the others."""
        default = {name: specs[name].default for name in self.names}
        met = self._met(values, default)
        kept = next((c for c in met if values[c.parameter] != default[c.parameter]), met[0])
        resets = {c.parameter: default[c.parameter] for c in met if c.parameter != kept.parameter}
        return {**values, **resets}

    def _met(self, values: Values, default: Values) -> list[Condition]:
        return [c for c in self.at_most_one_of if c.holds(values, default)]

    def __str__(self) -> str:
        return self.description or f"at most one of: {', '.join(map(str, self.at_most_one_of))}"


class Implication(_Rule):
    """Where one condition holds, at least one of others holds too."""

    kind: Literal["requirement"] = "requirement"
    when: Condition
    any_of: tuple[Condition, ...] = Field(min_length=1)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that it speaks of."""
        return (self.when.parameter, *(c.parameter for c in self.any_of))

    def holds(self, values: Values, default: Values) -> bool:
        """Whether a complete assignment follows the rule."""
        return not self.when.holds(values, default) or any(c.holds(values, default) for c in self.any_of)

    def repair(self, values: Values, specs: Specs) -> Values:
        """Reset the parameter whose value requires the others."""
        return {**values, self.when.parameter: specs[self.when.parameter].default}

    def __str__(self) -> str:
        return self.description or f"if {self.when}, then {' or '.join(map(str, self.any_of))}"


class Ordering(_Rule):
    """Numbers in ascending order."""

    kind: Literal["ordering"] = "ordering"
    parameters: tuple[str, ...] = Field(min_length=2)
    strict: bool = False

    @model_validator(mode="after")
    def _distinct(self) -> Ordering:
        if len(set(self.parameters)) < len(self.parameters):
            raise SpaceError(f"ordering of {', '.join(self.parameters)}: one is listed twice")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that it speaks of."""
        return self.parameters

    def holds(self, values: Values, default: Values) -> bool:  # noqa: ARG002 - one signature for all
        """Whether a complete assignment follows the rule."""
        numbers = [_number(values, name) for name in self.parameters]
        pairs = pairwise(numbers)
        return all(a < b if self.strict else a <= b for a, b in pairs)

    def repair(self, values: Values, specs: Specs) -> Values:
        """Sort the numbers, then push each into its own bounds and above the one before."""
        in_order = [specs[name] for name in self.parameters]
        numbers = sorted(_number(values, name) for name in self.parameters)
        previous = -float("inf")
        repaired: Values = {}
        for spec, number in zip(in_order, numbers, strict=True):
            scale = spec.scale
            gap = (1.0 if scale.integer else (scale.high - scale.low) * 1e-6) if self.strict else 0.0
            number = min(max(number, scale.low, previous + gap), scale.high)  # noqa: PLW2901 - clipped
            repaired[spec.name] = int(number) if scale.integer else number
            previous = float(repaired[spec.name])  # type: ignore[arg-type]  # numbers: check
        return {**values, **repaired}

    def __str__(self) -> str:
        return self.description or (" < " if self.strict else " <= ").join(self.parameters)


class EqualCount(_Rule):
    """Lists of equal length; with `count`, of the length that an integer parameter states."""

    kind: Literal["equal_count"] = "equal_count"
    lists: tuple[str, ...] = Field(min_length=1)
    count: str | None = None

    @model_validator(mode="after")
    def _two(self) -> EqualCount:
        if len(set(self.names)) < 2:
            raise SpaceError("equal_count needs two lists, or one list and count")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that it speaks of."""
        return self.lists if self.count is None else (*self.lists, self.count)

    def holds(self, values: Values, default: Values) -> bool:  # noqa: ARG002 - one signature for all
        """Whether a complete assignment follows the rule."""
        lengths = {_length(values, name) for name in self.lists}
        if self.count is not None:
            lengths.add(int(_number(values, self.count)))
        return len(lengths) == 1

    def repair(self, values: Values, specs: Specs) -> Values:
        """Cut or pad the lists to the count, or to the first list's length."""
        target = _length(values, self.lists[0]) if self.count is None else int(_number(values, self.count))
        low = max(specs[name].min_length for name in self.lists)
        high = min(specs[name].max_length for name in self.lists)
        target = max(min(target, high), low)
        repaired: Values = {}
        for name in self.lists:
            value = values[name]
            assert isinstance(value, tuple)  # check
            repaired[name] = specs[name].resize(value, target)
        if self.count is not None:
            scale = specs[self.count].scale
            repaired[self.count] = int(max(min(target, scale.high), scale.low))
        return {**values, **repaired}

    def __str__(self) -> str:
        same = f"{', '.join(self.lists)} have equal lengths"
        return self.description or (same if self.count is None else f"{same}, {self.count}")


Constraint = Annotated[Conflict | Implication | Ordering | EqualCount, Field(discriminator="kind")]


def check(rule: Conflict | Implication | Ordering | EqualCount, specs: Specs) -> None:
    """Refuse a rule that speaks of parameters of the wrong kind.

    Raises:
        SpaceError: As said.
    """
    wrong: dict[str, Any] = {}
    if isinstance(rule, Ordering):
        wrong = {n: "a number" for n in rule.parameters if specs[n].type not in NUMERIC}
    elif isinstance(rule, EqualCount):
        wrong = {n: "a list" for n in rule.lists if specs[n].type is not ParameterType.LIST}
        if rule.count is not None and specs[rule.count].type is not ParameterType.INTEGER:
            wrong[rule.count] = "an integer"
    for name, expected in wrong.items():
        raise SpaceError(f"constraint '{rule}': {name} is {specs[name].type}, expected {expected}")


def _number(values: Values, name: str) -> float:
    value = values[name]
    assert isinstance(value, (int, float))  # check
    return value


def _length(values: Values, name: str) -> int:
    value = values[name]
    assert isinstance(value, tuple)  # check
    return len(value)
