"""Metrics are what textbooks and other libraries say they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from schedtuna.learn.problem import LearningRows
from schedtuna.learn.scoring import (
    area_under_curve,
    calibrate,
    chance,
    chosen_first,
    confusion,
    grouped_metrics,
    over_groups,
    reliability,
)

RANDOM = np.random.default_rng(3)


def rows(truth, *, group=None, choice=None, weight=None) -> LearningRows:
    truth = np.asarray(truth, bool)
    n = len(truth)
    return LearningRows(
        np.zeros((n, 1), np.uint16),
        truth.astype(float),
        truth,
        truth.astype(np.int64),
        np.ones(n) if weight is None else np.asarray(weight, float),
        np.zeros(n, np.int64) if group is None else np.asarray(group),
        np.full(n, -1) if choice is None else np.asarray(choice),
    )


def test_the_area_under_the_curve_is_mann_whitneys_statistic():
    truth = RANDOM.random(200) < 0.3
    score = np.round(truth + RANDOM.normal(0, 1, 200), 1)  # with ties
    u = stats.mannwhitneyu(score[truth], score[~truth]).statistic
    assert area_under_curve(truth, score, np.ones(200)) == pytest.approx(u / (truth.sum() * (~truth).sum()))


def test_weights_count_as_repeated_rows_do():
    truth, score = RANDOM.random(40) < 0.5, np.round(RANDOM.normal(size=40), 1)
    weight = RANDOM.integers(1, 5, 40)
    repeated = np.repeat(np.arange(40), weight)
    assert area_under_curve(truth, score, weight.astype(float)) == pytest.approx(
        area_under_curve(truth[repeated], score[repeated], np.ones(len(repeated)))
    )


def test_one_class_has_no_curve():
    assert area_under_curve(np.ones(3, bool), np.arange(3.0), np.ones(3)) is None


def test_an_interval_is_students_over_runs():
    values = [0.7, 0.8, 0.75, 0.9]
    found = over_groups("auc", values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, min(high, 1)))
    assert over_groups("auc", [0.7]).low is None
    assert over_groups("auc", []).mean is None


def test_each_run_counts_the_same_however_long():
    short, long = rows([True, False]), rows([True] * 50 + [False] * 50)
    both = rows(
        np.concatenate([short.truth, long.truth]), group=np.concatenate([np.zeros(2, int), np.ones(100, int)])
    )
    score = np.concatenate(
        [[1.0, -1.0], -np.where(long.truth, 1.0, -1.0)]
    )  # right in one, wrong in the other
    found = grouped_metrics("class", both, score, np.full(102, 0.5))
    assert found["auc"].mean == found["accuracy"].mean == 0.5
    assert found["log_loss_bits"].mean == pytest.approx(1.0)


def test_a_choice_is_foretold_by_the_greatest_score_and_ties_share():
    some = rows([1, 0, 0, 0, 1], choice=[0, 0, 0, 1, 1])
    assert chosen_first(some, np.array([3.0, 1, 2, 5, 4]), np.zeros(5)) == 0.5
    assert chosen_first(some, np.zeros(5), np.zeros(5)) == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert chance(some, np.zeros(5), np.zeros(5)) == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_calibrated_probabilities_come_true():
    score = RANDOM.normal(0, 2, 20_000)
    truth = RANDOM.random(20_000) < 1 / (1 + np.exp(-(0.7 * score - 0.5)))
    found = calibrate(rows(truth), score)
    assert (found.slope, found.offset) == pytest.approx((0.7, -0.5), abs=0.05)
    for told, was, _ in reliability(rows(truth), found.probability(score)):
        assert told == pytest.approx(was, abs=0.04)


def test_what_is_abstained_from_halves_the_error():
    score = RANDOM.normal(0, 2, 20_000)
    truth = RANDOM.random(20_000) < 1 / (1 + np.exp(-2 * score))
    found = calibrate(rows(truth), score)
    p = found.probability(score)
    wrong = (p > 0.5) != truth
    kept = np.abs(p - 0.5) >= found.abstain_below
    assert 0 < found.nr_abstained < 1
    assert wrong[kept].mean() == pytest.approx(wrong.mean() / 2, rel=0.02)
    assert (~kept).mean() == pytest.approx(found.nr_abstained, abs=0.001)


def test_scores_that_say_nothing_have_no_margin():
    truth = np.arange(1000) % 2 == 0
    assert calibrate(rows(truth), np.zeros(1000)).abstain_below is None


def test_a_score_that_is_the_wrong_way_round_is_not_turned():
    score = RANDOM.normal(0, 1, 500)
    assert calibrate(rows(score < 0), score).slope < 1e-3


def test_confusion_counts_truth_by_decision():
    assert confusion(rows([0, 0, 0, 1]), np.array([-1.0, 2, 2, 0])) == [[1, 2], [1, 0]]
