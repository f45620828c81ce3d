"""How do several machines differ in what the same runs measured on each? Metric by metric, with intervals."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from schedtuna.backend.base import Trial, Validity
from schedtuna.evidence.result import Estimate
from schedtuna.evidence.spreads import cv_ratio, mean_ratio


@dataclass(frozen=True)
class MetricDifference:
    """How one metric differs on a machine from what it is on the first one.

    Attributes:
        metric: Its name.
        host: The machine.
        against: The first one.
        rounds: Rounds in which both have it.
        mean: Ratio of the means, host over against; None: one of them is not above zero.
        per_core: The same of the means per CPU.
        cv: Ratio of the coefficients of variation; None: one of them did not vary.
    """

    metric: str
    host: str
    against: str
    rounds: int
    mean: Estimate | None
    per_core: float | None
    cv: Estimate | None

    def as_row(self) -> dict[str, str | int | float | None]:
        """Return the columns by name; what does not exist is None."""
        return {
            "metric": self.metric,
            "host": self.host,
            "against": self.against,
            "rounds": self.rounds,
            **_columns("mean_ratio", self.mean),
            "per_core_ratio": self.per_core,
            **_columns("cv_ratio", self.cv),
        }


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    figures = (None,) * 3 if estimate is None else (estimate.ratio, *estimate.ci95)
    names = (name, f"{name}_low", f"{name}_high")
    return {
        column: value if value is not None and 0 < value < math.inf else None
        for column, value in zip(names, figures, strict=True)
    }


def differences(trials: Mapping[str, Sequence[Trial]], nr_cpus: Mapping[str, int]) -> list[MetricDifference]:
    """Compare every machine's runs with the first one's, round by round.

    A round in which one of the two runs is not ok, or lacks the metric, does not count for both.

    Args:
        trials: Of each machine, by its name; the n-th ones are of one round.
        nr_cpus: How many CPUs each has online.
    """
    names = list(trials)
    columns = {name: _metrics_of(trials[name]) for name in names}
    first = columns[names[0]]
    found = []
    for host in names[1:]:
        for metric in (metric for metric in first if metric in columns[host]):
            pairs = [
                pair
                for pair in zip(first[metric], columns[host][metric], strict=False)
                if not any(map(math.isnan, pair))
            ]
            base, own = ([pair[place] for pair in pairs] for place in range(2))
            mean = mean_ratio(base, own)
            found.append(
                MetricDifference(
                    metric=metric,
                    host=host,
                    against=names[0],
                    rounds=len(pairs),
                    mean=mean,
                    per_core=None if mean is None else mean.ratio * nr_cpus[names[0]] / nr_cpus[host],
                    cv=cv_ratio(base, own),
                )
            )
    return found


def _metrics_of(trials: Iterable[Trial]) -> Mapping[str, array[float]]:
    """Each metric's values, then each covariate's, by run; nan where a run has none that counts."""
    columns: tuple[dict[str, array[float]], ...] = ({}, {})
    count = 0
    for count, trial in enumerate(trials, start=1):
        if trial.validity is Validity.OK:
            for own, row in zip(columns, (trial.metrics, trial.covariates), strict=True):
                for name, value in row.items():
                    values = own.setdefault(name, array("d"))
                    values.extend([math.nan] * (count - 1 - len(values)))
                    values.append(value)
    for values in (one for own in columns for one in own.values()):
        values.extend([math.nan] * (count - len(values)))
    return {**columns[0], **{name: one for name, one in columns[1].items() if name not in columns[0]}}
