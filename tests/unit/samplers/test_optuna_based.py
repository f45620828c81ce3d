import numpy as np
import pytest

optuna = pytest.importorskip("optuna")

from tests.unit.samplers.spaces import SPACE, drive  # noqa: E402 - as above

from schedtuna.samplers.conformance import RULED  # noqa: E402 - as above
from schedtuna.samplers.observation import Observation  # noqa: E402 - after the skip
from schedtuna.samplers.optuna_based import TpeSampler  # noqa: E402 - as above


def make(space=SPACE, budget=60):
    return TpeSampler(space, budget=budget, rng=np.random.default_rng(0))


def finished(sampler):
    return [t for t in sampler._study.trials if t.state is optuna.trial.TrialState.COMPLETE]


def test_every_run_is_one_trial_of_what_ran():
    sampler = drive(make(), 20)
    trials = finished(sampler)
    assert [t.params for t in trials] == [o.values for o in sampler.history]
    assert len(sampler._study.trials) == 20


def test_what_was_repaired_is_what_is_credited():
    sampler = make(RULED)
    for _ in range(20):
        values = sampler.ask()
        sampler.tell(Observation(values, float(values["queues"])))
    for trial, observation in zip(finished(sampler), sampler.history, strict=True):
        credited = RULED.repair(sampler._from_params(trial.params))
        assert RULED.distance(credited, observation.values) < 1e-6


def test_a_failure_is_told_as_the_worst_cost():
    sampler = drive(make(), 10)
    values = sampler.ask()
    sampler.tell(Observation(values, None))
    trials = finished(sampler)
    assert trials[-1].params == values
    assert trials[-1].value >= max(t.value for t in trials)


def test_a_question_without_an_answer_is_withdrawn():
    sampler = drive(make(), 3)
    sampler.ask()
    values = sampler.ask()
    sampler.tell(Observation(values, 0.1))
    states = [t.state for t in sampler._study.trials]
    assert states.count(optuna.trial.TrialState.FAIL) == 1
    assert states.count(optuna.trial.TrialState.RUNNING) == 0
