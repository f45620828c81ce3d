import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.trace.aggregates.groups import (
    GROUP_DTYPE,
    MAXIMA,
    SUMS,
    concatenate,
    fold,
    groups_of_tasks,
    since,
)
from schedtuna.trace.aggregates.histogram import bucket_of
from schedtuna.trace.aggregates.layout import STATS_BORN, STATS_DEAD, STATS_DTYPE, Delay
from schedtuna.trace.schema import PrevState


def group(tid=1, comm=b"a", start=1, cgroup=7, **values):
    one = np.zeros(1, GROUP_DTYPE)
    one["tid"], one["tgid"], one["comm"], one["start_time_ns"], one["cgroup_id"] = (
        tid,
        tid,
        comm,
        start,
        cgroup,
    )
    one["nr_tasks"] = 1
    for name, value in values.items():
        one[name] = value
    return one


def stats(**values):
    one = np.zeros(1, STATS_DTYPE)
    one["task"]["weight"] = 1024
    for name, value in values.items():
        one[name] = value
    return one


def test_a_task_on_a_cpu_has_run_up_to_the_last_tick():
    one = stats(met_ns=100, on_cpu_ns=400, now_ns=1000, run_ns=50, cpu_time_seen_ns=7000, queued_ns=300)
    one["task"]["cpu_time_ns"] = 7600
    [running] = groups_of_tasks(one)
    assert (running["run_ns"], running["observed_ns"], running["waiting_ns"]) == (650, 900, 0)


def test_a_task_that_was_found_running_counts_since_then():
    one = stats(found_ns=100, found_cpu_time_ns=7000, found_run_delay_ns=50, now_ns=1000)
    one["task"]["cpu_time_ns"], one["task"]["schedstat_run_delay_ns"] = 7600, 50
    [running] = groups_of_tasks(one)
    assert (running["run_ns"], running["observed_ns"], running["schedstat_run_delay_ns"]) == (600, 900, 0)


def test_a_task_that_waits_shows_since_when():
    [waiting] = groups_of_tasks(stats(met_ns=100, now_ns=1000, queued_ns=300))
    assert (waiting["run_ns"], waiting["waiting_ns"]) == (0, 700)


@pytest.mark.parametrize(
    ("flags", "turnarounds"), [(0, 0), (STATS_DEAD, 0), (STATS_BORN, 0), (STATS_BORN | STATS_DEAD, 1)]
)
def test_turnaround_counts_only_for_whole_lives(flags, turnarounds):
    [task] = groups_of_tasks(stats(flags=flags, turnaround_ns=5))
    assert (task["nr_turnarounds"], task["turnaround_ns"]) == (turnarounds, 5 * turnarounds)


names = st.sampled_from([b"a", b"b", b"c"])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), names, st.integers(0, 2**40)), min_size=1, max_size=20))
def test_folding_adds_up_and_keeps_maxima(rows):
    groups = concatenate([group(tid, comm, run_ns=n, waiting_ns=n) for tid, comm, n in rows])
    for keys in (["comm"], ["tid", "comm"], []):
        folded = fold(groups, keys)
        assert len(folded) == len({tuple(row[k].item() for k in keys) for row in groups})
        for name in SUMS:
            assert (folded[name].sum(axis=0) == groups[name].sum(axis=0)).all()
        for name in MAXIMA:
            assert (folded[name].max(axis=0) == groups[name].max(axis=0)).all()
    by_name = {row["comm"]: int(row["run_ns"]) for row in fold(groups, ["comm"])}
    assert by_name == {c: sum(n for _, comm, n in rows if comm == c) for c in {comm for _, comm, _ in rows}}


def test_folding_keeps_what_a_group_has_in_common():
    [folded] = fold(concatenate([group(1, b"x", start=1), group(2, b"x", start=2)]), ["comm"])
    assert (folded["tid"], folded["start_time_ns"], folded["cgroup_id"]) == (0, 0, 7)
    assert len(fold(np.empty(0, GROUP_DTYPE), [])) == 0


def test_a_window_is_the_difference_of_known_tasks_and_all_of_new_ones():
    before = concatenate([group(1, run_ns=10, nr_runs=1), group(2, run_ns=5)])
    now = concatenate([group(2, run_ns=5), group(1, run_ns=25, nr_runs=4), group(1, start=9, run_ns=7)])
    window = since(now, before)
    assert window["run_ns"].tolist() == [0, 15, 7]  # pid 1 was used again: another task
    assert window["nr_runs"].tolist() == [0, 3, 0]
    assert window["nr_tasks"].tolist() == [1, 1, 1]


def test_counters_that_were_read_while_they_changed_never_go_below_zero():
    assert since(group(run_ns=9), group(run_ns=10))["run_ns"].tolist() == [0]


def test_the_longest_delay_of_a_window_is_bounded_by_what_it_counted():
    before, now = group(), group()
    now["delay_max_ns"][:, Delay.WAKEUP] = before["delay_max_ns"][:, Delay.WAKEUP] = 10**9
    before["histograms"][0, Delay.WAKEUP, bucket_of(10**9)] = 1
    now["histograms"][0, Delay.WAKEUP, bucket_of(10**9)] = 1
    now["histograms"][0, Delay.WAKEUP, bucket_of(1000)] = 1
    [window] = since(now, before)
    assert 1000 <= window["delay_max_ns"][Delay.WAKEUP] < 1300
    assert window["histograms"].sum() == 1


def test_windows_of_nothing():
    assert len(since(np.empty(0, GROUP_DTYPE), group())) == 0
    assert since(group(run_ns=3), np.empty(0, GROUP_DTYPE))["run_ns"].tolist() == [3]


def test_a_task_that_a_quota_holds_back_waits_for_no_cpu():
    held = stats(met_ns=100, now_ns=1000, queued_ns=300, waiting_for=1 + PrevState.THROTTLED)
    assert groups_of_tasks(held)["waiting_ns"] == 0
    preempted = stats(met_ns=100, now_ns=1000, queued_ns=300, waiting_for=1 + PrevState.PREEMPTED)
    assert groups_of_tasks(preempted)["waiting_ns"] == 700
