"""What foreign text can look like on a terminal, over any text that Python can hold."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.cli.common import parse_duration
from schedtuna.printable import exact, printable, printable_lines

UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # by Unicode's own table
SEQUENCES = [
    "\x1b[2J",  # CSI: clears the screen
    "\x9b31m",  # the same in one character of C1
    "\x1b]0;title\x07",  # OSC: the window's title
    "\x1b]52;c;ZWNobw==\x1b\\",  # OSC 52: the clipboard
    "\x1b]8;;http://example.invalid\x1b\\",  # a link
    "\x1bP+q\x1b\\",  # DCS
    "\r\x1b[K",
    "\b\b\b",
    "\x00",
    "\x7f",
    "\u202eevil\u202c",
    "\u2066\u2069",
    "\u200b\u200d\ufeff",
    "\u2028\u2029\x85\v\f",
    "\udc9b\ud800",
    "\U000e0041",
]
FOREIGN = st.lists(
    st.one_of(
        st.sampled_from(SEQUENCES),
        st.text(),
        st.characters(categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"), codec=None),
    ),
    max_size=8,
).map("".join)


def unseen(text):
    return [character for character in text if unicodedata.category(character) in UNSEEN]


@settings(max_examples=1000)
@given(FOREIGN)
def test_a_name_is_one_line_of_visible_characters(text):
    shown = printable(text)
    assert not unseen(shown)
    assert len(shown.splitlines()) <= 1
    assert shown.encode().decode() == shown  # no surrogate is left
    assert printable(shown) == shown


@settings(max_examples=1000)
@given(FOREIGN)
def test_several_lines_keep_their_layout_and_nothing_else(text):
    shown = printable_lines(text)
    assert set(unseen(shown)) <= {"\n", "\t"}
    assert shown.count("\n") == text.count("\n")
    assert printable_lines(shown) == shown
    assert printable(shown) == printable(text)


@given(st.text(st.characters(exclude_characters="\\", codec=None)))
def test_without_backslashes_the_text_can_be_read_back(text):
    spelled = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[ntr])")
    simple = {"n": "\n", "t": "\t", "r": "\r"}
    back = spelled.sub(lambda match: simple.get(match[1]) or chr(int(match[1][1:], 16)), printable(text))
    assert back == text


@pytest.mark.parametrize("text", ["", "stress-ng-cpu", "größe λ 任务 🙂", "regex:p99 (\\d+) [bold]"])
def test_what_is_visible_stays_as_it_is(text):
    assert printable(text) == printable_lines(text) == text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**9), 10**9))
def test_exact_numbers_read_back(value):
    text = exact(value)
    assert float(text) == value
    assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text)


@given(st.floats(0, 365 * 86400))
def test_exact_durations_are_durations(seconds):
    assert parse_duration(f"{exact(seconds)}s") == seconds
