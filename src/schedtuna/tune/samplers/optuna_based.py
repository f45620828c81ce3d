"""Optuna's samplers behind our contract: TPE, GP and CMA-ES by ask and tell.

Every run is one trial of an in-memory Optuna study. Failures are told as the worst cost seen,
because Optuna would otherwise forget them; runs that Optuna never asked for (the default, repeats,
a resumed study's history) are added as finished trials.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from schedtuna.space import ParameterSpace, ParameterSpec, ParameterType, ParameterValue
from schedtuna.tune.samplers.base import Observation
from schedtuna.tune.samplers.racing import RacedSampler, robust_costs


class OptunaSampler(RacedSampler):
    """One of Optuna's samplers proposes; the race repeats."""

    def __init__(self, space: ParameterSpace, *, budget: int, rng: np.random.Generator) -> None:
        super().__init__(space, budget=budget, rng=rng)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = {spec.name: _distribution(spec) for spec in space.specs}
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
        values = self.space.validate_assignment(trial.params)
        self._asked, self._proposed = trial, values
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
                    params=dict(observation.values), distributions=self._distributions, value=cost
                )
            )

    def _withdraw(self) -> None:
        """Drop a trial that was asked and never ran."""
        if self._asked is not None:
            self._study.tell(self._asked, state=optuna.trial.TrialState.FAIL)
            self._asked = self._proposed = None


class TpeSampler(OptunaSampler):
    """Tree-structured Parzen estimator, Optuna's default (Bergstra et al. 2011)."""

    name = "tpe"
    extra = "search"

    def make(self, *, seed: int) -> optuna.samplers.BaseSampler:
        """Return Optuna's TPE with its own defaults."""
        return optuna.samplers.TPESampler(seed=seed)


def _distribution(spec: ParameterSpec) -> BaseDistribution:
    low: Any = spec.min_value
    high: Any = spec.max_value
    if spec.type is ParameterType.BOOLEAN:
        return CategoricalDistribution([False, True])
    if spec.type is ParameterType.CATEGORICAL:
        return CategoricalDistribution(spec.choices)
    if spec.type is ParameterType.INTEGER:
        return IntDistribution(int(low), int(high), log=spec.log)
    return FloatDistribution(float(low), float(high), log=spec.log)
