"""Where does a number lie between its bounds? The linear or log scale from a range to [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

SIGNIFICANT_DIGITS = 6  # of the range: finer settings can't be told apart, and read badly


@dataclass(frozen=True)
class Scale:
    """A range of numbers, linear or logarithmic.

    Every integer owns the cell of half a unit on both sides, so that each gets its share of [0, 1].

    Attributes:
        low: Smallest value.
        high: Largest value.
        integer: Whether only whole numbers count.
        log: Whether equal steps are equal ratios.
    """

    low: float
    high: float
    integer: bool
    log: bool

    def to_unit(self, value: float) -> float:
        """Position of a value in [0, 1]; 0.5 where only one value exists."""
        left, right = self._edges
        if right <= left:
            return 0.5
        return min(max((self._forward(value) - left) / (right - left), 0.0), 1.0)

    def from_unit(self, position: float) -> int | float:
        """The value at a position in [0, 1]; positions beyond are clipped."""
        left, right = self._edges
        place = left + min(max(position, 0.0), 1.0) * (right - left)
        value = math.exp(place) if self.log else place
        if self.integer:
            return int(min(max(round(value), self.low), self.high))
        return float(min(max(self._readable(value), self.low), self.high))

    @cached_property
    def _edges(self) -> tuple[float, float]:
        half = 0.5 if self.integer else 0.0
        return self._forward(self.low - half), self._forward(self.high + half)

    def _forward(self, value: float) -> float:
        return math.log(value) if self.log else float(value)

    def _readable(self, value: float) -> float:
        width = value if self.log else self.high - self.low
        if width <= 0 or not math.isfinite(width):
            return value
        return round(value, SIGNIFICANT_DIGITS - math.floor(math.log10(width)) - 1)


@lru_cache(maxsize=1024)
def make_scale(low: float, high: float, *, integer: bool, log: bool) -> Scale:
    """Return the scale of a range; equal ranges share one."""
    return Scale(low, high, integer, log)
