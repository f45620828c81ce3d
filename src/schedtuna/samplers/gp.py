"""The default sampler: a Gaussian process that knows how noisy a run is.

Runs of one assignment are pooled, so a repeat tells the model the noise and not a new place. The
kernel is Matern 5/2 with one length scale per parameter (ARD) over the one-hot encoding; all
hyperparameters are the maximum a posteriori of the marginal likelihood. Asking is Thompson
sampling: draw one function from the posterior at a set of candidates, take its minimum. Assignments
that ran are candidates too, which is where repeats come from. The recommendation is the best
posterior mean, never the best run. Where a model was asked beforehand, its answers are a prior of which
runs teach how far to trust it; where they speak against it, all is as without it.

Source: Russo & Van Roy, Learning to Optimize via Posterior Sampling (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from schedtuna.samplers.base import Sampler
from schedtuna.samplers.cost_model import CostModel
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.process import Fit, Places, Posterior, feature_groups
from schedtuna.samplers.racing import robust_costs
from schedtuna.space import ParameterSpace, ParameterValue

NR_START = 16  # the default and draws, before the process is asked
NR_TOLD_START = 7  # the same where a model has said where to look, and runs bear it out
NR_GLOBAL = 200  # candidates drawn anew for each ask
NR_LOCAL = 120  # candidates around the best assignments
NR_INCUMBENTS = 4
NR_REVISITS = 40  # of the assignments that ran, the best ones are candidates again
FULL_FIT, QUICK_FIT = 60, 12  # iterations of L-BFGS


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
        self._model: CostModel | None = None
        self._believer = Posterior(self._posterior.groups)  # takes the model's word
        self._fitted: Fit | None = None  # of the history as it is
        self._fits = 0

    def trust(self, told: Sequence[Observation]) -> None:
        """Take in what a model says that assignments cost, before the first `ask`."""
        self._model = CostModel(self.space, told)
        default = self.space.default()
        self.suggestions += [values for values in self._model.proposed[:1] if values != default]

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
        if len(self.history) < min(NR_TOLD_START if self._model else NR_START, self.budget // 2):
            return self.space.sample(self.rng)
        fit = self._fit()
        if fit.places.told is None and len(self.history) < min(NR_START, self.budget // 2):
            return self.space.sample(self.rng)
        candidates, features = self._candidates(fit)
        mean, covariance = fit.predict(self._posterior.groups, features, self._told(fit, features))
        drawn = mean + _root(covariance) @ self.rng.standard_normal(len(mean))
        return dict(candidates[int(np.argmin(drawn))])

    def recommend(self) -> dict[str, ParameterValue]:
        """Return the assignment with the best posterior mean among those that ran and worked."""
        default = self.space.default()
        allowed = [i for i in range(len(self._values)) if self._works(i)]
        if not allowed:
            return default
        # From the prior, so that the choice depends on the history alone, not on the order of fits.
        groups = self._posterior.groups
        fit = self._better((Posterior(groups), Posterior(groups)), FULL_FIT)
        mean = fit.mean(self._posterior.groups, fit.places.features, fit.places.told)
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
            self._fitted = self._better((self._posterior, self._believer), iterations)
        return self._fitted

    def _better(self, posteriors: tuple[Posterior, Posterior], iterations: int) -> Fit:
        """Fit without the model and with it, and return that of which the runs are the better evidence.

        A model that runs speak against is not turned round, but left out.
        """
        plain = posteriors[0].fit(self._places(), iterations=iterations)
        if self._model is None:
            return plain
        places = self._places()
        told = posteriors[1].fit(
            replace(places, told=self._standardised(self._model, places.features)), iterations=iterations
        )
        return told if posteriors[1].loss < posteriors[0].loss and told.slope > 0 else plain

    def _places(self) -> Places:
        costs = robust_costs(self.history)
        centre, spread = float(np.median(costs)), self._spread()
        costs = (costs - centre) / spread
        means = np.array([costs[m].mean() for m in self._members])
        counts = np.array([len(m) for m in self._members], dtype=float)
        within = sum(float(((costs[m] - costs[m].mean()) ** 2).sum()) for m in self._members)
        return Places(np.array(self._features), means, counts, within)

    def _standardised(self, model: CostModel, features: np.ndarray) -> np.ndarray:
        """What the model says, on the scale that costs have here, over its mean of those that ran.

        So a level that it has wrong is no evidence, for it or against it.
        """
        most = robust_costs(self.history).max()
        told, ran = (np.minimum(model.costs(rows), most) for rows in (features, np.array(self._features)))
        return np.asarray((told - ran.mean()) / self._spread())

    def _told(self, fit: Fit, features: np.ndarray) -> np.ndarray | None:
        """What the model says, where the fit goes by it."""
        if self._model is None or fit.places.told is None:
            return None
        return self._standardised(self._model, features)

    def _candidates(self, fit: Fit) -> tuple[list[dict[str, ParameterValue]], np.ndarray]:
        """Draws from the whole space, changes of the best assignments, and those that ran best."""
        mean = fit.mean(self._posterior.groups, fit.places.features, fit.places.told)
        best = [int(i) for i in np.argsort(mean, kind="stable") if self._works(int(i))]
        values = [self._values[i] for i in best[:NR_REVISITS]]
        rows = [self._features[i] for i in best[:NR_REVISITS]]
        fresh = [self.space.sample(self.rng) for _ in range(NR_GLOBAL)]
        fresh += self._model.proposed if self._model and fit.places.told is not None else []
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
