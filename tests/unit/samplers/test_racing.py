import numpy as np
import pytest
from tests.unit.samplers.spaces import SPACE, drive, true_cost

from schedtuna.samplers.observation import Observation
from schedtuna.samplers.racing import FAILURE_COST, race, rank, recommend, robust_costs
from schedtuna.samplers.random import RandomSampler


def observations(*costs, **changes):
    values = {**SPACE.default(), **changes}
    return [Observation(values, cost) for cost in costs]


def test_outliers_and_failures_cost_the_same_ceiling():
    history = observations(0.0, 0.1, -0.1, 0.05, -0.05, 9.0, None)
    costs = robust_costs(history)
    assert costs[5] == costs[6] < 0.5
    assert costs[:5].tolist() == [0.0, 0.1, -0.1, 0.05, -0.05]


def test_where_nothing_worked_failures_are_worse_than_the_default():
    assert robust_costs(observations(None, None)).tolist() == [FAILURE_COST] * 2


def test_means_are_shrunk_more_the_fewer_runs_they_have():
    rng = np.random.default_rng(0)
    history = observations(*(0.1 * rng.standard_normal(20)))
    history += observations(-0.2, share=0.5)
    history += observations(*([-0.2] * 20), share=0.6)
    ranked = {c.values["share"]: c for c in rank(SPACE, history)}
    assert ranked[0.6].mean < ranked[0.5].mean < 0
    assert ranked[0.6].sd < ranked[0.5].sd


def test_the_posterior_is_that_of_the_random_effects_model():
    """Simulated truths: shrunken means are closer to them than raw means, and their sd is honest."""
    rng = np.random.default_rng(1)
    shrunk, raw, z = [], [], []
    for _ in range(100):
        truths = 0.05 * rng.standard_normal(30)
        history = []
        for i, truth in enumerate(truths):
            runs = truth + 0.05 * rng.standard_normal(int(rng.integers(1, 6)))
            history += observations(*runs, share=i / 30)
            raw.append(runs.mean() - truth)
        for candidate in rank(SPACE, history):
            share = candidate.values["share"]
            assert isinstance(share, float)
            error = candidate.mean - truths[round(share * 30)]
            shrunk.append(error)
            z.append(error / candidate.sd)
    assert np.mean(np.square(shrunk)) < 0.8 * np.mean(np.square(raw))
    assert 0.8 < np.std(z) < 1.2


def test_repeats_go_to_the_contenders():
    """Among a clear loser and two close winners, the race repeats the winners."""
    history = observations(*[0.5, 0.52, 0.48], share=0.9)
    history += observations(*[-0.1, -0.14, -0.06], share=0.5) + observations(
        *[-0.11, -0.07, -0.15], share=0.6
    )
    rng = np.random.default_rng(0)
    drawn = [race(SPACE, history, rng)["share"] for _ in range(200)]
    assert drawn.count(0.5) + drawn.count(0.6) > 190
    assert min(drawn.count(0.5), drawn.count(0.6)) > 40


def test_failures_are_not_raced():
    history = observations(-1.0, None, None, share=0.9) + observations(0.0, 0.0)
    rng = np.random.default_rng(0)
    assert {race(SPACE, history, rng)["share"] for _ in range(50)} == {0.1}


def test_the_default_is_recommended_where_nothing_beats_it():
    worse = observations(*[0.0] * 3) + observations(*[0.2] * 3, share=0.5)
    assert recommend(SPACE, worse) == SPACE.default()
    assert recommend(SPACE, []) == SPACE.default()


def test_a_gain_is_recommended_though_the_default_never_ran():
    assert recommend(SPACE, observations(-0.3, -0.31, share=0.5))["share"] == 0.5


@pytest.mark.parametrize(("budget", "first"), [(10, 6), (100, 60)])
def test_the_race_takes_the_last_part_of_the_budget(budget, first):
    sampler = RandomSampler(SPACE, budget=budget, rng=np.random.default_rng(0))
    drive(sampler, budget, noise_sd=0.05)
    keys = [SPACE.key(o.values) for o in sampler.history]
    assert len(set(keys[:first])) == first
    assert set(keys[first:]) <= set(keys[:first])


def test_the_race_beats_the_best_single_run():
    """At a noise as large as the differences, the raced choice is better on average."""
    raced, single = [], []
    for seed in range(30):
        sampler = RandomSampler(SPACE, budget=60, rng=np.random.default_rng(seed))
        drive(sampler, 60, noise_sd=0.2, seed=seed)
        raced.append(true_cost(sampler.recommend()))
        plain = RandomSampler(SPACE, budget=10_000, rng=np.random.default_rng(seed))  # never races
        drive(plain, 60, noise_sd=0.2, seed=seed)
        single.append(true_cost(min(plain.history, key=lambda o: o.cost or 0.0).values))
    assert np.mean(raced) < np.mean(single) - 0.02
