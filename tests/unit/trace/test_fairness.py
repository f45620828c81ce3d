import math

import numpy as np
import pytest
from tests.unit.trace.making import events, random_events, switch, wakeup

from schedtuna.trace.fairness import TaskClass, fairness, nice_weight, water_fill
from schedtuna.trace.intervals import intervals
from schedtuna.trace.schema import PrevState
from schedtuna.trace.states import RUNNABLE, TaskState

BOTH = frozenset({0, 1})
FIRST, SECOND = frozenset({0}), frozenset({1})


def pinned(cpus, weight=1024):
    return TaskClass(weight, cpus)


@pytest.mark.parametrize(
    ("counts", "classes", "rates"),
    [
        ([1], [TaskClass()], [1]),  # nobody gets more than one CPU
        ([4], [TaskClass()], [1 / 2]),
        ([1, 1], [pinned(FIRST, 2048), pinned(FIRST)], [2 / 3, 1 / 3]),
        (
            [1, 1, 1],
            [TaskClass(88761), TaskClass(), TaskClass()],
            [1, 1 / 2, 1 / 2],
        ),  # what it can't use is shared
        ([2, 1], [pinned(FIRST), TaskClass()], [1 / 2, 1]),  # who may go elsewhere, goes
        ([3, 1], [pinned(FIRST), pinned(SECOND)], [1 / 3, 1]),
        ([1, 1, 1], [pinned(FIRST), TaskClass(), pinned(SECOND)], [2 / 3, 2 / 3, 2 / 3]),
        ([0, 2], [TaskClass(), TaskClass(15)], [0, 1]),
    ],
)
def test_water_filling_of_two_cpus(counts, classes, rates):
    assert water_fill(counts, classes, BOTH) == pytest.approx(rates)


def test_weights_are_the_kernels():
    assert [nice_weight(nice) for nice in (-20, 0, 19)] == [88761, 1024, 15]


def take_turns(nr_turns, shares):
    """Two hogs on one CPU, which run for `shares` in turn."""
    rows = [wakeup(0, 1), wakeup(0, 2), switch(0, 0, 1)]
    time, runs = 0, 1
    for _ in range(nr_turns):
        time += shares[runs - 1] * 1_000_000
        rows.append(switch(time, runs, 3 - runs, PrevState.PREEMPTED))
        runs = 3 - runs
    return intervals(events(*rows))


def test_equal_turns_are_fair_and_unequal_ones_are_not():
    assert fairness(take_turns(200, (1, 1)), {}, 1).cv() == pytest.approx(0, abs=1e-9)
    # 3/4 and 1/4 of what both are entitled to 1/2 of: ratios 1.5 and 0.5.
    assert fairness(take_turns(200, (3, 1)), {}, 1).cv() == pytest.approx(0.5, abs=0.01)


def test_unequal_turns_are_fair_among_unequal_weights():
    found = take_turns(200, (3, 1))
    of_tid = {int(tid): int(task) for tid, task in zip(found.tid, found.task, strict=True)}
    classes = {of_tid[1]: TaskClass(3072), of_tid[2]: TaskClass(1024)}
    assert fairness(found, classes, 1).cv() == pytest.approx(0, abs=0.01)


def test_one_task_can_not_be_unfair():
    assert math.isnan(fairness(intervals(events(switch(0, 0, 1), switch(10**8, 1, 0))), {}, 1).cv())


def test_real_time_tasks_are_left_out():
    found = take_turns(20, (3, 1))
    fair = np.array([tid != 1 for tid in range(3)])
    of_tid = {int(tid): int(task) for tid, task in zip(found.tid, found.task, strict=True)}
    by_task = np.array([fair[tid] for tid, _ in sorted(of_tid.items(), key=lambda item: item[1])])
    assert len(fairness(found, {}, 1, fair=by_task).task) == 1


def test_entitlement_is_the_integral_of_water_filling():
    """Against a plain sum over every nanosecond-step, with weights and affinities."""
    rng = np.random.default_rng(2)
    some = random_events(rng, 120, nr_cpus=2, nr_tasks=5)
    some["timestamp_ns"] = 5 + np.cumsum(rng.integers(0, 4, len(some)))
    found = intervals(some)
    classes = {
        int(task): TaskClass(int(rng.choice([512, 1024, 2048])), (None, FIRST, SECOND)[rng.integers(3)])
        for task in np.unique(found.task)
    }
    asked = found.select(np.isin(found.state, [TaskState.RUNNING, *RUNNABLE]))
    expected = dict.fromkeys(classes, 0.0)
    for now in range(int(asked.start_ns.min()), int(asked.end_ns.max())):
        runnable = np.unique(asked.task[(asked.start_ns <= now) & (now < asked.end_ns)]).tolist()
        rates = water_fill([1] * len(runnable), [classes[task] for task in runnable], BOTH)
        for task, rate in zip(runnable, rates, strict=True):
            expected[task] += rate
    result = fairness(found, classes, 2)
    assert dict(zip(result.task.tolist(), result.entitled_ns.tolist(), strict=True)) == pytest.approx(
        {task: expected[task] for task in result.task.tolist()}
    )
