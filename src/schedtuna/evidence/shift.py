"""Which shifts of the candidate does a test not reject? Estimate and interval, by inverting it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Tails:
    """P-values of one test.

    Attributes:
        lower: P(as low a sum of scores, or lower): small when the candidate's costs are low.
        upper: P(as high, or higher).
    """

    lower: float
    upper: float


def around(gaps: FloatArray) -> tuple[float, float]:
    """Return an interval around gaps and beyond all of them that are finite."""
    gaps = gaps[np.isfinite(gaps)]
    if not gaps.size:
        return -1.0, 1.0
    centre = float(np.median(gaps))
    reach = 1.01 * float(np.abs(gaps - centre).max()) + 1e-6
    return centre - reach, centre + reach


class ShiftTest(ABC):
    """Costs (lower is better) of n blocks, and a test that the candidate differs by exactly a shift.

    Attributes:
        values: One row per block.
    """

    values: FloatArray

    @property
    @abstractmethod
    def rarest(self) -> float:
        """The smallest p-value that there can be."""

    @property
    @abstractmethod
    def bracket(self) -> tuple[float, float]:
        """Shifts between which the candidate passes from above every control to below: (low, high).

        Moves with the candidate, so that whatever is bisected from here does, too.
        """

    @abstractmethod
    def sigma(self, shift: float) -> float:
        """Standard deviation of a block's part in the estimate, the shift taken off."""

    @abstractmethod
    def test(self, shift: float = 0.0) -> Tails:
        """P-values of the hypothesis that the candidate differs by exactly this shift."""

    @abstractmethod
    def excess(self, shift: float) -> float:
        """The candidate's sum of scores, less its expectation, under a shift."""

    def bounded(self, shift: float) -> float:
        """The shift, or the bracket's end where it is beyond."""
        return min(max(shift, self.bracket[0]), self.bracket[1])

    def estimate(self) -> float:
        """Hodges and Lehmann's estimate: the shift that leaves no excess.

        Infinite where failures leave an excess under every shift.
        """
        low, high = self.bracket
        if self.excess(high) > 1e-9:
            return math.inf
        if self.excess(low) < -1e-9:
            return -math.inf
        tolerance = max(min(self.sigma(0.0), high - low) / 2000, 1e-9)
        above = self._last(lambda shift: self.excess(shift) > 1e-9, tolerance)
        if self.excess(above + 2 * tolerance) < -1e-9:
            return above
        below = self._last(lambda shift: self.excess(shift) > -1e-9, tolerance)
        return (above + below) / 2

    def _last(self, holds: Callable[[float], bool], tolerance: float) -> float:
        """Bisect for where a condition that holds at the bracket's low end ceases to."""
        low, high = self.bracket
        while high - low > tolerance:
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return (low + high) / 2

    def interval(self, p_bound: float, estimate: float, known: dict[float, Tails]) -> tuple[float, float]:
        """The shifts that neither tail rejects at p_bound; infinite where none is rejected.

        Args:
            p_bound: One-sided level.
            estimate: The estimate.
            known: Tests made before, by shift; the interval agrees with them.
        """
        inside = self.bounded(estimate)
        high = self._endpoint(p_bound, inside, {shift: t.lower for shift, t in known.items()}, 1)
        low = self._endpoint(p_bound, inside, {shift: t.upper for shift, t in known.items()}, -1)
        return low, high

    def _endpoint(self, p_bound: float, inside: float, known: dict[float, float], sign: int) -> float:
        def p_at(shift: float) -> float:
            tested = self.test(shift)
            return tested.lower if sign > 0 else tested.upper

        if self.rarest > p_bound:
            return sign * math.inf
        rejected = [s for s, p in known.items() if p <= p_bound and (s - inside) * sign > 0]
        kept = [s for s, p in known.items() if p > p_bound and (s - inside) * sign > 0]
        outside = min(rejected, key=lambda s: s * sign, default=None)
        inner = max(
            (s for s in kept if outside is None or (outside - s) * sign > 0),
            key=lambda s: s * sign,
            default=inside,
        )
        step = max(2.5 * self.sigma(inside) / math.sqrt(len(self.values)), 1e-6)
        while outside is None:
            trial = inner + sign * step
            if p_at(trial) <= p_bound:
                outside = trial
            elif step > 2 * (self.bracket[1] - self.bracket[0]):
                return sign * math.inf
            else:
                inner, step = trial, 2 * step
        tolerance = max(abs(outside - inside) / 256, 1e-7)
        while abs(outside - inner) > tolerance:
            middle = (inner + outside) / 2
            if p_at(middle) <= p_bound:
                outside = middle
            else:
                inner = middle
        return outside
