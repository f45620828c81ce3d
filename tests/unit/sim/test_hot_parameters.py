"""Parameters that are set while a scheduler runs."""

from __future__ import annotations

import pytest

from schedtuna.errors import UsageError
from schedtuna.sim import Scheduler, Simulation
from schedtuna.sim.native import cost_table
from schedtuna.sim.schedulers import native_schedulers

MS = 1_000_000
MIX = {
    "tasks": {
        "hog": {"instance": 3, "run": 3000},
        "sleeper": {"instance": 4, "run": 700, "sleep": 1300},
    }
}
FREE = {name: 0 for name, *_ in cost_table() if name != "tick_ns"} | {"slice_timer": 1}
HOT = [name for name, row in native_schedulers().items() if row.parameters]


def hash_of(scheduler, *, then=None, at_ms=0):
    simulation = Simulation(MIX, scheduler, cpus=2)
    if then is not None:
        if at_ms:
            simulation.run(at_ms * MS)
        simulation.set_parameters(then)
    simulation.run(200 * MS)
    return simulation.totals.hash


@pytest.mark.parametrize("name", HOT)
def test_the_same_values_change_nothing_and_others_do(name):
    row = native_schedulers()[name].parameters
    first = "rule" if name == "grouped" else "base_slice_us" if name == "fair" else next(iter(row))
    assert hash_of(name) == hash_of(name, then={}, at_ms=77)
    assert hash_of(name) == hash_of(name, then={first: row[first].default}, at_ms=77)
    other = {"rule": 2, "base_slice_us": 100}.get(first, 301)
    assert hash_of(name) != hash_of(name, then={first: other}, at_ms=77)


@pytest.mark.parametrize("name", [name for name in HOT if name not in {"fair", "mlfq", "stride"}])
def test_what_is_set_at_the_beginning_is_as_if_it_had_been_given(name):
    first = next(iter(native_schedulers()[name].parameters))
    assert hash_of(f"{name}:{first}=301") == hash_of(name, then={first: 301})


def test_a_slice_holds_until_it_is_over_and_the_next_one_is_the_new_one():
    hogs = {"tasks": {"hog": {"instance": 2, "run": 10_000_000}}}
    simulation = Simulation(hogs, "rr:slice_us=20000", cpus=1, costs=FREE)
    simulation.run(105 * MS)
    before = simulation.totals.nr_switches
    simulation.set_parameters({"slice_us": 1000})
    simulation.run(140 * MS)  # who waited had got its slice already
    assert simulation.totals.nr_switches == before + 2
    simulation.run(220 * MS)
    assert simulation.totals.nr_switches == before + 2 + 80


def test_a_manifest_tells_of_each_change():
    simulation = Simulation(MIX, "las", cpus=2)
    simulation.run(3 * MS)
    simulation.set_parameters({"quantum_us": 50})
    assert simulation.swaps == ((3 * MS, {"name": "las", "parameters": {"quantum_us": 50}}),)


class Own(Scheduler):
    """A scheduler in Python."""


@pytest.mark.parametrize(
    ("scheduler", "values", "message"),
    [
        ("fifo", {}, "hold from its beginning on"),
        (Own, {}, "hold from its beginning on"),
        ("fair", {"version": 616}, "version of fair holds from its beginning on"),
        ("rr", {"slice": 5}, "no parameter 'slice'"),
        ("rr", {"slice_us": 0}, "slice_us"),
    ],
)
def test_what_can_not_be_set_is_refused(scheduler, values, message):
    simulation = Simulation(MIX, scheduler, cpus=1)
    simulation.run(MS)
    with pytest.raises(UsageError, match=message):
        simulation.set_parameters(values)


def test_while_another_scheduler_is_on_its_way_nothing_is_set():
    simulation = Simulation(MIX, "rr", cpus=1)
    simulation.run(MS)
    simulation.swap("las")
    with pytest.raises(UsageError, match="until it is on"):
        simulation.set_parameters({"quantum_us": 50})
