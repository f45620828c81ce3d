"""Lines are what least squares and logistic regression say, of the signs that they may be of."""

from __future__ import annotations

import numpy as np
import pytest

from schedtuna.learn.net_fits import fit_linear
from schedtuna.learn.problem import LearningProblem, LearningRows
from schedtuna.model.bins import Bins
from schedtuna.model.model import ModelInput

RANDOM = np.random.default_rng(8)
INPUTS = tuple(ModelInput(name, Bins("linear", 0, 99, 100)) for name in ("a", "b", "c"))
BINS = RANDOM.integers(0, 100, (4000, 3)).astype(np.uint16)


def problem(target: np.ndarray, kind: str) -> LearningProblem:
    ones = np.ones(len(BINS))
    rows = LearningRows(
        BINS,
        target,
        target > (0 if kind == "number" else 0.5),
        ones.astype(int),
        ones,
        ones.astype(int),
        ones.astype(int),
    )
    parts = dict.fromkeys(("train", "validation", "test"), rows)
    return LearningProblem("migrate", kind, INPUTS, ("no", "yes"), 0, parts, ())


def test_least_squares_finds_the_line():
    target = 0.03 * BINS[:, 0] - 0.01 * BINS[:, 2] - 1.5
    fitted = fit_linear(problem(target, "number"), {"ridge": 1e-9}, 1)
    assert np.allclose(fitted.exact(BINS), target, atol=1e-3)
    assert np.allclose(fitted.score(BINS), target, atol=5e-3)


@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_logistic_regression_has_no_gradient_where_it_ends(penalty):
    """Of the loss as it is written: cross-entropy plus the penalty times the probability."""
    margin = 0.05 * BINS[:, 0] - 0.04 * BINS[:, 1]
    target = (RANDOM.random(len(BINS)) < 1 / (1 + np.exp(-margin))).astype(float)
    fitted = fit_linear(problem(target, "class"), {"ridge": 1e-9, "penalty": penalty}, 1)

    def loss(scores: np.ndarray) -> float:
        return float((np.logaddexp(0, scores) - target * scores + penalty / (1 + np.exp(-scores))).mean())

    best = loss(fitted.exact(BINS))
    for column in range(3):
        for step in (-1e-3, 1e-3):
            assert loss(fitted.exact(BINS) + step * BINS[:, column]) > best
    assert loss(fitted.exact(BINS) + 0.02) > best and loss(fitted.exact(BINS) - 0.02) > best


def test_a_penalty_makes_migrations_rarer():
    target = (RANDOM.random(len(BINS)) < BINS[:, 0] / 100).astype(float)
    shares = [
        (fit_linear(problem(target, "class"), {"ridge": 1e-3, "penalty": p}, 1).exact(BINS) > 0).mean()
        for p in (0, 0.3)
    ]
    assert shares[1] < shares[0] - 0.02


def test_a_weight_of_the_wrong_sign_becomes_none():
    target = (RANDOM.random(len(BINS)) < BINS[:, 0] / 100).astype(float)
    weights = []
    for sign in (-1, 1):
        core = fit_linear(problem(target, "class"), {"ridge": 1e-3, "monotone": [sign, 0, 0]}, 1).model.core
        weights.append(core.arrays()["weights"][0, 0])
    assert weights[0] == 0 < weights[1]
