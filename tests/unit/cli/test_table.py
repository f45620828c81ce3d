import math

import pytest

from schedtuna.cli.progress import format_duration
from schedtuna.cli.table import number, table


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


def test_columns_are_aligned():
    assert table(["a", "bb"], [["long", "1"], ["x", "22"]]) == "a     bb\nlong   1\nx     22"


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (300, "5 min"), (9000, "2.5 h")])
def test_durations_are_spelt_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text
