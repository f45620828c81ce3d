import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.record.live import Distribution, LiveRow, choose_rows, table_columns, turnarounds
from schedtuna.trace.aggregates.groups import GROUP_DTYPE
from schedtuna.trace.aggregates.histogram import bucket_of
from schedtuna.trace.aggregates.layout import CPU_STATS_DTYPE, NR_BUCKETS, TURNAROUND_SCALE, Delay

ROWS = [
    LiveRow(1, "nginx", "/web", 1, {"x": 5.0}),
    LiveRow(2, "make", "/build", 1, {"x": math.nan}),
    LiveRow(33, "Make", "/web", 1, {"x": 50.0}),
    LiveRow(4, "sh", "/", 1, {"x": 5.0}),
]


def test_rows_are_sorted_largest_first_and_what_does_not_exist_last():
    assert [row.tid for row in choose_rows(ROWS, "x")] == [33, 1, 4, 2]


@pytest.mark.parametrize(
    ("text", "tids"), [("make", [33, 2]), ("/web", [33, 1]), ("33", [33]), ("3", []), ("", [33, 1, 4, 2])]
)
def test_rows_are_found_by_name_cgroup_or_tid(text, tids):
    assert [row.tid for row in choose_rows(ROWS, "x", text)] == tids


def test_top_shows_no_time_that_a_quota_held_back_as_waiting():
    groups = np.zeros(1, GROUP_DTYPE)
    groups["delay_ns"][:, Delay.PREEMPT] = 2 * 10**8
    groups["delay_ns"][:, Delay.THROTTLED] = 5 * 10**8
    assert table_columns(groups, 1.0)["delay_percent"] == [20]


def test_first_runs_and_turnarounds_are_columns_and_unknown_where_there_was_none():
    groups = np.zeros(2, GROUP_DTYPE)
    groups["nr_turnarounds"], groups["turnaround_ns"] = [3, 0], [9 * 10**6, 0]
    groups["histograms"][0, Delay.FIRST_RUN, bucket_of(10_000)] = 5
    groups["delay_max_ns"][:, Delay.FIRST_RUN] = 10_000
    columns = table_columns(groups, 1.0)
    assert columns["turnaround_mean_us"][0] == 3000
    assert columns["first_run_p99_us"][0] == pytest.approx(10, rel=0.13)
    assert np.isnan([columns["turnaround_mean_us"][1], columns["first_run_p99_us"][1]]).all()


@given(
    st.lists(st.integers(5_000, 9 * 3600 * 10**9), max_size=30),
    st.lists(st.integers(5_000, 9 * 3600 * 10**9), min_size=1, max_size=30),
)
def test_turnarounds_of_a_window_are_those_that_came_since(before, since):
    """Oracle: the durations themselves."""

    def counted(lives):
        cpus = np.zeros(2, CPU_STATS_DTYPE)
        for index, life_ns in enumerate(lives):
            cpu = cpus[index % 2]
            cpu["turnaround_ns"] += life_ns
            cpu["turnaround_max_ns"] = max(cpu["turnaround_max_ns"], life_ns)
            cpu["turnarounds"][bucket_of(life_ns >> 6)] += 1
        return cpus

    figures = turnarounds(counted([*before, *since]), counted(before)).figures()
    ordered = sorted(since)
    assert figures["count"] == len(since)
    assert figures["mean_us"] == pytest.approx(sum(since) / len(since) / 1e3)
    median = ordered[max(math.ceil(len(ordered) / 2) - 1, 0)] / 1e3
    assert figures["p50_us"] == pytest.approx(median, rel=0.25, abs=4.1)
    assert (
        ordered[-1] / 1e3 - 1e-3 <= figures["max_us"] <= max(1.25 * ordered[-1] / 1e3, ordered[-1] / 1e3 + 5)
    )


def test_of_no_durations_nothing_is_known_but_their_number():
    figures = Distribution(np.zeros(NR_BUCKETS, np.uint64), 0.0, 0.0, TURNAROUND_SCALE).figures()
    assert figures.pop("count") == 0
    assert np.isnan(list(figures.values())).all()
