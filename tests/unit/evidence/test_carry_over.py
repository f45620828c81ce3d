import numpy as np
import pytest

from schedtuna.evidence.carry_over import blocks_to_tell, measure, plausible
from schedtuna.evidence.permutation import BlockCosts


def test_what_a_candidate_leaves_behind_is_found_and_taken_off():
    rng = np.random.default_rng(4)
    candidate = rng.integers(0, 3, 27)
    after = np.roll((candidate[:, None] == np.arange(3)).ravel(), 1)
    after[0] = False
    costs = 0.02 * rng.normal(size=(27, 3)) + 0.06 * after.reshape(27, 3)
    comparison = BlockCosts(costs, candidate)
    found = measure(comparison, comparison.estimate())
    assert found.alarm
    assert found.shift == pytest.approx(0.06, abs=0.02)
    assert abs(found.effect) < abs(comparison.estimate())


def test_carry_over_p_values_are_uniform_without_one():
    """Also with an effect, which the check must not mistake for a carry-over."""
    rng = np.random.default_rng(5)
    p_values = []
    for _ in range(200):
        candidate = rng.integers(0, 3, 13)
        costs = 0.05 * rng.normal(size=(13, 3)) - 0.1 * (candidate[:, None] == np.arange(3))
        comparison = BlockCosts(costs, candidate)
        p_values.append(measure(comparison, comparison.estimate()).p)
    assert np.mean(np.array(p_values) < 0.1) < 0.17  # 99.9% of a binomial (200, 0.1)
    assert 0.38 < np.mean(np.array(p_values) < 0.5) < 0.62


def test_a_candidate_that_always_fails_leaves_nothing_to_measure():
    candidate = np.arange(9) % 3
    costs = 0.01 * np.random.default_rng(6).normal(size=(9, 3))
    costs[np.arange(9), candidate] = np.inf
    comparison = BlockCosts(costs, candidate)
    found = measure(comparison, comparison.bounded(comparison.estimate()))
    assert 0 < found.p <= 1
    assert np.isfinite(found.effect)


def test_few_blocks_take_off_no_more_than_is_plausible():
    """Unless p says that something is there."""
    rng = np.random.default_rng(7)
    for _ in range(60):
        candidate = rng.integers(0, 3, 4)
        costs = 0.1 * rng.normal(size=(4, 3)) - 0.3 * (candidate[:, None] == np.arange(3))
        comparison = BlockCosts(costs, candidate)
        effect = comparison.estimate()
        found = measure(comparison, effect)
        assert found.binding
        assert found.plausible == plausible(effect)
        if not found.suspected:
            assert abs(found.shift) <= found.plausible


def test_the_blocks_that_would_tell_do():
    """In nine of ten studies; 21 of 30 are the least that such a chance leaves likely (99.9%)."""
    sigma, residue = 0.02, 0.03
    blocks = blocks_to_tell(sigma, residue)
    rng = np.random.default_rng(8)
    alarms = 0
    for _ in range(30):
        candidate = rng.integers(0, 3, blocks)
        after = np.roll((candidate[:, None] == np.arange(3)).ravel(), 1)
        after[0] = False
        costs = sigma * rng.normal(size=(blocks, 3)) + residue * after.reshape(blocks, 3)
        comparison = BlockCosts(costs, candidate)
        alarms += measure(comparison, comparison.estimate()).alarm
    assert alarms >= 21
    assert blocks_to_tell(2 * sigma, residue) == pytest.approx(4 * blocks, rel=0.2)
    assert blocks_to_tell(0.0, residue) == 8
