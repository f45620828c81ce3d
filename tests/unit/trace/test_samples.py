import polars as pl
import pytest

from schedtuna.errors import TraceError
from schedtuna.trace.samples import exits_by_name, extremes, window_features


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


def test_windows_have_average_change_and_percent_change():
    features = window_features([(0, {"x": 10.0}), (1000, {"x": 20.0}), (4000, {"x": 30.0})])
    # The first sample counts as long as the second: (10 + 20 + 3 * 30) / 5.
    assert features == {"x.average": 24.0, "x.change": 20.0, "x.percent_change": 200.0}


def test_windows_of_one_or_no_sample_or_from_zero():
    assert window_features([]) == {}
    assert window_features([(5, {"x": 3.0})]) == {"x.average": 3.0, "x.change": 0.0, "x.percent_change": 0.0}
    assert window_features([(0, {"x": 0.0}), (1, {"x": 0.0})])["x.percent_change"] == 0.0
    assert str(window_features([(0, {"x": 0.0}), (1, {"x": 2.0})])["x.percent_change"]) == "nan"


def test_a_metric_that_one_sample_lacks_is_left_out():
    assert window_features([(0, {"x": 1.0, "y": 1.0}), (1, {"y": 1.0})]).keys() == {
        "y.average",
        "y.change",
        "y.percent_change",
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
