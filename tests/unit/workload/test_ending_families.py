"""Members of families whose tasks end: all of them do, whoever schedules them, and have done the same."""

from __future__ import annotations

import pytest

from schedtuna.errors import UsageError
from schedtuna.sim import Simulation
from schedtuna.sim.native import Stop, cost_table
from schedtuna.workload.families import FAMILIES, family

MS = 1_000_000
FREE = {name: 0 for name, *_ in cost_table() if name not in {"tick_ns", "nodes", "remote_distance"}}
LONG = {"bursts", "interactive"}  # have tasks that get what is left


def ended(load, scheduler, *, seed=4, cpus=1):
    simulation = Simulation(load, scheduler, cpus=cpus, duration_s=2, seed=seed, costs=FREE)
    stop = simulation.run(60_000 * MS)
    return stop, sum(task.cpu_time_ns for task in simulation.state().tasks), simulation.now_ns


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("cpus", [1, 3])
def test_all_end_and_have_done_the_same_whoever_schedules_them(name, cpus):
    found = [ended(f"{name}:load=0.8,member=3,ends=0.4", who, cpus=cpus) for who in ("fair", "las", "fifo")]
    assert {stop for stop, *_ in found} == {Stop.ALL_EXITED}
    assert len({work for _, work, _ in found}) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_it_lasts_as_long_as_it_is_to_on_average_and_asks_for_as_much(name):
    found = [ended(f"{name}:load=0.6,member={member},ends=0.5", "fair", seed=member) for member in range(12)]
    work = sum(work for _, work, _ in found) / 12
    # 1 of 2 seconds; the 12 members' draws spread by some percent.
    assert work == pytest.approx((1.0 if name in LONG else 0.6) * 1000 * MS, rel=0.15)


def test_the_arrivals_are_those_of_the_load_that_goes_on():
    """Draws are keyed by task and step, so what comes first is the same, though rounds are counted here."""
    whole, ending = family("poisson", 3, 1, 0.8), family("poisson", 3, 1, 0.8, ends=0.4)
    assert "duration" in whole["global"] and "global" not in ending
    for name, task in ending["tasks"].items():
        rounds = dict(task["phases"]["rounds"])
        assert task["loop"] == 1 and rounds.pop("loop") >= 1
        assert rounds == whole["tasks"][name]


@pytest.mark.parametrize("ends", [0.0, -1.0, 1.01])
def test_shares_are_shares(ends):
    with pytest.raises(UsageError, match="above 0 and up to 1"):
        family("poisson", 3, 1, 0.8, ends=ends)
