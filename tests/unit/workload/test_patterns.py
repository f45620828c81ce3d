"""Does a user's pattern mean what it means to Python, and does it end in time whatever it is?"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import UnclearNumberError, UsageError
from schedtuna.workload import patterns
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.patterns import last_match
from schedtuna.workload.sources import READERS

# Each takes Python's `re` minutes to hours.
SLOW = [
    (r"(\S+) \S+ ops", "a" * 40_000 + " ops"),
    (r"(\d+).*?\s.*?\s.*?op$", "1 " * 3000 + "op."),
    (r"^(.*?,){11}P(\d)", "P1" + "1," * 60),
]


@pytest.mark.parametrize(("pattern", "text"), SLOW)
def test_a_pattern_that_takes_too_long_ends_with_an_error_that_helps(pattern, text, monkeypatch):
    monkeypatch.setattr(patterns, "LIMIT_S", 0.2)
    with pytest.raises(UnclearNumberError, match=re.escape(f"{pattern!r} took over 0.2 s")) as caught:
        READERS["regex"](pattern, text)
    assert "score ([0-9.]+)" in caught.value.hint


def test_a_line_that_takes_python_the_square_of_its_length_is_quick():
    assert last_match(r"(\S+) ops", "a" * 1_000_000) is None


ATOMS = (
    "a",
    "b",
    "1",
    ".",
    r"\d",
    r"\w",
    r"\s",
    r"\S",
    "[ab1]",
    "[^a\n]",
    "[[:digit:]]",
    "[]a[]",
    r"[\]b[:ab1:]",
    r"\N{DIGIT ONE}",
    "{",
    "}",
    "{a}",
    r"\{",
    r"\b",
    "^",
    "$",
    " ",
)
REPEATS = ("", "", "", "?", "*", "+", "{2}", "{,2}", "{1,}", "*?", "+?", "{s}", "{i<=1}")


@st.composite
def expressions(draw, depth=2):
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        grouped = depth > 0 and draw(st.integers(0, 3)) == 0
        kind = draw(st.sampled_from(["(", "(?:", "(?=", "(?!", "(?<!a)("])) if grouped else ""
        part = f"{kind}{draw(expressions(depth=depth - 1))})" if grouped else draw(st.sampled_from(ATOMS))
        can_repeat = part not in ("^", "$", r"\b", "{", "}", "{a}") and not kind.startswith(("(?=", "(?!"))
        parts.append(part + (draw(st.sampled_from(REPEATS)) if can_repeat else ""))
    return "".join(parts) + (
        f"|{draw(expressions(depth=0))}" if depth and draw(st.integers(0, 5)) == 0 else ""
    )


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@settings(max_examples=400, deadline=None)
@given(pattern=expressions(), text=st.text("ab1 \n{}", max_size=12))
def test_a_pattern_finds_what_python_finds(pattern, text):
    try:
        expected = [*re.compile(pattern, re.MULTILINE).finditer(text)]
    except re.error:
        with pytest.raises(UsageError):
            last_match(pattern, text)
        return
    found = last_match(pattern, text)
    assert (found is not None) == bool(expected)
    if found is not None:
        last = expected[-1]
        assert (found.span(), found.span(min(1, found.re.groups))) == (
            last.span(),
            last.span(min(1, last.re.groups)),
        )


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", r"\p{L}", "(?<=a+)b"])
def test_what_is_no_pattern_is_refused_before_anything_runs(pattern):
    with pytest.raises(UsageError, match="is not a regular expression"):
        parse_metric(f"score:max=regex:{pattern}")
