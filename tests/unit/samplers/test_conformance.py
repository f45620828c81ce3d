"""Every sampler keeps the contract, and the suite catches those that don't."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from schedtuna.errors import ConformanceError
from schedtuna.samplers.conformance import (
    CHECKS,
    an_obvious_gain_is_found,
    check_sampler,
)
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.racing import recommend
from schedtuna.samplers.random import RandomSampler
from schedtuna.samplers.registry import SAMPLERS, make_sampler, missing_extra
from schedtuna.space import ParameterValue

SLOW = {"optuna-gp": (an_obvious_gain_is_found,)}  # Optuna's own GP: a second per check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in SLOW])
def test_sampler_keeps_the_contract(name, check):
    if missing_extra(name):
        pytest.skip(f"needs the extra '{missing_extra(name)}'")
    check(partial(make_sampler, name))


@pytest.mark.parametrize("name", SLOW)
def test_slow_sampler_keeps_the_heart_of_the_contract(name):
    if missing_extra(name):
        pytest.skip(f"needs the extra '{missing_extra(name)}'")
    for check in SLOW[name]:
        check(partial(make_sampler, name))


@pytest.mark.long
@pytest.mark.parametrize("name", SLOW)
def test_slow_sampler_keeps_the_whole_contract(name):
    check_sampler(partial(make_sampler, name))


class BestSingleRun(RandomSampler):
    def recommend(self):
        worked = [o for o in self.history if o.cost is not None]
        return dict(min(worked, key=lambda o: o.cost or 0.0).values) if worked else self.space.default()


class RecommendsFailures(RandomSampler):
    def recommend(self):
        return recommend(
            self.space, [Observation(o.values, -1.0 if o.cost is None else o.cost) for o in self.history]
        )


class IgnoresTheSeed(RandomSampler):
    def propose(self):
        return self.space.sample(np.random.default_rng())


class UsesTheGlobalGenerator(RandomSampler):
    def propose(self):
        return self.space.sample(np.random.default_rng(np.random.randint(2**31)))


class IgnoresRules(RandomSampler):
    def propose(self):
        return {spec.name: spec.sample(self.rng) for spec in self.space.specs}


class ReturnsOnlyChanges(RandomSampler):
    def propose(self):
        return self.space.changed(super().propose())


class TrustsItsOwnAsks(RandomSampler):
    asked = None

    def propose(self):
        self.asked = super().propose()
        return dict(self.asked)

    def tell(self, observation):
        super().tell(Observation(self.asked or observation.values, observation.cost))


class ForgetsEarlierRuns(RandomSampler):
    asked: tuple[object, ...] = ()

    def ask(self):
        values = super().ask()
        self.asked = (*self.asked, values)
        return dict(values)

    def recommend(self):
        return recommend(self.space, [o for o in self.history if o.values in self.asked])


class LendsItsMemory(RandomSampler):
    def __init__(self, space, **options):
        super().__init__(space, **options)
        self.kept: dict[int, dict[str, ParameterValue]] = {}

    def recommend(self):
        return self.kept.setdefault(len(self.history), super().recommend())


class NeverDares(RandomSampler):
    def recommend(self):
        return self.space.default()


class LoadsAnything(RandomSampler):
    def save(self, path):
        path.write_text("weights")


class IgnoresOtherStudies(RandomSampler):
    def pretrain(self, observations, *, epochs=1):
        pass


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (BestSingleRun, "lucky once"),
        (RecommendsFailures, "failed"),
        (IgnoresTheSeed, "equal seeds differ"),
        (UsesTheGlobalGenerator, "equal seeds differ|global generator"),
        (IgnoresRules, "breaks the constraint|has no effect"),
        (ReturnsOnlyChanges, "not complete"),
        (TrustsItsOwnAsks, "other assignments than"),
        (ForgetsEarlierRuns, "rebuilt from its history"),
        (LendsItsMemory, "an assignment that it keeps"),
        (NeverDares, "did not find"),
        (LoadsAnything, "another space"),
        (IgnoresOtherStudies, "another study"),
    ],
)
def test_the_suite_catches_broken_samplers(broken, says):
    with pytest.raises(ConformanceError, match=says):
        check_sampler(broken)
