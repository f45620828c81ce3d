"""The space that parameters span: its assignments, its rules, and their encodings as numbers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from schedtuna.errors import SpaceError, UnknownParameterError, nearest
from schedtuna.space.condition import Assignment, ParameterValue
from schedtuna.space.constraint import Constraint, EqualCount, Ordering, check
from schedtuna.space.parameter import ParameterSpec, ParameterType

if TYPE_CHECKING:
    import numpy as np

SAMPLE_TRIES = 50  # uniform draws that may break a rule before one is repaired instead
SEARCHLESS = ("unit", "description", "command_arg")  # fields that change nothing in a search


class ParameterSpace(BaseModel):
    """Named parameters, in order, and the rules between them.

    The default assignment follows every rule, so a space with parameters is never empty. A
    parameter whose condition does not hold is inactive: it stays at its default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    specs: tuple[ParameterSpec, ...]
    constraints: tuple[Constraint, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> ParameterSpace:
        names = [spec.name for spec in self.specs]
        for name in names:
            if names.count(name) > 1:
                raise SpaceError(f"parameter {name} is defined twice")
        self._check_conditions()
        for rule in self.constraints:
            check(rule, {name: self[name] for name in rule.names})
        self._check_orderings()
        broken = self.broken_rules(self.default())
        if broken:
            raise SpaceError(
                f"the default assignment breaks the constraint '{broken[0]}'",
                hint="the defaults have to follow every constraint; correct one of the two",
            )
        return self

    def _check_conditions(self) -> None:
        for spec in self.specs:
            seen, at = [spec.name], spec
            while at.condition is not None:
                if at.condition.parameter not in self:
                    raise SpaceError(
                        f"parameter {at.name}: its condition names an unknown parameter "
                        f"{at.condition.parameter!r}: {nearest(at.condition.parameter, self.names)}"
                    )
                at = self[at.condition.parameter]
                if at.name in seen:
                    raise SpaceError(f"conditions form a circle: {' -> '.join([*seen, at.name])}")
                seen.append(at.name)
            if spec.condition is not None:
                parent = self[spec.condition.parameter]
                for value in spec.condition.values:
                    parent.validate_value(value)

    def _check_orderings(self) -> None:
        """Say which orderings contradict each other, or their parameters' bounds."""
        below: dict[str, set[str]] = {name: set() for name in self.names}
        for rule in self.constraints:
            if isinstance(rule, Ordering):
                for a, b in pairwise(rule.parameters):
                    below[b] |= {a}
                    low, high = self[a].scale.low, self[b].scale.high
                    if low > high or (rule.strict and low == high):
                        raise SpaceError(
                            f"the constraint '{rule}' contradicts the bounds: "
                            f"{a} is at least {low}, {b} at most {high}"
                        )
        for name in self.names:
            reached, frontier = set[str](), set(below[name])
            while frontier:
                reached |= frontier
                frontier = {a for b in frontier for a in below[b]} - reached
            if name in reached:
                raise SpaceError(f"the orderings contradict each other: {name} would be above itself")

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> ParameterSpace:
        """Build a space from what a JSON, YAML or TOML file holds.

        Args:
            data: ``{"parameters": {name: {"type": ..., "default": ...}}, "constraints": [...]}``.

        Raises:
            SpaceError: Anything else, with the place and the nearest known word.
        """
        for key in data:
            if key not in ("parameters", "constraints"):
                raise SpaceError(f"unknown key {key!r}: {nearest(key, ('parameters', 'constraints'))}")
        parameters, rules = data.get("parameters", {}), data.get("constraints", [])
        if not isinstance(parameters, Mapping) or not isinstance(rules, Sequence):
            raise SpaceError("expected parameters as a mapping by name, and constraints as a list")
        specs = []
        for name, fields in parameters.items():
            if not isinstance(fields, Mapping):
                raise SpaceError(f"parameter {name}: expected a mapping, got {fields!r}")
            for key in fields:
                if key not in ParameterSpec.model_fields:
                    raise SpaceError(
                        f"parameter {name}: unknown key {key!r}: {nearest(key, ParameterSpec.model_fields)}"
                    )
            specs.append({**fields, "name": name})
        try:
            return cls.model_validate({"specs": specs, "constraints": rules})
        except ValidationError as error:
            first = error.errors()[0]
            place = [str(part) for part in first["loc"]]
            if len(place) > 1 and place[0] == "specs":
                place = ["parameter", str(specs[int(place[1])]["name"]), *place[2:]]
            raise SpaceError(f"{' '.join(place)}: {first['msg']}, got {first['input']!r}") from None

    def to_mapping(self) -> dict[str, Any]:
        """What `from_mapping` reads back: plain text, numbers and lists, without what is not set."""
        data: dict[str, Any] = {
            "parameters": {
                spec.name: spec.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
                for spec in self.specs
            }
        }
        rules = [
            {"kind": rule.kind, **rule.model_dump(mode="json", exclude_defaults=True)}
            for rule in self.constraints
        ]
        return {**data, "constraints": rules} if rules else data

    # ---------------------------------------------------------------- parameters

    def __getitem__(self, name: str) -> ParameterSpec:
        if name not in self._by_name:
            raise UnknownParameterError(name, self.names)
        return self._by_name[name]

    def __len__(self) -> int:
        return len(self.specs)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def parameters(self) -> Iterator[ParameterSpec]:
        """Iterate over the specs in order."""
        return iter(self.specs)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> ParameterSpace:
        """Return a copy; what was derived from the specs is derived anew."""
        copied = super().model_copy(update=update, deep=deep)
        for derived in ("_by_name", "_default"):
            copied.__dict__.pop(derived, None)
        return copied

    @cached_property
    def _by_name(self) -> dict[str, ParameterSpec]:
        return {spec.name: spec for spec in self.specs}

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return tuple(spec.name for spec in self.specs)

    @property
    def nr_assignments(self) -> float:
        """Combinations of values, those that rules forbid included; infinite with floats."""
        return math.prod(spec.nr_values for spec in self.specs)

    def stable_hash(self) -> str:
        """A hash that is equal on every machine for spaces with equal assignments (16 hex digits)."""
        exclude = {"specs": {"__all__": set(SEARCHLESS)}, "constraints": {"__all__": {"description"}}}
        data = self.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    # ---------------------------------------------------------------- assignments

    def default(self) -> dict[str, ParameterValue]:
        """The assignment that leaves the scheduler as it is."""
        return dict(self._default)

    @cached_property
    def _default(self) -> dict[str, ParameterValue]:
        return {spec.name: spec.default for spec in self.specs}

    def validate_assignment(self, values: Mapping[str, Any]) -> dict[str, ParameterValue]:
        """Return a complete, typed assignment; parameters not named get their default.

        Raises:
            SpaceError: An unknown name, a value that its parameter refuses, a broken rule, or a
                value for a parameter that has no effect.
        """
        given = {name: self[name].validate_value(value) for name, value in values.items()}
        complete = {spec.name: given.get(spec.name, spec.default) for spec in self.specs}
        for name in self.names:
            if not self.is_active(name, complete) and complete[name] != self[name].default:
                raise SpaceError(f"{name}={complete[name]} has no effect unless {self[name].condition}")
        broken = self.broken_rules(complete)
        if broken:
            raise SpaceError(f"the assignment breaks the constraint '{broken[0]}'")
        return complete

    def is_active(self, name: str, values: Assignment) -> bool:
        """Whether a parameter has an effect in a complete assignment."""
        condition = self[name].condition
        if condition is None:
            return True
        return self.is_active(condition.parameter, values) and condition.holds(values, self._default)

    def broken_rules(self, values: Assignment) -> list[Constraint]:
        """The constraints that a complete assignment breaks."""
        complete = dict(values)
        return [rule for rule in self.constraints if not rule.holds(complete, self._default)]

    def repair(self, values: Assignment) -> dict[str, ParameterValue]:
        """The nearest simple assignment that follows every rule; itself where it does already.

        Each broken rule repairs what it can; where rules keep undoing each other, the parameters
        that they speak of go back to their defaults.
        """
        current = self._settle(values)
        for _ in range(2 * len(self.constraints)):
            broken = self.broken_rules(current)
            if not broken:
                return current
            current = self._settle(broken[0].repair(current, self._by_name))
        if self.broken_rules(current):
            involved = {name for rule in self.constraints for name in rule.names}
            current = self._settle({**current, **{name: self[name].default for name in involved}})
        return current

    def _settle(self, values: Assignment) -> dict[str, ParameterValue]:
        """Put inactive parameters back to their defaults."""
        return {
            spec.name: spec.default
            if spec.condition is not None and not self.is_active(spec.name, values)
            else values[spec.name]
            for spec in self.specs
        }

    def changed(self, values: Assignment) -> dict[str, ParameterValue]:
        """The part of an assignment that differs from the default."""
        return {name: value for name, value in values.items() if value != self[name].default}

    def key(self, values: Assignment) -> tuple[ParameterValue, ...]:
        """A hashable form of a complete assignment."""
        return tuple(values[name] for name in self.names)

    def sample(self, rng: np.random.Generator) -> dict[str, ParameterValue]:
        """Draw an assignment that follows every rule: uniform, but for rules that are hard to meet."""
        drawn = self.default()
        for _ in range(SAMPLE_TRIES):
            drawn = self._equal_counts({spec.name: spec.sample(rng) for spec in self.specs})
            if not self.broken_rules(drawn):
                return drawn
        return self.repair(drawn)

    def _equal_counts(self, values: Assignment) -> dict[str, ParameterValue]:
        """Make lists fit their counts, which independent draws would nearly always miss."""
        current = self._settle(values)
        for rule in self.constraints:
            if isinstance(rule, EqualCount) and not rule.holds(current, self._default):
                current = self._settle(rule.repair(current, self._by_name))
        return current

    def neighbours(self, values: Assignment, *, step: float = 0.1) -> list[dict[str, ParameterValue]]:
        """The assignments that differ by one small change, rules kept, in the parameters' order.

        Args:
            values: A complete assignment.
            step: How far a number moves, as part of its scale; a whole number by at least 1.
        """
        found: dict[tuple[ParameterValue, ...], dict[str, ParameterValue]] = {}
        for spec in self.specs:
            if self.is_active(spec.name, values):
                for other in spec.neighbours(values[spec.name], step):
                    moved = self.repair({**values, spec.name: other})
                    found.setdefault(self.key(moved), moved)
        found.pop(self.key(values), None)
        return list(found.values())

    def distance(self, a: Assignment, b: Assignment) -> float:
        """Mean over the parameters of how far their values are apart, from 0 to 1: a metric."""
        return sum(spec.distance(a[spec.name], b[spec.name]) for spec in self.specs) / max(len(self), 1)

    # ---------------------------------------------------------------- encodings

    @property
    def unit_size(self) -> int:
        """Coordinates in the unit cube."""
        return sum(spec.unit_size for spec in self.specs)

    def to_unit(self, values: Assignment) -> np.ndarray:
        """A complete assignment as a point of the unit cube, shape (unit_size,)."""
        import numpy as np

        return np.array([u for spec in self.specs for u in spec.to_unit(values[spec.name])])

    def from_unit(self, point: np.ndarray) -> dict[str, ParameterValue]:
        """The valid assignment at a point of the unit cube; coordinates beyond are clipped.

        Raises:
            SpaceError: Another number of coordinates.
        """
        if point.shape != (self.unit_size,):
            raise SpaceError(f"a point of shape {point.shape}: expected ({self.unit_size},)")
        values: dict[str, ParameterValue] = {}
        start = 0
        for spec in self.specs:
            values[spec.name] = spec.from_unit(point[start : start + spec.unit_size])
            start += spec.unit_size
        return self.repair(values)

    @property
    def one_hot_size(self) -> int:
        """Coordinates of the one-hot encoding."""
        return sum(_one_hot_size(spec) for spec in self.specs)

    def to_one_hot(self, values: Assignment) -> np.ndarray:
        """A complete assignment as numbers in [0, 1], shape (one_hot_size,): one per choice."""
        import numpy as np

        parts: list[float] = []
        for spec in self.specs:
            value = values[spec.name]
            if spec.type is ParameterType.CATEGORICAL:
                parts += [float(value == choice) for choice in spec.choices]
            elif spec.type is ParameterType.BOOLEAN:
                parts.append(float(bool(value)))
            else:
                parts += spec.to_unit(value)
        return np.array(parts)

    def from_one_hot(self, point: np.ndarray) -> dict[str, ParameterValue]:
        """The valid assignment whose one-hot encoding is nearest: the largest coordinate of a choice wins.

        Raises:
            SpaceError: Another number of coordinates.
        """
        if point.shape != (self.one_hot_size,):
            raise SpaceError(f"a point of shape {point.shape}: expected ({self.one_hot_size},)")
        values: dict[str, ParameterValue] = {}
        start = 0
        for spec in self.specs:
            part = point[start : start + _one_hot_size(spec)]
            start += len(part)
            if spec.type is ParameterType.CATEGORICAL:
                values[spec.name] = spec.choices[int(part.argmax())]
            else:
                values[spec.name] = spec.from_unit(part)
        return self.repair(values)

    def levels(self, nr_levels: int = 5) -> tuple[tuple[ParameterValue, ...], ...]:
        """The discrete encoding's table: per parameter at most `nr_levels` values, all choices of words."""
        return tuple(tuple(spec.levels(nr_levels)) for spec in self.specs)

    def to_levels(self, values: Assignment, nr_levels: int = 5) -> tuple[int, ...]:
        """Index of the nearest level of each parameter."""
        return tuple(
            min(range(len(row)), key=lambda i: spec.distance(row[i], values[spec.name]))
            for spec, row in zip(self.specs, self.levels(nr_levels), strict=True)
        )

    def from_levels(self, indices: Sequence[int], nr_levels: int = 5) -> dict[str, ParameterValue]:
        """The valid assignment at one level of each parameter.

        Raises:
            SpaceError: Another number of indices, or an index that has no level.
        """
        table = self.levels(nr_levels)
        if len(indices) != len(table) or any(
            not 0 <= i < len(row) for i, row in zip(indices, table, strict=True)
        ):
            raise SpaceError(f"levels {list(indices)}: expected one of {[len(row) for row in table]} each")
        return self.repair({name: row[i] for name, row, i in zip(self.names, table, indices, strict=True)})

    def candidates(self, nr_candidates: int, rng: np.random.Generator) -> list[dict[str, ParameterValue]]:
        """A finite set of distinct valid assignments that stands for the space, the default first.

        All of them where they are few; else a third are changes of one parameter, which are the
        easiest to explain, and the rest are draws.
        """
        found = {self.key(self.default()): self.default()}

        def add(values: dict[str, ParameterValue]) -> None:
            if len(found) < nr_candidates:
                found.setdefault(self.key(values), values)

        listless = all(spec.type is not ParameterType.LIST for spec in self.specs)
        if listless and self.nr_assignments <= nr_candidates:
            table = [spec.levels(nr_candidates) for spec in self.specs]
            for row in product(*table):
                add(self.repair(dict(zip(self.names, row, strict=True))))
            return list(found.values())
        single = [
            self.repair({**self.default(), spec.name: value})
            for spec in self.specs
            for value in spec.levels(3)
            if value != spec.default
        ]
        for index in rng.permutation(len(single))[: nr_candidates // 3]:
            add(single[index])
        for _ in range(10 * nr_candidates):
            add(self.sample(rng))
        return list(found.values())


def _one_hot_size(spec: ParameterSpec) -> int:
    return len(spec.choices) if spec.type is ParameterType.CATEGORICAL else spec.unit_size
