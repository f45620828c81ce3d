import numpy as np
import pytest
from tests.unit.trace.making import events, migrate, random_events, switch, wakeup

from schedtuna.trace.intervals import intervals
from schedtuna.trace.queues import profile
from schedtuna.trace.states import RUNNABLE, TaskState


def test_means_are_those_of_looking_at_every_moment():
    some = random_events(np.random.default_rng(4), 200, nr_cpus=3)
    some["timestamp_ns"] = np.cumsum(np.random.default_rng(5).integers(0, 4, len(some)))
    found = intervals(some)
    found_profile = profile(found, 3, (0, 300), nr_bins=30)
    for cpu in range(3):
        for k in range(30):
            moments = np.arange(10 * k, 10 * (k + 1))[:, None]
            there = (found.start_ns <= moments) & (moments < found.end_ns) & (found.cpu == cpu)
            runs = there & (found.state == TaskState.RUNNING)
            waits = there & np.isin(found.state, RUNNABLE)
            assert found_profile.busy[cpu, k] == pytest.approx(runs.sum() / 10)
            assert found_profile.queued[cpu, k] == pytest.approx((runs | waits).sum() / 10)


def test_a_waiting_task_that_is_moved_counts_where_it_is():
    rows = [wakeup(0, 7), migrate(10, 7, 0, 1), migrate(20, 7, 1, 2), switch(30, 0, 7, cpu=2)]
    some = events(*rows)
    found = intervals(some, end_ns=40)
    queued = profile(found, 3, (0, 40), nr_bins=4, migrations=some).queued
    assert queued.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


def test_a_task_that_is_moved_in_its_sleep_waits_nowhere():
    some = events(switch(0, 0, 7), switch(5, 7, 0), migrate(10, 7, 0, 1), wakeup(20, 7, cpu=1))
    queued = profile(intervals(some, end_ns=40), 2, (0, 40), nr_bins=4, migrations=some).queued
    assert queued.tolist() == [[0.5, 0, 0, 0], [0, 0, 1, 1]]
