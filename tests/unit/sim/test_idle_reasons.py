"""Why CPUs idle under `fair` while tasks wait elsewhere: every such moment has one of the listed reasons."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import UsageError
from schedtuna.sim.native import idle_reason_table
from schedtuna.sim.simulation import Simulation
from schedtuna.trace.schema import EventType, PrevState
from schedtuna.workload.families import FAMILIES, family

MS = 1_000_000
LEAVES_RUNNABLE = {PrevState.PREEMPTED, PrevState.RUNNABLE}


def idle_beside_waiting_ns(events, nr_cpus: int, end_ns: int) -> int:
    """The same from a trace alone: over CPUs that idle, the time in which a task waits on another one."""
    running = dict.fromkeys(range(nr_cpus), 0)
    waiting: dict[int, int] = {}  # tid -> CPU
    total = before = 0
    for event in [*events, None]:
        now = end_ns if event is None else int(event["timestamp_ns"])
        queues = set(waiting.values())
        total += (now - before) * sum(bool(queues - {cpu}) for cpu, tid in running.items() if not tid)
        before = now
        if event is None:
            break
        kind, tid, cpu = event["type"], int(event["tid"]), int(event["cpu"])
        if kind in {EventType.WAKEUP, EventType.WAKEUP_NEW}:
            if tid not in running.values():
                waiting[tid] = int(event["target_cpu"])
        elif kind == EventType.MIGRATE:
            if tid in waiting:
                waiting[tid] = int(event["target_cpu"])
        elif kind == EventType.SWITCH:
            running[cpu] = int(event["other_tid"])
            waiting.pop(running[cpu], None)
            if tid and event["prev_state"] in LEAVES_RUNNABLE:
                waiting[tid] = cpu
    return total


def explained(workload, until_ns: int, **machine) -> dict[str, int]:
    """Its idle times, which add up to what the trace of another run of it says."""
    simulation = Simulation(workload, "fair", traced=True, **machine)
    times = simulation.explain_idle(until_ns)
    events = simulation.take_events()
    assert list(times) == [name for name, _ in idle_reason_table()]
    assert min(times.values()) >= 0
    assert sum(times.values()) == idle_beside_waiting_ns(events, simulation.shape.nr_cpus, simulation.now_ns)
    alone = Simulation(workload, "fair", **machine)
    alone.run(until_ns)
    assert alone.totals == simulation.totals
    return times


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(FAMILIES)),
    st.integers(0, 99),
    st.sampled_from([0.2, 0.6, 0.95, 1.5]),
    st.sampled_from(["1x2x1", "1x4x1", "2x2x2", "2x3x1", "1x8x1"]),
    st.booleans(),
)
def test_every_moment_has_a_reason(name, member, load, topology, noisy):
    costs = {"irq_per_s": 500, "kthread_per_s": 50} if noisy else {}
    explained(family(name, member, 4, load), 60 * MS, topology=topology, costs=costs)


HOG = {"run": 50_000}
# A load and a machine on which each reason is seen, and for how much of the CPUs' time at least.
SEEN = {
    "leaving_idle": (family("barrier", 3, 4, 0.6), "1x4x1", 0.001),
    "affinity": ({"tasks": {"hog": {**HOG, "instance": 2, "cpus": [0]}}}, "1x2x1", 0.49),
    "on_their_way": (family("barrier", 3, 4, 0.3), "1x4x1", 0.0005),
    "interval": (family("poisson", 3, 4, 0.6), "1x4x1", 0.005),
    "newidle_skipped": (family("fork-join", 3, 4, 0.95), "1x4x1", 0.04),
    "other_balancer": (family("heavy-tail", 3, 4, 0.3), "1x2x2", 0.0005),
    "balanced": (family("poisson", 3, 4, 0.6), "1x4x1", 0.005),
    "not_movable": (family("ping-pong", 3, 4, 0.95), "1x4x1", 0.02),
}


def test_every_reason_has_its_load():
    assert list(SEEN) == [name for name, _ in idle_reason_table()]


@pytest.mark.parametrize("reason", SEEN)
def test_a_load_shows_the_reason(reason):
    workload, topology, share = SEEN[reason]
    simulation = Simulation(workload, topology=topology)
    times = simulation.explain_idle(1000 * MS)
    assert times[reason] > share * 1000 * MS * simulation.shape.nr_cpus


def test_one_cpu_has_no_other():
    assert not any(explained({"tasks": {"hog": {**HOG, "instance": 3}}}, 100 * MS, cpus=1).values())


def test_other_schedulers_are_not_explained():
    with pytest.raises(UsageError, match="for fair alone, not for rr"):
        Simulation({"tasks": {"hog": HOG}}, "rr").explain_idle(MS)
