"""The environment of which task runs next: its rules, and that it is one of Gymnasium's."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import schedtuna.env
from schedtuna.env import REWARD_TERMS, CPUSchedulerEnv
from schedtuna.env.setting import machine_features, task_features
from schedtuna.errors import UsageError
from schedtuna.sim.native import Stop
from schedtuna.sim.simulation import Simulation

MS = 1_000_000
LOAD = {
    "tasks": {
        "hog": {"instance": 2, "run": 10_000, "priority": 5},
        "sleeper": {"instance": 6, "run": {"exponential": 700}, "sleep": {"exponential": 2300}},
    }
}
SHORT: dict[str, Any] = {"workload": LOAD, "cpus": 2, "episode_ms": 40, "arrivals": range(4)}
EXACT = ("nice", "waited_ns", "attained_ns", "burst_ns", "cpu_time_ns")
NR_TASK = len(task_features())


def made(**others):
    return CPUSchedulerEnv(**SHORT | others)


def column(env, observation, name):
    """A feature of each slot, as bins; -1 where nobody stands."""
    rows = observation[: env.setting.nr_slots * NR_TASK].reshape(-1, NR_TASK)
    names = [row.name for row in task_features()]
    bins = task_features()[names.index(name)].bins
    return np.where(rows[:, 0] > 0, np.rint(rows[:, names.index(name)] * bins.last).astype(int), -1)


def play(env, rule, **reset):
    """The rewards of an episode."""
    observation, info = env.reset(**reset)
    rewards, ended = [], False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(rule(env, observation, info))
        rewards.append(reward)
        ended = terminated or truncated
    return rewards, info


def exactly(env, key):
    """The occupied slot of which `key` of the exact numbers is least."""
    slots = env._batch.native.slots(0)
    return min((slot for slot, task in enumerate(slots) if task), key=lambda slot: key(slots[slot]))


def least_attained(env, _observation, _info):
    return exactly(env, lambda task: (task[5], task[0]))


def first_come(env, _observation, _info):
    return exactly(env, lambda task: (-task[4], task[0]))


def anything(seed):
    rng = np.random.default_rng(seed)
    return lambda env, _observation, info: int(rng.choice(np.flatnonzero(info["action_mask"])))


def test_gymnasium_makes_it_and_is_content():
    for name in ("schedtuna/PickNext-v0", "schedtuna.env:schedtuna/PickNext-v0"):
        env = gymnasium.make(name, **SHORT, reward={"latency": 1, "energy": 0.2}, seed=3)
        assert isinstance(env.unwrapped, CPUSchedulerEnv)
    check_env(env.unwrapped, skip_render_check=True)
    assert schedtuna.env.CPUSchedulerEnv is CPUSchedulerEnv


def test_stable_baselines3_is_content():
    from stable_baselines3.common.env_checker import check_env as check

    check(made())


def test_an_observation_is_the_bins_of_what_candidates_are():
    env = made()
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert len(env.setting.observation_names) == len(observation)
    for _ in range(200):
        slots = env._batch.native.slots(0)
        assert [task is not None for task in slots] == (column(env, observation, "is_candidate") > 0).tolist()
        for slot, task in enumerate(slots):
            if task is not None:
                exact = dict(zip(EXACT, task[3:], strict=True))
                for feature in task_features():
                    if feature.name in exact:
                        found = column(env, observation, feature.name)[slot]
                        assert found == feature.bins.quantise(np.array([exact[feature.name]]))[0]
        observation, _, terminated, truncated, _ = env.step(first_come(env, None, None))
        if terminated or truncated:
            observation, _ = env.reset()


def test_it_observes_what_simulator_and_a_deployed_policy_can_compute():
    for row in (*task_features(), *machine_features()):
        assert {"simulator", "bpf"} <= row.sources, row.name
        forbidden = ("left", "remaining", "seed", "family", "phase", "member")
        assert not any(word in row.name for word in forbidden)
    names = {row.name for row in (*task_features(), *machine_features())}
    assert {"cpu_time_ns", "rss_kib", "nice"} <= names  # CPU, RAM and priority


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 3))
def test_slots_say_nothing(shuffle, arrivals):
    env = made()
    options = {"arrivals": arrivals}
    plain, _ = play(env, least_attained, options=options)
    permuted, _ = play(env, least_attained, options=options | {"slots": shuffle})
    assert plain == permuted


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_the_same_seed_and_actions_are_the_same_episodes(seed, actions):
    env, other = made(), made(seed=seed)
    for reset in ({"seed": seed}, {}):
        again, _ = play(other, anything(actions))
        assert play(env, anything(actions), **reset)[0] == again


def test_choices_are_the_simulations_own():
    """First come, first served without costs is what `rr` does, so it is worth what that is."""
    env = made(decision_ns=0, scheduler="rr:slice_us=4000")
    own = Simulation(LOAD, "external:slice_us=4000", cpus=2, seed=2)
    rewards, info = play(env, first_come, options={"arrivals": 2})
    while own.run(40 * MS) is Stop.DECISION:
        own.choose(own.candidates()[0])
    assert env._batch.native.state(0)[-1] == own.totals.hash
    assert info["terms"].keys() == REWARD_TERMS.keys()
    weights = {"latency": 100 / 1.2, "energy": 20 / 1.2}
    assert sum(rewards) == pytest.approx(-sum(w * info["terms"][name] for name, w in weights.items()))


def test_the_default_scheduler_is_worth_100():
    """Under `rr` without asking at wakeups there is nothing to choose but who came first."""
    for name in REWARD_TERMS:
        env = made(scheduler="fair", reward={name: 1})
        rewards, info = play(env, first_come, seed=1)
        assert sum(rewards) == pytest.approx(100 * REWARD_TERMS[name].sign * info["terms"][name])


def test_a_decision_takes_time():
    rewards = {ns: sum(play(made(decision_ns=ns), first_come, seed=1)[0]) for ns in (0, "bpf", "user")}
    assert rewards[0] > rewards["bpf"] > rewards["user"]


def test_idle_delay_preempt_and_boost_do_what_they_say():
    env = made(cpus=None, topology="1x2x1")
    n = env.setting.nr_slots
    env.reset(seed=1)
    names = env.setting.action_names
    idle, delay, preempt = (names.index(name) for name in ("idle", "delay", "preempt"))
    seen = set()
    for k in range(400):
        before_ns, cpu, running, *_ = env._batch.native.state(0)
        slot = first_come(env, None, None)
        action = (slot, slot + n, idle, delay, preempt)[k % 5]
        task = env._batch.native.slots(0)[slot]
        allowed = env.action_masks()[action]
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            env.reset()
            continue
        now_ns, asked, running, *_ = env._batch.native.state(0)
        assert now_ns - before_ns == info["elapsed_ns"]
        if action == preempt and allowed:
            assert (now_ns, asked) == (before_ns, cpu)
            assert not env.action_masks()[preempt]  # of two CPUs one chooses, the other is about to
            seen.add("preempt")
        if action < 2 * n and asked != cpu and info["elapsed_ns"] < MS:
            assert running[cpu] == f"{task[1]}/{task[0]}"
            seen.add("boost" if action >= n else "run")
        if action in (idle, delay) and asked != cpu:
            seen.add(names[action])
            assert running[cpu] is None or info["elapsed_ns"] > 0
    assert seen == {"run", "boost", "idle", "delay", "preempt"}


def test_a_masked_action_lets_run_who_came_first():
    env, other = made(), made()
    env.reset(seed=5)
    other.reset(seed=5)
    masked = int(np.flatnonzero(~env.action_masks())[0])
    first = env.step(masked)
    second = other.step(first_come(other, None, None))
    assert (first[0] == second[0]).all() and first[1] == second[1]
    _, info = play(env, lambda *_: masked if not env.action_masks()[masked] else 0)
    assert info["nr_masked"] > 0


def test_an_episode_ends_with_time_or_with_the_last_task():
    phases = {"p": {"loop": 3, "run": 3000, "sleep": 100}}
    once = {"tasks": {"one": {"instance": 4, "loop": 1, "phases": phases}}}
    env = CPUSchedulerEnv(workload=once, cpus=1, arrivals=range(1))
    env.reset(seed=1)
    terminated = truncated = False
    while not (terminated or truncated):
        *_, terminated, truncated, _ = env.step(first_come(env, None, None))
    assert terminated and not truncated
    assert not env.action_masks()[:-3].any()
    with pytest.raises(UsageError, match="has ended"):
        env.step(0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reward": {"speed": 1}}, "no term 'speed'"),
        ({"reward": {"latency": float("nan")}}, "finite number"),
        ({"reward": {"latency": 0}}, "nothing weighs"),
        ({"decision_ns": -1}, "decision_ns=-1"),
        ({"decision_ns": "gpu"}, "one of bpf, user"),
        ({"cpus": 0}, "1 to 1,024"),
        ({"topology": "3x3"}, "LLCSxCORESxTHREADS"),
        ({"workload": "nonsense.json"}, "no workload file"),
        ({"workload": []}, "at least one load"),
        ({"arrivals": [-1]}, "arrivals=-1"),
        ({"arrivals": []}, "one seed of arrivals"),
        ({"nr_slots": 1}, "nr_slots=1"),
        ({"slice_us": -5}, "slice_us"),
        ({"episode_ms": 0}, "episode_ms=0"),
        ({"scheduler": "external"}, "built-in scheduler"),
        ({"scheduler": "cfs"}, "no scheduler 'cfs'"),
        ({"render_mode": "human"}, "'ansi', 'rgb_array' or None"),
        ({"costs": {"tick": 1}}, "no constant 'tick'"),
    ],
)
def test_what_is_wrong_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        made(**wrong)


def test_wrong_actions_and_options_are_refused():
    env = made()
    env.reset(seed=1)
    for action in (-1, len(env.setting.action_names), 999, 1.7, "1", None):
        with pytest.raises(UsageError, match=f"^action {action}: expected 0 to 34$"):
            env.step(action)
    for options in ({"arrivals": 9}, {"workload": 1}, {"pace": 1}):
        with pytest.raises(UsageError, match="options"):
            env.reset(options=options)


def test_it_is_rendered_as_text():
    env = made(render_mode="ansi")
    env.reset(seed=1)
    text = env.render()
    assert "chooses" in text and "CPU 1:" in text and "slot" in text
