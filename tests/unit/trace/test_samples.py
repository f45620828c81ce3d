import polars as pl
import pytest

from schedtuna.errors import TraceError
from schedtuna.trace.samples import exits_by_name, extremes


def test_only_quantities_have_means():
    frame = pl.DataFrame({"timestamp_ns": [1, 2], "pid": [3, 4], "name": ["a", "b"], "load": [1.0, 3.0]})
    assert extremes(frame) == {"load": {"mean": 2.0, "min": 1.0, "max": 3.0}}


def test_exits_are_folded_by_name_and_lives_are_averaged():
    frame = pl.DataFrame(
        {
            "comm": ["a", "b\n", "a"],
            "cpu_time_ns": [1, 9, 2],
            "life_ns": [10, 20, 30],
            "run_delay_ns": [5, 6, 7],  # its name in older traces
        }
    )
    wanted = ("cpu_time_ns", "schedstat_run_delay_ns", "io_delay_ns", "life_ns")
    first, second = exits_by_name(frame, wanted)
    assert first["comm"] == "b\\n"
    assert second == {
        "comm": "a",
        "count": 2,
        "cpu_time_ns": 3,
        "schedstat_run_delay_ns": 12,
        "life_ns": 20.0,
    }


@pytest.mark.parametrize(
    "columns",
    [
        {"cpu_time_ns": [1]},
        {"comm": ["a"]},
        {"comm": [1], "cpu_time_ns": [1]},
        {"comm": ["a"], "cpu_time_ns": ["1"]},
    ],
)
def test_exits_without_names_or_times_are_refused(columns):
    with pytest.raises(TraceError, match="lack names or CPU times"):
        exits_by_name(pl.DataFrame(columns), ("cpu_time_ns",))


def test_exits_of_no_name_and_columns_of_text_are_shown_without_them():
    frame = pl.DataFrame({"comm": ["a", None], "cpu_time_ns": [2, 1], "life_ns": ["x", "y"]})
    assert exits_by_name(frame, ("cpu_time_ns", "life_ns")) == [
        {"comm": "a", "count": 1, "cpu_time_ns": 2},
        {"comm": "", "count": 1, "cpu_time_ns": 1},
    ]
