"""What can be varied: parameters, their types and bounds, and the space they span. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schedtuna.errors import SpaceError, nearest

ParameterValue = bool | int | float | str
Assignment = Mapping[str, ParameterValue]


class ParameterType(StrEnum):
    """The kinds of parameters."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT = "float"
    CATEGORICAL = "categorical"


class ParameterSpec(BaseModel):
    """One parameter: its type, its values, its default, and how a scheduler takes it.

    Attributes:
        name: Identifier, with its unit as suffix where it has one (``slice_us``).
        type: Kind of the values.
        default: The value that leaves the scheduler as it is.
        min_value: Smallest value (integer and float).
        max_value: Largest value (integer and float).
        choices: The values of a categorical parameter.
        log: Whether ratios, not differences, matter (integer and float; needs min_value > 0).
        unit: Unit for people and plots.
        description: One sentence.
        command_arg: Command-line argument of the scheduler that takes the value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    type: ParameterType
    default: ParameterValue
    min_value: int | float | None = None
    max_value: int | float | None = None
    choices: tuple[str, ...] = ()
    log: bool = False
    unit: str = ""
    description: str = ""
    command_arg: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ParameterSpec:
        numeric = self.type in (ParameterType.INTEGER, ParameterType.FLOAT)
        if numeric:
            if self.min_value is None or self.max_value is None:
                raise SpaceError(f"parameter {self.name}: {self.type} needs min_value and max_value")
            if not self.min_value <= self.max_value:
                raise SpaceError(
                    f"parameter {self.name}: min_value {self.min_value} > max_value {self.max_value}"
                )
            if self.log and self.min_value <= 0:
                raise SpaceError(f"parameter {self.name}: a log scale needs min_value > 0")
        elif self.type is ParameterType.CATEGORICAL and not self.choices:
            raise SpaceError(f"parameter {self.name}: categorical needs choices")
        self.validate_value(self.default)
        return self

    def validate_value(self, value: Any) -> ParameterValue:
        """Return the value in the parameter's own type.

        Raises:
            SpaceError: The value is of another type, out of bounds, or no choice.
        """
        if self.type is ParameterType.BOOLEAN:
            if isinstance(value, bool):
                return value
            raise SpaceError(f"{self.name}={value!r}: expected true or false")
        if self.type is ParameterType.CATEGORICAL:
            if value in self.choices:
                return str(value)
            raise SpaceError(f"{self.name}={value!r}: {nearest(str(value), self.choices)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SpaceError(f"{self.name}={value!r}: expected a number")
        if not math.isfinite(value):
            raise SpaceError(f"{self.name}={value!r}: expected a finite number")
        if self.type is ParameterType.INTEGER and value != int(value):
            raise SpaceError(f"{self.name}={value!r}: expected a whole number")
        assert self.min_value is not None and self.max_value is not None  # _consistent
        if not self.min_value <= value <= self.max_value:
            raise SpaceError(
                f"{self.name}={value}: out of bounds, expected "
                f"{self.min_value} to {self.max_value} {self.unit}".rstrip()
            )
        return int(value) if self.type is ParameterType.INTEGER else float(value)

    def parse(self, text: str) -> ParameterValue:
        """Return the value that a command line or a file spells as text.

        Raises:
            SpaceError: The text is no value of this parameter.
        """
        value: Any = text
        if self.type is ParameterType.BOOLEAN:
            value = {"true": True, "1": True, "yes": True, "on": True}.get(
                text.lower(), {"false": False, "0": False, "no": False, "off": False}.get(text.lower(), text)
            )
        elif self.type is not ParameterType.CATEGORICAL:
            try:
                value = float(text) if self.type is ParameterType.FLOAT else int(text)
            except ValueError:
                raise SpaceError(f"{self.name}={text}: expected a {self.type} number") from None
        return self.validate_value(value)

    def sample(self, rng: np.random.Generator) -> ParameterValue:
        """Draw a value: uniform, or log-uniform where `log` is set."""
        if self.type is ParameterType.BOOLEAN:
            return bool(rng.integers(2))
        if self.type is ParameterType.CATEGORICAL:
            return self.choices[int(rng.integers(len(self.choices)))]
        assert self.min_value is not None and self.max_value is not None  # _consistent
        low, high = float(self.min_value), float(self.max_value)
        integer = self.type is ParameterType.INTEGER
        if integer:  # every integer gets the probability mass of its rounding cell
            low, high = low - 0.5, high + 0.5
        if self.log:
            low = max(low, 0.5 * float(self.min_value))
            drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            drawn = float(rng.uniform(low, high))
        if integer:
            return int(min(max(round(drawn), self.min_value), self.max_value))
        return min(max(drawn, low), high)


class ParameterSpace(BaseModel):
    """Named parameters, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    specs: tuple[ParameterSpec, ...]

    @model_validator(mode="after")
    def _distinct(self) -> ParameterSpace:
        names = [spec.name for spec in self.specs]
        for name in names:
            if names.count(name) > 1:
                raise SpaceError(f"parameter {name} is defined twice")
        return self

    def __getitem__(self, name: str) -> ParameterSpec:
        for spec in self.specs:
            if spec.name == name:
                return spec
        raise SpaceError(f"unknown parameter {name!r}: {nearest(name, self.names)}")

    def __len__(self) -> int:
        return len(self.specs)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def parameters(self) -> Iterator[ParameterSpec]:
        """Iterate over the specs in order."""
        return iter(self.specs)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return tuple(spec.name for spec in self.specs)

    def default(self) -> dict[str, ParameterValue]:
        """The assignment that leaves the scheduler as it is."""
        return {spec.name: spec.default for spec in self.specs}

    def validate_assignment(self, values: Mapping[str, Any]) -> dict[str, ParameterValue]:
        """Return a complete, typed assignment; parameters not named get their default.

        Raises:
            SpaceError: An unknown name, or a value that its parameter refuses.
        """
        given = {name: self[name].validate_value(value) for name, value in values.items()}
        return {spec.name: given.get(spec.name, spec.default) for spec in self.specs}

    def changed(self, values: Assignment) -> dict[str, ParameterValue]:
        """The part of an assignment that differs from the default."""
        return {name: value for name, value in values.items() if value != self[name].default}

    def key(self, values: Assignment) -> tuple[ParameterValue, ...]:
        """A hashable form of a complete assignment."""
        return tuple(values[name] for name in self.names)

    def sample(self, rng: np.random.Generator) -> dict[str, ParameterValue]:
        """Draw an assignment."""
        return {spec.name: spec.sample(rng) for spec in self.specs}

    def stable_hash(self) -> str:
        """A hash that is equal on every machine for equal spaces (16 hex digits)."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
