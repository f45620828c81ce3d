"""Many environments at once are what each is alone, for Gymnasium and for stable-baselines3."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.env import (
    CPUSchedulerEnv,
    CPUSchedulerVecEnv,
    CPUSchedulerVectorEnv,
    MigrateEnv,
    MigrateVecEnv,
    MigrateVectorEnv,
    ParamsEnv,
    ParamsVecEnv,
    ParamsVectorEnv,
    SliceEnv,
    SliceVecEnv,
    SliceVectorEnv,
    SwapEnv,
    SwapVecEnv,
    SwapVectorEnv,
)
from schedtuna.env.course import CourseEnv
from schedtuna.env.course_vector import CourseVectorEnv
from schedtuna.errors import UsageError

LOAD = {
    "tasks": {
        "hog": {"instance": 2, "run": 10_000},
        "sleeper": {"instance": 5, "run": {"exponential": 700}, "sleep": {"exponential": 2300}},
    }
}
SHORT: dict[str, Any] = {"workload": LOAD, "cpus": 2, "episode_ms": 15, "arrivals": range(6), "nr_slots": 8}

MIGRATE: dict[str, Any] = {"workload": LOAD, "cpus": 4, "episode_ms": 15, "arrivals": range(6)}
SWAP: dict[str, Any] = {
    "workload": [LOAD, "poisson:load=0.8"],
    "schedulers": ("fair", "las", "fifo"),
    "steps": 4,
    "steps_per_load": 2,
    "step_s": 0.02,
    "discard_s": 0.005,
    "nr_arrivals": 2,
    "costs": {"swap_ns": 1_000_000},
}
STEPPED = {name: value for name, value in SWAP.items() if name != "schedulers"}
# id -> single, vector, stable-baselines3's face, keywords, number of actions
KINDS: dict[str, tuple[Any, Any, Any, dict[str, Any], int]] = {
    "schedtuna/PickNext-v0": (CPUSchedulerEnv, CPUSchedulerVectorEnv, CPUSchedulerVecEnv, SHORT, 19),
    "schedtuna/Migrate-v0": (MigrateEnv, MigrateVectorEnv, MigrateVecEnv, MIGRATE, 2),
    "schedtuna/Swap-v0": (SwapEnv, SwapVectorEnv, SwapVecEnv, SWAP, 3),
    "schedtuna/Slice-v0": (SliceEnv, SliceVectorEnv, SliceVecEnv, STEPPED | {"look_ms": 5}, 36),
    "schedtuna/Params-v0": (ParamsEnv, ParamsVectorEnv, ParamsVecEnv, STEPPED | {"nr_arms": 5}, 5),
}


def single(n, seed, policy_seed, nr_steps):
    """What each of n environments returns alone, with the reset of SAME_STEP: rows per step."""
    rows = []
    for i in range(n):
        env = CPUSchedulerEnv(**SHORT)
        rng = np.random.default_rng([policy_seed, i])
        observation, _ = env.reset(seed=seed + i)
        own: list[Any] = [(observation, 0.0, False, None, None)]
        for _ in range(nr_steps):
            action = int(rng.integers(len(env.setting.action_names)))
            observation, reward, terminated, truncated, info = env.step(action)
            assert not terminated
            final = observation
            if truncated:
                observation, _ = env.reset()
            own.append((observation, reward, truncated, final, info))
        rows.append(own)
    return rows


def actions_of(n, policy_seed, nr_steps, nr_actions):
    rngs = [np.random.default_rng([policy_seed, i]) for i in range(n)]
    return [np.array([int(rng.integers(nr_actions)) for rng in rngs]) for _ in range(nr_steps)]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32), st.integers(0, 99), st.integers(1, 3))
def test_a_batch_is_its_members(n, seed, policy_seed, nr_threads):
    nr_steps = 60
    alone = single(n, seed, policy_seed, nr_steps)
    env = CPUSchedulerVectorEnv(n, autoreset_mode="SameStep", nr_threads=nr_threads, **SHORT)
    other = CPUSchedulerVecEnv(n, seed=seed, nr_threads=nr_threads, **SHORT)
    observations, _ = env.reset(seed=seed)
    assert (other.reset() == observations).all()
    assert (observations == [rows[0][0] for rows in alone]).all()
    for step, actions in enumerate(actions_of(n, policy_seed, nr_steps, len(env.setting.action_names)), 1):
        observations, rewards, terminated, truncated, info = env.step(actions)
        theirs, their_rewards, dones, infos = other.step(actions)
        assert (theirs == observations).all() and (dones == truncated).all() and not terminated.any()
        assert (their_rewards == rewards.astype(np.float32)).all()
        for i in range(n):
            observation, reward, ended, final, told = alone[i][step]
            assert (observations[i] == observation).all()
            assert (rewards[i], truncated[i]) == (reward, ended)
            assert infos[i]["elapsed_ns"] == told["elapsed_ns"] == info["elapsed_ns"][i]
            if ended:
                assert (info["final_obs"][i] == final).all() and info["_final_obs"][i]
                assert (infos[i]["terminal_observation"] == final).all()
                assert infos[i]["TimeLimit.truncated"]
                assert infos[i]["terms"] == told["terms"]
                assert info["final_info"]["terms"]["latency"][i] == told["terms"]["latency"]
                assert infos[i]["nr_masked"] == told["nr_masked"] == info["final_info"]["nr_masked"][i]
            else:
                assert "terminal_observation" not in infos[i]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_gymnasium_makes_many(name, mode):
    _, kind, _, keywords, nr_actions = KINDS[name]
    env = gymnasium.make_vec(name, num_envs=3, autoreset_mode=mode, **keywords)
    assert isinstance(env, kind)
    assert env.metadata["autoreset_mode"] is AutoresetMode(mode)
    plain = gymnasium.make_vec(
        name,
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode(mode)},
        **keywords,
    )
    observations, _ = env.reset(seed=7)
    assert (plain.reset(seed=7)[0] == observations).all()
    nr_ended = 0
    for actions in actions_of(3, 5, 14 if issubclass(kind, CourseVectorEnv) else 200, nr_actions):
        found, other = env.step(actions), plain.step(actions)
        for mine, theirs in zip(found[:4], other[:4], strict=True):
            assert (mine == theirs).all()
        if "elapsed_ns" in other[4] and mode == "NextStep":  # all of them reset at once: none has any
            assert (found[4]["elapsed_ns"] == other[4]["elapsed_ns"]).all()
        nr_ended += int(found[3].sum())
        if "final_obs" in other[4]:
            assert (found[4]["_final_obs"] == other[4]["_final_obs"]).all()
            for mine, theirs in zip(found[4]["final_obs"], other[4]["final_obs"], strict=True):
                assert (mine is None) == (theirs is None) and (mine is None or (mine == theirs).all())
    assert nr_ended > 3
    env.close()


@pytest.mark.parametrize("name", [name for name in KINDS if name != "schedtuna/PickNext-v0"])
def test_what_stable_baselines_gets_is_what_each_gives_alone(name):
    kind, _, face, keywords, nr_actions = KINDS[name]
    many, alone = face(3, nr_threads=2, **keywords), [kind(**keywords) for _ in range(3)]
    many.seed(4)
    expected = np.array([env.reset(seed=4 + i)[0] for i, env in enumerate(alone)])
    assert (many.reset() == expected).all() and not many.has_attr("action_masks")
    nr_ended = 0
    for actions in actions_of(3, 6, 14 if issubclass(kind, CourseEnv) else 150, nr_actions):
        observations, rewards, dones, infos = many.step(actions)
        for i, env in enumerate(alone):
            seen, reward, terminated, truncated, told = env.step(actions[i])
            assert rewards[i] == np.float32(reward) and dones[i] == (terminated or truncated)
            if dones[i]:
                assert (infos[i]["terminal_observation"] == seen).all()
                assert infos[i]["TimeLimit.truncated"] == truncated
                assert infos[i].get("terms") == told.get("terms")
                seen, _ = env.reset()
                nr_ended += 1
            assert (observations[i] == seen).all()
    assert nr_ended > 3
    many.close()


@pytest.mark.parametrize("name", KINDS)
def test_without_autoreset_nobody_goes_on_behind_an_end(name):
    """DISABLED: a step is refused, and changes nothing anywhere, until those that ended were reset."""
    _, kind, _, keywords, nr_actions = KINDS[name]
    env, other = (kind(2, autoreset_mode=mode, seed=3, **keywords) for mode in ("Disabled", "SameStep"))
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert (env.reset()[0] == other.reset()[0]).all()
    nr_ended = 0
    for actions in actions_of(2, 8, 10 if issubclass(kind, CourseVectorEnv) else 120, nr_actions):
        found, expected = env.step(actions), other.step(actions)
        ended = found[2] | found[3]
        assert (found[1] == expected[1]).all() and (ended == (expected[2] | expected[3])).all()
        assert "final_obs" not in found[4]
        observations = found[0]
        if ended.any():
            with pytest.raises(UsageError, match="have ended"):
                env.step(actions)
            observations, _ = env.reset(options={"reset_mask": ended})
            nr_ended += int(ended.sum())
        assert (observations == expected[0]).all()
    assert nr_ended > 1
    for each in (env, other):
        each.close()


def test_the_default_scheduler_is_simulated_once_for_all():
    env = SwapVectorEnv(3, **SWAP | {"workload": [LOAD], "nr_arrivals": 1})
    env.reset(seed=1)
    env.step(np.array([0, 1, 2]))
    first = env.envs[0].defaults.of((0, 0), lambda: pytest.fail("it is known"))
    assert all(each.defaults.of((0, 0), list) is first for each in env.envs)
    env.close()


def test_some_may_be_reset_alone():
    for name in ("schedtuna/Migrate-v0", "schedtuna/Swap-v0"):
        _, kind, _, keywords, _ = KINDS[name]
        env = kind(2, autoreset_mode="NextStep", **keywords)
        first, _ = env.reset(seed=3)
        before, *_ = env.step(np.array([1, 1]))
        after, _ = env.reset(options={"reset_mask": np.array([False, True])})
        assert (after[0] == before[0]).all()
        again, _ = env.reset(seed=[None, 4])
        assert (again[1] == first[1]).all()
        env.close()


def test_wrappers_know_how_it_resets():
    env = gymnasium.make_vec("schedtuna/PickNext-v0", num_envs=2, **SHORT)
    wrapped = gymnasium.wrappers.vector.RecordEpisodeStatistics(env)
    wrapped.reset(seed=1)
    returns = []
    for actions in actions_of(2, 1, 150, 2 * SHORT["nr_slots"] + 3):
        *_, info = wrapped.step(actions)
        returns += info["episode"]["r"][info["_episode"]].tolist() if "episode" in info else []
    assert returns and max(returns) < 0


def test_what_a_batch_returns_is_its_callers():
    env = CPUSchedulerVecEnv(2, seed=1, **SHORT)
    first = env.reset()
    kept = first.copy()
    second, *_ = env.step(np.zeros(2, np.int64))
    assert (first == kept).all() and (second != first).any()


def test_masks_of_all_in_one_call():
    env = CPUSchedulerVecEnv(3, seed=1, **SHORT)
    env.reset()
    assert env.has_attr("action_masks")
    assert (np.stack(env.env_method("action_masks")) == env.action_masks()).all()
    assert env.action_masks().any(axis=1).all()
    alone = CPUSchedulerEnv(**SHORT)
    alone.reset(seed=1)
    assert (alone.action_masks() == env.action_masks()[0]).all()


def test_ppo_learns_from_the_natives():
    from stable_baselines3 import PPO

    env = CPUSchedulerVecEnv(8, seed=1, **SHORT)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=64, n_epochs=1, device="cpu", seed=1)
    model.learn(256)
    assert model.num_timesteps == 256


def test_what_is_wrong_is_refused():
    env = CPUSchedulerVectorEnv(2, **SHORT)
    env.reset(seed=1)
    wrong: list[Any] = [np.zeros(3, np.int64), np.zeros(2)]
    for actions in wrong:
        with pytest.raises(UsageError, match="expected 2 whole numbers"):
            env.step(actions)
    for action in (99, -1):
        with pytest.raises(UsageError, match=f"^action {action}: expected 0 to"):
            env.step(np.array([0, action]))
    with pytest.raises(UsageError, match="expected NextStep, SameStep, Disabled"):
        CPUSchedulerVectorEnv(2, autoreset_mode="Sometimes", **SHORT)
    with pytest.raises(UsageError, match="num_envs=0"):
        CPUSchedulerVectorEnv(0, **SHORT)
