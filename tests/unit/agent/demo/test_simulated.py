"""The demonstration in the simulated machine: what its arms know shows, and it is the same each time."""

import argparse
from dataclasses import replace

import numpy as np
import pytest

from schedtuna.agent.demo.answers import Answers
from schedtuna.agent.demo.figures import results_of
from schedtuna.agent.demo.loads import ALL, FAMILIES, LOADS
from schedtuna.agent.demo.running import INTERVAL_S, DemoPlan, run_plan
from schedtuna.agent.demo.simulated import SimulatedWorld, simulate_arm
from schedtuna.trace.schema import EVENT_DTYPE, EventType, PrevState
from schedtuna.workload.programs.mix import START_NS

pytest.importorskip("schedtuna.sim.native")
MS = 1_000_000


def arm_of(load, arm, *, seed=1, cpus=2):
    return simulate_arm(load, arm, 0, seed, np.random.default_rng(seed), nr_cpus=cpus, interval_s=INTERVAL_S)


@pytest.mark.parametrize("load", ALL.values(), ids=ALL)
def test_every_load_runs_and_is_the_same_each_time(load):
    load = replace(load, seconds=1.2, skipped_s=0.4)
    one, again = arm_of(load, "rules"), arm_of(load, "rules")
    assert one == again
    assert (one.figures["nr_requests"] > 0) == (load.options[:2] != ("--tasks", "0"))
    assert (one.figures["ops_per_s"] > 0) == (load.name != "idle")
    if one.figures["nr_requests"]:
        assert one.figures != arm_of(load, "rules", seed=2).figures


def test_parts_that_change_do_no_harm_under_the_policies_though_under_the_command():
    plan = DemoPlan(LOADS["swapped"], ("rules", "priority"), 5, 100, simulated=True)
    results = {one.arm: one for one in results_of(run_plan(plan, lambda _: None), "avg_us", "ops_per_s")}
    assert results["one-liner"].latency.low > 3
    assert results["rules"].latency.high < 1.05
    assert results["priority"].latency.value < 1.1


@pytest.mark.parametrize("name", [load.name for load in FAMILIES.values() if not load.can_gain])
def test_where_nothing_can_be_gained_nothing_is_changed(name):
    load = replace(FAMILIES[name], seconds=6.0)
    assert [arm_of(load, arm, seed=5).nr_acted_on for arm in ("rules", "priority")] == [0, 0]


def test_most_of_the_oracles_gain_is_found_where_bursts_are_joined():
    plan = DemoPlan(FAMILIES["bursts"], ("rules", "priority"), 4, 3, simulated=True)
    results = {one.arm: one for one in results_of(run_plan(plan, lambda _: None), "avg_us", "ops_per_s")}
    assert results["rules"].share.low > 0.7
    assert results["placebo"].share.value < 0.2


def test_cpu_time_waits_and_switches_add_up():
    """As all tasks can always run, each has run or waited all the time."""
    load = replace(LOADS["nothing"], seconds=1.0, skipped_s=0.0)
    world = SimulatedWorld(load, 1, 2, round(INTERVAL_S * 1e9))
    world._sim.run(800 * MS)
    world._take_events()
    rows = world._rows(world._sim.state().tasks)
    since = world._waits._since
    for row in rows:
        waiting_ns = 800 * MS - since.get(int(row["tid"]), 800 * MS)
        had = int(row["total_cpu_time_ns"]) + int(row["total_run_delay_ns"]) + waiting_ns
        assert had == pytest.approx(800 * MS, rel=0.01)  # switches take the rest
    assert (rows["total_nr_voluntary"] == 0).all()


def events(*rows):
    """Of (ms, what, tid, state)."""
    made = np.zeros(len(rows), EVENT_DTYPE)
    for event, (at_ms, kind, tid, state) in zip(made, rows, strict=True):
        event["timestamp_ns"] = START_NS + at_ms * MS
        event["type"], event["tid"], event["prev_state"] = kind, tid, state
    return made


def test_requests_are_answered_when_their_task_sleeps_until_the_next():
    options = argparse.Namespace(tasks=1, hogs=0, seconds=1.0, swap=False)
    answers = Answers([[(10 * MS, 1), (20 * MS, 1), (25 * MS, 1), (50 * MS, 1)]], options)
    sleeps, wakes = (EventType.SWITCH, 1, PrevState.SLEEPING), (EventType.WAKEUP, 1, 0)
    answers.add(
        events(
            (1, *sleeps),
            (10, *wakes),
            (12, *sleeps),  # waits for a helper
            (14, *wakes),
            (15, *sleeps),  # answered after 5 ms
            (20, *wakes),
            (22, EventType.SWITCH, 1, PrevState.PREEMPTED),
            (30, *sleeps),  # two at once, after 10 and 5 ms
            (50, *wakes),
            (51, *sleeps),  # the last one, after 1 ms
        )
    )
    found = answers.figures(START_NS)
    assert (found["nr_requests"], found["max_us"], found["avg_us"]) == (4, 10_000, 5250)
    assert answers.figures(START_NS + 40 * MS)["nr_requests"] == 1
