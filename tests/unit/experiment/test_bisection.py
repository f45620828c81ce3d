"""A search by halves, against lists whose answer is known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.evidence.result import Verdict
from schedtuna.experiment.bisection import BisectionEnd, bisect

DELTA = 0.03


def judge(costs, default, candidate):
    """What a comparison without noise says of a candidate."""
    ratio = costs[candidate] / costs[default]
    if ratio < 1 - DELTA:
        return Verdict.IMPROVED
    return Verdict.WORSE if ratio > 1 + DELTA else Verdict.NO_EVIDENCE


def found_in(costs):
    return bisect(len(costs), lambda default, candidate: judge(costs, default, candidate))


@given(st.integers(2, 40), st.data(), st.sampled_from([0.5, 0.9, 1.1, 3.0]))
def test_the_one_change_is_found_in_few_steps(nr_places, data, factor):
    first = data.draw(st.integers(1, nr_places - 1))
    found = found_in([1.0] * first + [factor] * (nr_places - first))
    assert (found.ended, found.before, found.first) == (BisectionEnd.FOUND, first - 1, first)
    assert found.newer_is_worse is (factor > 1)
    assert len(found.steps) <= math.ceil(math.log2(nr_places)) + 2
    assert found.error_bound == pytest.approx(min(1, 0.05 * len(found.steps)))


@given(st.lists(st.sampled_from([1.0, 1.2, 1.5, 0.8]), min_size=2, max_size=20))
def test_what_is_found_are_neighbours_that_differ_as_the_ends_do(costs):
    found = found_in(costs)
    if costs[0] == costs[-1]:
        assert found.ended is BisectionEnd.NO_CHANGE
    elif found.ended is BisectionEnd.FOUND:
        assert found.first == found.before + 1
        assert (costs[found.first] > costs[found.before]) is found.newer_is_worse is (costs[-1] > costs[0])
    else:
        assert found.ended is BisectionEnd.UNCONFIRMED


def test_a_change_in_small_steps_is_not_pinned_on_one_of_them():
    found = found_in([1.0, 1.02, 1.04, 1.06])
    assert found.ended is BisectionEnd.UNCONFIRMED
    assert found.newer_is_worse


@pytest.mark.parametrize("noisy", [0, 1, 2])
def test_noise_ends_the_search_and_keeps_what_is_known(noisy):
    costs = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0]
    asked = []

    def compare(default, candidate):
        asked.append((default, candidate))
        return Verdict.TOO_NOISY if len(asked) == noisy + 1 else judge(costs, default, candidate)

    found = bisect(len(costs), compare)
    assert found.ended is BisectionEnd.UNDECIDED
    assert len(found.steps) == noisy + 1
    assert found.before <= 3 < found.first
    assert (found.newer_is_worse is None) is (noisy == 0)


def test_two_releases_need_one_comparison():
    assert len(found_in([1.0, 2.0]).steps) == 1


def test_what_is_known_is_not_asked_again():
    found = found_in([1.0, 2.0, 2.0])
    assert [(step.default, step.candidate) for step in found.steps] == [(2, 0), (1, 0)]
    assert (found.ended, found.first, found.error_bound) == (BisectionEnd.FOUND, 1, pytest.approx(0.1))
