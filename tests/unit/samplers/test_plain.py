"""Samplers without a model: quasi-random, one-at-a-time, halving."""

import numpy as np
import pytest
from scipy.stats import qmc
from tests.unit.samplers.spaces import BEST, SPACE, drive, true_cost

from schedtuna.samplers.registry import make_sampler


def make(name, budget, seed=0):
    return make_sampler(name, SPACE, budget=budget, rng=np.random.default_rng(seed))


def test_quasi_random_points_fill_the_space_more_evenly_than_draws():
    def discrepancy(name):
        sampler = make(name, 64)
        drive(sampler, 32)
        return qmc.discrepancy(np.array([SPACE.to_unit(o.values)[:2] for o in sampler.history[1:]]))

    assert discrepancy("quasi-random") < 0.5 * discrepancy("random")


def test_one_at_a_time_screens_every_parameter_alone_first():
    sampler = drive(make("one-at-a-time", 60), 60)
    changed = [SPACE.changed(o.values) for o in sampler.history]
    nr_screened = next(i for i, c in enumerate(changed) if len(c) > 1)
    assert all(len(c) <= 1 for c in changed[:nr_screened])
    assert {name for c in changed[:nr_screened] for name in c} == set(SPACE.names)


def test_one_at_a_time_combines_what_helped():
    sampler = drive(make("one-at-a-time", 60), 60)
    chosen = sampler.recommend()
    assert SPACE.changed(chosen).keys() == set(SPACE.names)  # every parameter matters on the bowl
    assert true_cost(chosen) < 0.9 * true_cost(BEST)


@pytest.mark.parametrize("budget", [20, 60, 200])
def test_halving_gives_twice_the_runs_to_half_of_the_assignments(budget):
    sampler = drive(make("halving", budget), budget, noise_sd=0.01)
    keys = [SPACE.key(o.values) for o in sampler.history]
    counts = sorted((keys.count(key) for key in set(keys)), reverse=True)
    width = len(counts)
    assert counts[0] >= width / 4
    assert counts[width // 4] >= 2
    assert counts[-1] == 1
    assert 0.2 * budget < width <= 0.5 * budget


@pytest.mark.parametrize("name", ["halving", "quasi-random", "one-at-a-time", "random", "tpe", "cmaes"])
def test_all_find_most_of_the_gain(name):
    pytest.importorskip("optuna")
    gains = [true_cost(drive(make(name, 80, s), 80, noise_sd=0.03, seed=s).recommend()) for s in range(3)]
    assert np.mean(gains) < 0.7 * true_cost(BEST)
