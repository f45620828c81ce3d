import io
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.trace.formats.words import (
    Text,
    ends_with,
    highest_byte,
    leading_number,
    lowest_byte,
    matching,
    starts_with,
    trailing_number,
)

EIGHT = st.binary(min_size=8, max_size=8) | st.text("0123456789 :=", min_size=8, max_size=8).map(str.encode)


def as_words(texts):
    return np.array([int.from_bytes(text, "little") for text in texts], np.uint64)


@given(st.lists(EIGHT, min_size=1, max_size=50))
def test_numbers_are_read_as_a_regular_expression_reads_them(texts):
    first, first_digits = leading_number(as_words(texts))
    last, last_digits = trailing_number(as_words(texts))
    for k, text in enumerate(texts):
        head = b"".join(re.findall(rb"\A[0-9]+", text))
        tail = b"".join(re.findall(rb"[0-9]+\Z", text))
        assert (first_digits[k], last_digits[k]) == (len(head), len(tail))
        assert (first[k], last[k]) == (int(head or 0), int(tail or 0))


@given(st.lists(EIGHT, min_size=1, max_size=50), st.sampled_from(" ]:"))
def test_characters_are_found(texts, character):
    marks = matching(as_words(texts), character)
    assert lowest_byte(marks).tolist() == [t.find(character.encode()) % 9 for t in texts]
    assert highest_byte(marks).tolist() == [t.rfind(character.encode()) for t in texts]


def test_words_are_compared_by_their_ends():
    words = as_words([b"prev_pid", b"next_pid", b"sched:xx"])
    assert ends_with(words, "_pid").tolist() == [True, True, False]
    assert ends_with(words, "next_pid").tolist() == [False, True, False]
    assert starts_with(words, "sched:").tolist() == [False, False, True]


def test_text_is_read_on_behind_what_is_kept():
    text, stream = Text(16), io.BytesIO(b"one\ntwo\nthree\nfour\nfive")
    assert text.fill(stream, b"")
    assert text.raw.tobytes() == b"one\ntwo\nthree\nfo"
    assert text.find("\n").tolist() == [3, 7, 13]
    assert text.find_pair("tw").tolist() == [4]
    assert text.slice(8, 13) == b"three"
    assert text.fill(stream, b"fo")
    assert text.raw.tobytes() == b"four\nfive"
    assert not text.fill(stream, b"five")
    assert text.raw.tobytes() == b"five"
