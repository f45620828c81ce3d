"""A Gaussian process of costs: the kernel, its posterior, and the hyperparameters that fit best.

Matern 5/2 with one length scale per parameter (ARD) over the one-hot encoding, and a constant; all
hyperparameters are the maximum a posteriori of the marginal likelihood. Where a model has said beforehand
what each assignment costs, that times an unknown slope is one more term: near 1 where the model is right,
and runs that contradict it take it to 0 or below.

Sources: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), ch. 2.7, 4.2 and 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.space import ParameterSpace, ParameterType

CONSTANT_VARIANCE = 1.0  # of the unknown mean, in standardised costs
SLOPE_MEAN, SLOPE_VARIANCE = 0.7, 0.5  # of the factor on what a model has said
JITTER = 1e-8
SQRT5 = 5**0.5


@dataclass(frozen=True)
class Places:
    """The distinct assignments that ran.

    Attributes:
        features: One row per assignment, shape (n, one_hot_size).
        means: Mean standardised cost of its runs, shape (n,).
        counts: How many runs, shape (n,).
        within: Sum of squared deviations of runs from their own assignment's mean.
        told: What a model has said that each costs, on the same scale; None: there is no model.
    """

    features: np.ndarray
    means: np.ndarray
    counts: np.ndarray
    within: float
    told: np.ndarray | None = None

    def explained(self) -> np.ndarray:
        """What of the means the model is expected to explain."""
        return SLOPE_MEAN * self.told if self.told is not None else np.zeros(len(self.means))


@dataclass(frozen=True)
class Fit:
    """A posterior at fixed hyperparameters: theta = log length scales, log signal, log noise variance."""

    theta: np.ndarray
    places: Places
    chol: np.ndarray
    weights: np.ndarray

    @property
    def slope(self) -> float:
        """Posterior mean of the factor on what a model has said; 0: there is none."""
        if self.places.told is None:
            return 0.0
        return float(SLOPE_MEAN + SLOPE_VARIANCE * self.places.told @ self.weights)

    def predict(
        self, groups: np.ndarray, features: np.ndarray, told: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean, shape (m,), and covariance, shape (m, m), of the noiseless cost.

        `told` is what the model says of these, where it said something of the places.
        """
        from scipy.linalg import solve_triangular

        scales = np.exp(self.theta[:-2])[groups]
        signal = float(np.exp(self.theta[-2]))
        own = matern(features / scales, features / scales, signal) + CONSTANT_VARIANCE
        if told is not None:
            own += SLOPE_VARIANCE * np.outer(told, told)
        cross = self._cross(groups, features, told)
        half = solve_triangular(self.chol, cross.T, lower=True)
        return self.mean(groups, features, told), own - half.T @ half

    def mean(self, groups: np.ndarray, features: np.ndarray, told: np.ndarray | None = None) -> np.ndarray:
        """The posterior mean alone, shape (m,)."""
        expected = 0.0 if told is None else SLOPE_MEAN * told
        return np.asarray(self._cross(groups, features, told) @ self.weights + expected)

    def _cross(self, groups: np.ndarray, features: np.ndarray, told: np.ndarray | None) -> np.ndarray:
        scales = np.exp(self.theta[:-2])[groups]
        signal = float(np.exp(self.theta[-2]))
        cross = matern(features / scales, self.places.features / scales, signal) + CONSTANT_VARIANCE
        if told is not None and self.places.told is not None:
            cross += SLOPE_VARIANCE * np.outer(told, self.places.told)
        return cross


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances between rows, shape (len(a), len(b))."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))


def matern(a: np.ndarray, b: np.ndarray, signal: float) -> np.ndarray:
    """Matern 5/2 covariance of scaled rows (Rasmussen & Williams, eq. 4.17)."""
    r2 = squared_distances(a, b)
    r = np.sqrt(r2)
    return np.asarray(signal * (1 + SQRT5 * r + 5 / 3 * r2) * np.exp(-SQRT5 * r))


def _fixed(places: Places) -> np.ndarray | float:
    """The covariance that has no hyperparameters."""
    if places.told is None:
        return CONSTANT_VARIANCE
    return np.asarray(CONSTANT_VARIANCE + SLOPE_VARIANCE * np.outer(places.told, places.told))


