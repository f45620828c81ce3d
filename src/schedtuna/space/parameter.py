"""One parameter: its type, its values, its default, and how it maps to numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schedtuna.errors import OutOfBoundsError, SpaceError, nearest
from schedtuna.space.condition import Condition, ListElement, ParameterValue
from schedtuna.space.scale import Scale, make_scale

if TYPE_CHECKING:
    import numpy as np

TRUE_WORDS = ("true", "1", "yes", "on")
FALSE_WORDS = ("false", "0", "no", "off")


class ParameterType(StrEnum):
    """The kinds of parameters."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    FLOAT = "float"
    CATEGORICAL = "categorical"
    LIST = "list"


ElementType = Literal[ParameterType.INTEGER, ParameterType.FLOAT, ParameterType.CATEGORICAL]
NUMERIC = (ParameterType.INTEGER, ParameterType.FLOAT)


class ParameterSpec(BaseModel):
    """One parameter: its type, its values, its default, and how a scheduler takes it.

    Attributes:
        name: Identifier, with its unit as suffix where it has one (``slice_us``).
        type: Kind of the values.
        default: The value that leaves the scheduler as it is.
        min_value: Smallest value (integer, float, and elements of a list of them).
        max_value: Largest value (as above).
        choices: The values of a categorical parameter, or of a list's elements.
        log: Whether ratios, not differences, matter (numbers; needs min_value > 0).
        unit: Unit for people and plots.
        description: One sentence.
        command_arg: Command-line argument of the scheduler that takes the value.
        condition: Where it does not hold, the parameter has no effect and stays at its default.
        element_type: Kind of a list's elements.
        min_length: Fewest elements of a list.
        max_length: Most elements of a list.
        increasing: Whether each element of a list of numbers is larger than the one before.
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
    condition: Condition | None = None
    element_type: ElementType = ParameterType.INTEGER
    min_length: int = Field(default=1, ge=0)
    max_length: int = Field(default=1, ge=0)
    increasing: bool = False

    @field_validator("choices", mode="before")
    @classmethod
    def _choices_are_text(cls, choices: Any) -> Any:
        if isinstance(choices, str) or not isinstance(choices, Iterable):
            raise SpaceError(f"choices={choices!r}: expected a list")
        choices = tuple(choices)
        for choice in choices:
            if isinstance(choice, bool):
                raise SpaceError(
                    f"choices={list(choices)}: expected text, got {choice}",
                    hint="quote words such as 'on' and 'off', or make it a boolean parameter",
                )
        texts = tuple(str(choice) for choice in choices)
        if len(set(texts)) < len(texts):
            raise SpaceError(f"choices={list(texts)}: one is listed twice")
        return texts

    @model_validator(mode="after")
    def _consistent(self) -> ParameterSpec:
        kind = self.value_type
        if kind in NUMERIC:
            self._check_bounds()
        elif kind is ParameterType.CATEGORICAL and not self.choices:
            raise SpaceError(f"parameter {self.name}: {self.type} needs choices")
        if self.type is ParameterType.LIST and not self.min_length <= self.max_length:
            raise SpaceError(
                f"parameter {self.name}: min_length {self.min_length} > max_length {self.max_length}"
            )
        if self.increasing and self.type is not ParameterType.LIST:
            raise SpaceError(f"parameter {self.name}: only a list can be increasing")
        if self.increasing and kind not in NUMERIC:
            raise SpaceError(f"parameter {self.name}: only a list of numbers can be increasing")
        if self.increasing and self.max_length > self._nr_scalar_values():
            raise SpaceError(
                f"parameter {self.name}: {self.max_length} increasing whole numbers don't fit "
                f"between {self.min_value} and {self.max_value}"
            )
        # In its own type, so that equal specs are equal however their file spelled the numbers.
        object.__setattr__(self, "default", self.validate_value(self.default))
        return self

    def _check_bounds(self) -> None:
        if self.min_value is None or self.max_value is None:
            raise SpaceError(f"parameter {self.name}: {self.type} needs min_value and max_value")
        for bound in ("min_value", "max_value"):
            value = getattr(self, bound)
            whole = self.value_type is ParameterType.INTEGER
            if not abs(value) <= sys.float_info.max or (whole and value != int(value)):
                kind = "whole" if whole else "finite"
                raise SpaceError(f"parameter {self.name}: {bound} {value}, expected a {kind} number")
            object.__setattr__(self, bound, int(value) if whole else float(value))
        if not self.min_value <= self.max_value:
            raise SpaceError(
                f"parameter {self.name}: min_value {self.min_value} > max_value {self.max_value}"
            )
        if self.log and self.min_value <= 0:
            raise SpaceError(f"parameter {self.name}: a log scale needs min_value > 0")

    @property
    def value_type(self) -> ParameterType:
        """Kind of the values; of a list, of its elements."""
        return ParameterType(self.element_type) if self.type is ParameterType.LIST else self.type

    @property
    def scale(self) -> Scale:
        """Scale of a number, or of the elements of a list of numbers."""
        assert self.min_value is not None and self.max_value is not None  # _check_bounds
        integer = self.value_type is ParameterType.INTEGER
        return make_scale(self.min_value, self.max_value, integer=integer, log=self.log)

    # ---------------------------------------------------------------- values

    def validate_value(self, value: Any) -> ParameterValue:
        """Return the value in the parameter's own type.

        Raises:
            SpaceError: The value is of another type, out of bounds, or no choice.
        """
        if self.type is not ParameterType.LIST:
            return self._validate_scalar(value)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise SpaceError(f"{self.name}={value!r}: expected a list")
        if not self.min_length <= len(value) <= self.max_length:
            raise SpaceError(
                f"{self.name}={list(value)}: {len(value)} elements, expected "
                f"{self.min_length} to {self.max_length}"
            )
        elements = tuple(self._validate_scalar(element) for element in value)
        if self.increasing and any(a >= b for a, b in pairwise(elements)):  # type: ignore[operator]  # numbers: _consistent
            raise SpaceError(f"{self.name}={list(value)}: expected increasing values")
        return elements

    def _validate_scalar(self, value: Any) -> bool | int | float | str:
        kind = self.value_type
        if kind is ParameterType.BOOLEAN:
            if isinstance(value, bool):
                return value
            raise SpaceError(f"{self.name}={value!r}: expected true or false")
        if kind is ParameterType.CATEGORICAL:
            text = str(value) if isinstance(value, (int, float)) else value
            if not isinstance(value, bool) and text in self.choices:
                return str(text)
            raise SpaceError(f"{self.name}={value!r}: {nearest(str(value), self.choices)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SpaceError(f"{self.name}={value!r}: expected a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise SpaceError(f"{self.name}={value!r}: expected a finite number")
        if kind is ParameterType.INTEGER and value != int(value):
            raise SpaceError(f"{self.name}={value!r}: expected a whole number")
        assert self.min_value is not None and self.max_value is not None  # _check_bounds
        if not self.min_value <= value <= self.max_value:
            bounds = f"{self.min_value} to {self.max_value} {self.unit}".rstrip()
            raise OutOfBoundsError(self.name, value, bounds)
        return int(value) if kind is ParameterType.INTEGER else float(value)

    def parse(self, text: str) -> ParameterValue:
        """Return the value that a command line or a file spells as text; a list by commas or slashes.

        Raises:
            SpaceError: The text is not a value of this parameter.
        """
        if self.type is ParameterType.LIST:
            parts = [part.strip() for part in text.replace("/", ",").split(",")] if text.strip() else []
            return self.validate_value([self._parse_scalar(part) for part in parts])
        return self.validate_value(self._parse_scalar(text))

    def _parse_scalar(self, text: str) -> bool | int | float | str:
        kind = self.value_type
        if kind is ParameterType.BOOLEAN:
            word = text.lower()
            return True if word in TRUE_WORDS else False if word in FALSE_WORDS else text
        if kind is ParameterType.CATEGORICAL:
            return text
        try:
            return float(text) if kind is ParameterType.FLOAT else int(text)
        except ValueError:
            wanted = "number" if kind is ParameterType.FLOAT else "whole number"
            raise SpaceError(f"{self.name}={text}: expected a {wanted}") from None

    def resize(self, value: tuple[ListElement, ...], length: int) -> tuple[ListElement, ...]:
        """Return a list cut, or padded with its last element, to a length; increasing where it must be."""
        filler: ListElement = value[-1] if value else self._first_element()
        resized = (*value[:length], *([filler] * (length - len(value))))
        return self._spread(resized)

    def sample(self, rng: np.random.Generator) -> ParameterValue:
        """Draw a value: uniform, or log-uniform where `log` is set."""
        return self.from_unit(rng.random(self.unit_size))

    # ---------------------------------------------------------------- encodings

    @property
    def nr_values(self) -> float:
        """How many values it has; infinite for floats."""
        scalars = self._nr_scalar_values()
        if self.type is not ParameterType.LIST:
            return scalars
        lengths = range(self.min_length, self.max_length + 1)
        if scalars == math.inf:
            return math.inf if self.max_length else 1
        combine = math.comb if self.increasing else math.pow
        try:
            return float(sum(combine(int(scalars), n) for n in lengths))
        except OverflowError:
            return math.inf

    @property
    def unit_size(self) -> int:
        """Coordinates in the unit cube: 1, or for a list one per element and one for its length."""
        if self.type is not ParameterType.LIST:
            return 1
        return self.max_length + (self.min_length < self.max_length)

    def to_unit(self, value: ParameterValue) -> list[float]:
        """Coordinates in the unit cube; elements that a list lacks lie at 0.5."""
        if not isinstance(value, tuple):
            return [self._scalar_to_unit(value)]
        elements = [self._scalar_to_unit(element) for element in value]
        elements += [0.5] * (self.max_length - len(value))
        if self.min_length == self.max_length:
            return elements
        return [self._length_scale.to_unit(len(value)), *elements]

    def from_unit(self, position: Sequence[float] | np.ndarray) -> ParameterValue:
        """The value at a point of the unit cube."""
        if self.type is not ParameterType.LIST:
            return self._scalar_from_unit(float(position[0]))
        length, elements = self.max_length, list(position)
        if self.min_length < self.max_length:
            length, elements = int(self._length_scale.from_unit(float(position[0]))), elements[1:]
        return self._spread(tuple(self._element_from_unit(float(u)) for u in elements[:length]))

    def levels(self, nr_levels: int) -> list[ParameterValue]:
        """At most `nr_levels` values, evenly spread on its scale, the default among them."""
        if self.type is ParameterType.BOOLEAN:
            return [False, True]
        if self.type is ParameterType.CATEGORICAL:
            return list(self.choices)
        if self.type is ParameterType.INTEGER and self.nr_values <= nr_levels:
            assert self.min_value is not None and self.max_value is not None  # _check_bounds
            return list(range(int(self.min_value), int(self.max_value) + 1))
        step = 1.0 / (max(nr_levels, 2) - 1)
        places = [*(i * step for i in range(max(nr_levels, 2) - 1)), 1.0]
        found = [self.from_unit([u] * max(self.unit_size, 1)) for u in places]
        own = self.to_unit(self.default)
        apart = [sum(abs(x - y) for x, y in zip(self.to_unit(v), own, strict=True)) for v in found]
        found[apart.index(min(apart))] = self.default
        return list(dict.fromkeys(found))

    def neighbours(self, value: ParameterValue, step: float) -> list[ParameterValue]:
        """The values one small change away: other choices, or a number's step on its scale, up and down."""
        if not isinstance(value, tuple):
            return [v for v in self._scalar_neighbours(value, step) if v != value]
        found: list[tuple[ListElement, ...]] = [
            self._spread((*value[:i], element, *value[i + 1 :]))
            for i in range(len(value))
            for element in self._scalar_neighbours(value[i], step)
            if not isinstance(element, bool)
        ]
        if len(value) < self.max_length:
            found.append(self.resize(value, len(value) + 1))
        if len(value) > self.min_length:
            found.append(value[:-1])
        return [v for v in dict.fromkeys(found) if v != value]

    def _scalar_neighbours(
        self, value: bool | float | str, step: float
    ) -> Iterable[bool | int | float | str]:
        if self.value_type not in NUMERIC:
            return self._words()
        scale, number = self.scale, float(value)
        down, up = (scale.from_unit(scale.to_unit(number) + move) for move in (-step, step))
        if scale.integer:  # at least to the next whole number
            down = int(max(min(down, number - 1), scale.low))
            up = int(min(max(up, number + 1), scale.high))
        return (down, up)

    def distance(self, a: ParameterValue, b: ParameterValue) -> float:
        """How far two values are apart, from 0 (equal) to 1."""
        if self.value_type in NUMERIC:
            if self.type is ParameterType.LIST and not self.unit_size:
                return 0.0
            apart = [abs(x - y) for x, y in zip(self.to_unit(a), self.to_unit(b), strict=True)]
            return sum(apart) / len(apart)
        if not isinstance(a, tuple) or not isinstance(b, tuple):
            return float(a != b)
        longest = max(len(a), len(b))
        same = sum(x == y for x, y in zip(a, b, strict=False))
        return (longest - same) / self.max_length if self.max_length else 0.0

    @property
    def _length_scale(self) -> Scale:
        return make_scale(self.min_length, self.max_length, integer=True, log=False)

    def _nr_scalar_values(self) -> float:
        kind = self.value_type
        if kind is ParameterType.BOOLEAN:
            return 2
        if kind is ParameterType.CATEGORICAL:
            return len(self.choices)
        assert self.min_value is not None and self.max_value is not None  # _check_bounds
        if kind is ParameterType.INTEGER:
            return int(self.max_value) - int(self.min_value) + 1
        return math.inf if self.min_value < self.max_value else 1

    def _words(self) -> tuple[bool | str, ...]:
        return (False, True) if self.type is ParameterType.BOOLEAN else self.choices

    def _scalar_to_unit(self, value: bool | float | str) -> float:
        if self.value_type in NUMERIC:
            return self.scale.to_unit(float(value))
        words = self._words()
        return (words.index(value) + 0.5) / len(words)

    def _scalar_from_unit(self, position: float) -> bool | int | float | str:
        if self.value_type in NUMERIC:
            return self.scale.from_unit(position)
        words = self._words()
        return words[min(max(int(position * len(words)), 0), len(words) - 1)]

    def _element_from_unit(self, position: float) -> ListElement:
        element = self._scalar_from_unit(position)
        assert not isinstance(element, bool)  # element_type
        return element

    def _first_element(self) -> ListElement:
        return self._element_from_unit(0.0)

    def _spread(self, elements: tuple[ListElement, ...]) -> tuple[ListElement, ...]:
        """Sort, and push equal numbers apart, where elements must increase."""
        if not self.increasing or not elements:
            return elements
        scale = self.scale
        numbers = sorted(float(element) for element in elements)
        gap = 1.0 if scale.integer else (scale.high - scale.low) * 1e-6
        for i in range(1, len(numbers)):
            numbers[i] = max(numbers[i], numbers[i - 1] + gap)
        ceiling = scale.high
        for i in range(len(numbers) - 1, -1, -1):
            numbers[i] = min(numbers[i], ceiling)
            ceiling = numbers[i] - gap
        return tuple(int(n) if scale.integer else n for n in numbers)
