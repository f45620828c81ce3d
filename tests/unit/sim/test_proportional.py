"""Lottery, stride and groups first: shares as theory has them, on a machine without costs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from schedtuna.sim import Simulation
from schedtuna.sim.conformance import check_scheduler
from schedtuna.sim.native import cost_table
from schedtuna.trace.schema import EventType

MS = 1_000_000
WEIGHTS = {0: 1024, 1: 820, 3: 526, 5: 335, 8: 172}  # sched_prio_to_weight
FREE = {name: 0 for name, *_ in cost_table() if name != "tick_ns"} | {"slice_timer": 1}
QUANTUM_MS = 10


def hogs(nices) -> dict[str, Any]:
    return {"tasks": {f"nice{nice}": {"run": 10_000_000, "priority": nice} for nice in nices}}


def begun(load, scheduler, **options) -> Simulation:
    return Simulation(load, scheduler, cpus=1, costs=FREE, **options)


def cpu_time_ns(simulation) -> dict[str, int]:
    found: dict[str, int] = {}
    for task in simulation.state().tasks:
        kind = task.name.partition("-")[0]
        found[kind] = found.get(kind, 0) + task.cpu_time_ns
    return found


@pytest.mark.parametrize("name", ["lottery", "stride", *(f"grouped:rule={rule}" for rule in range(3))])
def test_each_keeps_the_contract_and_conserves_work(name):
    check_scheduler(name, conserves_work=True)


def test_under_stride_nobody_is_a_quantum_ahead_of_its_share_beside_anybody_else():
    simulation = begun(hogs(WEIGHTS), "stride")
    weights = list(WEIGHTS.values())
    for nth in range(1, 1500):
        simulation.run(nth * QUANTUM_MS * MS)
        quanta = [task.cpu_time_ns / (QUANTUM_MS * MS) for task in simulation.state().tasks]
        for i, j in itertools.combinations(range(len(weights)), 2):
            due = (quanta[i] + quanta[j]) * weights[i] / (weights[i] + weights[j])
            assert abs(quanta[i] - due) < 1, (nth, i, j)


def test_who_slept_gets_its_share_from_then_on_under_stride_and_nothing_for_before():
    late = {"tasks": {"early": {"run": 10_000_000}, "late": {"delay": 3_000_000, "run": 10_000_000}}}
    simulation = begun(late, "stride")
    simulation.run(5000 * MS)
    times = cpu_time_ns(simulation)
    assert times["late"] == pytest.approx(1000 * MS, abs=2 * QUANTUM_MS * MS)
    assert sum(times.values()) == 5000 * MS


def test_a_weight_that_changes_counts_from_then_on_under_stride():
    simulation = begun(hogs([0, 5]), "stride")
    simulation.run(1000 * MS)
    before = cpu_time_ns(simulation)
    simulation.set_attributes(1, nice=0)
    simulation.run(3000 * MS)
    gained = {name: time - before[name] for name, time in cpu_time_ns(simulation).items()}
    assert gained["nice0"] == pytest.approx(gained["nice5"], abs=3 * QUANTUM_MS * MS)


def test_tickets_win_as_often_as_chance_has_it():
    """Each number of quanta lies within four binomial standard deviations, over loads that draw anew."""
    nr_quanta, weights = 2000, np.array(list(WEIGHTS.values()), float)
    shares = weights / weights.sum()
    found = []
    for seed in range(8):
        simulation = begun(hogs(WEIGHTS), "lottery", seed=seed)
        simulation.run(nr_quanta * QUANTUM_MS * MS)
        found.append([task.cpu_time_ns / (QUANTUM_MS * MS) for task in simulation.state().tasks])
    spread = np.sqrt(nr_quanta * shares * (1 - shares))
    assert (np.abs(np.array(found) - nr_quanta * shares) < 4 * spread).all()
    # It is a lottery: another seed gives others, and they spread as chance has it and not less.
    spreads = np.array(found).std(axis=0, ddof=1) / spread
    assert (spreads > 0.3).all() and (spreads < 2.2).all()


def test_who_uses_part_of_its_quanta_gets_its_share_all_the_same_by_compensation():
    """The example of the paper: it uses a fifth of each quantum, and still gets half of the CPU."""
    load = {"tasks": {"hog": {"run": 10_000_000}, "brief": {"loop": -1, "run": 2000, "yield": ""}}}
    simulation = begun(load, "lottery")
    simulation.run(40_000 * MS)
    times = cpu_time_ns(simulation)
    # Wins alternate as often as coins fall: 5 quanta of it for each of the other one.
    nr_wins = 40_000 / 2 / 2
    assert times["brief"] / 40_000 / MS == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(nr_wins / 5))


GROUPS = {
    "tasks": {
        "alone": {"run": 10_000_000, "taskgroup": "/a"},
        "many": {"instance": 8, "run": 10_000_000, "taskgroup": "/b"},
    },
    "taskgroups": {"/a": {"cpu_weight": 100}, "/b": {"cpu_weight": 100}},
}


@pytest.mark.parametrize("rule", range(3))
def test_groups_share_first_whatever_rules_within(rule):
    simulation = begun(GROUPS, f"grouped:rule={rule}")
    simulation.run(4000 * MS)
    times = cpu_time_ns(simulation)
    assert times["alone"] == pytest.approx(2000 * MS, abs=8 * MS)
    many = [task.cpu_time_ns for task in simulation.state().tasks if task.name.startswith("many")]
    assert max(many) - min(many) <= 2 * 4 * MS  # equal ones, under each of the rules


def test_groups_within_groups_share_what_their_parent_gets():
    load = {
        "tasks": {
            name.strip("/").replace("/", ""): {"run": 10_000_000, "taskgroup": name}
            for name in ("/a", "/b/c", "/b/d")
        },
        "taskgroups": {
            "/a": {"cpu_weight": 100},
            "/b": {"cpu_weight": 300},
            "/b/c": {"cpu_weight": 100},
            "/b/d": {"cpu_weight": 200},
        },
    }
    simulation = begun(load, "grouped")
    simulation.run(6000 * MS)
    times = {name: time / 6000 / MS for name, time in cpu_time_ns(simulation).items()}
    assert times == pytest.approx({"a": 1 / 4, "bc": 1 / 4, "bd": 1 / 2}, abs=0.005)


def test_weights_hold_within_a_group_where_its_rule_says_so():
    load = hogs([0, 5])
    in_turn, by_weight = (begun(load, f"grouped:rule={rule}") for rule in (0, 1))
    for simulation in (in_turn, by_weight):
        simulation.run(4000 * MS)
    equal, weighted = cpu_time_ns(in_turn), cpu_time_ns(by_weight)
    assert equal["nice0"] == pytest.approx(equal["nice5"], abs=8 * MS)
    assert weighted["nice0"] / weighted["nice5"] == pytest.approx(1024 / 335, rel=0.01)


def test_who_has_attained_least_comes_first_within_a_group_where_its_rule_says_so():
    load = {
        "tasks": {
            "hog": {"instance": 4, "run": 10_000_000},
            "brief": {"loop": -1, "run": 500, "sleep": 20_000},
        }
    }
    waits = []
    for rule in (0, 2):
        simulation = begun(load, f"grouped:rule={rule}", traced=True)
        simulation.run(2000 * MS)
        events = simulation.take_events()
        woken = events[(events["type"] == EventType.WAKEUP) & (events["tid"] == 5)]["timestamp_ns"]
        ran = events[(events["type"] == EventType.SWITCH) & (events["other_tid"] == 5)]["timestamp_ns"]
        waits.append(np.mean([ran[ran >= at][0] - at for at in woken[:-1]]))
    assert waits[1] <= 4 * MS < 8 * MS < waits[0]  # behind who runs, and behind all four