class Posterior:
    """Finds the hyperparameters of the process, starting from those found before.

    Args:
        groups: Which parameter each feature belongs to, shape (one_hot_size,).

    Attributes:
        loss: Negative log of the evidence at the hyperparameters that were last found, and of their prior.
    """

    def __init__(self, groups: np.ndarray) -> None:
        self.groups = groups
        nr_scales = int(groups.max()) + 1
        # Weak priors on standardised costs: many parameters make each matter less (Hvarfner et al.
        # 2024, "Vanilla Bayesian Optimization Performs Great in High Dimensions").
        self.prior_mean = np.r_[np.full(nr_scales, np.log(0.5) + 0.5 * np.log(nr_scales)), 0.0, np.log(0.3)]
        self.prior_sd = np.r_[np.full(nr_scales, 1.0), 1.0, 1.5]
        self.theta = self.prior_mean.copy()
        self.loss = np.inf

    def fit(self, places: Places, *, iterations: int) -> Fit:
        """Return the posterior; with 0 iterations at the hyperparameters of the last fit."""
        from scipy.linalg import cho_solve, cholesky
        from scipy.optimize import minimize  # with scipy.linalg 0.4 s to import

        if iterations:
            squares = np.stack(
                [
                    squared_distances(
                        places.features[:, self.groups == g], places.features[:, self.groups == g]
                    )
                    for g in range(len(self.theta) - 2)
                ]
            )
            found = minimize(
                self._loss,
                self.theta,
                args=(places, squares),
                jac=True,
                method="L-BFGS-B",
                bounds=list(
                    zip(self.prior_mean - 3 * self.prior_sd, self.prior_mean + 3 * self.prior_sd, strict=True)
                ),
                options={"maxiter": iterations},
            )
            if np.all(np.isfinite(found.x)):
                self.theta, self.loss = found.x, float(found.fun)
        scales = np.exp(self.theta[:-2])[self.groups]
        scaled = places.features / scales
        covariance = matern(scaled, scaled, float(np.exp(self.theta[-2]))) + _fixed(places)
        covariance[np.diag_indices_from(covariance)] += np.exp(self.theta[-1]) / places.counts + JITTER
        chol = cholesky(covariance, lower=True)
        return Fit(self.theta, places, chol, cho_solve((chol, True), places.means - places.explained()))

    def _loss(self, theta: np.ndarray, places: Places, squares: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log posterior density of theta and its gradient (Rasmussen & Williams, eq. 5.9)."""
        from scipy.linalg import cho_factor, cho_solve

        inverse_squares = np.exp(-2 * theta[:-2])
        signal, noise = np.exp(theta[-2]), np.exp(theta[-1])
        r2 = np.tensordot(inverse_squares, squares, axes=1)
        r = np.sqrt(r2)
        decay = signal * np.exp(-SQRT5 * r)
        kernel = decay * (1 + SQRT5 * r + 5 / 3 * r2)
        covariance = kernel + _fixed(places)
        covariance[np.diag_indices_from(covariance)] += noise / places.counts + JITTER
        try:
            factor = cho_factor(covariance, lower=True)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        inverse = cho_solve(factor, np.eye(len(covariance)))
        means = places.means - places.explained()
        weights = inverse @ means
        repeats = float((places.counts - 1).sum())
        away = (theta - self.prior_mean) / self.prior_sd
        loss = (
            0.5 * means @ weights
            + np.log(np.diag(factor[0])).sum()
            + 0.5 * repeats * theta[-1]
            + 0.5 * places.within / noise
            + 0.5 * away @ away
        )
        outer = inverse - np.outer(weights, weights)
        slope = outer * (5 / 3 * decay * (1 + SQRT5 * r))
        gradient = np.empty_like(theta)
        gradient[:-2] = 0.5 * inverse_squares * np.einsum("ij,pij->p", slope, squares)
        gradient[-2] = 0.5 * np.sum(outer * kernel)
        gradient[-1] = 0.5 * noise * np.sum(np.diag(outer) / places.counts)
        gradient[-1] += 0.5 * repeats - 0.5 * places.within / noise
        return float(loss), gradient + away / self.prior_sd


def feature_groups(space: ParameterSpace) -> np.ndarray:
    """Which parameter each coordinate of the one-hot encoding belongs to, shape (one_hot_size,)."""
    sizes: Sequence[int] = [
        len(spec.choices) if spec.type is ParameterType.CATEGORICAL else spec.unit_size
        for spec in space.specs
    ]
    return np.repeat(np.arange(len(sizes)), sizes)
