"""What a model that was asked beforehand says of every assignment, also of those that it was not asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schedtuna.samplers.observation import Observation
from schedtuna.samplers.process import Places, Posterior, feature_groups
from schedtuna.samplers.racing import robust_costs
from schedtuna.space import ParameterSpace, ParameterValue

NR_LEARNED = 250  # assignments that are learned from: the best half, and others as they come
NR_PROPOSED = 60
FIT_ITERATIONS = 40


class CostModel:
    """A smooth function through what was said of some assignments.

    Args:
        space: Theirs.
        observations: What each costs by the model, on the scale of runs.

    Attributes:
        proposed: Those that it finds best, the best first.
    """

    def __init__(self, space: ParameterSpace, observations: Sequence[Observation]) -> None:
        one_each = {space.key(each.values): each for each in observations}
        ranked = sorted(one_each.values(), key=lambda each: (each.cost is None, each.cost or 0.0))
        best, others = ranked[: NR_LEARNED // 2], ranked[NR_LEARNED // 2 :]
        learned = best + others[:: max(1, -(-2 * len(others) // NR_LEARNED))]
        features = np.array([space.to_one_hot(each.values) for each in learned])
        costs = robust_costs(learned)
        self._centre, self._spread = float(np.median(costs)), float(costs.std()) or 1.0
        self._groups = feature_groups(space)
        places = Places(features, (costs - self._centre) / self._spread, np.ones(len(costs)), 0.0)
        self._fit = Posterior(self._groups).fit(places, iterations=FIT_ITERATIONS)
        order = np.argsort(self.costs(features[: len(best)]), kind="stable")[:NR_PROPOSED]
        self.proposed: list[dict[str, ParameterValue]] = [dict(best[i].values) for i in order]

    def costs(self, features: np.ndarray) -> np.ndarray:
        """What assignments cost, by their one-hot encodings, shape (m,)."""
        return self._fit.mean(self._groups, features) * self._spread + self._centre
