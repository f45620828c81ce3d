import math

import numpy as np
import pytest

from schedtuna.record.live import LiveRow, choose_rows, table_columns
from schedtuna.trace.aggregates.groups import GROUP_DTYPE
from schedtuna.trace.aggregates.layout import Delay

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
