import numpy as np
import pytest

from schedtuna.errors import TraceError
from schedtuna.trace.aggregates.groups import GROUP_DTYPE
from schedtuna.trace.aggregates.stored import columns_of_groups, groups_of_rows


def rows_of_groups(groups):
    columns = columns_of_groups(groups)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_statistics_come_back_as_they_were():
    rng = np.random.default_rng(1)
    groups = np.frombuffer(rng.bytes(3 * GROUP_DTYPE.itemsize), GROUP_DTYPE).copy()
    groups["weighted_ns"] = [0.0, 0.1, 1e30]
    groups["comm"] = [b"plain", b"\xff\n\x1b[2J,|:\"'<b>", b""]
    groups["histograms"] = 0
    groups["histograms"][1, 2, [5, 40]] = 2**60 + 1, 3
    back = groups_of_rows(rows_of_groups(groups))
    assert (back == groups).all()


@pytest.mark.parametrize(
    ("column", "value"), [("histograms", "999:1|||"), ("histograms", "x"), ("delay_ns", "1,2"), ("tid", None)]
)
def test_damaged_rows_are_refused(column, value):
    [row] = rows_of_groups(np.zeros(1, GROUP_DTYPE))
    with pytest.raises(TraceError, match=column):
        groups_of_rows([row | {column: value}])


def test_statistics_of_older_traces_are_read():
    groups = np.zeros(1, GROUP_DTYPE)
    groups["schedstat_run_delay_ns"] = 77
    [row] = rows_of_groups(groups)
    row["run_delay_ns"] = row.pop("schedstat_run_delay_ns")
    assert groups_of_rows([row])["schedstat_run_delay_ns"] == 77
