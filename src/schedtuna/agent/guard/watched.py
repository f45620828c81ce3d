"""What does the guard watch when nobody names an objective, and what may a policy cost there?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schedtuna.agent.contract import Sensed
from schedtuna.errors import UsageError, nearest


@dataclass(frozen=True)
class WatchedMetric:
    """A row of the table: a metric of which less is better, unless it says so.

    Attributes:
        name: With its unit, as in `Sensed.kernel` or `Sensed.machine`.
        resolution: Added to each value before the logarithm, so that 0 has one: what is less says nothing.
        tolerated: A loss up to this ratio is no harm: a policy takes from some what it gives to others.
        at_most: False: more is better.
    """

    name: str
    resolution: float
    tolerated: float = 1.05
    at_most: bool = True

    def cost(self, value: float) -> float:
        """Logarithm of a value, such that less is better."""
        cost = math.log(max(value, 0.0) + self.resolution)
        return cost if self.at_most else -cost


# Turnaround is what batch work pays where interactive work is put before it.
WATCHED: dict[str, WatchedMetric] = {
    row.name: row
    for row in (
        WatchedMetric("wakeup_latency_p99_us", 1.0),
        WatchedMetric("first_run_delay_p99_us", 1.0, 1.25),
        WatchedMetric("turnaround_mean_us", 1.0, 1.25),
        WatchedMetric("psi_cpu_some_percent", 1.0),
    )
}


def watched_row(name: str, known: Iterable[str] | None = None, *, at_most: bool = True) -> WatchedMetric:
    """Return a metric's row; one that is not in the table is watched without tolerance.

    Args:
        name: Of the metric.
        known: What there is; None: anything.
        at_most: Whether less is better.

    Raises:
        UsageError: It is not among the known ones.
    """
    if known is not None and name not in (names := sorted(known)):
        raise UsageError(f"there is no metric {name!r} to watch: {nearest(name, names)}")
    row = WATCHED.get(name)
    if row is not None and at_most:
        return row
    return WatchedMetric(name, 1e-3, 1.05, at_most)


def values_of(sensed: Sensed) -> Mapping[str, float]:
    """Return all metrics of an interval by name; what was not measured is missing."""
    fresh = {slo.name: slo.value for slo in sensed.slos if slo.value is not None and not slo.is_stale}
    together = {**sensed.machine, **sensed.kernel, **fresh}
    return {name: value for name, value in together.items() if math.isfinite(value)}
