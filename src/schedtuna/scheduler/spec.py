"""A scheduler as data: its name, its parameters and one assignment of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from schedtuna.errors import UnknownParameterError
from schedtuna.space import Constraint, ParameterSpace, ParameterSpec, ParameterValue, spell_assignment


class SchedulerConfig(BaseModel):
    """A named scheduler, its parameters and one assignment of them.

    Attributes:
        name: ``fair`` is the kernel's own; ``scx_*`` are sched_ext schedulers.
        binary_path: The program that loads it; None for `fair`.
        parameters: Its parameters by name.
        description: One sentence.
        constraints: The rules between its parameters.
        values: The values that differ from the defaults; empty means the default scheduler as found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    binary_path: Path | None = None
    parameters: dict[str, ParameterSpec] = {}
    description: str = ""
    constraints: tuple[Constraint, ...] = ()
    values: dict[str, ParameterValue] = {}

    @cached_property
    def space(self) -> ParameterSpace:
        """The space that its parameters span."""
        return ParameterSpace(specs=tuple(self.parameters.values()), constraints=self.constraints)

    @cached_property
    def left_out(self) -> dict[str, tuple[str, str]]:
        """What could be a parameter and is none: name -> why, and what to do; `knowing` sets it."""
        return {}

    def knowing(self, left_out: Mapping[str, tuple[str, str]]) -> SchedulerConfig:
        """Return this scheduler, which can say why it lacks some parameters; that is not stored."""
        copied = self.model_copy()
        copied.__dict__["left_out"] = dict(left_out)
        return copied

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> SchedulerConfig:
        """Return a copy; its space is derived anew where its parameters may be others."""
        copied = super().model_copy(update=update, deep=deep)
        if {*(update or ())} & {"parameters", "constraints"}:
            copied.__dict__.pop("space", None)
        return copied

    def with_parameters(self, parameters: dict[str, ParameterSpec]) -> SchedulerConfig:
        """Return this scheduler with other parameters, and the rules that speak of these alone."""
        rules = tuple(rule for rule in self.constraints if set(rule.names) <= parameters.keys())
        return self.model_copy(update={"parameters": parameters, "constraints": rules})

    def with_values(self, values: dict[str, Any], *, stated: bool = False) -> SchedulerConfig:
        """Return this scheduler with another assignment.

        Args:
            values: The assignment; parameters not named get their default.
            stated: Whether what is named and equals the default stays among the values, too.

        Raises:
            SpaceError: An unknown parameter, or a value that it refuses.
        """
        try:
            complete = self.space.validate_assignment(values)
        except UnknownParameterError as error:
            if error.name in self.left_out:
                reason, error.hint = self.left_out[error.name]
                error.args = (f"{error.name} is no parameter of {self.name} here: {reason}",)
            raise
        kept = self.space.changed(complete)
        if stated:
            kept = {name: complete[name] for name in values if self.space.is_active(name, complete)}
        return self.model_copy(update={"values": kept})

    def label(self) -> str:
        """``name`` or ``name:param=value,...``: what `compare` reads back."""
        return f"{self.name}:{spell_assignment(self.values, ',')}" if self.values else self.name
