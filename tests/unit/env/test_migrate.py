"""Migrate or stay: whoever lets every task go is the kernel's scheduler, and all else is paid for."""

from __future__ import annotations

import numpy as np
import pytest

from schedtuna.env.migrate import MigrateEnv
from schedtuna.errors import UsageError
from schedtuna.features.table import FEATURES
from schedtuna.sim.native import MIGRATION_FEATURES
from schedtuna.sim.simulation import Simulation

MS = 1_000_000


def made(workload="poisson:load=0.7", **others):
    return MigrateEnv(
        **{"workload": workload, "episode_ms": 60, "arrivals": range(3), "decision_ns": 0} | others
    )


def score(env, rule, **reset):
    observation, _ = env.reset(**reset)
    total, is_over = 0.0, False
    while not is_over:
        observation, reward, terminated, truncated, info = env.step(rule(observation))
        total += reward
        is_over = terminated or truncated
    return total, info


@pytest.mark.parametrize("load", ["poisson:load=0.7", "barrier:load=0.8", "fork-join:load=0.7", "ping-pong"])
def test_whoever_lets_every_task_go_is_the_default_scheduler(load):
    total, info = score(made(load, reward={"latency": 1, "switching": 1}), lambda _: 1, seed=3)
    assert total == pytest.approx(-100)
    assert info["terms"] | {"fairness": 1} == pytest.approx(dict.fromkeys(info["terms"], 1.0))


def test_whoever_keeps_every_task_lets_them_wait():
    _, gone = score(made(), lambda _: 1, seed=3)
    total, stayed = score(made(), lambda _: 0, seed=3)
    assert total < -110 and stayed["terms"]["latency"] > 1.2 * gone["terms"]["latency"]


def test_a_decision_costs_time():
    assert score(made(decision_ns=20_000), lambda _: 1, seed=3)[1]["terms"]["switching"] > 1.05


def test_what_is_observed_is_what_the_scheduler_asks_for():
    """The same as the simulation tells of, one migration after the other, whatever was decided."""
    load, rng = "barrier:load=0.8", np.random.default_rng(1)
    env = made(load)
    observation, _ = env.reset(options={"arrivals": 2})
    simulation = Simulation(load, "fair", cpus=4, seed=2, duration_s=1)
    nr_decisions = 0
    while migration := simulation.next_migration(60 * MS):
        exact = (
            *(migration.destination, migration.nr_idle, migration.nr_busy),
            *((load * 1000 + 512) // 1024 for load in (migration.source_load, migration.destination_load)),
        )
        rows = [FEATURES[name].bins for name in MIGRATION_FEATURES]
        expected = [int(row.quantise(value)) / row.last for row, value in zip(rows, exact, strict=True)]
        assert observation == pytest.approx(np.array(expected, np.float32))
        moves = bool(rng.integers(2))
        simulation.decide_migration(migration.nth, moves=moves)
        simulation.run(migration.at_ns - 1)
        observation, *_ = env.step(int(moves))
        nr_decisions += 1
    assert nr_decisions > 15


def test_an_episode_in_which_nothing_migrates_is_one_step_without_effect():
    env = made({"tasks": {"hog": {"instance": 2, "run": 10_000}}}, reward={"energy": 1})
    for action in (0, 1):
        observation, _ = env.reset(seed=1)
        _, reward, terminated, truncated, info = env.step(action)
        assert not observation.any() and reward == pytest.approx(-100)
        assert (terminated, truncated, info["elapsed_ns"]) == (False, True, 60 * MS)
        with pytest.raises(UsageError, match="has ended"):
            env.step(action)


def test_it_shows_what_is_to_be_decided():
    env = made(render_mode="ansi")
    env.reset(seed=1)
    assert "and would go to CPU" in env.render()
    score(env, lambda _: 1)
    assert env.render() == "60.000 ms: the end"


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="rr has no queue per CPU"):
        made(scheduler="rr")
    with pytest.raises(UsageError, match="no term 'speed'"):
        made(reward={"speed": 1})
    env = made()
    with pytest.raises(UsageError, match="has ended"):
        env.step(1)
    env.reset(seed=1)
    for action in (2, -1, 0.5, "go"):
        with pytest.raises(UsageError, match=f"^action {action}: expected 0 to 1$"):
            env.step(action)
    with pytest.raises(UsageError, match="expected workload, the index of one of 1"):
        env.reset(options={"workload": 1})
