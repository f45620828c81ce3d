"""Optuna's samplers behind our contract: TPE, GP and CMA-ES by ask and tell.

Every run is one trial of an in-memory Optuna study. Failures are told as the worst cost seen,
because Optuna would otherwise forget them; runs that Optuna never asked for (the default, repeats,
a resumed study's history) are added as finished trials.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from schedtuna.samplers.observation import Observation
from schedtuna.samplers.raced import RacedSampler
from schedtuna.samplers.racing import robust_costs
from schedtuna.space import Assignment, ParameterSpace, ParameterSpec, ParameterType, ParameterValue


class OptunaSampler(RacedSampler):
    """One of Optuna's samplers proposes; the race repeats."""

    def __init__(self, space: ParameterSpace, *, budget: int, rng: np.random.Generator) -> None:
        super().__init__(space, budget=budget, rng=rng)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = _distributions(space)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self.make(seed=int(rng.integers(2**31)))
        self._study = optuna.create_study(sampler=sampler, direction="minimize")
        self._asked: optuna.Trial | None = None
        self._proposed: dict[str, ParameterValue] | None = None

    @abstractmethod
    def make(self, *, seed: int) -> optuna.samplers.BaseSampler:
        """Return Optuna's sampler."""

    def propose(self) -> dict[str, ParameterValue]:
        """Return what Optuna asks for."""
        self._withdraw()
        trial = self._study.ask(self._distributions)
        drawn = self._from_params(trial.params)
        values = self.space.repair(drawn)
        self._asked, self._proposed = trial, values
        if values != drawn:  # what runs is what is credited
            self._withdraw()
        return dict(values)

    def tell(self, observation: Observation) -> None:
        """Finish the trial that was asked, or add the run as a trial of its own."""
        super().tell(observation)
        cost = float(robust_costs(self.history)[-1])
        if self._asked is not None and self._proposed == observation.values:
            self._study.tell(self._asked, cost)
            self._asked = self._proposed = None
        else:
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=self._to_params(observation.values), distributions=self._distributions, value=cost
                )
            )

    def _withdraw(self) -> None:
        """Drop a trial that was asked and never ran."""
        if self._asked is not None:
            self._study.tell(self._asked, state=optuna.trial.TrialState.FAIL)
            self._asked = self._proposed = None

    def _to_params(self, values: Assignment) -> dict[str, Any]:
        """An assignment as Optuna's parameters: a list as its coordinates in the unit cube."""
        params: dict[str, Any] = {}
        for spec in self.space.specs:
            value = values[spec.name]
            if isinstance(value, tuple):
                params |= {f"{spec.name}[{i}]": u for i, u in enumerate(spec.to_unit(value))}
            else:
                params[spec.name] = value
        return params

    def _from_params(self, params: Mapping[str, Any]) -> dict[str, ParameterValue]:
        values: dict[str, ParameterValue] = {}
        for spec in self.space.specs:
            if spec.type is ParameterType.LIST:
                values[spec.name] = spec.from_unit(
                    [params[f"{spec.name}[{i}]"] for i in range(spec.unit_size)]
                )
            else:
                values[spec.name] = params[spec.name]
        return values


class TpeSampler(OptunaSampler):
    """Tree-structured Parzen estimator, Optuna's default (Bergstra et al. 2011)."""

    name = "tpe"
    extra = "search"

    def make(self, *, seed: int) -> optuna.samplers.BaseSampler:
        """Return Optuna's TPE with its own defaults."""
        return optuna.samplers.TPESampler(seed=seed)


class OptunaGpSampler(OptunaSampler):
    """Optuna's Gaussian process with expected improvement, told that runs are noisy."""

    name = "optuna-gp"
    extra = "search,rl"  # it computes with torch

    def make(self, *, seed: int) -> optuna.samplers.BaseSampler:
        """Return Optuna's GP."""
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)


class CmaesSampler(OptunaSampler):
    """CMA-ES with margin, which keeps whole numbers moving (Hamano et al. 2022); words at random."""

    name = "cmaes"
    extra = "search"

    def make(self, *, seed: int) -> optuna.samplers.BaseSampler:
        """Return Optuna's CMA-ES."""
        return optuna.samplers.CmaEsSampler(seed=seed, with_margin=True, warn_independent_sampling=False)


def _distributions(space: ParameterSpace) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {}
    for spec in space.specs:
        if spec.type is ParameterType.LIST:
            found |= {f"{spec.name}[{i}]": FloatDistribution(0.0, 1.0) for i in range(spec.unit_size)}
        else:
            found[spec.name] = _distribution(spec)
    return found


def _distribution(spec: ParameterSpec) -> BaseDistribution:
    if spec.type is ParameterType.BOOLEAN:
        return CategoricalDistribution([False, True])
    if spec.type is ParameterType.CATEGORICAL:
        return CategoricalDistribution(spec.choices)
    if spec.type is ParameterType.INTEGER:
        return IntDistribution(int(spec.scale.low), int(spec.scale.high), log=spec.log)
    return FloatDistribution(spec.scale.low, spec.scale.high, log=spec.log)
