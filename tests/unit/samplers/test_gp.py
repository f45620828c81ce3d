from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal
from tests.unit.samplers.spaces import BEST, SPACE, drive, true_cost

from schedtuna.samplers.cost_model import CostModel
from schedtuna.samplers.gp import GpSampler
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.process import (
    CONSTANT_VARIANCE,
    JITTER,
    SLOPE_MEAN,
    SLOPE_VARIANCE,
    Places,
    Posterior,
    feature_groups,
    matern,
)


def sampler(budget=60, seed=0):
    return GpSampler(SPACE, budget=budget, rng=np.random.default_rng(seed))


@pytest.fixture
def repeated():
    """Twelve places, some of them with several runs, and the single runs that they pool."""
    rng = np.random.default_rng(3)
    points = rng.random((12, 3))
    counts = rng.integers(1, 5, size=12)
    runs = [np.sin(4 * p.sum()) + 0.3 * rng.standard_normal(c) for p, c in zip(points, counts, strict=True)]
    within = sum(float(((r - r.mean()) ** 2).sum()) for r in runs)
    places = Places(points, np.array([r.mean() for r in runs]), counts.astype(float), within)
    return places, runs


def squares(points):
    return np.stack([(points[:, i, None] - points[None, :, i]) ** 2 for i in range(points.shape[1])])


def test_matern_is_the_textbook_formula():
    a, b = np.zeros((1, 1)), np.array([[0.7]])
    s = np.sqrt(5) * 0.7
    assert matern(a, b, 2.0)[0, 0] == pytest.approx(2.0 * (1 + s + s**2 / 3) * np.exp(-s))


def test_the_gradient_is_that_of_the_loss(repeated):
    places, _ = repeated
    posterior = Posterior(np.arange(3))
    table = squares(places.features)
    for seed in range(3):
        theta = posterior.prior_mean + 0.7 * np.random.default_rng(seed).standard_normal(5)
        error = check_grad(
            lambda t: posterior._loss(t, places, table)[0],
            lambda t: posterior._loss(t, places, table)[1],
            theta,
        )
        assert error < 1e-3


def test_pooling_repeats_loses_nothing(repeated):
    """The pooled likelihood differs from the one over single runs by a constant only."""
    places, runs = repeated
    posterior = Posterior(np.arange(3))
    table = squares(places.features)
    rows = np.repeat(places.features, places.counts.astype(int), axis=0)
    flat = np.concatenate(runs)
    differences = []
    for seed in range(4):
        theta = posterior.prior_mean + 0.5 * np.random.default_rng(seed).standard_normal(5)
        scales, signal, noise = np.exp(theta[:-2]), np.exp(theta[-2]), np.exp(theta[-1])
        covariance = matern(rows / scales, rows / scales, signal) + CONSTANT_VARIANCE
        covariance += (noise + JITTER) * np.eye(len(flat))
        density = multivariate_normal(np.zeros(len(flat)), covariance).logpdf(flat)
        prior = 0.5 * np.sum(((theta - posterior.prior_mean) / posterior.prior_sd) ** 2)
        differences.append(posterior._loss(theta, places, table)[0] - prior + density)
    assert np.ptp(differences) < 1e-3


def test_prediction_is_the_conditional_normal(repeated):
    places, runs = repeated
    posterior = Posterior(np.arange(3))
    fit = posterior.fit(places, iterations=0)
    new = np.random.default_rng(5).random((4, 3))
    mean, covariance = fit.predict(posterior.groups, new)
    scales, signal, noise = np.exp(fit.theta[:-2]), np.exp(fit.theta[-2]), np.exp(fit.theta[-1])
    rows = np.repeat(places.features, places.counts.astype(int), axis=0)
    whole = np.vstack([new, rows]) / scales
    joint = matern(whole, whole, signal) + CONSTANT_VARIANCE
    joint[4:, 4:] += noise * np.eye(len(rows))
    gain = joint[:4, 4:] @ np.linalg.inv(joint[4:, 4:])
    assert mean == pytest.approx(gain @ np.concatenate(runs), abs=1e-4)
    assert covariance == pytest.approx(joint[:4, :4] - gain @ joint[4:, :4], abs=1e-4)


