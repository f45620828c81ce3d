"""A group's weight that is changed from outside, as by cpu.weight or /proc/PID/autogroup."""

import numpy as np
import pytest

from schedtuna.errors import UsageError

native = pytest.importorskip("schedtuna.sim.native")
from schedtuna.sim.flat import FOREVER, NONE, STEP_DTYPE, TASK_DTYPE, FlatLoad  # noqa: E402
from schedtuna.sim.simulation import Simulation  # noqa: E402

SECOND_NS = 10**9


def two_groups(scheduler="fair", *, cpus=1):
    """A task that computes for ever in each of two groups, for each CPU."""
    tasks = np.zeros(2 * cpus, TASK_DTYPE)
    tasks["cpu_set"] = tasks["first_cpu"] = NONE
    tasks["group"] = [1, 2] * cpus
    tasks["nr_steps"] = 1
    steps = np.array([(FOREVER, NONE, native.Op.RUN.value, 0, 0)] * len(tasks), STEP_DTYPE)
    names = [f"hog-{number}" for number in range(len(tasks))]
    load = FlatLoad(names, tasks, steps, 20 * SECOND_NS, groups=[("/a", 0, 1024), ("/b", 0, 1024)])
    return Simulation(load, scheduler, cpus=cpus, seed=1)


def shares(simulation, seconds):
    """What the first group gets of the CPUs from now on."""

    def used():
        return np.array([task.cpu_time_ns for task in simulation.state().tasks])

    before = used()
    simulation.run(simulation.now_ns + seconds * SECOND_NS)
    now = used() - before
    return now[::2].sum() / now.sum()


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize(("weight", "share"), [(335, 0.247), (110, 0.097), (4096, 0.8)])
def test_groups_get_cpu_time_by_the_weight_that_they_have_now(weight, share, cpus):
    simulation = two_groups(cpus=cpus)
    assert shares(simulation, 1) == pytest.approx(0.5, abs=0.02)
    simulation.set_group_weight(1, weight)
    assert shares(simulation, 3) == pytest.approx(share, abs=0.02)
    simulation.set_group_weight(1, 1024)
    assert shares(simulation, 3) == pytest.approx(0.5, abs=0.02)


def test_who_shares_by_groups_asks_for_the_weight_each_time():
    simulation = two_groups("grouped")
    simulation.set_group_weight(1, 512)
    assert shares(simulation, 6) == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize(
    ("scheduler", "group", "weight", "told"),
    [
        ("fair", 0, 1024, "there is none"),
        ("fair", 3, 1024, "there is none"),
        ("fair", 1, 1, "2 to 262144"),
        ("fifo", 1, 512, "at its beginning"),
    ],
)
def test_what_has_no_such_weight_is_refused(scheduler, group, weight, told):
    simulation = two_groups(scheduler)
    with pytest.raises(UsageError, match=told):
        simulation.set_group_weight(group, weight)
