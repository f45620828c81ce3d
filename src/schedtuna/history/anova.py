"""How is the variance of a surrogate split over parameters? The numbers behind `importance`.

Every function that is looked at is linear in its weights: f(x) = k(x) w. Averages of f over parts of
the space are therefore averages of k, which are computed once; each function then costs one product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from schedtuna.samplers.observation import Observation
from schedtuna.samplers.process import (
    CONSTANT_VARIANCE,
    JITTER,
    Fit,
    Places,
    Posterior,
    feature_groups,
    matern,
)
from schedtuna.samplers.racing import MAD_TO_SD
from schedtuna.space import ParameterSpace, ParameterSpec, ParameterType, ParameterValue

CLIP_SD = 5.0  # robust standard deviations above the median, where a cost is as bad as any
FIT_ITERATIONS = 40
NR_RANDOM_FEATURES = 400
NR_POINTS = 1024  # of the space, for totals
NR_BASE = 128  # of the space, over which the other parameters are averaged
NR_LEVELS = 9
NR_PAIR_LEVELS = 5

Values = dict[str, ParameterValue]


@dataclass(frozen=True)
class Data:
    """What ran, as a surrogate takes it.

    Attributes:
        space: What was searched.
        settings: The distinct assignments.
        features: Their one-hot encodings, shape (nr_settings, one_hot_size).
        place: Which of them each run was, shape (nr_runs,).
        costs: Standardised, shape (nr_runs,).
        scale: One standardised unit, as a log ratio.
        worst: The highest cost that is told from others, a log ratio.
        nr_clipped: Runs that cost more, which count as that.
    """

    space: ParameterSpace
    settings: tuple[Values, ...]
    features: np.ndarray
    place: np.ndarray
    costs: np.ndarray
    scale: float
    worst: float
    nr_clipped: int

    @classmethod
    def of(
        cls, space: ParameterSpace, runs: Sequence[Observation], *, most: int, rng: np.random.Generator
    ) -> Data:
        """Pool repeats, and clip outliers; a failure counts as the worst run.

        Args:
            space: What was searched.
            runs: What ran.
            most: Take at most this many distinct settings, drawn at random.
            rng: Draws them.
        """
        index: dict[tuple[ParameterValue, ...], int] = {}
        for run in runs:
            index.setdefault(space.key(run.values), len(index))
        if len(index) > most:
            kept = set(rng.choice(len(index), most, replace=False).tolist())
            runs = [run for run in runs if index[space.key(run.values)] in kept]
            return cls.of(space, runs, most=most, rng=rng)
        settings = tuple(dict(zip(space.names, key, strict=True)) for key in index)
        worst = _worst(runs)
        costs = np.array([worst if run.cost is None else min(run.cost, worst) for run in runs])
        scale = float(costs.std())
        return cls(
            space=space,
            settings=settings,
            features=np.array([space.to_one_hot(values) for values in settings]),
            place=np.array([index[space.key(run.values)] for run in runs]),
            costs=(costs - costs.mean()) / (scale or 1.0),
            scale=scale,
            worst=worst,
            nr_clipped=sum(run.cost is not None and run.cost > worst for run in runs),
        )

    @property
    def varied(self) -> tuple[str, ...]:
        """The parameters that ran at more than one setting."""
        return tuple(n for n in self.space.names if len({values[n] for values in self.settings}) > 1)

    def pool(self, chosen: np.ndarray) -> tuple[np.ndarray, Places]:
        """Return which settings the chosen runs have, and these with their runs pooled.

        Args:
            chosen: Indices of runs; one may be there more than once.
        """
        place, mine, size = self.place[chosen], self.costs[chosen], len(self.settings)
        counts = np.bincount(place, minlength=size).astype(float)
        used = np.flatnonzero(counts)
        counts = counts[used]
        means = np.bincount(place, mine, minlength=size)[used] / counts
        squares = np.bincount(place, mine**2, minlength=size)[used]
        within = float(np.maximum(squares - counts * means**2, 0.0).sum())
        return used, Places(self.features[used], means, counts, within)

    def fit(self) -> Fit:
        """Return the surrogate of all runs."""
        _, places = self.pool(np.arange(len(self.costs)))
        return Posterior(feature_groups(self.space)).fit(places, iterations=FIT_ITERATIONS)


def _worst(runs: Sequence[Observation]) -> float:
    """The level to which the worst costs are cut: that a setting is hopeless needs no more precision."""
    worked = np.array([run.cost for run in runs if run.cost is not None])
    if not worked.size:
        return 0.0
    middle = float(np.median(worked))
    spread = MAD_TO_SD * float(np.median(np.abs(worked - middle)))
    return min(float(worked.max()), middle + CLIP_SD * spread) if spread else float(worked.max())


class Surrogate:
    """Functions of the space that the runs allow: the mean, and draws around it, all linear in weights.

    A function's features at a point are its covariances with the settings that ran and random
    features of the prior (Rahimi & Recht 2007). A draw from the posterior is a draw from the prior,
    corrected where it differs from the data (Matheron's rule, Wilson et al. 2020).

    Args:
        data: What ran.
        fit: The Gaussian process that was fitted to it.
        rng: Draws the random features.
    """

    def __init__(self, data: Data, fit: Fit, rng: np.random.Generator) -> None:
        self.data = data
        self.noise = float(np.exp(fit.theta[-1]))
        self._signal = float(np.exp(fit.theta[-2]))
        self._scales = np.exp(fit.theta[:-2])[feature_groups(data.space)]
        self._known = data.features / self._scales
        # The spectrum of a Matern 5/2 is a t distribution with 5 degrees of freedom.
        normal = rng.standard_normal((NR_RANDOM_FEATURES, self._known.shape[1]))
        self._frequencies = normal / np.sqrt(rng.chisquare(5, (NR_RANDOM_FEATURES, 1)) / 5)
        self._phases = rng.uniform(0, 2 * np.pi, NR_RANDOM_FEATURES)
        self.mean = np.concatenate([fit.weights, np.zeros(NR_RANDOM_FEATURES + 1)])

    def features(self, points: Sequence[Values]) -> np.ndarray:
        """The points' features, one row each, as long as `mean`."""
        rows = np.array([self.data.space.to_one_hot(values) for values in points]) / self._scales
        return np.hstack([self._covariance(rows), self._prior(rows)])

    def draws(self, nr_draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield weights: a draw from the posterior of runs that were themselves drawn anew.

        Either alone is too narrow, as the hyperparameters stay; both together cover as they should.
        """
        from scipy.linalg import cho_solve, cholesky

        covariance, prior = self._covariance(self._known), self._prior(self._known)
        nr_runs = len(self.data.costs)
        for _ in range(nr_draws):
            used, places = self.data.pool(rng.integers(nr_runs, size=nr_runs))
            noise = self.noise / places.counts + JITTER
            inner = covariance[np.ix_(used, used)]
            inner[np.diag_indices_from(inner)] += noise
            function = rng.standard_normal(prior.shape[1])
            away = places.means - prior[used] @ function - np.sqrt(noise) * rng.standard_normal(len(used))
            correction = np.zeros(len(covariance))
            correction[used] = cho_solve((cholesky(inner, lower=True), True), away)
            yield np.concatenate([correction, function])

    def _covariance(self, rows: np.ndarray) -> np.ndarray:
        return matern(rows, self._known, self._signal) + CONSTANT_VARIANCE

    def _prior(self, rows: np.ndarray) -> np.ndarray:
        waves = np.cos(rows @ self._frequencies.T + self._phases)
        constant = np.full((len(rows), 1), np.sqrt(CONSTANT_VARIANCE))
        return np.hstack([np.sqrt(2 * self._signal / NR_RANDOM_FEATURES) * waves, constant])


@dataclass(frozen=True)
class Parts:
    """One split of the variance, in standardised units squared, by parameter.

    Attributes:
        variance: Of the function over the space.
        main: Of what a parameter does alone.
        total: Of everything that it has a part in.
        curves: The mean over the other parameters at the default, then at each of its settings.
    """

    variance: float
    main: Mapping[str, float]
    total: Mapping[str, float]
    curves: Mapping[str, np.ndarray]


class Split:
    """Splits the variance of a surrogate's functions.

    Args:
        surrogate: The functions.
        rng: Draws the points of the space.

    Attributes:
        settings: By parameter, settings that stand for all.
    """

    def __init__(self, surrogate: Surrogate, rng: np.random.Generator) -> None:
        self.surrogate = surrogate
        self._space, self._varied = surrogate.data.space, surrogate.data.varied
        points, others = self._spread_points(rng)
        self._base = points[:NR_BASE]
        self._points = surrogate.features(points)
        self._swapped = {
            name: surrogate.features(
                [self._with(a, {name: b[name]}) for a, b in zip(points, others, strict=True)]
            )
            for name in self._varied
        }
        self.settings = {name: _settings(self._space[name], NR_LEVELS, rng) for name in self._varied}
        self._levels = {
            name: np.array([self._mean({name: at}) for at in (self._space[name].default, *settings)])
            for name, settings in self.settings.items()
        }
        self._rng = rng

    def parts(self, weights: np.ndarray) -> Parts:
        """Split the variance of the function with these weights."""
        f = self._points @ weights
        curves = {name: rows @ weights for name, rows in self._levels.items()}
        return Parts(
            variance=float(f.var()),
            main={name: float(curve[1:].var()) for name, curve in curves.items()},
            # Jansen 1999: half the mean squared change when one parameter alone is drawn anew.
            total={n: float(((f - rows @ weights) ** 2).mean() / 2) for n, rows in self._swapped.items()},
            curves=curves,
        )

    def pairs(self, names: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
        """Return the averaged features over a table of two parameters' settings, per pair."""
        some = {name: _settings(self._space[name], NR_PAIR_LEVELS, self._rng) for name in names}
        return {
            (a, b): np.array([[self._mean({a: x, b: y}) for y in some[b]] for x in some[a]])
            for a, b in combinations(names, 2)
        }

    def _spread_points(self, rng: np.random.Generator) -> tuple[list[Values], list[Values]]:
        """Two independent sets of points (Saltelli 2010); what never varied stays as it ran."""
        from scipy.stats import qmc

        size = self._space.unit_size
        sequence = qmc.Sobol(2 * size, rng=rng).random(NR_POINTS)
        ran = self.surrogate.data.settings[0]

        def points(units: np.ndarray) -> list[Values]:
            drawn = [self._space.from_unit(row) for row in units]
            return [self._with(ran, {name: values[name] for name in self._varied}) for values in drawn]

        return points(sequence[:, :size]), points(sequence[:, size:])

    def _with(self, values: Values, changes: Values) -> Values:
        return self._space.repair({**values, **changes})

    def _mean(self, changes: Values) -> np.ndarray:
        """The base points' mean features with some parameters set."""
        return np.asarray(self.surrogate.features([self._with(at, changes) for at in self._base]).mean(0))


def interaction(table: np.ndarray) -> float:
    """Mean square of a table after its rows' and columns' means are taken out."""
    rest = table - table.mean(0, keepdims=True) - table.mean(1, keepdims=True) + table.mean()
    return float((rest**2).mean())


def explained(fit: Fit) -> float:
    """Part of the settings' variance that the surrogate predicts for a setting left out.

    Rasmussen & Williams (2006), eq. 5.12. At or below 0 it predicts no better than the mean.
    """
    from scipy.linalg import cho_solve

    inverse = cho_solve((fit.chol, True), np.eye(len(fit.weights)))
    errors = fit.weights / np.diag(inverse)
    places = fit.places
    away = places.means - np.average(places.means, weights=places.counts)
    return 1 - float((places.counts * errors**2).sum() / (places.counts * away**2).sum())


def _settings(spec: ParameterSpec, most: int, rng: np.random.Generator) -> tuple[ParameterValue, ...]:
    """Settings that stand for all, each for an equal part of the scale."""
    if spec.type is ParameterType.BOOLEAN:
        return (False, True)
    if spec.type is ParameterType.CATEGORICAL:
        return spec.choices
    if spec.type is ParameterType.LIST:
        return tuple(spec.sample(rng) for _ in range(most))
    number = int(min(most, spec.nr_values))
    return tuple(spec.from_unit([(place + 0.5) / number]) for place in range(number))
