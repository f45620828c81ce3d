"""A test of one parameter's value: what conditional parameters and rules are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from schedtuna.printable import exact

ListElement = int | float | str
ParameterValue = bool | int | float | str | tuple[ListElement, ...]
Assignment = Mapping[str, ParameterValue]


def spell_value(value: ParameterValue) -> str:
    """Return the text that `ParameterSpec.parse` reads back; a list's elements are parted by slashes."""
    if isinstance(value, tuple):
        return "/".join(str(element) for element in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def spell_assignment(values: Assignment, separator: str = ", ") -> str:
    """Return ``name=value`` pairs, as a scheduler's text has them after its colon."""
    return separator.join(f"{name}={spell_value(value)}" for name, value in values.items())


class Condition(BaseModel):
    """A test of one parameter's value.

    Without any of `values`, `at_least` and `at_most` it asks whether the parameter differs from its
    default, which for a switch means that it is set.

    Attributes:
        parameter: Whose value is tested.
        values: It is one of these.
        at_least: It is this or more; of a list, its length.
        at_most: It is this or less; of a list, its length.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameter: str
    values: tuple[ParameterValue, ...] = ()
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, values: Assignment, defaults: Assignment) -> bool:
        """Whether a complete assignment passes the test."""
        value = values[self.parameter]
        if not self.values and self.at_least is None and self.at_most is None:
            return value != defaults[self.parameter]
        if self.values and not any(
            value == v and isinstance(value, bool) == isinstance(v, bool) for v in self.values
        ):
            return False
        if self.at_least is None and self.at_most is None:
            return True
        number = len(value) if isinstance(value, tuple) else value
        if isinstance(number, str):
            return False
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= number <= high

    def __str__(self) -> str:
        if self.values:
            return f"{self.parameter} is {' or '.join(map(spell_value, self.values))}"
        bounds = [f">= {exact(self.at_least)}"] if self.at_least is not None else []
        bounds += [f"<= {exact(self.at_most)}"] if self.at_most is not None else []
        return f"{self.parameter} {' and '.join(bounds)}" if bounds else f"{self.parameter} is set"
