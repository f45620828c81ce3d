import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import UsageError
from schedtuna.kernel.btf import Integer
from schedtuna.kernel.settings import parse_integer

TYPES = st.builds(Integer, st.sampled_from([1, 2, 4, 8]), st.booleans()) | st.just(Integer(1, boolean=True))


@given(TYPES, st.integers(-(2**65), 2**65), st.sampled_from(["{}", "{:#x}", "{:#o}", "{:#b}", " {} "]))
def test_what_a_type_holds_is_taken_in_any_base_and_nothing_else(type_, value, form):
    low, high = type_.bounds
    text = form.format(value)
    if low <= value <= high:
        assert parse_integer("a", text, type_) == value
        if not type_.boolean:
            assert (
                int.from_bytes(
                    value.to_bytes(type_.size, "little", signed=type_.signed), "little", signed=type_.signed
                )
                == value
            )
    else:
        with pytest.raises(UsageError, match="out of bounds"):
            parse_integer("a", text, type_)


@pytest.mark.parametrize(("text", "value"), [("true", 1), ("No", 0), ("on", 1), ("off", 0)])
def test_words_are_numbers(text, value):
    assert parse_integer("a", text, Integer(1, boolean=True)) == parse_integer("a", text, Integer(4)) == value


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e3", "--1", "0x", "nan", "1_"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(UsageError, match="expected a whole number"):
        parse_integer("a", text, Integer(4))
