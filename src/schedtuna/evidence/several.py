"""Several metrics, several candidates: one composite to decide on, or a shared error rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from schedtuna.errors import EvidenceError
from schedtuna.evidence.verdict import Observation
from schedtuna.workload.spec import Direction, MetricSpec


def composite(metrics: Sequence[MetricSpec], values: Mapping[str, float | None]) -> Observation:
    """One cost (less is better) of several weighted metrics of a run.

    The weighted geometric mean, with `max` metrics inverted: a ratio of 0.95 is a gain of 5% in
    the weighted mean of the metrics' relative gains, whatever their units. One missing metric
    fails the run.

    Args:
        metrics: With their weights.
        values: What the run measured, by metric; None where it failed.

    Raises:
        EvidenceError: A value of zero or less, which has no relative gain.
    """
    total, weights = 0.0, 0.0
    for metric in metrics:
        value = values[metric.name]
        if value is None:
            return None
        if not (math.isfinite(value) and value > 0):
            raise EvidenceError(
                f"{metric.name} = {value}: several metrics are weighed by their ratios, "
                "which need values above zero",
                hint=f"optimise one metric, and bound {metric.name} with --require",
            )
        sign = 1 if metric.direction is Direction.MIN else -1
        total += metric.weight * sign * math.log(value)
        weights += metric.weight
    if not weights:
        raise EvidenceError("no metric to weigh")
    return math.exp(total / weights)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted for being several, by Holm's step-down procedure (1979).

    For several finalists or primary metrics, each from a study with one look. A sequential study
    gets `alpha / m` instead. One winner confirmed on fresh runs needs neither.
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise EvidenceError(f"p = {p}: expected a probability")
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)