def test_what_a_model_has_told_is_a_linear_term(repeated):
    """With it, the posterior is that of a joint normal with a slope of its own mean and variance."""
    places, runs = repeated
    told, new_told = np.random.default_rng(6).normal(size=12), np.array([0.5, -1.0, 2.0, 0.0])
    places = replace(places, told=told)
    posterior = Posterior(np.arange(3))
    fit = posterior.fit(places, iterations=0)
    new = np.random.default_rng(5).random((4, 3))
    mean, covariance = fit.predict(posterior.groups, new, new_told)
    scales, signal, noise = np.exp(fit.theta[:-2]), np.exp(fit.theta[-2]), np.exp(fit.theta[-1])
    order = np.repeat(np.arange(12), places.counts.astype(int))
    whole, slope = np.vstack([new, places.features[order]]) / scales, np.concatenate([new_told, told[order]])
    joint = matern(whole, whole, signal) + CONSTANT_VARIANCE + SLOPE_VARIANCE * np.outer(slope, slope)
    joint[4:, 4:] += noise * np.eye(len(order))
    gain = joint[:4, 4:] @ np.linalg.inv(joint[4:, 4:])
    expected = SLOPE_MEAN * slope
    assert mean == pytest.approx(expected[:4] + gain @ (np.concatenate(runs) - expected[4:]), abs=1e-4)
    assert covariance == pytest.approx(joint[:4, :4] - gain @ joint[4:, :4], abs=1e-4)
    table = squares(places.features)
    error = check_grad(
        lambda t: posterior._loss(t, places, table)[0],
        lambda t: posterior._loss(t, places, table)[1],
        fit.theta,
    )
    assert error < 1e-3


def told(cost):
    rng = np.random.default_rng(3)
    return [Observation(values, cost(values)) for values in (SPACE.sample(rng) for _ in range(120))]


def after(runs, model=None, *, noise_sd=0.1):
    """The mean cost of what is recommended after so many noisy runs, as a share of the best possible."""
    found = []
    for seed in range(3):
        one = sampler(runs, seed)
        if model is not None:
            one.trust(told(model))
        found.append(true_cost(drive(one, runs, noise_sd=noise_sd, seed=seed).recommend()))
    return float(np.mean(found)) / true_cost(BEST)


def test_a_model_saves_runs_where_it_is_right_and_costs_few_where_it_is_not():
    alone = after(24)
    assert after(12, lambda values: 1.5 * true_cost(values)) > alone
    assert after(24, lambda values: -true_cost(values)) > 0.85 * alone


def test_a_model_that_runs_speak_against_is_left_out_and_not_turned_round():
    for sign, believed in ((1, True), (-1, False)):
        one = sampler(24)
        one.trust(told(lambda values, sign=sign: sign * true_cost(values)))
        drive(one, 24)
        fit = one._fit()
        assert (fit.places.told is not None) == believed == (fit.slope > 0)


def test_the_slope_is_that_of_what_was_told_and_what_was_found():
    rng = np.random.default_rng(5)
    features, said = rng.random((40, 3)), rng.standard_normal(40)
    groups = feature_groups(SPACE)[:3]
    for slope in (1.0, 0.4, -0.5):
        places = Places(features, slope * said, np.full(40, 4.0), 0.4, told=said)
        fit = Posterior(np.arange(len(groups))).fit(places, iterations=60)
        assert fit.slope == pytest.approx(slope, abs=0.1)


def test_a_model_is_smoothed_and_asked_about_every_assignment():
    rng = np.random.default_rng(4)
    model = CostModel(SPACE, told(lambda values: true_cost(values) + 0.02 * float(rng.standard_normal())))
    others = [SPACE.sample(rng) for _ in range(60)]
    said = model.costs(np.array([SPACE.to_one_hot(values) for values in others]))
    assert np.corrcoef(said, [true_cost(values) for values in others])[0, 1] > 0.9
    assert true_cost(model.proposed[0]) < 0.8 * true_cost(BEST)


def test_a_model_without_differences_or_without_successes_is_taken():
    for cost in (0.0, None):
        one = sampler()
        one.trust([Observation(SPACE.sample(np.random.default_rng(k)), cost) for k in range(9)])
        assert drive(one, 20).recommend().keys() == BEST.keys()


def test_the_noise_is_learnt_from_repeats():
    model = sampler()
    rng = np.random.default_rng(1)
    for _ in range(40):
        model.tell(Observation(SPACE.default(), 0.1 * float(rng.standard_normal())))
    for _ in range(15):
        values = SPACE.sample(rng)
        model.tell(Observation(values, true_cost(values) + 0.1 * float(rng.standard_normal())))
    model.ask()
    model.tell(Observation(SPACE.default(), 0.0))
    assert model.training_metrics()["noise_sd"] == pytest.approx(0.1, rel=0.35)


def test_it_comes_near_the_optimum_on_quiet_and_noisy_surfaces():
    for noise_sd, allowed in ((0.0, 0.05), (0.1, 0.25)):
        found = [
            true_cost(drive(sampler(50, s), 50, noise_sd=noise_sd, seed=s).recommend()) for s in range(3)
        ]
        assert np.mean(found) < (1 - allowed) * true_cost(BEST)


def test_the_model_repeats_what_it_favours():
    model = drive(sampler(80), 80, noise_sd=0.1)
    keys = [SPACE.key(o.values) for o in model.history]
    repeats = len(keys) - len(set(keys))
    assert repeats >= 10
    most = max((o.values for o in model.history), key=lambda v: keys.count(SPACE.key(v)))
    assert true_cost(most) < 0.8 * true_cost(BEST)


def test_one_hot_features_belong_to_their_parameter():
    assert feature_groups(SPACE).tolist() == [0, 1, 2, 3, 3, 3]
