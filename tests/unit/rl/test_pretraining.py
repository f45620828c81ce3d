"""Learning from runs that someone else chose: the policy gets better, whatever the history is like."""

from typing import Any

import numpy as np
import pytest
from tests.unit.samplers.spaces import BEST, SPACE, true_cost

from schedtuna.samplers.observation import Observation
from schedtuna.samplers.registry import SAMPLERS, make_sampler, missing_extra

pytest.importorskip("torch")

LEARNERS = [name for name, entry in SAMPLERS.items() if entry.extra == "rl" and not missing_extra(name)]


def history(nr_runs, seed=0):
    rng = np.random.default_rng(seed)
    drawn = [SPACE.sample(rng) for _ in range(nr_runs)]
    return [Observation(values, true_cost(values) + 0.02 * rng.standard_normal()) for values in drawn]


def sampler_of(name, seed=0):
    return make_sampler(name, SPACE, budget=60, rng=np.random.default_rng(seed))


def expected_cost(sampler, nr_draws=150):
    """What the policy's own proposals cost on average."""
    return np.mean([true_cost(sampler.propose()) for _ in range(nr_draws)])


@pytest.mark.parametrize("name", LEARNERS)
def test_the_policy_is_better_than_the_runs_that_it_learnt_from(name):
    runs = history(80)
    trained = sampler_of(name)
    trained.pretrain(runs, epochs=40)
    assert expected_cost(trained) < np.mean([run.cost for run in runs]) - 0.05


@pytest.mark.parametrize("name", LEARNERS)
def test_a_history_of_failures_and_repeats_breaks_nothing(name):
    good = Observation(BEST, true_cost(BEST))
    bad = [Observation(run.values, None) for run in history(20)]
    trained = sampler_of(name)
    trained.pretrain([*bad, good, good, good], epochs=100)
    SPACE.validate_assignment(trained.propose())
    assert all(np.isfinite(value) for value in trained.training_metrics().values())


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_is_learnt_from_nothing(name):
    trained = sampler_of(name)
    trained.pretrain([], epochs=3)
    assert trained.nr_updates == 0


@pytest.mark.parametrize("name", LEARNERS)
def test_another_session_goes_on_from_the_checkpoint(name, tmp_path):
    trained = sampler_of(name)
    trained.pretrain(history(80), epochs=40)
    trained.save(tmp_path / "agent.pt")
    other = make_sampler(
        name, SPACE, budget=40, rng=np.random.default_rng(9), pretrained=tmp_path / "agent.pt"
    )
    assert expected_cost(other) == pytest.approx(expected_cost(trained), abs=0.06)


def test_the_arms_of_dqn_travel_with_its_network(tmp_path):
    trained: Any = sampler_of("dqn")
    trained.pretrain([*history(40), Observation(BEST, true_cost(BEST))], epochs=40)
    assert BEST in trained.env.arms
    trained.save(tmp_path / "agent.pt")
    other: Any = make_sampler(
        "dqn", SPACE, budget=12, rng=np.random.default_rng(9), pretrained=tmp_path / "agent.pt"
    )
    assert other.env.arms == trained.env.arms
