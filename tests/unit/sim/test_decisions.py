"""Forks that choose otherwise: from Python, for native schedulers and those in Python."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import TraceError, UsageError
from schedtuna.sim.native import Policy, Stop
from schedtuna.sim.origin import Origin
from schedtuna.sim.replay import scheduler_of
from schedtuna.sim.scheduler import Scheduler
from schedtuna.sim.simulation import IDLE, Simulation
from schedtuna.sim.traced import simulate

MS = 1_000_000
LOAD = {
    "tasks": {
        "hog": {"instance": 2, "run": 10_000},
        "sleeper": {"instance": 4, "run": {"exponential": 700}, "sleep": {"exponential": 1300}},
    }
}


class Default(Scheduler):
    """All as sched_ext does it."""


def at_pick(nth, scheduler="fair", cpus=2):
    simulation = Simulation(LOAD, scheduler, cpus=cpus)
    simulation.stop_at_pick(nth)
    assert simulation.run(80 * MS) is Stop.DECISION
    assert simulation.nr_picks == nth + 1
    return simulation


def outcome(simulation, choice=None):
    fork = simulation.fork()
    fork.choose(choice)
    fork.run(80 * MS)
    return fork.totals


@given(st.integers(0), st.sampled_from(["fair", "rr:slice_us=900", Default]), st.integers(1, 3))
def test_one_candidate_is_what_happens_anyway(nth, scheduler, cpus):
    plain = Simulation(LOAD, scheduler, cpus=cpus)
    plain.run(80 * MS)
    simulation = at_pick(nth % plain.nr_picks, scheduler, cpus)
    assert outcome(simulation) == plain.totals
    found = simulation.candidates()
    with ThreadPoolExecutor(2) as pool:
        flipped = list(pool.map(lambda task: outcome(simulation, task), found))
    assert flipped == [outcome(simulation, task) for task in found]
    assert not found or any(totals.hash == plain.totals.hash for totals in flipped)
    simulation.run(80 * MS)  # a decision that nobody takes is the scheduler's
    assert simulation.totals == plain.totals


def test_a_choice_that_is_none_is_refused_and_ends_nothing():
    simulation = at_pick(20)
    with pytest.raises(UsageError, match=r"CPU . can't choose task 77: it has"):
        simulation.choose(77)
    simulation.choose()
    for ask in (simulation.candidates, lambda: simulation.choose(0)):
        with pytest.raises(UsageError, match="no decision is due"):
            ask()
    assert simulation.run(80 * MS) is Stop.TIME


def test_attributes_hold_from_when_they_are_set():
    simulation = Simulation(LOAD, "fair", cpus=1)
    simulation.run(50 * MS)
    fork = simulation.fork()
    fork.set_attributes(0, nice=10, policy=Policy.BATCH, slice_ns=500_000)
    first, *_ = fork.state().tasks
    assert (first.nice, first.policy, first.slice_ns) == (10, Policy.BATCH, 500_000)
    fork.run(2_000 * MS)
    simulation.run(2_000 * MS)
    assert fork.state().tasks[0].cpu_time_ns < simulation.state().tasks[0].cpu_time_ns / 4
    with pytest.raises(UsageError, match="nice is -20 to 19"):
        simulation.set_attributes(0, nice=40)


def test_migrations_that_may_be_or_not():
    """Nobody moves if nobody shall; decided as `fair` does, all is as without."""
    plain, same, still = (Simulation(LOAD, "fair", cpus=4) for _ in range(3))
    plain.run(80 * MS)
    while migration := same.next_migration(80 * MS):
        assert {migration.source, migration.destination} <= {0, 1, 2, 3}
        assert migration.nr_idle + migration.nr_busy == 4
        assert 0 <= migration.source_load <= 1024 and same.now_ns <= migration.at_ns <= 80 * MS
        same.decide_migration(migration.nth, moves=True)
    same.run(80 * MS)
    assert same.totals == plain.totals and plain.totals.nr_migrations > 0
    while migration := still.next_migration(80 * MS):
        still.decide_migration(migration.nth, moves=False)
    still.run(80 * MS)
    assert still.totals.nr_migrations == 0
    with pytest.raises(UsageError, match="migration 0 is decided already"):
        still.decide_migration(0, moves=True)
    with pytest.raises(UsageError, match="elsewhere CPUs share a queue"):
        Simulation(LOAD, "rr").next_migration(MS)


@pytest.mark.parametrize("other", ["rr:slice_us=900", "fair:base_slice_us=3000", "las", Default])
def test_another_scheduler_takes_over(other):
    """It does what it would do; the way there and back leads through `fair`."""
    costs = {"swap_ns": 5 * MS}
    simulation = Simulation(LOAD, "fifo", cpus=2, costs=costs)
    simulation.run(20 * MS)
    fork = simulation.fork()
    fork.swap(other)
    (at_ns, facts) = fork.swaps[-1]
    assert at_ns == 20 * MS and facts["name"] and not simulation.swaps
    again = fork.fork()
    for one in (fork, again):
        one.run(300 * MS)
    assert fork.totals == again.totals
    hogs = [task.cpu_time_ns for task in fork.state().tasks if task.name == "hog"]
    assert fork.totals.nr_switches > 30 and min(hogs) > 0
    again.stop_at_pick(again.nr_picks)
    assert again.run(400 * MS) is Stop.DECISION
    with pytest.raises(UsageError, match=r"while a decision is due: choose\(\) first"):
        again.swap("rr")
    with pytest.raises(UsageError, match="no scheduler"):
        fork.swap("none")


def test_a_trace_says_who_took_over():
    trace = simulate(LOAD, "fair", cpus=2, duration_s=0.2, swaps=[(0.1, "fair"), (0.05, "rr"), (9, "las")])
    swaps = trace.manifest["simulation"]["swaps"]
    told = [(swap["at_ns"], swap["scheduler"]["name"]) for swap in swaps]
    assert told == [(50 * MS, "rr"), (100 * MS, "fair")]
    with pytest.raises(TraceError, match="of more than one scheduler"):
        Origin.of(trace)
    with pytest.raises(TraceError, match="of more than one scheduler"):
        scheduler_of(trace)


def test_decisions_from_outside():
    """First come, first served is what `rr` does; the least computed since it woke up: sleepers get more."""
    own = Simulation(LOAD, "rr:slice_us=4000", cpus=2)
    own.run(500 * MS)
    outside = Simulation(LOAD, "external:slice_us=4000,asks_at_wakeups=false", cpus=2)
    shortest = Simulation(LOAD, "external:slice_us=4000", cpus=2)
    while outside.run(500 * MS) is Stop.DECISION:
        outside.choose(outside.candidates()[0])
    assert outside.totals == own.totals
    while shortest.run(500 * MS) is Stop.DECISION:
        rows = shortest.candidate_rows()
        assert rows["id"].tolist() == shortest.candidates()
        assert (rows["weight"] == 1024).all() and (rows["waited_ns"] >= 0).all()
        shortest.choose(int(rows["id"][np.argmin(rows["attained_ns"])]))
    sleepers = [
        sum(task.cpu_time_ns for task in one.state().tasks if task.name == "sleeper")
        for one in (own, shortest)
    ]
    assert sleepers[1] > sleepers[0]


def test_decisions_from_outside_that_are_wrong_are_refused_and_end_nothing():
    simulation = Simulation(LOAD, "external", cpus=1)
    assert simulation.run(MS) is Stop.DECISION
    assert simulation.run(MS) is Stop.DECISION  # until it is told
    with pytest.raises(UsageError, match="can't choose task 99"):
        simulation.choose(99)
    with pytest.raises(UsageError, match="there is no CPU 1"):
        simulation.preempt(1)
    simulation.choose(IDLE)
    simulation.preempt(0)
    assert simulation.run(MS) is Stop.DECISION
    with pytest.raises(UsageError, match="can't choose task -1"):
        at_pick(20).choose(IDLE)
    with pytest.raises(UsageError, match="decision of `external` is due"):
        at_pick(20).candidate_rows()
    with pytest.raises(UsageError, match="external decides nothing by itself"):
        simulate(LOAD, "external", duration_s=0.1)
