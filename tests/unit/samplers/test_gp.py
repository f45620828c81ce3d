import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal
from tests.unit.samplers.spaces import BEST, SPACE, drive, true_cost

from schedtuna.samplers.gp import (
    CONSTANT_VARIANCE,
    JITTER,
    GpSampler,
    Places,
    Posterior,
    feature_groups,
    matern,
)
from schedtuna.samplers.observation import Observation


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
