"""The default sampler: a Gaussian process that knows how noisy a run is.

Runs of one assignment are pooled, so a repeat tells the model the noise and not a new place. The
kernel is Matern 5/2 with one length scale per parameter (ARD) over the one-hot encoding; all
hyperparameters are the maximum a posteriori of the marginal likelihood. Asking is Thompson
sampling: draw one function from the posterior at a set of candidates, take its minimum. Assignments
that ran are candidates too, which is where repeats come from. The recommendation is the best
posterior mean, never the best run.

Sources: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), ch. 2, 4.2 and 5.4;
Russo & Van Roy, Learning to Optimize via Posterior Sampling (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.samplers.base import Sampler
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.racing import robust_costs
from schedtuna.space import ParameterSpace, ParameterType, ParameterValue

NR_START = 16  # the default and draws, before the model is asked
NR_GLOBAL = 200  # candidates drawn anew for each ask
NR_LOCAL = 120  # candidates around the best assignments
NR_INCUMBENTS = 4
NR_REVISITS = 40  # of the assignments that ran, the best ones are candidates again
CONSTANT_VARIANCE = 1.0  # of the unknown mean, in standardised costs
JITTER = 1e-8
FULL_FIT, QUICK_FIT = 60, 12  # iterations of L-BFGS
SQRT5 = 5**0.5


@dataclass(frozen=True)
class Places:
    """The distinct assignments that ran.

    Attributes:
        features: One row per assignment, shape (n, one_hot_size).
        means: Mean standardised cost of its runs, shape (n,).
        counts: How many runs, shape (n,).
        within: Sum of squared deviations of runs from their own assignment's mean.
    """

    features: np.ndarray
    means: np.ndarray
    counts: np.ndarray
    within: float


@dataclass(frozen=True)
class Fit:
    """A posterior at fixed hyperparameters: theta = log length scales, log signal, log noise variance."""

    theta: np.ndarray
    places: Places
    chol: np.ndarray
    weights: np.ndarray

    def predict(self, groups: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean, shape (m,), and covariance, shape (m, m), of the noiseless cost."""
        from scipy.linalg import solve_triangular

        scales = np.exp(self.theta[:-2])[groups]
        signal = float(np.exp(self.theta[-2]))
        cross = matern(features / scales, self.places.features / scales, signal) + CONSTANT_VARIANCE
        own = matern(features / scales, features / scales, signal) + CONSTANT_VARIANCE
        half = solve_triangular(self.chol, cross.T, lower=True)
        return cross @ self.weights, own - half.T @ half


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances between rows, shape (len(a), len(b))."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))


def matern(a: np.ndarray, b: np.ndarray, signal: float) -> np.ndarray:
    """Matern 5/2 covariance of scaled rows (Rasmussen & Williams, eq. 4.17)."""
    r2 = squared_distances(a, b)
    r = np.sqrt(r2)
    return np.asarray(signal * (1 + SQRT5 * r + 5 / 3 * r2) * np.exp(-SQRT5 * r))


