import itertools
import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, norm, rankdata

from schedtuna.evidence.permutation import (
    BlockCosts,
    align,
    double_midranks,
    normal_scores,
    pair_sigma,
    position_q,
    tails,
)


def enumerated(scores, candidate):
    """P-values by listing all relabellings."""
    sums = np.array([sum(choice) for choice in itertools.product(*scores)])
    observed = scores[np.arange(len(scores)), candidate].sum()
    return (sums <= observed + 1e-9).mean(), (sums >= observed - 1e-9).mean()


@pytest.mark.parametrize("seed", range(5))
def test_tails_are_those_of_all_relabellings(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-4, 5, (6, 3)).astype(float)  # whole numbers are exact on any grid
    candidate = rng.integers(0, 3, 6)
    found = tails(scores, candidate)
    assert (found.lower, found.upper) == pytest.approx(enumerated(scores, candidate), abs=1e-12)


def test_the_grid_of_scores_changes_little():
    rng = np.random.default_rng(3)
    scores = normal_scores(align(rng.normal(size=(8, 3))))
    candidate = rng.integers(0, 3, 8)
    found = tails(scores, candidate)
    assert (found.lower, found.upper) == pytest.approx(enumerated(scores, candidate), abs=0.01)


def test_the_tails_share_only_the_observed_sum():
    scores = np.array([[0.0, 1.0, 2.0]] * 3)
    found = tails(scores, np.array([0, 0, 0]))
    assert found.lower == pytest.approx(1 / 27)
    assert found.upper == pytest.approx(1.0)


def test_midranks_and_scores_match_scipy():
    values = np.random.default_rng(2).integers(0, 6, (7, 3)).astype(float)
    ranks = rankdata(values.ravel()).reshape(7, 3)
    assert double_midranks(values) == pytest.approx(2 * ranks)
    assert normal_scores(values) == pytest.approx(norm.ppf(ranks / 22))


def test_sigma_is_robust_against_outliers_and_drift():
    rng = np.random.default_rng(4)
    values = 0.05 * rng.normal(size=(2000, 3))
    values[rng.random((2000, 3)) < 0.02] += 1.0
    drift = np.linspace(0, 1, 2000)[:, None]
    assert pair_sigma(values + drift) == pytest.approx(0.05, rel=0.05)


def test_alignment_takes_off_levels_of_blocks_and_places_within_them():
    rng = np.random.default_rng(5)
    values = 0.01 * rng.normal(size=(30, 3))
    levels = rng.normal(size=(30, 1))
    plain = align(values)
    assert align(values + levels) == pytest.approx(plain, abs=1e-8)
    tilted = align(values + levels + np.array([0.2, 0.0, 0.0]))
    assert position_q(normal_scores(tilted)) < 4
    assert np.abs(np.median(tilted, axis=0)).max() < 1e-9


@pytest.mark.parametrize("struck", range(9))
def test_a_failure_never_settles_what_the_places_left_open(struck):
    values = np.random.default_rng(0).normal(0, 0.01, (9, 3))
    candidate = np.array([2, 2, 1, 2, 2, 2, 2, 2, 2])  # by chance nearly always in the last place
    values[np.arange(9), candidate] -= 0.35
    bound = 0.011
    assert BlockCosts(values, candidate).test().lower > bound
    values[struck, candidate[struck]] = math.inf
    assert BlockCosts(values, candidate).test().lower > bound


def test_position_statistic_ranks_places_like_friedman():
    """Within blocks of equal spread the aligned statistic and Friedman's agree on the finding."""
    rng = np.random.default_rng(6)
    values = rng.normal(size=(40, 3)) + np.array([0.0, 0.0, 0.8])
    scores = normal_scores(np.round(values - np.median(values, axis=1, keepdims=True), 10))
    assert math.exp(-position_q(scores) / 2) < 0.01
    assert friedmanchisquare(*values.T).pvalue < 0.01


def test_the_estimate_and_the_interval_follow_a_shift():
    rng = np.random.default_rng(7)
    values = 0.05 * rng.normal(size=(20, 3))
    candidate = rng.integers(0, 3, 20)
    plain = BlockCosts(values, candidate)
    moved = values.copy()
    moved[np.arange(20), candidate] += 0.3
    shifted = BlockCosts(moved, candidate)
    assert shifted.estimate() == pytest.approx(plain.estimate() + 0.3, abs=1e-3)
    low, high = plain.interval(0.01, plain.estimate(), {})
    moved_low, moved_high = shifted.interval(0.01, shifted.estimate(), {})
    assert (moved_low, moved_high) == pytest.approx((low + 0.3, high + 0.3), abs=2e-3)


def test_the_interval_ends_where_the_test_starts_to_reject():
    rng = np.random.default_rng(8)
    comparison = BlockCosts(0.05 * rng.normal(size=(15, 3)), rng.integers(0, 3, 15))
    low, high = comparison.interval(0.01, comparison.estimate(), {})
    assert comparison.test(high).lower <= 0.01 < comparison.test(high - 0.002).lower
    assert comparison.test(low).upper <= 0.01 < comparison.test(low + 0.002).upper


def test_identical_runs_are_all_ties():
    comparison = BlockCosts(np.zeros((8, 3)), np.array([0, 1, 2, 0, 1, 2, 0, 1]))
    assert (comparison.test().lower, comparison.test().upper) == pytest.approx((1.0, 1.0))
    assert comparison.estimate() == pytest.approx(0.0, abs=1e-6)
    assert comparison.interval(0.02, 0.0, {}) == pytest.approx((0.0, 0.0), abs=1e-5)


def test_noise_free_effects_are_found_exactly():
    candidate = np.array([0, 1, 2, 2, 1, 0])
    values = np.where(candidate[:, None] == np.arange(3), -0.1, 0.0)
    comparison = BlockCosts(values, candidate)
    assert comparison.test().lower == pytest.approx(3.0**-6)
    assert comparison.estimate() == pytest.approx(-0.1, abs=1e-5)


def test_nothing_bounds_the_effect_of_a_candidate_that_mostly_fails():
    rng = np.random.default_rng(9)
    values = 0.05 * rng.normal(size=(12, 3))
    candidate = np.arange(12) % 3
    values[np.arange(8), candidate[:8]] = np.inf
    comparison = BlockCosts(values, candidate)
    assert comparison.test().upper < 0.001
    assert comparison.estimate() == math.inf
    assert comparison.interval(0.01, comparison.estimate(), {})[1] == math.inf
