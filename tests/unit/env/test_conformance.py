"""Every environment keeps the contract, and the suite finds those that don't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from schedtuna.env.conformance import check_environment, futures
from schedtuna.env.registration import ENVIRONMENTS
from schedtuna.errors import ConformanceError
from schedtuna.sim.simulation import Simulation

SHORT_STEPS: dict[str, Any] = {
    "steps": 4,
    "steps_per_load": 4,
    "step_s": 0.02,
    "discard_s": 0.008,
    "nr_arrivals": 2,
}
SHORT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "schedtuna/PickNext-v0": ({"episode_ms": 60}, {"steps": 30}),
    "schedtuna/Migrate-v0": ({"episode_ms": 60}, {"steps": 20}),
    "schedtuna/Swap-v0": (
        SHORT_STEPS | {"schedulers": ("fair", "las", "fifo"), "costs": {"swap_ns": 1_000_000}},
        {"steps": 6},
    ),
    "schedtuna/Slice-v0": (SHORT_STEPS | {"look_ms": 5}, {"steps": 6}),
    "schedtuna/Params-v0": (SHORT_STEPS | {"nr_arms": 5}, {"steps": 6}),
}


def maker(name, **others):
    keywords, _ = SHORT[name]

    def make(*, workload=None):
        given = {} if workload is None else {"workload": workload}
        return gymnasium.make(name, **keywords, **given, **others)

    return make


def many(name):
    keywords, _ = SHORT[name]

    def batch(n, mode):
        return gymnasium.make_vec(name, num_envs=n, autoreset_mode=mode, **keywords)

    return batch


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_passes(name):
    check_environment(maker(name), make_vec=many(name), **SHORT[name][1])


def test_batches_of_gymnasiums_own_pass_too():
    check_environment(maker("schedtuna/PickNext-v0"), **SHORT["schedtuna/PickNext-v0"][1])


class Leaky(gymnasium.ObservationWrapper):
    """Shows how long a task will compute."""

    def __init__(self, env, workload):
        super().__init__(env)
        self.secret = 0 if workload is None else workload["tasks"]["task0"]["phases"]["unknown"]["run"]

    def observation(self, observation):
        return (observation * (1 - self.secret / 1e9)).astype(observation.dtype)


class Forgetful(gymnasium.Wrapper):
    """Draws what no seed decides."""

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return observation, reward + np.random.default_rng().random(), *rest


def test_what_breaks_the_contract_is_found():
    name = "schedtuna/Migrate-v0"

    def broken(wrap):
        return lambda *, workload=None: wrap(maker(name)(workload=workload), workload)

    def check(wrap, match):
        with pytest.raises(ConformanceError, match=match):
            check_environment(broken(wrap), steps=8)

    check(Leaky, "the_future_is_not_seen: observations know")
    check(lambda env, _: Forgetful(env), "equal_seeds_agree")


def test_the_loads_of_the_future_are_the_same_until_then():
    """Whoever schedules: switches agree until that time, and not for ever."""
    until_ns = 40_000_000
    one, other = (Simulation(load, "fair", cpus=4, traced=True) for load in futures(until_ns))
    for simulation in (one, other):
        simulation.run(until_ns)
    assert one.totals.hash == other.totals.hash
    assert (one.take_events() == other.take_events()).all()
    for simulation in (one, other):
        simulation.run(20 * until_ns)
    assert one.totals.hash != other.totals.hash


@pytest.mark.long
def test_an_earlier_gymnasium_will_do(tmp_path):
    """RLlib asks for exactly this one."""
    pinned = ["--no-deps", "--target", tmp_path, "gymnasium==1.2.2"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *pinned], check=True)
    told = "import gymnasium, pytest; print(gymnasium.__version__); raise SystemExit(pytest.main())"
    done = subprocess.run(
        [sys.executable, "-c", told],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTEST_ADDOPTS": f"-q -m 'not long' {__file__}"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("1.2.2\n") and done.returncode == 0, done.stdout + done.stderr
