"""Slow CPUs, memory nodes and memory that gets short: how long bursts take, to the nanosecond."""

from __future__ import annotations

from typing import Any

import pytest

from schedtuna.errors import UsageError
from schedtuna.sim import GLOBAL_DSQ, Scheduler, Simulation
from schedtuna.sim.fair import Fair
from schedtuna.sim.native import cost_table

MS = 1_000_000
FREE = {name: 0 for name, *_ in cost_table() if name not in {"tick_ns", "nodes", "remote_distance"}}


def ends_at(load: dict[str, Any], costs: dict[str, int], **options) -> dict[str, int]:
    """When each task exits, in ns."""
    simulation = Simulation({"tasks": load}, "rr", traced=True, costs=FREE | costs, **options)
    simulation.run(10_000 * MS)
    times = simulation.tallies()
    return {task.name: times[task.id][1] or 0 for task in simulation.state().tasks}


def once(run_us, **keys):
    return {"loop": 1, "phases": {"all": {"run": run_us}}, **keys}


def test_a_burst_takes_as_much_longer_as_its_cpu_is_slower():
    load = {"fast": once(100_000, cpus=[0]), "slow": once(100_000, cpus=[1])}
    found = ends_at(load, {"slow_cpus": 1, "slow_capacity": 256}, cpus=2)
    assert found == {"fast": 100 * MS, "slow": 400 * MS}


@pytest.mark.parametrize("tick_ns", [4_000_000, 999_983, 0])
def test_how_often_time_is_charged_changes_nothing(tick_ns):
    found = ends_at(
        {"slow": once(12_345, cpus=[1])},
        {"slow_cpus": 1, "slow_capacity": 333, "tick_ns": tick_ns},
        cpus=2,
    )
    assert found["slow"] == -(-12_345_000 * 1024 // 333)


@pytest.mark.parametrize(("distance", "factor"), [(20, 1.3), (30, 1.6), (10, 1.0)])
def test_who_leaves_the_node_of_its_memory_computes_more_slowly_there(distance, factor):
    moves = {
        "loop": 1,
        "phases": {"here": {"cpus": [0], "run": 10_000}, "there": {"cpus": [3], "run": 100_000}},
    }
    costs = {"nodes": 2, "remote_distance": distance, "remote_access_permille": 300}
    took = ends_at({"moves": moves}, costs, topology="2x2x1")["moves"] - 10 * MS
    assert took == pytest.approx(factor * 100 * MS, rel=1 / 512)  # rates are in 1/1024
    # One that begins there has its memory there.
    assert ends_at({"stays": once(100_000, cpus=[3])}, costs, topology="2x2x1")["stays"] == 100 * MS


def test_a_cold_cache_costs_more_behind_a_nodes_border():
    moves = {
        "loop": 1,
        "phases": {"here": {"cpus": [0], "run": 10_000}, "there": {"cpus": [3], "run": 100_000}},
    }
    costs = {"nodes": 2, "remote_distance": 10, "migration_node_ns": 70_000, "migration_llc_ns": 5000}
    assert ends_at({"moves": moves}, costs, topology="2x2x1")["moves"] == 110 * MS + 75_000
    assert ends_at({"moves": moves}, costs | {"nodes": 1}, topology="2x2x1")["moves"] == 110 * MS + 5000


def test_while_memory_is_short_everything_takes_longer():
    always = {"pressure_per_s": 1_000_000_000, "pressure_ns": 1_000_000_000, "pressure_permille": 500}
    load = {"hog": once(20_000)}
    assert ends_at(load, always, cpus=1)["hog"] == pytest.approx(30 * MS, rel=1 / 400)
    rarely = {"pressure_per_s": 20, "pressure_ns": 10 * MS, "pressure_permille": 500}
    found = [ends_at({"hog": once(1_000_000)}, rarely, cpus=1, noise_seed=seed)["hog"] for seed in range(40)]
    assert len(set(found)) == 40 and min(found) > 1000 * MS
    # It is short for 10 of 50 + 10 ms on average: that share of the time counts 2/3.
    assert sum(found) / 40 == pytest.approx(1000 * MS / (1 - 1 / 6 / 3), rel=0.01)
    assert found[3] == ends_at({"hog": once(1_000_000)}, rarely, cpus=1, noise_seed=3)["hog"]


PRESSED = {"pressure_per_s": 30, "pressure_ns": 5 * MS}
MIX = {
    "tasks": {
        "hog": {"instance": 3, "run": 3000},
        "sleeper": {"instance": 4, "run": 700, "sleep": 1300},
    }
}


def test_forks_and_the_twin_go_on_alike_under_pressure():
    straight, forked = (Simulation(MIX, "fair", cpus=1, costs=PRESSED) for _ in range(2))
    twin = Simulation(MIX, Fair, cpus=1, costs=PRESSED)
    straight.run(300 * MS)
    forked.run(77 * MS)
    fork = forked.fork()
    for simulation in (forked, fork):
        simulation.run(300 * MS)
        assert simulation.totals.hash == straight.totals.hash
    calm = Simulation(MIX, "fair", cpus=1)
    calm.run(300 * MS)
    assert calm.totals.hash != straight.totals.hash
    twin.run(300 * MS)
    assert twin.totals.hash == straight.totals.hash


def test_schedulers_in_python_are_told_of_nodes_and_capacities():
    told: dict[str, Any] = {}

    class Looks(Scheduler):
        def enqueue(self, machine, task, reason):
            machine.dsq_insert(task, GLOBAL_DSQ, MS)

        def stopping(self, machine, task, runnable):
            told["nodes"] = machine.nr_nodes, [machine.node_of(cpu) for cpu in range(machine.nr_cpus)]
            told["capacities"] = [machine.capacity_of(cpu) for cpu in range(machine.nr_cpus)]
            told["home"] = machine.home_of(task)

    costs = {"nodes": 2, "slow_cpus": 2, "slow_capacity": 400}
    simulation = Simulation({"tasks": {"one": once(100, cpus=[3])}}, Looks, topology="2x2x1", costs=costs)
    simulation.run(10 * MS)
    assert told == {"nodes": (2, [0, 0, 1, 1]), "capacities": [1024, 1024, 400, 400], "home": 1}


def test_who_knows_no_such_machine_refuses_it_by_name():
    costs = {"slow_cpus": 1}
    with pytest.raises(UsageError, match="fair can't schedule this machine: capacity") as refused:
        Simulation(MIX, "fair", topology="2x2x1", costs=costs)
    assert "name another scheduler" in refused.value.hint
    other = Simulation(MIX, "rr", topology="2x2x1", costs=costs)
    other.run(5 * MS)
    with pytest.raises(UsageError, match="fair can't schedule this machine: capacity"):
        other.swap("mlfq")  # the way there leads through fair


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"nodes": 4}, "2 caches can't be shared out among 4 nodes"),
        ({"nodes": 2, "remote_distance": 9}, "remote_distance is at least 10"),
        ({"slow_cpus": 4}, "one CPU at least is not slow"),
        ({"slow_cpus": 1, "slow_capacity": 1024}, "slow_capacity is 1 to 1,023"),
        ({"slow_cpus": 1, "slow_capacity": 0}, "slow_capacity is 1 to 1,023"),
    ],
)
def test_impossible_machines_are_refused(costs, message):
    with pytest.raises(UsageError, match=message):
        Simulation(MIX, "rr", topology="2x2x1", costs=costs)
