"""Where a number ends: whole, or refused and shown whole, never its first digits."""

from __future__ import annotations

import re

import pytest

from schedtuna.errors import MetricError, UnclearNumberError
from schedtuna.workload.numerals import COUNT, NUMBER, Numeral, is_same_unit, number, whole
from schedtuna.workload.patterns import last_match


def read(pattern: str, text: str) -> Numeral:
    return whole(last_match(pattern, text))


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
        ("^\\d+,(\\d+),", "1,2,3", 2),  # a number in no language
        ("^[^,]*,([0-9.]+)", "7,12.5,88", 12.5),
        ("score ([0-9.]+)", "score 1e+06. Done", 1e6),
        ("real\\s+0m([0-9.]+)s", "real\t0m1.5s", 1.5),
        ("m([0-9.]+)s", "real\t0m1.5s", 1.5),
        ("Elapsed.*:([0-9.]+)", "Elapsed (m:ss): 0:01.50", 1.5),
        ("\\d+:(\\d+)$", "5:12", 12),  # spelt out
        ("CPU1:(\\d+)", "CPU1:12", 12),
        ("^CPU.*:(\\d+)", "CPU1:12", 12),
        ("\\d+:\\d+:\\d+ (\\d+)", "12:30:01 7", 7),
        ("(\\d+) ops", "3 100 ops", 100),  # two columns, for all that is known
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
        ("(?<=total\\n)score ([0-9]+)", "total\nscore 1,234", "1,234"),  # which looks at another line
        ("(?s)score (\\d+).*end", "score 1,234\nend", "1,234"),
        ("score ([0-9.]+)", "score 1\u202f234", "1\u202f234"),
        ("score ([0-9.]+)", "score 1_234", "1_234"),
        ("score (\\d+)", "score 12.5", "12.5"),
        ("score (\\d\\d)", "score 1234", "1234"),
        ("elapsed ([0-9.]+)", "elapsed 0:12.34", "0:12.34"),
        ("took ([0-9.]+)", "took 1m2s", "1m2s"),
        ("m([0-9.]+)s", "took 1m2s", "1m2s"),
        ("m([0-9.]+)s", "took 10m2s", "10m2s"),
        ("Elapsed.*:([0-9.]+)", "Elapsed (m:ss): 1:02.50", "1:02.50"),
        (":([0-9.]+)", "took 1:02.5", "1:02.5"),
        ("([0-9.]+)$", "took 1:00:02", "1:00:02"),
        ("(\\d+) ops", "5 000 ops", "000"),
        ("(\\d+) ops", "1 045 ops", "045"),
        ("score ([0-9.]+)", "score 5 000 points", "5 000"),
        ("score (\\d+) ", "score 12 345 000", "12 345 000"),
        ("^a,([0-9.]+)", "a,5,6", "5,6"),  # or 5.6
        ("score ([0-9]+)", "score 1,2345,6789", "1,2345,6789"),
        ("score ([0-9]+)", "score 1,23,456", "1,23,456"),
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
        ("took ([0-9.]+)", "took 12ns/op", "ns/op"),
        ("rate ([0-9.]+)", "rate 1.5 Mops/s", "Mops/s"),
        ("rate ([0-9.]+)", "rate 1.5kops", "kops"),
        ("rate ([0-9.]+)", "rate 1.5 k", "k"),
        ("rate ([0-9.]+)", "rate 1.5 M/s", "M/s"),
        ("clock ([0-9.]+)", "clock 1.5GHz", "GHz"),
        ("load ([0-9.]+)", "load 5%", "%"),
        ("rate ([0-9.]+)kops", "rate 1.5kops", ""),
        ("a([0-9.]+)", "a12p50=3", ""),
    ],
)
def test_a_unit_that_the_value_leaves_out_is_told(pattern, text, unit):
    assert read(pattern, text).unit == unit


def test_times_are_converted_between_known_units_alone():
    assert Numeral(4.0, "ms").told_in("us") == Numeral(4000.0)
    assert Numeral(4.0, "ms/op").told_in("us") == Numeral(4000.0)
    assert Numeral(4.0, "MiB/s").told_in("us") == Numeral(4.0, "MiB/s")
    assert Numeral(4.0, "ms").told_in("score") == Numeral(4.0, "ms")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sec", "s", True), ("us/op", "µs/ops", True), ("op", "ops", True), ("minute", "m", True),
        ("byte", "bytes", True), ("MB/s", "MB/sec", True), ("", "", True),
        ("us", "ms", False), ("Mb", "MB", False), ("ops", "kops", False), ("", "ms", False),
        ("ns", "ns/op", False), ("m", "ms", False),
    ],
)  # fmt: skip
def test_units_are_the_same_however_they_are_spelt(one, other, same):
    assert is_same_unit(one, other) is is_same_unit(other, one) is same


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
