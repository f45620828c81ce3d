import math

import numpy as np
import pytest
from tests.unit.trace.making import events, exit_, fork, random_events, switch, wakeup

from schedtuna.trace.intervals import intervals, iter_intervals
from schedtuna.trace.metrics import DISTRIBUTIONS, QUANTILES, TOTALS, clip, cost, measure, summarize, table
from schedtuna.trace.schema import EventType, PrevState
from schedtuna.trace.states import TaskState


def overall(found):
    measured = measure(found)
    columns = table(measured, np.zeros(len(measured.tid), int), 1)
    return {name: column[0] for name, column in columns.items()}


def life(tid, begin, *, cpu=0):
    """A task that is born, waits 3, runs 5, sleeps 2, waits 1, runs 4, and dies."""
    return [
        fork(begin, tid, cpu=cpu),
        wakeup(begin + 1, tid, cpu=cpu, kind=EventType.WAKEUP_NEW),
        switch(begin + 4, 0, tid, cpu=cpu),
        switch(begin + 9, tid, 0, cpu=cpu),
        wakeup(begin + 11, tid, cpu=cpu),
        switch(begin + 12, 0, tid, cpu=cpu),
        exit_(begin + 15, tid, cpu=cpu),
        switch(begin + 16, tid, 0, PrevState.DEAD, cpu=cpu),
    ]


def test_one_life_has_the_figures_of_the_vocabulary():
    figures = overall(intervals(events(*life(7, 100)), start_ns=90, end_ns=130))
    assert figures["nr_tasks"] == 1
    assert figures["cpu_time_ns"] == 9
    assert figures["run_delay_ns"] == 3 + 1
    assert figures["sleeping_ns"] == 2
    assert (figures["nr_switches"], figures["nr_wakeups"]) == (2, 1)
    assert (figures["nr_voluntary"], figures["nr_involuntary"]) == (2, 0)
    assert figures["first_run_delay_mean_ns"] == 4  # from the fork: one more than its runqueue wait
    assert figures["wakeup_latency_max_ns"] == 1
    assert figures["turnaround_mean_ns"] == 16
    assert (figures["burst_count"], figures["burst_mean_ns"]) == (2, 4.5)
    assert (figures["nr_began_before"], figures["nr_alive_after"]) == (0, 0)
    assert figures["unknown_ns"] == 0


def test_run_delay_is_the_sum_of_the_three_waits():
    rng = np.random.default_rng(3)
    found = intervals(random_events(rng, 4_000))
    measured = measure(found)
    waits = [TaskState.RUNNABLE_WOKEN, TaskState.RUNNABLE_PREEMPTED, TaskState.RUNNABLE_NEW]
    figures = overall(found)
    assert figures["run_delay_ns"] == found.duration_ns[np.isin(found.state, waits)].sum()
    assert figures["cpu_time_ns"] == found.duration_ns[found.state == TaskState.RUNNING].sum()
    assert figures["cpu_time_ns"] == measured.cpu_time_ns[:, TaskState.RUNNING].sum()


def test_waits_that_the_trace_cuts_are_in_no_distribution():
    found = intervals(events(switch(5, 0, 7), switch(9, 7, 8, PrevState.PREEMPTED)), start_ns=0, end_ns=50)
    figures = overall(found)
    assert figures["preempt_delay_count"] == 0
    assert math.isnan(figures["preempt_delay_p99_ns"])
    assert figures["run_delay_ns"] == 41  # but they are waited all the same


def test_tasks_alive_at_either_end_are_counted_as_such():
    rows = [switch(1, 7, 8), *life(9, 10), fork(40, 10)]
    figures = overall(intervals(events(*rows), start_ns=0, end_ns=50))
    assert (figures["nr_tasks"], figures["turnaround_count"]) == (4, 1)
    assert (figures["nr_began_before"], figures["nr_alive_after"]) == (2, 3)


