"""The policy `params`: which values the running scheduler's parameters have, by how the machine fares.

A file names a scheduler and regimes: how the machine has to fare, and what is set then. A regime is chosen by
its conditions, the first whose all hold, or by a canonical model whose labels are the regimes' names. Either
has to say the same some intervals in a row; where a metric is not known, nothing is decided anew.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.agent.contract import ChangeTarget, Intent, Need, Sensed, Standing
from schedtuna.agent.guard.slo import OWN_METRICS
from schedtuna.configfile import first_fault, load_config
from schedtuna.errors import ConfigFileError, ModelError, UsageError, nearest
from schedtuna.features.table import SYSTEM_FEATURES
from schedtuna.model.model import DecisionModel
from schedtuna.scheduler.lookup import registered
from schedtuna.space import ParameterValue

KERNEL_METRICS = frozenset(OWN_METRICS) - {*SYSTEM_FEATURES, "fairness_cv"}
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*([a-z0-9_]+)\s*(>=|<=|>|<)\s*([0-9][0-9.eE+-]*)\s*")
NO_REGIME = ""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class RegimeCondition:
    """A metric held against a number, such as ``cpu_percent >= 80``."""

    metric: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> RegimeCondition:
        """Read one.

        Raises:
            UsageError: It is none, or of no metric that an agent senses.
        """
        match = _CONDITION.fullmatch(text)
        try:
            limit = float(match[3]) if match else math.nan
        except ValueError:
            limit = math.nan
        if match is None or not math.isfinite(limit):
            raise UsageError(f"{text!r} is no condition", hint="such as 'cpu_percent >= 80'")
        if match[1] not in OWN_METRICS:
            raise UsageError(f"there is no metric {match[1]!r}: {nearest(match[1], OWN_METRICS)}")
        return cls(match[1], match[2], limit)

    def holds(self, values: Mapping[str, float]) -> bool | None:
        """Whether it holds; None where the metric is not known."""
        value = values.get(self.metric)
        return None if value is None else _COMPARE[self.sign](value, self.limit)


def all_hold(conditions: Sequence[RegimeCondition], values: Mapping[str, float]) -> bool | None:
    """Whether conditions all hold; None where that is not known."""
    found = [one.holds(values) for one in conditions]
    if False in found:
        return False
    return None if None in found else True


class Regime(_Data):
    """What is set while the machine fares in some way.

    Attributes:
        name: A model's label, where a model chooses.
        when: Conditions that all have to hold; none where a model chooses.
        set: Values of the scheduler's parameters.
        reason: Why, for people.
    """

    name: Annotated[str, Field(min_length=1, max_length=60)]
    when: tuple[str, ...] = ()
    set: Annotated[dict[str, bool | int | float | str], Field(min_length=1)]
    reason: str = ""

    @cached_property
    def conditions(self) -> tuple[RegimeCondition, ...]:
        """Those of `when`."""
        return tuple(map(RegimeCondition.parse, self.when))

    def holds(self, values: Mapping[str, float]) -> bool | None:
        """Whether all its conditions hold; None where that is not known."""
        return all_hold(self.conditions, values)


class ParamsTable(_Data):
    """A file of regimes.

    Attributes:
        scheduler: Whose parameters are set.
        intervals: How many in a row have to say the same before anything is set, and before it goes.
        model: A canonical model's file or name, which chooses; empty: conditions do.
        regime: The regimes, of which the first that holds counts.
    """

    version: Literal[1] = 1
    scheduler: str
    intervals: Annotated[int, Field(ge=1, le=1000)] = 3
    model: str = ""
    regime: Annotated[tuple[Regime, ...], Field(min_length=1)]


def load_params(path: Path) -> tuple[ParamsTable, DecisionModel | None]:
    """Read a file of regimes, and the model that it names.

    Raises:
        ConfigFileError: It can't be read, says what no scheduler can be set to, or names a model that there
            is not, or that looks at what the agent does not see.
    """
    try:
        table = ParamsTable.model_validate(load_config(path))
    except ValidationError as error:
        raise ConfigFileError(f"{path}: {first_fault(error)}", hint="see docs/agent.md") from error
    try:
        return _checked(table), _model(table, path.parent)
    except (UsageError, ModelError) as error:
        raise ConfigFileError(f"{path}: {error}", hint=error.hint) from error


def _checked(table: ParamsTable) -> ParamsTable:
    """The table with its values in the types of the parameters."""
    scheduler = registered(table.scheduler)
    names = [regime.name for regime in table.regime]
    if len(set(names)) < len(names):
        raise UsageError("two regimes have the same name")
    regimes = []
    for regime in table.regime:
        if bool(regime.when) == bool(table.model):
            told = "a model chooses, and it has conditions" if table.model else "it has no conditions"
            raise UsageError(f"regime {regime.name!r}: {told}", hint="see docs/agent.md")
        regime.conditions  # noqa: B018 - a fault in them is to be told now
        values = scheduler.with_values(dict(regime.set), stated=True).values
        regimes.append(regime.model_copy(update={"set": values}))
    return table.model_copy(update={"regime": tuple(regimes)})


def _model(table: ParamsTable, folder: Path) -> DecisionModel | None:
    from schedtuna.model.shipped import find_model

    if not table.model:
        return None
    beside = folder / table.model
    model = find_model(beside if beside.is_file() else table.model)
    if strange := [one.name for one in model.inputs if one.name not in OWN_METRICS]:
        raise ModelError(
            f"the model {model.name} looks at {', '.join(strange)}, which the agent does not sense",
            hint=f"train it on {', '.join(OWN_METRICS[:4])}, ...",
        )
    names = {regime.name for regime in table.regime}
    if lacking := [regime for regime in names if regime not in model.labels]:
        raise ModelError(
            f"the model {model.name} never chooses {', '.join(sorted(lacking))}",
            hint=f"its labels are {', '.join(model.labels)}; one without a regime sets nothing",
        )
    return model


class ParamsPolicy:
    """Decides by regimes.

    Args:
        table: The regimes.
        model: What chooses among them; None: their conditions.
    """

    name = "params"

    def __init__(self, table: ParamsTable, model: DecisionModel | None = None) -> None:
        self._table = table
        self._model = model
        self._regimes = {regime.name: regime for regime in table.regime}
        self._chosen = NO_REGIME
        self._next, self._nr_next = NO_REGIME, 0
        self._features: dict[str, float] = {}
        by_kernel = KERNEL_METRICS & set(self._looked_at())
        self.needs = frozenset({Need.SCHEDULER, Need.MACHINE, *([Need.KERNEL] if by_kernel else [])})

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:
        """Return what the regime that holds wants to be set."""
        if sensed.scheduler.name != self._table.scheduler or not sensed.scheduler.parameters:
            self._chosen, self._nr_next = NO_REGIME, 0
            return []
        values = {**sensed.machine, **sensed.kernel}
        self._follow(self._says(values), values)
        regime = self._regimes.get(self._chosen)
        return [] if regime is None else self._intents(regime, sensed, standing)

    def _says(self, values: Mapping[str, float]) -> str | None:
        """The regime's name that an interval speaks for; None where that is not known."""
        if self._model is not None:
            return self._ask_model(self._model, values)
        for regime in self._table.regime:
            holds = regime.holds(values)
            if holds is None:
                return None
            if holds:
                return regime.name
        return NO_REGIME

    def _ask_model(self, model: DecisionModel, values: Mapping[str, float]) -> str | None:
        row = [values.get(one.name) for one in model.inputs]
        known = [math.floor(value) for value in row if value is not None and math.isfinite(value)]
        if len(known) < len(row):
            return None
        (label,) = model.decide(model.quantise(np.array([known], np.int64)))
        return model.labels[int(label)]

    def _follow(self, said: str | None, values: Mapping[str, float]) -> None:
        """Change the regime once enough intervals in a row speak for another one."""
        if said is None or said == self._chosen:
            self._nr_next = 0
            return
        self._nr_next = self._nr_next + 1 if said == self._next else 1
        self._next = said
        if self._nr_next >= self._table.intervals:
            self._chosen, self._nr_next = said, 0
            self._features = {name: values[name] for name in self._looked_at() if name in values}

    def _looked_at(self) -> list[str]:
        if self._model is not None:
            return [one.name for one in self._model.inputs]
        conditions = (one for regime in self._table.regime for one in regime.conditions)
        return list(dict.fromkeys(one.metric for one in conditions))

    def _intents(self, regime: Regime, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:
        target = ChangeTarget(kind="scheduler", scheduler=self._table.scheduler)
        by = regime.name if self._model is None else f"{regime.name} (model {self._model.version})"
        told = f"the model {self._model.name} says so" if self._model else " and ".join(regime.when)
        intents = []
        for setting, new in regime.set.items():
            old: ParameterValue | None = sensed.scheduler.parameters.get(setting)
            intent = Intent(
                target,
                setting,
                old,
                new,
                regime.reason or f"regime {regime.name}: {told}",
                dict(self._features),
                f"{self.name}/{by}",
            )
            held = standing.get(intent.key)
            intents.append(held.intent if held is not None and held.intent.new == new else intent)
        return intents
