"""Schedulers chosen on this machine, step by step: loads are real, and short."""

import gymnasium
import numpy as np
import pytest

import schedtuna.env
from schedtuna.backend.base import Trial, Validity
from schedtuna.env.live import LIVE_FEATURES, LIVE_OBSERVED, LOADS
from schedtuna.env.registration import LIVE
from schedtuna.errors import StudyError, UsageError
from schedtuna.features.loss import MOST

SHORT = {"step_s": 0.6, "discard_s": 0.2, "steps": 2, "steps_per_load": 1, "workload": ["switch", "mixed"]}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))


def make(**keywords):
    keywords = {**SHORT, "schedulers": ("default", "fair:nice=1"), **keywords}
    return gymnasium.make("schedtuna/LiveSwap-v0", disable_env_checker=True, **keywords).unwrapped


def test_an_episode_is_measured_and_scored_by_l():
    assert set(LIVE) == {"schedtuna/LiveSwap-v0"}
    env = make(render_mode="ansi")
    try:
        observation, info = env.reset(seed=3)
        assert env.observation_space.contains(observation)
        assert len(observation) == len(LIVE_OBSERVED) + 2
        assert observation[-2:].tolist() == [1.0, 0.0]
        assert info["unknown"] == []
        observation, reward, terminated, truncated, info = env.step(np.int64(1))
        assert (terminated, truncated) == (False, False)
        assert info["failed"] == ""
        assert (info["scheduler"], info["swapped"], info["load"] in LOADS) == ("fair:nice=1", True, True)
        assert reward == pytest.approx((3 - info["loss"]) / 3)
        assert info["figures"]["turnaround"] >= info["figures"]["first_run"] > 0
        assert observation[-2:].tolist() == [0.0, 1.0]
        assert "L " in env.render()
        assert env.step(0)[3] is True
        with pytest.raises(UsageError, match="has ended"):
            env.step(0)
    finally:
        env.close()


class Recorded:
    """A backend that measures nothing, and writes down what it is asked to run."""

    def __init__(self, fails=()):
        self.asked, self.fails = [], fails

    def run(self, workload, scheduler, *, seed, nth=0):
        self.asked.append((workload.name, scheduler.label(), seed))
        if scheduler.label() in self.fails:
            return Trial(scheduler=scheduler.name, validity=Validity.EJECTED, reason="ejected")
        samples = {f"sample{n}.{name}": 1.0 for n in range(3) for name in LIVE_FEATURES}
        times = {f"sample{n}.time_s": 0.3 + 0.1 * n for n in range(3)}
        terms = {"turnaround": 1e6, "first_run": 1e5, "fairness": 0.1}
        return Trial(scheduler=scheduler.name, metrics=samples | times | terms)


def episode(seed, *, fails=(), actions=(1, 0, 1, 1)):
    env = make(steps=4, steps_per_load=2, workload=list(LOADS))
    env._backend = backend = Recorded(fails)
    env.reset(seed=seed)
    steps = [env.step(action) for action in actions]
    return backend.asked, steps


def test_equal_seeds_are_equal_loads():
    assert episode(7)[0] == episode(7)[0]
    assert episode(7)[0] != episode(8)[0]


def test_a_default_is_measured_for_each_load_before_it_is_compared_with():
    asked, steps = episode(7)
    first_of = {}
    for name, scheduler, seed in asked:
        first_of.setdefault((name, seed), scheduler)
    assert set(first_of.values()) == {"default"}
    assert all(step[1] == pytest.approx(0.0) for step in steps)


def test_a_scheduler_that_fails_scores_as_badly_as_can_be_and_nothing_is_known():
    _, steps = episode(7, fails=("fair:nice=1",))
    _, reward, _, _, info = steps[0]
    assert reward == pytest.approx((3 - 3 * MOST) / 3)
    assert (info["failed"], info["unknown"]) == ("ejected", list(LIVE_FEATURES))
    assert steps[1][1] == pytest.approx(0.0)
    with pytest.raises(StudyError, match="does not run on this machine"):
        episode(7, fails=("default",))


@pytest.mark.parametrize(
    "keywords",
    [
        {"workload": "no-such"},
        {"workload": []},
        {"discard_s": 0.6},
        {"steps": 0},
        {"schedulers": ("default",)},
        {"schedulers": ("default", "no-such-scheduler")},
        {"reward": {"switching": 1.0}},
        {"reward": {"turnaround": -1.0}},
        {"place": "moon"},
    ],
)
def test_what_makes_no_episode_is_refused(keywords):
    with pytest.raises(UsageError):
        make(**keywords)


def test_a_simulated_machine_runs_no_commands():
    pytest.importorskip("nanobind_backend")
    env = make(place="sim", schedulers=("default", "fifo"))
    with pytest.raises(UsageError, match="runs no commands"):
        env.reset()


def test_it_is_among_the_public_names():
    assert schedtuna.env.LiveSwapEnv.__name__ == "LiveSwapEnv"
