"""A task that is alone on its CPU leaves for an idle core or cache: active_load_balance_cpu_stop()."""

import pytest

from schedtuna.sim.simulation import Simulation


def on_cpus(topology, nr_cpus, at_ms):
    """Where two hogs run that may leave CPUs 0 and 1 after 300 ms."""
    first = {"loop": 1, "cpus": [0, 1], "run": 300_000}
    then = {"loop": -1, "cpus": list(range(nr_cpus)), "run": 1_000_000}
    load = {"tasks": {"hog": {"instance": 2, "phases": {"first": first, "then": then}}}}
    simulation = Simulation(load, "fair", topology=topology, duration_s=2)
    simulation.run(at_ms * 1_000_000)
    return [cpu for cpu, task in enumerate(simulation.running) if task is not None]


@pytest.mark.parametrize(
    ("topology", "nr_cpus", "is_shared"),
    [
        ("1x2x2", 4, lambda a, b: a // 2 == b // 2),  # threads of a core
        ("2x2x1", 4, lambda a, b: a // 2 == b // 2),  # CPUs of a cache
        ("2x1x2", 4, lambda a, b: a // 2 == b // 2),  # both
        ("4x2x2", 16, lambda a, b: a // 4 == b // 4),
    ],
)
def test_two_that_shared_something_spread_once_they_may(topology, nr_cpus, is_shared):
    assert on_cpus(topology, nr_cpus, 290) == [0, 1]
    assert not is_shared(*on_cpus(topology, nr_cpus, 1000))


def test_where_nothing_is_shared_nobody_moves():
    assert on_cpus("1x4x1", 4, 1500) == [0, 1]
