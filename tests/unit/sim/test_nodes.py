"""`fair` on machines with memory nodes: where tasks start, and what balancing leaves where it is.

Expected by hand from sched_balance_find_dst_group(), calculate_imbalance() and adjust_numa_imbalance(): with
one cache per node an eighth of a node's CPUs may run before tasks are spread, and two more than elsewhere at
most; with several caches, a task for each.
"""

from __future__ import annotations

import pytest

from schedtuna.sim import Simulation
from schedtuna.sim.native import cost_table

MS = 1_000_000
FREE = {name: 0 for name, *_ in cost_table() if name not in {"tick_ns", "nodes", "remote_distance"}}
HOG = {"phases": {"all": {"run": 1_000_000}}}


def nodes_of(tasks, *, topology, after_ms, nodes=2, **costs):
    """In which half of the machine each task that computes is, in order of creation."""
    simulation = Simulation(
        {"tasks": tasks}, "fair", topology=topology, costs=FREE | {"nodes": nodes} | costs, duration_s=60
    )
    simulation.run(after_ms * MS)
    half = simulation.shape.nr_cpus // 2
    return [task.cpu // half for task in simulation.state().tasks]


def forks(nr, **keys):
    """A task on the first node that starts others, and computes itself."""
    events = {f"fork{i}": f"child{i}" for i in range(nr)}
    children = {f"child{i}": {"instance": 0, **HOG, **keys} for i in range(nr)}
    return {"parent": {"loop": 1, "phases": {"all": {**events, "run": 1_000_000}}, **keys}, **children}


@pytest.mark.parametrize(
    ("topology", "found"),
    [
        # imb_numa_nr 1, and with the child there would be 2: to the node with more idle CPUs, or to stay.
        ("2x8x1", [0, 1, 0, 1, 0]),
        # 2: the first child stays, as 2 run then; for the second there would be 3.
        ("2x16x1", [0, 0, 1, 1, 0]),
        # 4, one for each cache: the third would be 3 more than there, the fourth is 2 more again.
        ("8x4x1", [0, 0, 0, 1, 0]),
    ],
)
def test_a_child_stays_on_its_node_as_long_as_few_run_there(topology, found):
    assert nodes_of(forks(4), topology=topology, after_ms=1) == found


def test_without_nodes_it_goes_where_most_is_idle():
    assert nodes_of(forks(2), topology="2x16x1", nodes=1, after_ms=1) == [0, 1, 0]


def test_who_may_use_one_cpu_of_the_node_may_not_share_it():
    allowed = {"cpus": [0, *range(16, 32)]}
    assert nodes_of(forks(1, **allowed), topology="2x16x1", after_ms=1) == [0, 1]


def test_forks_do_not_look_at_nodes_that_are_far():
    near, far = (
        nodes_of(forks(4), topology="2x2x1", after_ms=1, remote_distance=distance) for distance in (30, 31)
    )
    assert far == [0] * 5
    assert near == [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("nr", "nodes", "elsewhere"),
    [
        (2, 2, 0),  # a pair stays together: 2 may be more than there
        (3, 2, 1),  # half of 3
        (2, 1, 1),  # two caches of one node share them
    ],
)
def test_balancing_leaves_a_pair_on_its_node(nr, nodes, elsewhere):
    first = {"loop": 1, "cpus": [0], "run": 1000}
    then = {"loop": -1, "cpus": [0, *range(16, 32)], "run": 1_000_000}
    hogs = {"hog": {"instance": nr, "phases": {"first": first, "then": then}}}
    found = nodes_of(hogs, topology="2x16x1", nodes=nodes, after_ms=3000)
    assert sum(found) == elsewhere
