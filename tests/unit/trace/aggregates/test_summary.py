import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.trace.aggregates.groups import GROUP_DTYPE, fold
from schedtuna.trace.aggregates.histogram import bucket_of
from schedtuna.trace.aggregates.layout import Delay
from schedtuna.trace.aggregates.metrics import SCHED_METRICS
from schedtuna.trace.aggregates.summary import columns, entitled_ns, fairness_cv, sched_metrics
from schedtuna.trace.metrics import DISTRIBUTIONS, TOTALS

S = 10**9


def tasks(*rows):
    """(CPU time, waiting, weight) of each task, in seconds; weights relative to nice 0."""
    groups = np.zeros(len(rows), GROUP_DTYPE)
    for group, (run_s, wait_s, weight) in zip(groups, rows, strict=True):
        group["nr_tasks"] = 1
        group["run_ns"] = run_s * S
        group["delay_ns"][Delay.PREEMPT] = group["schedstat_run_delay_ns"] = wait_s * S
        group["observed_ns"], group["weighted_ns"] = S, weight * S
    return groups


@pytest.mark.parametrize(
    ("asked", "weight", "capacity", "expected"),
    [
        ([10, 10], [1, 1], 10, [5, 5]),
        ([10, 10], [3, 1], 8, [6, 2]),
        ([1, 10, 10], [1, 1, 1], 9, [1, 4, 4]),  # what the modest leave is shared
        ([1, 2], [1, 9], 10, [1, 2]),  # enough for all
        ([6, 10, 10], [2, 1, 1], 8, [4, 2, 2]),
    ],
)
def test_cpu_time_is_shared_by_weight_up_to_what_is_asked(asked, weight, capacity, expected):
    assert entitled_ns(np.array(asked, float), np.array(weight, float), capacity) == pytest.approx(expected)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 90)), min_size=1, max_size=20), st.floats(0.1, 500)
)
def test_nobody_gets_more_than_asked_and_nothing_is_left_that_is_wanted(wishes, capacity):
    asked, weight = (np.array(column) for column in zip(*wishes, strict=True))
    entitled = entitled_ns(asked, weight, capacity)
    assert (entitled <= asked + 1e-9).all()
    assert entitled.sum() == pytest.approx(min(capacity, asked.sum()))
    unmet = asked - entitled > 1e-6
    level = (entitled / weight)[unmet]
    assert level == pytest.approx(level[:1].repeat(len(level)))  # who wants more is at the same level


def test_fair_shares_have_no_variation_and_unfair_ones_do():
    assert fairness_cv(tasks((1, 1, 1), (1, 1, 1)), 1, 2 * S) == pytest.approx(0)
    assert fairness_cv(tasks((1.5, 0.5, 3), (0.5, 1.5, 1)), 1, 2 * S) == pytest.approx(0)
    # 1.5 and 0.5 of the 1 s that each is entitled to: mean 1, standard deviation 0.5.
    assert fairness_cv(tasks((1.5, 0.5, 1), (0.5, 1.5, 1)), 1, 2 * S) == pytest.approx(0.5)
    assert math.isnan(fairness_cv(tasks((1, 1, 1)), 1, 2 * S))


@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.floats(0, 5), st.floats(0.1, 9), st.integers(1, 6)),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 4),
)
def test_tasks_that_are_alike_are_as_fair_one_by_one_as_folded(kinds, nr_cpus):
    one_by_one = tasks(*(row[:3] for row in kinds for _ in range(row[3])))
    of_kind = np.repeat(np.arange(len(kinds)), [row[3] for row in kinds])
    one_by_one["comm"] = [f"{kind}".encode() for kind in of_kind]
    apart, together = (
        fairness_cv(each, nr_cpus, 10 * S) for each in (one_by_one, fold(one_by_one, ["comm"]))
    )
    assert together == pytest.approx(apart, rel=1e-6, abs=1e-6, nan_ok=True)


def test_columns_have_the_names_of_a_traces_metrics():
    figures = columns(tasks((1, 1, 1))[0])
    own = {"nr_migrations", "nr_migrations_cross_llc", "nr_migrations_cross_node", "waiting_ns"}
    own |= {"schedstat_run_delay_ns"}  # of the kernel alone
    unknown = {name for name in figures if name not in TOTALS and name not in own}
    assert {
        name.rsplit("_", 2)[0] if name.endswith("_ns") else name.removesuffix("_count") for name in unknown
    } <= set(DISTRIBUTIONS)


def test_a_distribution_is_summed_up():
    [group] = tasks((0, 0, 1))
    group["histograms"][Delay.WAKEUP][bucket_of(1000)] = 99
    group["histograms"][Delay.WAKEUP][bucket_of(1_000_000)] = 1
    group["nr_delays"][Delay.WAKEUP], group["delay_ns"][Delay.WAKEUP] = 100, 99 * 1000 + 1_000_000
    group["delay_max_ns"][Delay.WAKEUP] = 1_000_000
    figures = columns(group)
    assert figures["wakeup_latency_count"] == figures["nr_wakeups"] == 100
    assert figures["wakeup_latency_mean_ns"] == 10_990
    assert figures["wakeup_latency_p50_ns"] == pytest.approx(1000, rel=0.13)
    assert figures["wakeup_latency_max_ns"] == 1_000_000
    assert math.isnan(figures["first_run_delay_mean_ns"])


def test_metrics_have_known_names_and_values_only_where_something_happened():
    metrics = sched_metrics(tasks((1, 1, 1), (1, 1, 1)), 1, 2 * S)
    assert metrics.keys() <= SCHED_METRICS.keys()
    assert metrics["sched.run_delay_total_us"] == 2e6
    assert metrics["sched.fairness_cv"] == pytest.approx(0)
    assert "sched.wakeup_latency_p99_us" not in metrics
    assert sched_metrics(tasks(), 1, S) == {}


@pytest.mark.parametrize(
    "name",
    [
        "wakeup_latency_p99_us",
        "wakeup_latency_mean_us",
        "preempt_delay_p99_us",
        "first_run_delay_mean_us",
        "run_delay_total_us",
        "migrations",
        "fairness_cv",
        "turnaround_mean_us",
    ],
)
def test_the_documented_metrics_exist(name):
    assert SCHED_METRICS[f"sched.{name}"].direction == "min"


def test_run_delay_is_the_three_waits_without_what_a_quota_held_back():
    groups = tasks((1, 2, 1))
    for delay, seconds in ((Delay.WAKEUP, 3), (Delay.FIRST_RUN, 4), (Delay.THROTTLED, 50)):
        groups["delay_ns"][:, delay] = seconds * S
    groups["schedstat_run_delay_ns"] = (2 + 3 + 4 + 50) * S
    figures = columns(groups[0])
    assert (figures["run_delay_ns"], figures["throttled_ns"]) == (9 * S, 50 * S)
    assert figures["schedstat_run_delay_ns"] == 59 * S
    metrics = sched_metrics(groups, 1, 3 * S)
    assert (metrics["sched.run_delay_total_us"], metrics["sched.throttled_total_us"]) == (9e6, 50e6)
