"""Which of the assignments that ran are worth another run, and which is best after shrinkage?

Costs are modelled as y = theta_i + noise with theta_i ~ N(mu, tau^2) over the assignments that ran
(the one-way random-effects model; its posterior mean is the James-Stein estimate). A lucky single
run is pulled towards mu much further than the mean of many runs, so the best single run never wins
by luck alone. Repeats follow top-two Thompson sampling (Russo 2016): they go where the choice is
still open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.samplers.observation import Observation
from schedtuna.space import ParameterSpace, ParameterValue

MAD_TO_SD = 1.4826  # of a normal distribution
CLIP_SD = 2.5  # robust standard deviations above the median, where a cost is as bad as any

FAILURE_COST = 1.0  # e times the default's metric, until a run has worked


@dataclass(frozen=True)
class Candidate:
    """One assignment that ran, and what its runs say.

    Attributes:
        values: The complete assignment.
        nr_runs: Runs, failed ones included.
        nr_failures: Runs that failed or timed out.
        mean: Posterior mean of its cost.
        sd: Posterior standard deviation of its cost.
    """

    values: dict[str, ParameterValue]
    nr_runs: int
    nr_failures: int
    mean: float
    sd: float

    @property
    def eligible(self) -> bool:
        """Whether it may be recommended: more than half of its runs worked."""
        return 2 * self.nr_failures < self.nr_runs


def robust_costs(history: Sequence[Observation]) -> np.ndarray:
    """Costs with the slow tail clipped and failures imputed as the worst, shape (len(history),).

    A run that hit an outlier, and an assignment that is hopeless, need no more precision than
    "bad": clipping keeps both from dominating means and variances. Where nothing worked, a failure
    counts as `FAILURE_COST`.
    """
    worked = np.array([o.cost for o in history if o.cost is not None], dtype=float)
    if not worked.size:
        return np.full(len(history), FAILURE_COST)
    median = float(np.median(worked))
    spread = MAD_TO_SD * float(np.median(np.abs(worked - median)))
    ceiling = median + CLIP_SD * spread if spread > 0 else float(worked.max())
    return np.array([ceiling if o.cost is None else min(o.cost, ceiling) for o in history])


def rank(space: ParameterSpace, history: Sequence[Observation]) -> list[Candidate]:
    """Every assignment that ran, best posterior mean first."""
    if not history:
        return []
    costs = robust_costs(history)
    members: dict[tuple[ParameterValue, ...], list[int]] = {}
    for index, observation in enumerate(history):
        members.setdefault(space.key(observation.values), []).append(index)
    groups = list(members.values())
    nr_runs = np.array([len(group) for group in groups])
    means = np.array([costs[group].mean() for group in groups])
    noise, signal, centre = _variances(costs, groups, nr_runs, means)
    weight = signal / (signal + noise / nr_runs)
    posterior_mean = centre + weight * (means - centre)
    posterior_sd = np.sqrt(signal * (1 - weight))
    order = np.argsort(posterior_mean, kind="stable")
    return [
        Candidate(
            values=history[groups[i][0]].values,
            nr_runs=int(nr_runs[i]),
            nr_failures=sum(history[j].cost is None for j in groups[i]),
            mean=float(posterior_mean[i]),
            sd=float(posterior_sd[i]),
        )
        for i in order
    ]


def _variances(
    costs: np.ndarray, groups: list[list[int]], nr_runs: np.ndarray, means: np.ndarray
) -> tuple[float, float, float]:
    """Noise variance within, signal variance between assignments, and their centre.

    Two pseudo-observations say that half of all variance is noise, until repeats tell.
    """
    total = float(costs.var()) + 1e-12
    within = sum(float(((costs[g] - m) ** 2).sum()) for g, m in zip(groups, means, strict=True))
    freedom = int((nr_runs - 1).sum())
    noise = (within + 2 * 0.5 * total) / (freedom + 2)
    centre = float(np.median(means))
    signal = float(((means - centre) ** 2).mean()) - noise * float((1 / nr_runs).mean())
    return noise, max(signal, 0.05 * total), centre


def recommend(space: ParameterSpace, history: Sequence[Observation]) -> dict[str, ParameterValue]:
    """The assignment with the best posterior mean; the default where none beats the default's."""
    default = space.default()
    for candidate in rank(space, history):
        if candidate.values == default:
            return default
        if candidate.eligible:
            known = any(o.values == default and o.cost is not None for o in history)
            return dict(candidate.values) if known or candidate.mean < 0 else default
    return default


def race(
    space: ParameterSpace, history: Sequence[Observation], rng: np.random.Generator
) -> dict[str, ParameterValue]:
    """The assignment whose repeat decides most: top-two Thompson sampling over those that worked."""
    candidates = [c for c in rank(space, history) if c.eligible]
    if not candidates:
        return space.sample(rng)
    means, sds = np.array([(c.mean, c.sd) for c in candidates]).T
    best = int(np.argmin(rng.normal(means, sds)))
    if len(candidates) > 1 and rng.random() < 0.5:
        for _ in range(100):
            drawn = int(np.argmin(rng.normal(means, sds)))
            if drawn != best:
                return dict(candidates[drawn].values)
        best = 1 if best == 0 else 0
    return dict(candidates[best].values)
