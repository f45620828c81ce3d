"""Differences between two readings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.agent.contract import SENSED_DTYPE
from schedtuna.agent.sensing import differences, fairness_cv
from schedtuna.record.sense import SENSED_TASK_DTYPE

SECOND_NS = 10**9
NONE = np.zeros(0, SENSED_DTYPE)


def rows(*threads):
    made = np.zeros(len(threads), SENSED_TASK_DTYPE)
    for row, (tid, start_ns, cpu_ns) in zip(made, threads, strict=True):
        row["tid"], row["start_time_ns"], row["cpu_time_ns"] = tid, start_ns, cpu_ns
    return made


def test_of_the_first_reading_no_rates_are_known():
    found = differences(rows((5, 1, 900)), NONE, 0, 1000)
    assert found["observed_ns"].tolist() == [0]
    assert found["cpu_time_ns"].tolist() == [0]
    assert found["total_cpu_time_ns"].tolist() == [900]


def test_what_a_thread_did_is_the_difference():
    before = differences(rows((9, 1, 5), (5, 1, 900)), NONE, 0, 1000)
    found = differences(rows((9, 1, 5), (5, 1, 1100)), before, 1000, 2000)
    assert found["tid"].tolist() == [5, 9]
    assert found["cpu_time_ns"].tolist() == [200, 0]
    assert found["observed_ns"].tolist() == [1000, 1000]


def test_a_number_that_is_used_again_is_another_thread():
    before = differences(rows((5, 1, 900)), NONE, 0, 1000)
    found = differences(rows((5, 1500, 300)), before, 1000, 2000)
    assert found["cpu_time_ns"].tolist() == [300]
    assert found["observed_ns"].tolist() == [500]


def test_one_that_was_not_seen_before_and_is_older_has_no_rates():
    before = differences(rows((5, 1, 900)), NONE, 0, 1000)
    found = differences(rows((6, 10, 300)), before, 1000, 2000)
    assert found["observed_ns"].tolist() == [0]


@given(st.dictionaries(st.integers(1, 40), st.tuples(st.integers(0, 3), st.integers(0, 10**6)), max_size=30))
def test_nothing_goes_backwards(threads):
    first = rows(*[(tid, start, cpu) for tid, (start, cpu) in threads.items()])
    before = differences(first, NONE, 0, 1000)
    second = rows(*[(tid, start, cpu // 2) for tid, (start, cpu) in threads.items()])
    found = differences(second, before, 1000, 2000)
    assert (found["cpu_time_ns"] == 0).all()


def test_equal_shares_are_fair_and_others_are_not():
    tasks = np.zeros(2, SENSED_DTYPE)
    tasks["observed_ns"], tasks["weight"] = SECOND_NS, 1024
    tasks["cpu_time_ns"], tasks["run_delay_ns"] = SECOND_NS // 2, SECOND_NS // 2
    assert fairness_cv(tasks, 1, SECOND_NS) == pytest.approx(0)
    tasks["cpu_time_ns"] = [9 * SECOND_NS // 10, SECOND_NS // 10]
    tasks["run_delay_ns"] = [SECOND_NS // 10, 9 * SECOND_NS // 10]
    assert fairness_cv(tasks, 1, SECOND_NS) > 0.5
    assert fairness_cv(tasks[:0], 1, SECOND_NS) is None
