"""What a run cost, as one number to minimise: log ratios to the default, weighted over the metrics. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from schedtuna.errors import StudyError
from schedtuna.workload.spec import Direction, MetricSpec, Requirement

VIOLATION_WEIGHT = 3.0  # a requirement missed by 10% costs as much as a metric 30% worse


@dataclass(frozen=True)
class Objective:
    """Costs relative to the default's median of each metric: 0 is the default, -0.05 about 5% better.

    Attributes:
        metrics: What to optimise.
        references: The default's median of each metric, from its first runs.
        requirements: Bounds that steer the search away; the claim judges them by confidence bounds.
    """

    metrics: tuple[MetricSpec, ...]
    references: Mapping[str, float]
    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def from_baseline(
        cls,
        metrics: Sequence[MetricSpec],
        baseline: Sequence[Mapping[str, float]],
        requirements: Sequence[Requirement] = (),
    ) -> Objective:
        """Take the references from the metrics of the default's runs.

        Raises:
            StudyError: There is no run of the default to compare with.
        """
        if not baseline:
            raise StudyError(
                "no run of the default succeeded, so there is nothing to compare with",
                hint="run the command by hand and make it succeed first",
            )
        references = {spec.name: median(run[spec.name] for run in baseline) for spec in metrics}
        return cls(tuple(metrics), references, tuple(requirements))

    def cost(self, values: Mapping[str, float]) -> float:
        """Return the cost of one run's metrics."""
        total = sum(spec.weight for spec in self.metrics)
        terms = (
            spec.weight / total * _worsening(values[spec.name], self.references[spec.name], spec.direction)
            for spec in self.metrics
        )
        return sum(terms) + VIOLATION_WEIGHT * sum(_violation(values, rule) for rule in self.requirements)


def _worsening(value: float, reference: float, direction: Direction) -> float:
    """How much worse than the reference, as a log ratio; linear where a log does not exist."""
    sign = 1.0 if direction is Direction.MIN else -1.0
    if value > 0 and reference > 0:
        return sign * math.log(value / reference)
    return sign * (value - reference) / max(abs(reference), abs(value), 1e-12)


def _violation(values: Mapping[str, float], rule: Requirement) -> float:
    """By how much of its bound one run misses a requirement; 0 where it keeps it."""
    value = values[rule.metric]
    missing = value - rule.bound if rule.operator.startswith("<") else rule.bound - value
    return max(0.0, missing) / max(abs(rule.bound), 1e-12)
