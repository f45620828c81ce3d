"""Bins, against whole numbers of any size."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import ModelError
from schedtuna.model.bins import Bins

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def bins(draw) -> Bins:
    """Any that there can be."""
    if draw(st.booleans()):
        lo = draw(INT64.filter(lambda value: value < 2**63 - 2))
        hi = draw(
            st.integers(lo + 1, min(lo + draw(st.sampled_from([9, 300, 2**20, 2**33, 2**64])), 2**63 - 1))
        )
        return Bins("linear", lo, hi, draw(st.integers(2, min(hi - lo + 1, 65536))))
    per_octave = 1 << draw(st.integers(0, 12))
    lo = draw(st.sampled_from([0, 1, 1000, 2**40]))
    hi = draw(st.integers(lo + 1, 2**63 - 1))
    most = log2_index(hi, per_octave) - log2_index(lo, per_octave) + 1
    if most < 2:
        return Bins("log2", lo, 2**63 - 1, 2, per_octave)
    return Bins("log2", lo, hi, draw(st.integers(2, min(most, 65536))), per_octave)


def log2_index(value: int, per_octave: int) -> int:
    """Octaves of equal bins, as the definition has it."""
    if value < per_octave:
        return value
    octave = value.bit_length() - per_octave.bit_length()  # 0: the first whose bins are 1 wide
    return per_octave * octave + (value >> octave)


def rule(of: Bins, value: int) -> int:
    """A bin by whole numbers alone."""
    value = min(max(value, of.lo), of.hi)
    if of.kind == "log2":
        found = log2_index(value, of.per_octave) - log2_index(of.lo, of.per_octave)
        return min(found, of.nr_bins - 1)
    shift = max((of.hi - of.lo).bit_length() - 32, 0)
    steps = ((of.hi - of.lo) >> shift) + 1
    multiplier = math.ceil(Fraction(of.nr_bins * 2**47, steps))
    product = ((value - of.lo) >> shift) * multiplier
    assert product < 2**64
    return min(product >> 47, of.nr_bins - 1)


@given(bins(), st.lists(INT64, min_size=1, max_size=20), st.data())
def test_a_bin_is_the_rules(of, values, data):
    near = [of.lo, of.hi, *of.edges()[:: max(of.nr_bins // 50, 1)].tolist()]
    values = [*values, *near, *(max(edge - 1, -(2**63)) for edge in near)]
    values.append(data.draw(st.integers(of.lo, of.hi)))
    found = of.quantise(np.asarray(values, np.int64))
    assert found.dtype == np.uint16
    assert found.tolist() == [rule(of, value) for value in values]


@given(bins())
def test_each_bin_begins_at_its_edge(of):
    edges = of.edges()
    assert edges.dtype == np.int64 and len(edges) == of.nr_bins
    assert edges[0] == of.lo
    assert np.array_equal(of.quantise(edges), np.arange(of.nr_bins))
    assert np.array_equal(of.quantise(edges[1:] - 1), np.arange(of.nr_bins - 1))


@given(st.integers(-(2**40), 2**40), st.integers(1, 2**23), st.data())
def test_a_small_range_is_divided_exactly(lo, span, data):
    of = Bins("linear", lo, lo + span, data.draw(st.integers(2, min(span + 1, 65536))))
    values = np.asarray([data.draw(st.integers(0, span)) for _ in range(20)])
    assert of.quantise(lo + values).tolist() == [v * of.nr_bins // (span + 1) for v in values.tolist()]


def test_octaves_have_bins_of_equal_width():
    of = Bins("log2", 0, 127, 24, per_octave=4)
    assert of.edges().tolist() == [
        *range(8),
        *range(8, 16, 2),
        *range(16, 32, 4),
        *range(32, 64, 8),
        *range(64, 128, 16),
    ]
    assert Bins("log2", 1000, 10**9, 70, per_octave=4).edges()[:3].tolist() == [1000, 1024, 1280]


def test_values_outside_are_clamped_and_unsigned_ones_too():
    of = Bins("linear", 10, 19, 10)
    assert of.quantise(np.asarray([-(2**63), 9, 10, 19, 20, 2**63 - 1])).tolist() == [0, 0, 0, 9, 9, 9]
    assert of.quantise(np.asarray([2**64 - 1, 0], np.uint64)).tolist() == [9, 0]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (("cubic", 0, 9, 2), "linear or log2"),
        (("linear", 9, 9, 2), "lo < hi"),
        (("linear", 0, 2**63, 2), "64-bit"),
        (("linear", 0, 9, 1), "2 to 65536"),
        (("linear", 0, 9, 65537), "2 to 65536"),
        (("linear", 0, 9, 11), "at most 10"),
        (("linear", 0, 9, True), "integer"),
        (("linear", 0.5, 9, 2), "integer"),
        (("linear", 0, 9, 2, 4), "no per_octave"),
        (("log2", -1, 9, 2, 4), "begin at 0"),
        (("log2", 0, 9, 2, 3), "power of two"),
        (("log2", 0, 9, 2), "power of two"),
        (("log2", 0, 9, 10, 4), "at most 9"),
    ],
)
def test_bins_that_cannot_be_are_refused(fields, told):
    with pytest.raises(ModelError) as error:
        Bins(*fields)
    assert told in f"{error.value} {error.value.hint}"


def test_only_integers_are_binned():
    with pytest.raises(ModelError, match="integers"):
        Bins("linear", 0, 9, 2).quantise([0.5])


@pytest.mark.filterwarnings("error")
def test_a_single_number_is_binned_as_one_of_many():
    for bins in (Bins("linear", -50, 1049, 11), Bins("log2", 0, 1023, 36, 4)):
        assert bins.quantise(5) == bins.quantise([5, 7])[0]
