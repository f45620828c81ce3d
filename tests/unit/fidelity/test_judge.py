"""The judgement of model against machine, on data of which theory knows the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from schedtuna.fidelity import rules
from schedtuna.fidelity.judge import (
    CellOutcome,
    ChangeEffect,
    cells_agree,
    difference_interval,
    differences_agree,
    judge_cell,
    log_ratio,
    moves,
    self_difference,
    times_off,
)
from schedtuna.fidelity.rules import Tolerance

FIVE_PERCENT = Tolerance(0.05)


def test_the_interval_is_that_of_welch():
    random = np.random.default_rng(1)
    real, model = random.normal(10, 1, 12), random.normal(11, 2, 20)
    low, high = difference_interval(real, model)
    theirs = stats.ttest_ind(model, real, equal_var=False).confidence_interval(0.90)
    assert (low, high) == pytest.approx((theirs.low, theirs.high))


def test_one_run_proves_nothing():
    assert difference_interval([1.0], [1.0, 1.0]) == (-math.inf, math.inf)
    assert judge_cell("load", "m", [1.0], [1.0, 1.0], FIVE_PERCENT).outcome is not CellOutcome.PASS


def judged(shift: float, spread: float, runs: int = 10, seed: int = 0) -> CellOutcome:
    random = np.random.default_rng(seed)
    real = random.normal(100, spread, runs)
    model = random.normal(100 * (1 + shift), spread, 20)
    return judge_cell("load", "m", real, model, FIVE_PERCENT).outcome


def test_at_the_edge_of_the_tolerance_few_pass():
    """Two one-sided tests at 5%: a model that is off by the tolerance passes in 5% of studies."""
    for shift in (0.05, -0.05):
        passed = sum(judged(shift, 2.0, seed=seed) is CellOutcome.PASS for seed in range(1000))
        assert stats.binomtest(passed, 1000, 0.05).pvalue > 1e-3


def test_equal_ones_pass_where_the_power_is_there():
    # The standard error is 2 * sqrt(1/10 + 1/20) = 0.77 of a tolerance of 5: t = 6.5, the power is above 99%.
    assert sum(judged(0.0, 2.0, seed=seed) is CellOutcome.PASS for seed in range(200)) >= 195


def test_what_is_off_fails_and_what_is_noisy_never_passes():
    assert judged(0.15, 1.0) is CellOutcome.FAIL
    outcomes = {judged(0.0, 30.0, seed=seed) for seed in range(50)}
    assert outcomes == {CellOutcome.TOO_NOISY}


def test_few_runs_that_agree_by_chance_are_no_quiet_machine():
    assert self_difference([100.0, 100.0, 140.0, 140.0]) > rules.MOST_AA
    assert self_difference([100.0] * 6) == 0
    assert self_difference([0.0] * 6) == 0


def test_disturbed_and_insensitive_cells_do_not_pass():
    same = [1.0, 1.01, 0.99, 1.0]
    assert judge_cell("l", "m", same, same, FIVE_PERCENT, disturbed="steal").outcome is CellOutcome.TOO_NOISY
    assert judge_cell("l", "m", same, same, FIVE_PERCENT, insensitive="no").outcome is CellOutcome.INSENSITIVE


@pytest.mark.parametrize(
    ("value", "tolerance", "allowed"),
    [
        (1000.0, Tolerance(0.15, 20), 150.0),
        (100.0, Tolerance(0.15, 20), 20.0),
        (50.0, Tolerance(0, 0.5), 0.5),
    ],
)
def test_tolerances_have_floors(value, tolerance, allowed):
    assert tolerance.of(value) == pytest.approx(allowed)


def test_a_metric_counts_if_it_moves_by_two_tolerances():
    assert moves([100.0], [110.0], FIVE_PERCENT)
    assert not moves([100.0], [109.0], FIVE_PERCENT)
    assert moves([100.0], [90.0], FIVE_PERCENT)


def cell(outcome: CellOutcome, real: float = 1.0, model: float = 1.0):
    kind = {
        CellOutcome.TOO_NOISY: {"disturbed": "x"},
        CellOutcome.INSENSITIVE: {"insensitive": "x"},
    }.get(outcome, {})
    real_side, model_side = [real] * 4, [model] * 4
    made = judge_cell("l", "m", real_side, model_side, FIVE_PERCENT, **kind)
    assert made.outcome is outcome
    return made


PASS, FAIL = cell(CellOutcome.PASS), cell(CellOutcome.FAIL, 1.0, 1.5)
NOISY, NONE = cell(CellOutcome.TOO_NOISY), cell(CellOutcome.INSENSITIVE)


@pytest.mark.parametrize(
    ("cells", "agree"),
    [
        ([PASS] * 4 + [FAIL], True),
        ([PASS] * 3 + [FAIL], False),
        ([PASS] * 4 + [NOISY], True),
        ([PASS] * 3 + [NOISY], False),
        ([PASS] + [NONE] * 9, True),
        ([NONE] * 9, False),
        ([PASS] * 99 + [cell(CellOutcome.FAIL, 1.0, 2.1)], False),
        ([PASS] * 99 + [cell(CellOutcome.FAIL, 2.1, 1.0)], False),
    ],
)
def test_four_in_five_must_pass_and_none_be_off_by_twice(cells, agree):
    assert cells_agree(cells)[0] is agree


def test_times_off():
    assert times_off(2, 1) == times_off(1, 2) == 2
    assert times_off(0, 0) == 1
    assert times_off(0, 1) == math.inf


def difference(real: float, model: float, half: float = 0.01, name: str = "c") -> ChangeEffect:
    return ChangeEffect(name, "m", real, model, real - half, real + half)


REAL = np.linspace(-1, 1, 13)


def test_differences_that_are_the_machines_agree():
    found = differences_agree([difference(real, 1.2 * real) for real in REAL])
    assert found.agrees, found.reason
    assert found.slope == pytest.approx(1.2)
    assert found.rank_correlation == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("differences", "why"),
    [
        ([difference(real, 0.0 if real == REAL[0] else real) for real in REAL], "sign"),
        ([difference(real, -real if real == REAL[0] else real) for real in REAL], "sign"),
        ([difference(real, 0.5 * real) for real in REAL], "slope"),
        ([difference(real, 1.6 * real) for real in REAL], "slope"),
        ([difference(real, real) for real in REAL[:11]], "only 11"),
        ([difference(real, abs(real), half=2) for real in REAL], "rank"),
    ],
)
def test_differences_that_are_not_do_not(differences, why):
    found = differences_agree(differences)
    assert not found.agrees
    assert why in found.reason


def test_a_sign_counts_only_where_the_machine_has_a_verdict():
    found = differences_agree([difference(real, real) for real in REAL] + [difference(0.01, -0.01, half=0.1)])
    assert found.agrees, found.reason


def test_log_ratios_are_of_after_to_before():
    found = log_ratio("c", "m", ([1.0, 1.0, 1.1], [2.0, 2.0, 2.2]), ([3.0, 3.0], [1.5, 1.5]))
    assert found.real == pytest.approx(math.log(2))
    assert found.model == pytest.approx(-math.log(2))
    assert found.has_verdict
    assert not found.sign_is_right
