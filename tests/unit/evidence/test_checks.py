import itertools
import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from schedtuna.evidence import checks


def slots_of(rng, blocks):
    return np.array([rng.permutation(3) for _ in range(blocks)])


def in_order(arms, slots):
    """Values by arm (n, 3) put into run order."""
    costs = np.empty_like(arms)
    np.put_along_axis(costs, slots, arms, axis=1)
    return costs


@pytest.mark.parametrize("seed", range(4))
def test_same_arm_is_wilcoxons_exact_test(seed):
    rng = np.random.default_rng(seed)
    slots = slots_of(rng, 12)
    arms = rng.normal(size=(12, 3))
    found = checks.same_arm(in_order(arms, slots), slots)
    differences = arms[:, 1] - arms[:, 0]
    assert found.p == pytest.approx(wilcoxon(differences, method="exact").pvalue)
    walsh = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(differences, 2)]
    assert found.shift == pytest.approx(np.median(walsh))
    # Tables of the signed-rank test: at n = 12 the 95% interval runs from the 14th Walsh average.
    assert (found.low, found.high) == pytest.approx((np.sort(walsh)[13], np.sort(walsh)[-14]))


def test_same_arm_raises_an_alarm_when_the_default_differs_from_itself():
    rng = np.random.default_rng(1)
    slots = slots_of(rng, 20)
    arms = 0.01 * rng.normal(size=(20, 3)) + np.array([0.0, 0.05, 0.0])
    assert checks.same_arm(in_order(arms, slots), slots).alarm


def test_same_arm_survives_failures_on_both_sides():
    rng = np.random.default_rng(2)
    slots = slots_of(rng, 8)
    arms = 0.01 * rng.normal(size=(8, 3))
    arms[0, :2] = np.inf
    arms[1, 0] = np.inf
    found = checks.same_arm(in_order(arms, slots), slots)
    assert math.isfinite(found.shift)
    assert 0 < found.p <= 1


def test_too_few_blocks_do_not_bound_the_noise():
    slots = slots_of(np.random.default_rng(3), 4)
    found = checks.same_arm(np.random.default_rng(3).normal(size=(4, 3)), slots)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_a_slow_first_run_is_noticed():
    rng = np.random.default_rng(6)
    slots = slots_of(rng, 20)
    costs = 0.03 * rng.normal(size=(20, 3)) + np.array([0.1, 0.0, 0.0])
    found = checks.positions(costs, slots, 0.0)
    assert found.alarm
    assert found.spread == pytest.approx(0.1, abs=0.04)


def test_slow_runs_have_the_chance_that_relabelling_gives():
    slots = np.array([[0, 1, 2]] * 9)
    costs = 0.01 * np.random.default_rng(7).normal(size=(9, 3))
    costs[2, 2] = costs[5, 2] = 1.0  # two blocks with one slow run, both the candidate's
    found = checks.slow_runs(costs, slots, 0.0)
    assert found.p == pytest.approx(1 / 9)
    assert (found.candidate, found.default) == pytest.approx((2 / 9, 0.0))
    assert found.worse
    costs[7, 0] = 1.0  # and a default's: at least two of three
    assert checks.slow_runs(costs, slots, 0.0).p == pytest.approx(1 / 27 + 3 * 2 / 27)


def test_failures_are_slow_runs():
    slots = np.array([[0, 1, 2]] * 9)
    costs = 0.01 * np.random.default_rng(8).normal(size=(9, 3))
    costs[[1, 4, 6], 2] = np.inf
    assert checks.slow_runs(costs, slots, 0.0).candidate == pytest.approx(3 / 9)


def test_the_mean_ratios_interval_covers():
    """Nominally 95%; the lower limit is four standard errors below."""
    rng = np.random.default_rng(9)
    hits = 0
    for _ in range(400):
        slots = slots_of(rng, 15)
        arms = rng.normal(10.0, 1.0, size=(15, 3)) * np.array([1.0, 1.0, 0.9])
        means = checks.mean_ratio(in_order(arms, slots), slots, sign=1)
        hits += means.low <= 0.9 <= means.high
    assert hits / 400 > 0.906


@pytest.mark.parametrize(("sign", "worse"), [(1, True), (-1, False)])
def test_a_higher_mean_is_worse_where_less_is_better(sign, worse):
    rng = np.random.default_rng(10)
    slots = slots_of(rng, 15)
    arms = rng.normal(10.0, 0.1, size=(15, 3)) + np.array([0.0, 0.0, 1.0])
    assert checks.mean_ratio(in_order(arms, slots), slots, sign=sign).worse is worse


def test_means_leave_failed_runs_to_the_slow_runs():
    slots = np.array([[0, 1, 2]] * 5)
    values = np.full((5, 3), 10.0)
    values[0, 2] = values[1, 0] = np.nan
    assert checks.mean_ratio(values, slots, sign=1).ratio == pytest.approx(1.0)
    values[:, 2] = np.nan
    assert math.isnan(checks.mean_ratio(values, slots, sign=1).ratio)
