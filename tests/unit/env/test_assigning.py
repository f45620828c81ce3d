"""Slices and parameters as actions: what is put in force, and what it is measured by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schedtuna.env.exploits import SETTING_EXPLOITS, setting_score
from schedtuna.env.params import ParamsEnv, params_space
from schedtuna.env.slices import LONG, SHORT, SliceEnv, own_slice_us, slice_arms
from schedtuna.errors import UsageError
from schedtuna.features.observed import OBSERVED

LOAD = {
    "tasks": {
        "hog": {"instance": 2, "run": 10_000},
        "sleeper": {"instance": 5, "run": 300, "sleep": 1700},
        "own": {"run": 10_000, "dl-runtime": 7000},
    }
}
BRIEF: dict[str, Any] = {
    "workload": LOAD,
    "cpus": 2,
    "steps": 4,
    "steps_per_load": 4,
    "step_s": 0.05,
    "discard_s": 0.01,
    "nr_arrivals": 2,
}
MAKERS = [lambda: SliceEnv(**BRIEF, look_ms=10), lambda: ParamsEnv(**BRIEF)]


def slices_ns(env):
    return {task.name.partition("-")[0]: task.slice_ns for task in env._course.simulation.state().tasks}


@pytest.mark.parametrize("make", MAKERS)
def test_the_first_action_is_the_default_and_worth_nothing_more_nor_less(make):
    env = make()
    env.reset(seed=1)
    for nth in range(4):
        observation, reward, terminated, truncated, info = env.step(0)
        assert reward == 0 and info["figures"] == info["default"]
        assert (terminated, truncated) == (False, nth == 3)
        assert observation[len(OBSERVED) :] == pytest.approx(env.space.to_unit(env.space.default()))
    with pytest.raises(UsageError, match="has ended"):
        env.step(0)


def test_each_kind_of_tasks_has_its_slice_and_gives_it_back():
    env = SliceEnv(**BRIEF, look_ms=10)
    env.reset(seed=1)
    action = env.arms.index({SHORT: 100, LONG: 10_000})
    *_, info = env.step(action)
    assert info["values"] == {SHORT: 100, LONG: 10_000}
    assert slices_ns(env) == {"hog": 10_000_000, "sleeper": 100_000, "own": 7_000_000}
    env.step(0)
    assert slices_ns(env) == {"hog": 0, "sleeper": 0, "own": 7_000_000}


def test_the_own_slice_is_what_the_kernel_makes_of_its_base_slice():
    """700 us * (1 + log2(CPUs)), of 8 CPUs at most: get_update_sysctl_factor()."""
    assert [own_slice_us(cpus) for cpus in (1, 2, 4, 8, 64)] == [700, 1400, 2100, 2800, 2800]
    assert slice_arms(4)[0] == {SHORT: 2100, LONG: 2100} and len(slice_arms(4)) == 36


def test_parameters_hold_from_the_step_on_and_in_the_next_load():
    env = ParamsEnv(**BRIEF | {"steps_per_load": 2}, scheduler="rr", nr_arms=4)
    env.reset(seed=1)
    env.step(2)
    facts = env._course.simulation.swaps[-1][1]
    assert facts == {"name": "rr", "parameters": env.arms[2]}
    first = env._course
    env.step(2)
    assert env._course is not first  # reset() had taken a step of it
    assert env._course.simulation.swaps[-1][1] == facts


def test_a_continuous_action_is_a_point_of_the_space():
    env = SliceEnv(**BRIEF, actions="continuous")
    env.reset(seed=1)
    *_, info = env.step(np.array([-1, 1], np.float32))
    assert info["values"] == {SHORT: 100, LONG: 100_000}
    for wrong in ([0.0], [0.0, 1.5], [0.0, np.nan]):
        with pytest.raises(UsageError, match=r"expected \(2,\) numbers from -1 to 1"):
            env.step(np.array(wrong, np.float32))
    discrete = SliceEnv(**BRIEF)
    discrete.reset(seed=1)
    with pytest.raises(UsageError, match="expected 0 to 35"):
        discrete.step(36)


@pytest.mark.parametrize("name", SETTING_EXPLOITS)
def test_who_looks_for_holes_in_the_reward_scores_below_the_default(name):
    env = SliceEnv(cpus=1, step_s=0.4, discard_s=0.1, steps=28)
    assert setting_score(env, SETTING_EXPLOITS[name], seeds=range(2)) < -0.2


def test_sac_learns_on_many_with_continuous_actions():
    """stable-baselines3's takes them as they are, singly and as a vector; both pass its checker."""
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env

    from schedtuna.env.sb3 import SliceVecEnv

    keywords = BRIEF | {"actions": "continuous", "look_ms": 10}
    check_env(SliceEnv(**keywords))
    learner = sb3.SAC("MlpPolicy", SliceVecEnv(2, **keywords), learning_starts=8, batch_size=8, seed=1)
    before = [tensor.clone() for tensor in learner.actor.parameters()]
    learner.learn(24)
    assert any((one != other).any() for one, other in zip(before, learner.actor.parameters(), strict=True))
    assert learner.replay_buffer.actions[:12].std() > 0
    action, _ = learner.predict(np.zeros((2, len(OBSERVED) + 2), np.float32), deterministic=True)
    assert action.shape == (2, 2) and (np.abs(action) <= 1).all()


def test_of_fair_what_a_machine_lets_one_set_can_be_set():
    names = params_space("fair").names
    assert "base_slice_us" in names and "version" not in names and "place_deadline_initial" not in names
    assert params_space("fair:base_slice_us=3000").default()["base_slice_us"] == 3000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SliceEnv(**BRIEF, reward={"switching": 1, "turnaround": 1}), "switching weighs nothing"),
        (lambda: SliceEnv(**BRIEF, actions="box"), "expected discrete or continuous"),
        (lambda: SliceEnv(**BRIEF, split_us=0), "expected a positive time"),
        (lambda: SliceEnv(**BRIEF, look_ms=0.5), "1 ms at least"),
        (lambda: SliceEnv(**BRIEF, render_mode="human"), "no render mode"),
        (lambda: ParamsEnv(**BRIEF, scheduler="fifo"), "fifo has no parameters"),
        (lambda: ParamsEnv(**BRIEF, scheduler="nobody"), "no scheduler 'nobody'"),
        (lambda: ParamsEnv(**BRIEF, nr_arms=1), "nr_arms=1"),
    ],
)
def test_what_is_wrong_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
