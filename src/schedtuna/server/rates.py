"""How often may somebody ask? Buckets that fill again with time. Pure: the time is told."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST_KNOWN = 10_000


@dataclass
class RequestRates:
    """A bucket for each of those who ask.

    Attributes:
        per_s: How many requests a second each may make in the long run.
        burst: How many at once.
    """

    per_s: float
    burst: float
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, who: str, now_s: float) -> bool:
        """Count a request; returns whether it is within the rate."""
        if who not in self._buckets and len(self._buckets) >= _MOST_KNOWN:
            self._forget_full(now_s)
        left = self._left(who, now_s)
        allowed = left >= 1
        self._buckets[who] = (left - allowed, now_s)
        return allowed

    def may(self, who: str, now_s: float) -> bool:
        """Whether a request would be within the rate; it is not counted."""
        return self._left(who, now_s) >= 1

    def _left(self, who: str, now_s: float) -> float:
        left, at_s = self._buckets.get(who, (self.burst, now_s))
        return min(self.burst, left + max(now_s - at_s, 0) * self.per_s)

    def _forget_full(self, now_s: float) -> None:
        """Whoever has not asked for long is as good as new; of the others the oldest half goes."""
        kept = {who: row for who, row in self._buckets.items() if self._left(who, now_s) < self.burst}
        newest = sorted(kept.items(), key=lambda item: item[1][1])[-_MOST_KNOWN // 2 :]
        self._buckets = dict(newest)
