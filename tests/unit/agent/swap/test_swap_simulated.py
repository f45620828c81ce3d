"""Deciders on the simulated machine."""

import numpy as np
import pytest

from schedtuna.agent.swap.canary import Canary
from schedtuna.agent.swap.deciders import LinUcbDecider, RegimeDecider
from schedtuna.agent.swap.simulated import run_episode
from schedtuna.env.swap import SwapEnv
from schedtuna.errors import UsageError
from schedtuna.features.observed import OBSERVED


def env(*schedulers, **given):
    return SwapEnv(
        ["heavy-tail:load=0.8"],
        cpus=2,
        schedulers=schedulers,
        steps=4,
        steps_per_load=4,
        step_s=0.5,
        discard_s=0.1,
        costs={"swap_ns": 25_000_000},
        **given,
    )


def test_the_default_costs_one_and_a_swap_is_paid():
    always = [RegimeDecider([(lambda _values: True, arm)], 2) for arm in (0, 1)]
    stays, swaps = (run_episode(env("fair", "las"), one, np.random.default_rng(1), seed=3) for one in always)
    assert [step.cost for step in stays] == pytest.approx([1.0] * 4)
    assert [step.swapped for step in swaps] == [True, False, False, False]
    free = env("fair", "las", reward={"turnaround": 1, "first_run": 1, "fairness": 1})
    unpaid = run_episode(free, always[1], np.random.default_rng(1), seed=3)
    assert swaps[0].cost - unpaid[0].cost == pytest.approx(25 / 500 / 3)


def test_a_decider_learns_from_each_step_and_the_same_seed_gives_the_same():
    runs = []
    for _ in range(2):
        decider = LinUcbDecider(2, len(OBSERVED) + 2)
        runs.append(run_episode(env("fair", "las"), decider, np.random.default_rng(1), seed=3))
        assert decider.nr_learned == 4
    assert runs[0] == runs[1]


def test_what_its_canary_leaves_out_under_the_load_that_is_on_is_not_drawn_any_more():
    canary = Canary(("fair", "las"))
    always = RegimeDecider([(lambda _values: True, 1)], 2)
    steps = run_episode(env("fair", "las"), always, np.random.default_rng(1), seed=3, canary=canary)
    assert {step.arm for step in steps} == {1}
    for load_class, _ in list(canary._costs):
        canary.take("las", 99.0, load_class)
    steps = run_episode(env("fair", "las"), always, np.random.default_rng(1), seed=3, canary=canary)
    assert 0 in {step.arm for step in steps}


def test_the_default_has_to_be_the_first():
    with pytest.raises(UsageError, match="has to be `fair`"):
        run_episode(env("las", "fifo"), LinUcbDecider(2, 22), np.random.default_rng(1), seed=1)
