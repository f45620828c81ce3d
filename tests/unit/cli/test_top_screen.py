import math
from typing import cast

import numpy as np
import pytest

from schedtuna.cli import top
from schedtuna.cli.top_screen import ScreenState, bars, screen
from schedtuna.record.live import COLUMNS, By, Distribution, LiveRow, LiveView, LiveWindow
from schedtuna.trace.aggregates.histogram import bucket_of
from schedtuna.trace.aggregates.layout import NR_BUCKETS, TURNAROUND_SCALE


def window(nr_rows=3, **values):
    counts = np.zeros(NR_BUCKETS, np.uint64)
    counts[bucket_of(5_000)] = 98
    counts[bucket_of(2_000_000)] = 2
    nothing = np.zeros(NR_BUCKETS, np.uint64)
    lives = nothing.copy()
    lives[bucket_of(60e9 / TURNAROUND_SCALE)] = 1
    rows = [
        LiveRow(
            n, f"task{n}", f"/group{n}", 1, dict.fromkeys(COLUMNS, float(n)) | {"wakeup_p99_us": math.nan}
        )
        for n in range(nr_rows)
    ]
    return LiveWindow(
        **{
            "seconds": 1.0,
            "rows": rows,
            "distributions": {
                "wakeup_latency": Distribution(counts, 4_490_000.0, 2_100_000.0),
                "preempt_delay": Distribution(nothing, 0.0, 0.0),
                "first_run_delay": Distribution(nothing, 0.0, 0.0),
                "turnaround": Distribution(lives, 60e9, 60e9, TURNAROUND_SCALE),
            },
            "switches_per_s": 12345.0,
            "migrations_per_s": (1.0, 2.0, 3.0),
            "fairness_cv": math.nan,
            "system": {"cpu_percent": 42.0, "run_queue_length": 3.0, "psi_cpu_some_percent": 12.5},
            "nr_unseen": 0,
            **values,
        }
    )


@pytest.mark.parametrize("by", list(By))
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (20, 5), (1, 1), (120, 12)])
def test_a_screen_never_has_more_than_fits(by, width, height):
    lines = screen(window(nr_rows=100), ScreenState(by=by), width, height)
    assert len(lines) <= max(height, 1)
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize(("columns", "width"), [(None, 80), ("150", 150), ("60", 60)])
def test_without_a_terminal_it_keeps_to_80_columns_or_what_is_asked_for(columns, width, capsys, monkeypatch):
    class View:
        def window(self, _by):
            return window()

    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    top._print_windows(cast("LiveView", View()), ScreenState(interval_s=0.0), 1, as_json=False)
    assert width - 11 < max(map(len, capsys.readouterr().out.splitlines())) <= width


def test_the_numbers_are_there():
    lines = screen(window(), ScreenState(), 150, 30)
    assert any(line.startswith("wakeup latency") and "2100" in line for line in lines)
    assert any(line.startswith("preempt delay") and line.split()[2:] == ["-", "-", "-"] for line in lines)
    [turnaround] = [line for line in lines if line.startswith("turnaround")]
    assert turnaround.split()[3] == "60M" and turnaround.endswith("█")  # beyond the axis, which ends at 8 s
    assert "switches 12345/s" in lines[1] and "CPU 42%" in lines[1]
    assert lines[2] == "pressure: cpu 12.5%  fairness cv -"
    rows = [line for line in lines if "task" in line and "/group" in line]
    assert [row.split()[0] for row in rows] == ["2", "1", "0"]  # worst first


def test_what_is_not_known_of_the_system_is_no_0():
    assert screen(window(system={}), ScreenState(), 150, 30)[1].startswith("CPU -  run queue -  switches")


def test_what_the_keys_chose_is_shown():
    state = ScreenState(sort="cpu_percent", text="task1", paused=True, recording="trace_1", message="done")
    lines = screen(window(nr_unseen=7), state, 150, 30)
    for text in ("PAUSED", "RECORDING to trace_1", "'task1'", "7 short-lived tasks partly missed"):
        assert text in lines[0]
    assert any(">CPU %" in line for line in lines)
    assert sum("/group" in line for line in lines) == 1
    assert lines[-1] == "done"
    state.typing = True
    assert "task1_" in screen(window(), state, 150, 30)[-1]


@pytest.mark.parametrize("sort", list(COLUMNS))
def test_the_column_that_sorts_is_shown_on_a_small_screen(sort):
    lines = screen(window(), ScreenState(sort=sort), 80, 24)
    [headings] = [line for line in lines if line.lstrip().startswith("TID")]
    assert f">{COLUMNS[sort][0]}" in headings
    assert len(headings) <= 80 and headings.count("us") >= 2


def test_where_nothing_is_found_it_says_so():
    assert any("nothing with 'x' in it" in line for line in screen(window(), ScreenState(text="x"), 80, 24))
    assert any("nothing ran" in line for line in screen(window(nr_rows=0), ScreenState(), 80, 24))


def test_histograms_are_drawn_as_high_as_they_count():
    counts = np.zeros(NR_BUCKETS, np.uint64)
    assert bars(counts) == ""
    counts[0] = 1
    counts[bucket_of(1e6)] = 10**6
    drawn = bars(counts)
    assert drawn[0] == "▁" and drawn.count("█") == 1 and len(drawn) == 50


@pytest.mark.parametrize("by", list(By))
def test_names_do_not_steer_the_terminal_or_shift_the_columns(by):
    evil = "\x1b[2J\n\u202e\x9b1m"
    row = LiveRow(1, evil, f"/group{evil}", 1, dict.fromkeys(COLUMNS, 1.0))
    state = ScreenState(by=by, text=evil, recording=evil, message=evil)
    lines = screen(window(rows=[row]), state, 200, 30)
    assert all(line.isprintable() for line in lines)
    shown = next(line for line in lines if "\\x1b[2J" in line and "1.0" in line)
    assert len(shown) == len(next(line for line in lines if ">" in line))
