import numpy as np
import pytest
from tests.unit.trace.making import events, migrate, random_events, switch, wakeup

from schedtuna.trace.intervals import intervals
from schedtuna.trace.queues import ProfileBuilder
from schedtuna.trace.states import RUNNABLE, TaskState


def profile(found, nr_cpus, window, *, nr_bins, migrations=None, nr_pieces=1):
    builder = ProfileBuilder(nr_cpus, window, nr_bins=nr_bins)
    for piece in np.array_split(np.arange(len(found)), nr_pieces):
        builder.add(found.select(piece), migrations)
    return builder.finish()


def test_means_are_those_of_looking_at_every_moment():
    some = random_events(np.random.default_rng(4), 200, nr_cpus=3)
    some["timestamp_ns"] = np.cumsum(np.random.default_rng(5).integers(0, 4, len(some)))
    found = intervals(some)
    found_profile = profile(found, 3, (0, 300), nr_bins=30, nr_pieces=4)
    for cpu in range(3):
        for k in range(30):
            moments = np.arange(10 * k, 10 * (k + 1))[:, None]
            there = (found.start_ns <= moments) & (moments < found.end_ns) & (found.cpu == cpu)
            runs = there & (found.state == TaskState.RUNNING)
            waits = there & np.isin(found.state, RUNNABLE)
            assert found_profile.busy[cpu, 0, k] == pytest.approx(runs.sum() / 10)
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


def test_groups_share_the_cpus():
    found = intervals(events(switch(0, 0, 7), switch(10, 7, 8), switch(15, 8, 0)), end_ns=20)
    of_tid = dict(zip(found.task.tolist(), found.tid.tolist(), strict=True))
    group = np.array([int(of_tid[task] == 8) for task in range(len(of_tid))])
    builder = ProfileBuilder(1, (0, 20), nr_bins=2, group_of_task=group, nr_groups=2)
    builder.add(found)
    assert builder.finish().busy.tolist() == [[[1.0, 0.0], [0.0, 0.5]]]


def test_cpus_that_are_not_asked_for_are_left_out():
    some = events(switch(0, 0, 7, cpu=5), migrate(1, 7, 5, 6), wakeup(2, 8, cpu=9), switch(4, 7, 0, cpu=5))
    assert not profile(intervals(some), 2, (0, 4), nr_bins=2, migrations=some).queued.any()
