"""What is said of tasks is what they did: on machines that lose CPUs, sleep, and use thread ids again."""

from collections import Counter, defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.trace_world import NR_CPUS, STEP_NS, World

from schedtuna.trace.intervals import intervals
from schedtuna.trace.metrics import UNKNOWN_TIME, measure
from schedtuna.trace.states import TaskState

DECISIONS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 200)), max_size=80)
DELAYS = {
    "wakeup_latency": TaskState.RUNNABLE_WOKEN,
    "preempt_delay": TaskState.RUNNABLE_PREEMPTED,
    "slice": TaskState.RUNNING,
}


@settings(max_examples=200, deadline=None)
@given(decisions=DECISIONS)
def test_intervals_are_what_the_tasks_did(decisions) -> None:
    world = World(decisions)
    found = intervals(world.events(), start_ns=0, end_ns=world.end_ns).sorted()
    lives: dict[int, list[tuple[TaskState, int, int]]] = defaultdict(list)
    tids: dict[int, int] = {}
    for k in range(len(found)):
        task = int(found.task[k])
        tids[task] = int(found.tid[k])
        lives[task].append((TaskState(int(found.state[k])), int(found.start_ns[k]), int(found.end_ns[k])))
    assert sorted((tids[task], spells) for task, spells in lives.items()) == sorted(
        (life.tid, life.spells(world.end_ns)) for life in world.lives
    )
    assert not found.began_before.any()


@settings(max_examples=200, deadline=None)
@given(decisions=DECISIONS)
def test_figures_are_those_of_the_lives(decisions) -> None:
    world = World(decisions)
    measured = measure(intervals(world.events(), start_ns=0, end_ns=world.end_ns))
    spells = [life.spells(world.end_ns) for life in world.lives]
    for name, state in DELAYS.items():
        whole = [end - start for life in spells for s, start, end in life[:-1] if s == state]
        assert sorted(measured.values[name].value_ns.tolist()) == sorted(whole)
    dead = [life for life in spells if life[-1][0] == TaskState.DEAD]
    turnaround = [life[-1][1] - life[0][1] for life in dead]
    assert sorted(measured.values["turnaround"].value_ns.tolist()) == sorted(turnaround)
    delays = [life[2][1] - life[0][1] for life in spells if len(life) > 2]
    assert sorted(measured.values["first_run_delay"].value_ns.tolist()) == sorted(delays)
    assert measured.exists.sum() == len(world.lives)
    assert (measured.dead_ns != UNKNOWN_TIME).sum() == len(dead)
    total = Counter[TaskState]()
    for life in spells:
        for state, start, end in life:
            total[state] += end - start
    assert measured.time_ns.sum(axis=0).tolist() == [total[state] for state in TaskState]


@settings(max_examples=300, deadline=None)
@given(
    decisions=DECISIONS,
    clocks=st.lists(st.integers(0, 2 * STEP_NS - 1), min_size=NR_CPUS, max_size=NR_CPUS),
)
def test_with_clocks_that_disagree_nothing_untrue_is_said(decisions, clocks) -> None:
    """Time may seem to go back from one CPU to another. What a task is said to do, beyond that, it did."""
    world = World(decisions)
    events, slack_ns = world.events(clocks), max(clocks)
    found = intervals(events, start_ns=0, end_ns=world.end_ns + slack_ns)
    assert (found.duration_ns >= 0).all()
    truth: dict[int, list[tuple[TaskState, int, int]]] = defaultdict(list)
    for life in world.lives:
        truth[life.tid] += life.spells(world.end_ns)
    known = np.flatnonzero((found.state != TaskState.UNKNOWN) & (found.duration_ns > slack_ns))
    for k in known.tolist():
        begin, end = int(found.start_ns[k]), int(found.end_ns[k]) - slack_ns
        [state] = [s for s, since, until in truth[int(found.tid[k])] if since <= begin and end <= until]
        assert state == found.state[k]
