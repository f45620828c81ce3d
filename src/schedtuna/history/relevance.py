"""Does a parameter matter at all? A permutation test, conditional on the other parameters.

The surrogate is fitted without the parameter; the statistic is how much more likely the runs become
when it is let in. Under the null its settings could have been dealt to the runs in any other order,
so the same number is computed for permuted settings (exact where settings were drawn at random,
approximate where a sampler chose them by what it had seen). Monte Carlo stops early where the null
is plain (Besag & Clifford 1991).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from schedtuna.evidence.several import holm
from schedtuna.history.anova import FIT_ITERATIONS, Data
from schedtuna.samplers.process import (
    CONSTANT_VARIANCE,
    JITTER,
    SQRT5,
    Places,
    Posterior,
    feature_groups,
    squared_distances,
)

LENGTH_SCALES = (0.3, 1.0, 3.0)  # of one-hot features, which lie between 0 and 1
EXCEEDANCES = 8  # permutations at least as good as the truth, after which it is clear
ALPHA = 0.05


def relevance(data: Data, name: str, rng: np.random.Generator) -> float:
    """Return the p-value of "this parameter has no effect".

    Args:
        data: What ran.
        name: A parameter that ran at more than one setting.
        rng: Draws the permutations.
    """
    groups = feature_groups(data.space)
    own = groups == data.space.names.index(name)
    _, places = data.pool(np.arange(len(data.costs)))
    test = _Test(places, groups, own)
    actual = test.gain(np.arange(len(places.means)))
    nr_permutations = max(99, round(len(data.varied) / ALPHA) - 1)
    reached = 0
    for done in range(1, nr_permutations + 1):
        reached += test.gain(rng.permutation(len(places.means))) >= actual
        if reached == EXCEEDANCES:
            return reached / done
    return (reached + 1) / (nr_permutations + 1)


def corrected(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return the p-values for a chance of at most `ALPHA` that any of those below it is wrong."""
    return dict(zip(p_values, holm([*p_values.values()]), strict=True))


class _Test:
    """How much more likely one parameter makes the costs, beside all others.

    Args:
        places: The settings that ran.
        groups: Which parameter each feature belongs to.
        own: Which features are this parameter's.
    """

    def __init__(self, places: Places, groups: np.ndarray, own: np.ndarray) -> None:
        others, order = places.features[:, ~own], np.unique(groups[~own], return_inverse=True)[1]
        reduced = Places(others, places.means, places.counts, places.within)
        if others.shape[1]:
            fit = Posterior(order).fit(reduced, iterations=FIT_ITERATIONS)
            scaled = others / np.exp(fit.theta[:-2])[order]
            self._others = squared_distances(scaled, scaled)
            self._signal, noise = np.exp(fit.theta[-2:])
        else:
            self._others = np.zeros((len(others), len(others)))
            self._signal, noise = 1.0, 0.5
        self._means = places.means
        self._noise = noise / places.counts + JITTER
        mine = places.features[:, own]
        self._own = squared_distances(mine, mine)
        self._without = self._evidence(self._others)

    def gain(self, order: np.ndarray) -> float:
        """Log likelihood ratio of letting the parameter in, its settings dealt in this order."""
        own = self._own[np.ix_(order, order)]
        return max(self._evidence(self._others + own / scale**2) for scale in LENGTH_SCALES) - self._without

    def _evidence(self, r2: np.ndarray) -> float:
        from scipy.linalg import cho_solve, cholesky

        r = np.sqrt(r2)
        covariance = self._signal * (1 + SQRT5 * r + 5 / 3 * r2) * np.exp(-SQRT5 * r) + CONSTANT_VARIANCE
        covariance[np.diag_indices_from(covariance)] += self._noise
        try:
            factor = cholesky(covariance, lower=True)
        except np.linalg.LinAlgError:
            return -np.inf
        weights = cho_solve((factor, True), self._means)
        return float(-0.5 * self._means @ weights - np.log(np.diag(factor)).sum())
