"""Where a number ends: whole, or refused and shown whole, never its first digits."""

from __future__ import annotations

import re

import pytest

from schedtuna.errors import MetricError, UnclearNumberError
from schedtuna.workload.numerals import COUNT, NUMBER, Numeral, number, whole


def read(pattern: str, text: str) -> Numeral:
    return whole(list(re.finditer(pattern, text, re.MULTILINE))[-1])


@pytest.mark.parametrize(
    ("pattern", "text", "value"),
    [
        ("IOPS=([0-9.]+)", "IOPS=998, BW=4.8MiB/s", 998),
        ("IOPS=([0-9.]+)", "IOPS=1.21k, BW=4.8MiB/s", 1210),
        ("IOPS=([0-9.]+)", "IOPS=1.5M", 1.5e6),
        ("size ([0-9.]+)", "size 2Ki", 2048),
        ("IOPS=([0-9.]+)[kM]", "IOPS=1.21k,", 1210),  # either: what is printed counts
        ("IOPS=([0-9.]+)k", "IOPS=1.21k,", 1.21),  # spelt out
        ("IOPS=(\\S+)", "IOPS=1.21k", 1210),
        ("rate ([0-9.]+)", "rate 1.5e+06", 1.5e6),
        ("rate (\\S+)", "rate 1.5e+06", 1.5e6),
        ("score ([0-9.,]+)", "score 1,234.5, ok", 1234.5),
        ("score ([0-9.,]+)", "score 1.234,5", 1234.5),
        ("score ([0-9.,]+)", "score 1,234,567", 1234567),
        ("score ([0-9.,]+)", "score 12,5", 12.5),
        ("score ([0-9.,]+)", "score 0,998", 0.998),
        ("score ([0-9.]+)", "took long. score 12.", 12),
        ("(\\d+)%", "load 5%", 5),
        ("load ([0-9.]+)", "load 5%", 5),
        ("p99:([0-9.]+)", "p99:12", 12),
        ("cpu,(\\d+),(\\d+)", "cpu,123,456", 123),  # a row of a table
        ("mode ([0-9]+)", "mode 1080x720", 1080),
        ("^(\\d+)$", "5\n6", 6),
        ("x=(-?[0-9.]+)", "x=-5", -5),
        ("\\d+\\.\\d+", "took 12.5", 12.5),
    ],
)
def test_what_is_certain_is_read_whole(pattern, text, value):
    assert read(pattern, text).value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("pattern", "text", "shown"),
    [
        ("score ([0-9.]+)", "score 1,234.5 points", "1,234.5"),
        ("score (\\d+),", "score 1,234", "1,234"),
        ("score ([0-9.]+)", "score 1'234", "1'234"),
        ("score ([0-9.]+)", "score 1\u202f234", "1\u202f234"),
        ("score ([0-9.]+)", "score 1_234", "1_234"),
        ("score (\\d+)", "score 12.5", "12.5"),
        ("score (\\d\\d)", "score 1234", "1234"),
        ("elapsed ([0-9.]+)", "elapsed 0:12.34", "0:12.34"),
        ("took ([0-9.]+)", "took 1m2s", "1m2s"),
        ("flags ([0-9.]+)", "flags 0x1F", "0x1F"),
        ("worst ([0-9.]+)", "worst 1.#INF", "1.#INF"),
        ("IOPS=([0-9.]+)", "IOPS=1.21K, BW", "1.21K"),
        ("IOPS=([0-9.]+)[KM]", "IOPS=1.21K, BW", "1.21K"),
        ("(\\d+) ms", "lag 12.5 ms", "12.5"),
        ("(\\d+) ms", "lag 1,234 ms", "1,234"),
        ("([0-9.]+) ms", "lag -5 ms", "-5"),
        ("([0-9]+) ms", "lag .5 ms", ".5"),
        ("(\\d+) ops", "1e+06 ops", "1e+06"),
        ("score ([0-9.,]+)", "score 1,234", "1,234"),  # or 1.234?
        ("score (\\S+)", "score 1.21K", "1.21K"),
    ],
)
def test_what_is_not_certain_is_refused_and_shown_whole(pattern, text, shown):
    with pytest.raises(UnclearNumberError, match=re.escape(shown)) as told:
        read(pattern, text)
    assert told.value.hint


@pytest.mark.parametrize(
    ("pattern", "text", "unit"),
    [
        ("p99 ([0-9.]+)", "p99 12.5ms", "ms"),
        ("p99 ([0-9.]+)", "p99 12.5 us", "us"),
        ("BW=([0-9.]+)", "BW=4.8MiB/s (5.0MB/s)", "MiB/s"),
        ("p99 ([0-9.]+)(?:ms|us)", "p99 12.5ms", "ms"),
        ("p99 ([0-9.]+)ms", "p99 12.5ms", ""),  # spelt out: always this one
        ("score ([0-9.]+)", "score 12.5 points", ""),
    ],
)
def test_a_unit_that_the_value_leaves_out_is_told(pattern, text, unit):
    assert read(pattern, text).unit == unit


def test_times_are_converted_between_known_units_alone():
    assert Numeral(4.0, "ms").told_in("us") == Numeral(4000.0)
    assert Numeral(4.0, "MiB/s").told_in("us") == Numeral(4.0, "MiB/s")
    assert Numeral(4.0, "ms").told_in("score") == Numeral(4.0, "ms")


@pytest.mark.parametrize("text", ["", "abc", "-", "N/A"])
def test_what_is_not_a_number_is_the_runs_fault(text):
    with pytest.raises(MetricError) as told:
        number(text)
    assert not isinstance(told.value, UnclearNumberError)


@pytest.mark.parametrize("printed", ["13,550,135", "1.2k", "2.50k", "1'234", "1.2e", "12:30", "1.234.567"])
def test_parsers_patterns_match_no_part_of_a_number(printed):
    for pattern in (NUMBER, COUNT):
        found = re.search(rf"^rate {pattern}", f"rate {printed}")
        assert found is None or found[1] == printed, found
    assert re.search(rf"^rate {NUMBER}$", "rate 1.5e+06")


def test_a_pattern_over_megabytes_is_judged_by_its_lines():
    text = "x\n" * 2_000_000 + "score 1.5k"
    assert read("score ([0-9.]+)", text).value == 1500