def test_a_burst_goes_on_over_preemptions():
    rows = [
        wakeup(0, 7),
        switch(1, 0, 7),
        switch(4, 7, 8, PrevState.PREEMPTED),
        switch(6, 8, 7),
        switch(11, 7, 0, PrevState.IO),
    ]
    measured = measure(intervals(events(*rows)))
    mine = measured.values["burst"]
    assert mine.value_ns[measured.tid[mine.task] == 7].tolist() == [3 + 5]


def test_bursts_that_the_trace_does_not_see_whole_are_left_out():
    rows = [switch(5, 7, 0), wakeup(6, 7), switch(7, 0, 7), switch(9, 7, 0), switch(20, 8, 0)]
    measured = measure(intervals(events(*rows), start_ns=0))
    assert measured.values["burst"].value_ns.tolist() == [2]


def test_pieces_add_up_to_the_whole():
    some = random_events(np.random.default_rng(8), 3_000)
    whole = overall(intervals(some))
    for nr_pieces in (2, 7):
        pieces = iter_intervals(np.array_split(some, nr_pieces))
        assert overall(pieces) == pytest.approx(whole, nan_ok=True)


@pytest.mark.parametrize("nr_groups", [1, 3, 40, 70_000])
def test_quantiles_are_those_of_numpy(nr_groups):
    """Large groups are selected, small ones sorted; nearest rank is numpy's inverted_cdf."""
    rng = np.random.default_rng(nr_groups)
    values = rng.lognormal(9, 3, 20_000).astype(np.int64)
    group = np.minimum(rng.geometric(0.2, len(values)) - 1, nr_groups - 1)
    columns = summarize("x", group, values, nr_groups)
    for k in np.unique(group):
        mine = values[group == k]
        assert columns["x_count"][k] == len(mine)
        assert columns["x_mean_ns"][k] == pytest.approx(mine.mean())
        assert columns["x_max_ns"][k] == mine.max()
        for label, quantile in QUANTILES.items():
            assert columns[f"x_{label}_ns"][k] == np.quantile(mine, quantile, method="inverted_cdf")
    nobody = np.setdiff1d(np.arange(nr_groups), group)
    assert np.isnan(columns["x_max_ns"][nobody]).all()


def test_tasks_can_be_left_out_of_all_groups():
    measured = measure(intervals(events(*life(7, 0), *life(8, 100)), end_ns=200))
    group = np.where(measured.tid == 7, 0, -1)
    columns = table(measured, group, 1)
    assert columns["nr_tasks"].tolist() == [1]
    assert columns["slice_count"].tolist() == [2]


def test_every_figure_is_declared_once():
    figures = overall(intervals(events(*life(7, 0))))
    declared = {
        *TOTALS,
        *(f"{name}_{part}" for name in DISTRIBUTIONS for part in ("count", "mean_ns", "max_ns")),
    }
    declared |= {f"{name}_{label}_ns" for name in DISTRIBUTIONS for label in QUANTILES}
    assert figures.keys() == declared - {"nr_migrations"}  # counted from events


def test_a_window_cuts_intervals_and_marks_them():
    found = intervals(events(switch(5, 0, 7), switch(25, 7, 0)), start_ns=0, end_ns=50)
    inside = clip(found, 10, 30)
    assert inside.duration_ns.sum() == 20
    running = inside.select(inside.state == TaskState.RUNNING)
    assert (running.start_ns[0], running.end_ns[0]) == (10, 25)
    assert running.began_before[0]
    assert not running.ends_after[0]


def test_the_cost_is_one_per_term_under_the_default():
    default = {"turnaround_mean_ns": 50.0, "first_run_delay_mean_ns": 2.0, "fairness_cv": 0.1}
    assert cost(default, default) == pytest.approx(3)
    better = default | {"turnaround_mean_ns": 25.0}
    assert cost(better, default, weights=(2, 1, 1)) == pytest.approx(3)
    assert cost(better, default, weights=(1, 0, 0)) == pytest.approx(0.5)
    assert math.isnan(cost(default, default | {"fairness_cv": 0.0}))


def test_nothing_measured_gives_no_figures():
    figures = overall([])
    assert figures["nr_tasks"] == 0
    assert math.isnan(figures["slice_mean_ns"])