class Posterior:
    """Finds the hyperparameters of the process, starting from those found before.

    Args:
        groups: Which parameter each feature belongs to, shape (one_hot_size,).
    """

    def __init__(self, groups: np.ndarray) -> None:
        self.groups = groups
        nr_scales = int(groups.max()) + 1
        # Weak priors on standardised costs: many parameters make each matter less (Hvarfner et al.
        # 2024, "Vanilla Bayesian Optimization Performs Great in High Dimensions").
        self.prior_mean = np.r_[np.full(nr_scales, np.log(0.5) + 0.5 * np.log(nr_scales)), 0.0, np.log(0.3)]
        self.prior_sd = np.r_[np.full(nr_scales, 1.0), 1.0, 1.5]
        self.theta = self.prior_mean.copy()

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
                self.theta = found.x
        scales = np.exp(self.theta[:-2])[self.groups]
        scaled = places.features / scales
        covariance = matern(scaled, scaled, float(np.exp(self.theta[-2]))) + CONSTANT_VARIANCE
        covariance[np.diag_indices_from(covariance)] += np.exp(self.theta[-1]) / places.counts + JITTER
        chol = cholesky(covariance, lower=True)
        return Fit(self.theta, places, chol, cho_solve((chol, True), places.means))

    def _loss(self, theta: np.ndarray, places: Places, squares: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log posterior density of theta and its gradient (Rasmussen & Williams, eq. 5.9)."""
        from scipy.linalg import cho_factor, cho_solve

        inverse_squares = np.exp(-2 * theta[:-2])
        signal, noise = np.exp(theta[-2]), np.exp(theta[-1])
        r2 = np.tensordot(inverse_squares, squares, axes=1)
        r = np.sqrt(r2)
        decay = signal * np.exp(-SQRT5 * r)
        kernel = decay * (1 + SQRT5 * r + 5 / 3 * r2)
        covariance = kernel + CONSTANT_VARIANCE
        covariance[np.diag_indices_from(covariance)] += noise / places.counts + JITTER
        try:
            factor = cho_factor(covariance, lower=True)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        inverse = cho_solve(factor, np.eye(len(covariance)))
        weights = inverse @ places.means
        repeats = float((places.counts - 1).sum())
        away = (theta - self.prior_mean) / self.prior_sd
        loss = (
            0.5 * places.means @ weights
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


class GpSampler(Sampler):
    """Gaussian process with a noise model, Thompson sampling, posterior-mean choice."""

    name = "gp"

    def __init__(self, space: ParameterSpace, *, budget: int, rng: np.random.Generator) -> None:
        super().__init__(space, budget=budget, rng=rng)
        self._posterior = Posterior(feature_groups(space))
        self._values: list[dict[str, ParameterValue]] = []  # distinct assignments, in order
        self._features: list[np.ndarray] = []
        self._members: list[list[int]] = []  # indices into the history
        self._index: dict[tuple[ParameterValue, ...], int] = {}
        self._fitted: Fit | None = None  # of the history as it is
        self._fits = 0

    def tell(self, observation: Observation) -> None:
        """Learn from one run."""
        key = self.space.key(observation.values)
        if key not in self._index:
            self._index[key] = len(self._values)
            self._values.append(dict(observation.values))
            self._features.append(self.space.to_one_hot(observation.values))
            self._members.append([])
        self._members[self._index[key]].append(len(self.history))
        super().tell(observation)
        self._fitted = None

    def ask(self) -> dict[str, ParameterValue]:
        """Return the default, then draws, then the minimum of a function drawn from the posterior."""
        if not self.history:
            return self.space.default()
        if self.suggestions:
            return self.suggestions.pop(0)
        if len(self.history) < min(NR_START, self.budget // 2):
            return self.space.sample(self.rng)
        fit = self._fit()
        candidates, features = self._candidates(fit)
        mean, covariance = fit.predict(self._posterior.groups, features)
        drawn = mean + _root(covariance) @ self.rng.standard_normal(len(mean))
        return dict(candidates[int(np.argmin(drawn))])

    def recommend(self) -> dict[str, ParameterValue]:
        """Return the assignment with the best posterior mean among those that ran and worked."""
        default = self.space.default()
        allowed = [i for i in range(len(self._values)) if self._works(i)]
        if not allowed:
            return default
        # From the prior, so that the choice depends on the history alone, not on the order of fits.
        fit = Posterior(self._posterior.groups).fit(self._places(), iterations=FULL_FIT)
        mean, _ = fit.predict(self._posterior.groups, fit.places.features)
        return dict(self._values[min(allowed, key=lambda i: mean[i])])

    def training_metrics(self) -> dict[str, float]:
        """Return the noise that the model sees, as a fraction of the metric."""
        if not self._fits:
            return {}
        return {"noise_sd": float(np.exp(0.5 * self._posterior.theta[-1])) * self._spread()}

    def _works(self, index: int) -> bool:
        failures = sum(self.history[i].cost is None for i in self._members[index])
        return 2 * failures < len(self._members[index])

    def _spread(self) -> float:
        costs = robust_costs(self.history)
        return float(costs.std()) or 1.0

    def _fit(self) -> Fit:
        if self._fitted is None:
            # Once from the prior; later a few steps now and then, as hyperparameters hardly move.
            n = len(self.history)
            iterations = FULL_FIT if not self._fits else QUICK_FIT if n % (1 + n // 25) == 0 else 0
            self._fits += 1
            self._fitted = self._posterior.fit(self._places(), iterations=iterations)
        return self._fitted

    def _places(self) -> Places:
        costs = robust_costs(self.history)
        centre, spread = float(np.median(costs)), self._spread()
        costs = (costs - centre) / spread
        means = np.array([costs[m].mean() for m in self._members])
        counts = np.array([len(m) for m in self._members], dtype=float)
        within = sum(float(((costs[m] - costs[m].mean()) ** 2).sum()) for m in self._members)
        return Places(np.array(self._features), means, counts, within)

    def _candidates(self, fit: Fit) -> tuple[list[dict[str, ParameterValue]], np.ndarray]:
        """Draws from the whole space, changes of the best assignments, and those that ran best."""
        mean, _ = fit.predict(self._posterior.groups, fit.places.features)
        best = [int(i) for i in np.argsort(mean, kind="stable") if self._works(int(i))]
        values = [self._values[i] for i in best[:NR_REVISITS]]
        rows = [self._features[i] for i in best[:NR_REVISITS]]
        fresh = [self.space.sample(self.rng) for _ in range(NR_GLOBAL)]
        for i in best[:NR_INCUMBENTS]:
            point = self.space.to_unit(self._values[i])
            fresh += [self._change(point) for _ in range(NR_LOCAL // NR_INCUMBENTS)]
        for candidate in fresh:
            if self.space.key(candidate) not in self._index:
                values.append(candidate)
                rows.append(self.space.to_one_hot(candidate))
        return values, np.array(rows)

    def _change(self, point: np.ndarray) -> dict[str, ParameterValue]:
        """Move one to three coordinates of a point of the unit cube, near or far."""
        point = point.copy()
        width = 10.0 ** self.rng.uniform(-2, 0)
        moved = self.rng.permutation(len(point))[: 1 + int(self.rng.integers(3))]
        point[moved] = np.clip(point[moved] + width * self.rng.standard_normal(len(moved)), 0, 1)
        return self.space.from_unit(point)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor; near-copies among the candidates make it singular but for a jitter."""
    from scipy.linalg import cholesky

    for jitter in (1e-6, 1e-4, 1e-2):
        try:
            return np.asarray(cholesky(covariance + jitter * np.eye(len(covariance)), lower=True))
        except np.linalg.LinAlgError:
            continue
    return np.diag(np.sqrt(np.maximum(np.diag(covariance), 0.0)))


def feature_groups(space: ParameterSpace) -> np.ndarray:
    """Which parameter each coordinate of the one-hot encoding belongs to, shape (one_hot_size,)."""
    sizes: Sequence[int] = [
        len(spec.choices) if spec.type is ParameterType.CATEGORICAL else spec.unit_size
        for spec in space.specs
    ]
    return np.repeat(np.arange(len(sizes)), sizes)
