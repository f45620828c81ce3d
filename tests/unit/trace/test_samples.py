import polars as pl

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
    assert first["comm"] in ("b\\n", "b\\x0a")
    assert second == {
        "comm": "a",
        "count": 2,
        "cpu_time_ns": 3,
        "schedstat_run_delay_ns": 12,
        "life_ns": 20.0,
    }
