import math

import numpy as np
import pytest
from tests.unit.samplers.spaces import SPACE, drive, true_cost

from schedtuna.samplers.bandits import LinUcbSampler
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.registry import make_sampler

BANDITS = ("epsilon-greedy", "ucb", "thompson", "linucb")


def make(name, budget=80, seed=0, **options):
    return make_sampler(name, SPACE, budget=budget, rng=np.random.default_rng(seed), **options)


@pytest.mark.parametrize("name", BANDITS)
def test_the_best_arm_is_found_and_pulled_most(name):
    sampler = drive(make(name, 160), 160, noise_sd=0.05)
    keys = [SPACE.key(o.values) for o in sampler.history]
    arms = {SPACE.key(o.values): true_cost(o.values) for o in sampler.history}
    ordered = sorted(arms.values())
    assert true_cost(sampler.recommend()) <= ordered[2]
    half = keys[80:]
    assert np.mean([arms[key] for key in half]) < np.mean([arms[key] for key in keys[:40]])


def test_epsilon_is_one_over_the_root_of_the_pull():
    sampler = make("epsilon-greedy")
    for n in range(1, 20):
        assert sampler.training_metrics()["exploration"] == pytest.approx(1 / math.sqrt(n))
        sampler.tell(Observation(sampler.ask(), 0.0))


def test_epsilon_greedy_explores_as_often_as_epsilon_says():
    """With one clear winner, every other pull after it is known is exploration."""
    explored = []
    for seed in range(30):
        sampler = make("epsilon-greedy", 60, seed)
        for _ in range(60):
            values = sampler.ask()
            sampler.tell(Observation(values, -1.0 if values == SPACE.default() else 1.0))
        explored.append(sum(o.values != SPACE.default() for o in sampler.history[1:]))
    nr_arms = 60 // 4
    expected = sum(1 / math.sqrt(n) for n in range(2, 61)) * (nr_arms - 1) / nr_arms
    assert np.mean(explored) == pytest.approx(expected, rel=0.15)


def test_ucb_pulls_by_the_bound_of_auer_et_al():
    sampler = make("ucb", 16)  # 4 arms
    costs: dict[object, list[float]] = {}
    for _ in range(16):
        values = sampler.ask()
        key = SPACE.key(values)
        if len(sampler.history) >= 4:
            t = len(sampler.history)
            width = np.ptp([c for row in costs.values() for c in row])
            bounds = {
                k: np.mean(row) / width - math.sqrt(2 * math.log(t) / len(row)) for k, row in costs.items()
            }
            assert bounds[key] == pytest.approx(min(bounds.values()))
        cost = 0.1 * len(costs) if key not in costs else costs[key][0]
        costs.setdefault(key, []).append(cost)
        sampler.tell(Observation(values, cost))
    assert len(costs) == 4


def test_thompson_pulls_good_arms_more_often():
    sampler = drive(make("thompson", 200), 200, noise_sd=0.1)
    keys = [SPACE.key(o.values) for o in sampler.history]
    arms = {SPACE.key(o.values): o.values for o in sampler.history}
    ordered = sorted(arms, key=lambda key: true_cost(arms[key]))
    counts = [keys.count(key) for key in ordered]
    quarter = len(counts) // 4
    assert sum(counts[:quarter]) > 2 * sum(counts[-quarter:])


def test_linucb_carries_over_from_other_contexts():
    """The switch helps where load is high and hurts where it is low; the context decides."""
    rng = np.random.default_rng(0)
    elsewhere = []
    for _ in range(150):
        values, load = SPACE.sample(rng), float(rng.choice([0.1, 0.9]))
        cost = (0.3 if load < 0.5 else -0.3) * (1.0 if values["switch"] else -1.0)
        elsewhere.append(
            Observation(values, cost + 0.05 * float(rng.standard_normal()), context={"load": load})
        )
    asked = {}
    for load in (0.1, 0.9):
        sampler = make("linucb", context={"load": load})
        assert isinstance(sampler, LinUcbSampler)
        sampler.pretrain(elsewhere)
        sampler.suggestions.clear()
        sampler.tell(Observation(SPACE.default(), 0.0))
        asked[load] = sampler.ask()["switch"]
    assert asked == {0.1: False, 0.9: True}
