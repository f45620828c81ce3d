import math

import numpy as np
import pytest

from schedtuna.evidence.spreads import LEAST_ROUNDS, cv_ratio, mean_ratio


def noise(rng, kind, count):
    if kind == "normal":
        return 1 + 0.05 * rng.normal(size=count)
    if kind == "log-normal":
        return np.exp(0.5 * rng.normal(size=count))
    wandering = np.zeros(count)
    for at in range(1, count):
        wandering[at] = 0.6 * wandering[at - 1] + 0.8 * rng.normal()
    return 1 + 0.05 * wandering


@pytest.mark.parametrize(("kind", "least"), [("normal", 0.91), ("log-normal", 0.91), ("wandering", 0.86)])
def test_intervals_cover_the_true_ratios(kind, least):
    rng = np.random.default_rng(1)
    covered = np.zeros(2)
    for _ in range(400):
        first, second = noise(rng, kind, 60), 1.3 * noise(rng, kind, 60)
        found = mean_ratio(first, second), cv_ratio(first, second)
        for at, (one, true) in enumerate(zip(found, (1.3, 1.0), strict=True)):
            covered[at] += one.ci95[0] <= true <= one.ci95[1]
    assert (covered / 400 > least).all(), covered
    assert (covered / 400 < 0.995).all(), covered


def test_ratios_are_those_of_means_and_of_coefficients_of_variation():
    rng = np.random.default_rng(2)
    first, second = rng.gamma(4, size=40).tolist(), (3 * rng.gamma(9, size=40)).tolist()
    assert mean_ratio(first, second).ratio == pytest.approx(np.mean(second) / np.mean(first))
    cvs = [np.std(values, ddof=1) / np.mean(values) for values in (first, second)]
    assert cv_ratio(first, second).ratio == pytest.approx(cvs[1] / cvs[0])
    back = mean_ratio(second, first)
    assert back.ci95 == pytest.approx([1 / end for end in reversed(mean_ratio(first, second).ci95)])


def test_few_rounds_have_a_ratio_and_no_interval():
    values = list(range(1, LEAST_ROUNDS))
    assert mean_ratio(values, values).ratio == 1
    assert mean_ratio(values, values).ci95 == (0.0, math.inf)


@pytest.mark.parametrize(
    ("first", "second"), [([0.0] * 20, [1.0] * 20), ([], []), ([1.0], [1.0]), ([-1.0] * 20, [1.0] * 20)]
)
def test_no_ratio_where_there_is_none(first, second):
    assert mean_ratio(first, second) is None
    assert cv_ratio(first, second) is None


def test_what_never_varied_differs_for_certain_in_its_mean():
    found = mean_ratio([2.0] * 20, [3.0] * 20)
    assert (found.ratio, *found.ci95) == pytest.approx((1.5, 1.5, 1.5))
