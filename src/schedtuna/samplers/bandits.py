"""Bandits: the space as a finite set of arms, each pull one run.

With a budget of tens of runs there can be no more than tens of arms, so these find the best of a
few spread-out assignments, not the best of the space. They need no race: pulling an arm again is
what they do.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from schedtuna.samplers.base import Sampler
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.racing import Candidate, rank, recommend, robust_costs
from schedtuna.space import Assignment, ParameterSpace, ParameterValue

PULLS_PER_ARM = 4  # the budget's runs over the number of arms
MAX_ARMS = 64


class BanditSampler(Sampler):
    """Pulls the default first; subclasses say which arm comes next."""

    def __init__(self, space: ParameterSpace, *, budget: int, rng: np.random.Generator) -> None:
        super().__init__(space, budget=budget, rng=rng)
        nr_arms = min(max(budget // PULLS_PER_ARM, 2), MAX_ARMS)
        self._arms = {space.key(values): values for values in space.candidates(nr_arms, rng)}

    def tell(self, observation: Observation) -> None:
        """Learn from one run; an assignment from elsewhere becomes an arm."""
        super().tell(observation)
        self._arms.setdefault(self.space.key(observation.values), dict(observation.values))

    def ask(self) -> dict[str, ParameterValue]:
        """Return the arm to pull."""
        if not self.history:
            return self.space.default()
        if self.suggestions:
            return self.suggestions.pop(0)
        return dict(self._arms[self.choose()])

    @abstractmethod
    def choose(self) -> tuple[ParameterValue, ...]:
        """Return the key of the arm to pull."""

    def recommend(self) -> dict[str, ParameterValue]:
        """Return the arm with the best posterior mean."""
        return recommend(self.space, self.history)

    def _pulled(self) -> dict[tuple[ParameterValue, ...], Candidate]:
        return {self.space.key(c.values): c for c in rank(self.space, self.history)}

    def _untried(self) -> list[tuple[ParameterValue, ...]]:
        pulled = self._pulled()
        return [key for key in self._arms if key not in pulled]


class EpsilonGreedySampler(BanditSampler):
    """The best arm so far, or any arm with probability 1/sqrt(n) at the n-th pull."""

    name = "epsilon-greedy"

    def choose(self) -> tuple[ParameterValue, ...]:
        """Return a random arm, or the best."""
        if self.rng.random() < self._epsilon():
            keys = list(self._arms)
            return keys[int(self.rng.integers(len(keys)))]
        return self.space.key(self.recommend())

    def _epsilon(self) -> float:
        return 1 / math.sqrt(len(self.history) + 1)

    def training_metrics(self) -> dict[str, float]:
        """Return the probability of exploring."""
        return {"exploration": self._epsilon()}


class UcbSampler(BanditSampler):
    """UCB1 (Auer et al. 2002): the arm whose lower confidence bound of the cost is lowest.

    UCB1 assumes rewards within [0, 1]; costs are scaled by the range that was seen.
    """

    name = "ucb"

    def choose(self) -> tuple[ParameterValue, ...]:
        """Return an untried arm, or the one with the best bound."""
        untried = self._untried()
        if untried:
            return untried[0]
        sums: dict[tuple[ParameterValue, ...], list[float]] = {key: [] for key in self._arms}
        costs = robust_costs(self.history)
        for observation, cost in zip(self.history, costs, strict=True):
            sums[self.space.key(observation.values)].append(float(cost))
        means = np.array([np.mean(pulls) for pulls in sums.values()])
        counts = np.array([len(pulls) for pulls in sums.values()])
        return list(sums)[int(np.argmax(upper_bounds(-means, counts, float(np.ptp(costs)))))]


def upper_bounds(means: np.ndarray, counts: np.ndarray, width: float) -> np.ndarray:
    """Return UCB1's upper confidence bound of each arm, in units of the rewards' range.

    Args:
        means: Of the rewards that each arm gave.
        counts: How often each was pulled; 0: its bound is infinite.
        width: The range of all rewards seen; 0 counts as 1.
    """
    total = 2 * math.log(max(counts.sum(), 1))
    radius = np.sqrt(np.divide(total, counts, out=np.full(counts.shape, np.inf), where=counts > 0))
    bounds: np.ndarray = means / (width or 1.0) + radius
    return bounds


class ThompsonSampler(BanditSampler):
    """The arm whose cost, drawn from its normal posterior, is lowest (Thompson 1933)."""

    name = "thompson"

    def choose(self) -> tuple[ParameterValue, ...]:
        """Return the arm with the lowest draw; untried arms are drawn from the spread of the others."""
        pulled = self._pulled()
        means = np.array([c.mean for c in pulled.values()])
        centre, spread = float(means.mean()), float(means.std()) + max(c.sd for c in pulled.values())

        def draw(key: tuple[ParameterValue, ...]) -> float:
            arm = pulled.get(key)
            return float(self.rng.normal(arm.mean, arm.sd) if arm else self.rng.normal(centre, spread))

        drawn = {key: draw(key) for key in self._arms}
        return min(drawn, key=lambda key: drawn[key])


class LinUcbSampler(BanditSampler):
    """LinUCB (Li et al. 2010): cost linear in the parameters, the context, and their products.

    Args:
        space: What can be varied.
        budget: Runs in all.
        rng: The only source of randomness.
        context: Numbers about the machine and the workload, by name. They matter where runs under
            other contexts are told too (`Observation.context`).
        width: Posterior standard deviations of optimism.
    """

    name = "linucb"

    def __init__(
        self,
        space: ParameterSpace,
        *,
        budget: int,
        rng: np.random.Generator,
        context: Mapping[str, float] | None = None,
        width: float = 1.0,
    ) -> None:
        super().__init__(space, budget=budget, rng=rng)
        self._context = dict(context or {})
        self._width = width
        self._elsewhere: list[Observation] = []

    def pretrain(self, observations: Sequence[Observation], *, epochs: int = 1) -> None:
        """Take in runs under other contexts: they shape the line, and are never recommended."""
        super().pretrain(observations, epochs=epochs)
        self._elsewhere += observations

    def choose(self) -> tuple[ParameterValue, ...]:
        """Return the arm with the lowest optimistic cost."""
        known = [*self._elsewhere, *self.history]
        costs = robust_costs(known)
        spread = float(costs.std()) or 1.0
        target = (costs - costs.mean()) / spread
        contexts = np.array([self._numbers(o.context or self._context) for o in known])
        here = self._numbers(self._context)
        centre, sd = contexts.mean(axis=0), contexts.std(axis=0)
        sd[sd == 0] = np.inf  # a context that never changes says nothing
        rows = np.array(
            [self._features(o.values, (c - centre) / sd) for o, c in zip(known, contexts, strict=True)]
        )
        covariance = np.linalg.inv(rows.T @ rows + np.eye(rows.shape[1]))
        line = covariance @ rows.T @ target
        arms = np.array([self._features(values, (here - centre) / sd) for values in self._arms.values()])
        noise = float(np.std(target - rows @ line)) + 1e-3
        optimism = self._width * noise * np.sqrt(np.einsum("ij,jk,ik->i", arms, covariance, arms))
        return list(self._arms)[int(np.argmin(arms @ line - optimism))]

    def _numbers(self, context: Mapping[str, float]) -> np.ndarray:
        return np.array([context.get(name, 0.0) for name in self._context])

    def _features(self, values: Assignment, context: np.ndarray) -> np.ndarray:
        own = np.r_[1.0, self.space.to_one_hot(values) - 0.5]
        return np.asarray(np.r_[own, np.outer(own, context).ravel()])
