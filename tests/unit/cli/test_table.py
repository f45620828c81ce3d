import math

import pytest

from schedtuna.cli.progress import format_duration
from schedtuna.cli.table import described, number, spelled_size, table, wrapped


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234.56, "1235"),
        (99999.6, "100000"),
        (0.012345, "0.01235"),
        (1e-9, "1.000e-09"),
        (2.5e9, "2.500e+09"),
        (-3.0, "-3"),
        (math.nan, "-"),
        (None, "-"),
        (math.inf, "inf"),
    ],
)
def test_numbers_have_four_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("memory_bytes", 34892311.55, "34,892,312"),
        ("io_read_bytes_per_s", 0.4, "0"),
        ("cache_bytes", -0.4, "0"),
        ("max_rss_kib", 5123.5, "5,124"),
        ("cpu.rss_max_kib", 34892311.0, "34,892,311"),
        ("nr_switches", 34892311.5, "34,892,312"),
        ("nr_active_threads", 2.4, "2.4"),
        ("memory_bytes", math.nan, "-"),
        ("memory_bytes", None, "-"),
        ("ops_per_s", 34892311.55, "3.489e+07"),
    ],
)
def test_what_has_no_fractions_is_whole(name, value, text):
    assert number(value, name) == text


def test_more_digits_are_told_where_they_are_asked_for():
    assert number(1234.5678, digits=6) == "1234.57"


def test_columns_are_aligned():
    assert table(["a", "bb"], [["long", "1"], ["x", "22"]]) == "a     bb\nlong   1\nx     22"


ROWS = [["nice=5, policy=batch, slice_us=500, timer_slack_us=9", "12345", "6"], ["x", "1", "23456"]]


@pytest.mark.parametrize("width", [70, 60, 50, 40])
def test_a_table_fits_where_lines_are_short_and_keeps_every_word(width):
    text = table(["settings", "runs", "failed"], ROWS, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert sorted(text.split()) == sorted(" ".join(["settings runs failed", *map(" ".join, ROWS)]).split())


def test_columns_that_do_not_fit_beside_the_others_follow_below():
    text = table(["name", "one", "two"], [["a", "1" * 8, "2" * 8]], width=16)
    assert text == "name       one\na     11111111\n\nname       two\na     22222222"


def test_a_table_is_as_wide_as_it_is_without_a_terminal():
    assert len(table(["settings", "runs", "failed"], ROWS).splitlines()) == 3
    assert wrapped("word " * 40, indent=4) == "    " + "word " * 40


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (300, "5 min"), (9000, "2.5 h")])
def test_durations_are_spelt_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text


SENTENCE = "Utilisation above which it behaves as loaded, and spreads its tasks over all of the cores."
DESCRIBED = [
    ["slice_us", "5000", "1000 to 100000 us", "Base time slice."],
    ["scheduling_policy", "default", "default performance powersave latency balanced turbo all", SENTENCE],
    ["x", "0", "0 to 1", ""],
]
HEADINGS = ["parameter", "default", "values", "what it does"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_sentences_can_be_read_at_every_width_and_keep_every_word(width):
    text = described(HEADINGS, DESCRIBED, width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert sorted(text.split()) == sorted(" ".join(" ".join(row) for row in [HEADINGS, *DESCRIBED]).split())
    beside = next(line for line in lines if line.startswith("slice_us"))
    below = "    Base time slice." in lines
    assert below != beside.endswith("Base time slice.")
    assert below == (width < 100)


def test_in_a_pipe_each_row_is_a_line():
    lines = described(HEADINGS, DESCRIBED).splitlines()
    assert len(lines) == 4
    assert lines[2].endswith(SENTENCE)
    assert lines[2].startswith("scheduling_policy  default  default performance")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (18_500, "18.5 kB"), (3_200_000, "3.2 MB"), (5e9, "5 GB")]
)
def test_sizes_are_spelled_in_units_that_fit(count, text):
    assert spelled_size(count) == text
