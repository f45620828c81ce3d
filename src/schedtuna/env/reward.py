"""What is a run worth to a learner? Costs and contexts on scales that come from data seen.

No constant of any machine is in here: before the second run the scale is 1, later it is the spread
of what ran.
"""

from __future__ import annotations

import numpy as np

from schedtuna.samplers.racing import MAD_TO_SD

CLIP = 5.0  # spreads: an outlier is bad, not infinitely bad


class RewardScale:
    """Turns costs into rewards: minus the cost in units of the costs' robust spread.

    Args:
        factor: Multiplies every reward.
    """

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self._costs: list[float] = []

    @property
    def spread(self) -> float:
        """Robust standard deviation of the costs seen; 1 until they differ."""
        if not self._costs:
            return 1.0
        costs = np.array(self._costs)
        mad = float(np.median(np.abs(costs - np.median(costs))))
        return MAD_TO_SD * mad or float(costs.std()) or 1.0

    def reward(self, cost: float | None) -> float:
        """Take in one run's cost and return its reward; a failure is one spread below the worst run."""
        if cost is not None:
            self._costs.append(cost)
        worst = max(self._costs, default=0.0)
        scaled = -(worst / self.spread + 1.0) if cost is None else -cost / self.spread
        return self.factor * float(np.clip(scaled, -CLIP, CLIP))


class ContextScale:
    """Centres and scales context vectors by the mean and spread of those seen (Welford's update).

    Args:
        size: Numbers in a context.
    """

    def __init__(self, size: int) -> None:
        self._count = 0
        self._mean = np.zeros(size)
        self._squares = np.zeros(size)

    def scale(self, context: np.ndarray) -> np.ndarray:
        """Take in one context and return it scaled, shape (size,); zeros while only one was seen."""
        self._count += 1
        away = context - self._mean
        self._mean = self._mean + away / self._count
        self._squares = self._squares + away * (context - self._mean)
        sd = np.sqrt(self._squares / max(self._count - 1, 1))
        scaled = np.divide(context - self._mean, sd, out=np.zeros_like(self._mean), where=sd > 0)
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)
