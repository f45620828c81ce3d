"""What `schedtuna variability` has found, as tables for people and a document for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from schedtuna.backend.base import Trial, Validity
from schedtuna.cli.table import number, table, wrapped
from schedtuna.evidence.result import Estimate, is_bounded
from schedtuna.evidence.spreads import LEAST_ROUNDS
from schedtuna.experiment.apart import MetricDifference, differences
from schedtuna.experiment.runtable import Sample
from schedtuna.printable import percent_change, printable

DESCRIPTIVE = (
    "Descriptive only: the two samples were not interleaved, so heat, neighbours, clocks or the hour "
    "may explain any difference. Only `schedtuna compare` on one machine supports a claim."
)
INTERLEAVED = (
    "Intervals of 95%, each by itself: of many metrics some lie beside zero by chance. They say how these "
    f"machines differed while the runs were made, by whatever tells them apart; below {LEAST_ROUNDS} rounds "
    "there are none."
)


@dataclass(frozen=True)
class Described:
    """What was found.

    Attributes:
        described: Each machine, and its runs.
        there: Another machine, whose runs were made elsewhere.
    """

    described: Sequence[tuple[Sample, Sequence[Trial]]]
    there: Sample | None = None

    @cached_property
    def differences(self) -> list[MetricDifference]:
        """How the machines differ from the first."""
        return differences(
            {sample.host: trials for sample, trials in self.described},
            {sample.host: sample.nr_cpus for sample, _ in self.described},
        )

    def show(self) -> None:
        """Print tables."""
        told = []
        for sample, trials in self.described:
            counts = f"{len(trials)} runs, {_nr_failed(trials)} failed, {sample.nr_cpus} CPUs online"
            told += [f"{printable(sample.host)}: {counts}", _table(sample)]
        first, *others = (sample for sample, _ in self.described)
        for other in others:
            own = [one for one in self.differences if one.host == other.host]
            told += [f"{printable(other.host)} against {printable(first.host)}", _apart(own, first, other)]
        if others:
            told.append(wrapped(INTERLEAVED))
        if self.there is not None:
            told += [
                f"beside {printable(self.there.host)} ({self.there.nr_cpus} CPUs)",
                _beside(first, self.there),
                DESCRIPTIVE,
            ]
        print("\n\n".join(told))

    def summary(self) -> dict[str, Any]:
        """Return all of it, for programs: of one machine its figures, of several a list of them."""
        machines = [
            {
                "runs": {"ok": len(trials) - _nr_failed(trials), "failed": _nr_failed(trials)},
                **_described(sample),
            }
            for sample, trials in self.described
        ]
        if len(machines) == 1:
            there = None if self.there is None else {**_described(self.there), "note": DESCRIPTIVE}
            return {**machines[0], "against": there}
        return {"machines": machines, "differences": [one.as_row() for one in self.differences]}


def _nr_failed(trials: Sequence[Trial]) -> int:
    return sum(trial.validity is not Validity.OK for trial in trials)


def _described(sample: Sample) -> dict[str, Any]:
    rows = [spread.as_row() for spread in sample.spreads]
    metrics = {str(row.pop("metric")): row for row in rows}
    return {"host": sample.host, "cpus": sample.nr_cpus, "metrics": metrics}


def _table(sample: Sample) -> str:
    headings = ["metric", "runs", "mean", "per core", "sd", "CV %", "min", "q1", "median", "q3", "max"]
    rows = []
    for s in sample.spreads:
        means, places = (s.mean, s.per_core_mean, s.sd), (s.minimum, s.q1, s.median, s.q3, s.maximum)
        cells = [number(value, s.metric) for value in (*means, *places)]
        rows.append([s.metric, str(s.runs), *cells[:3], number(100 * s.cv), *cells[3:]])
    return table(headings, rows)


def _apart(own: Sequence[MetricDifference], first: Sample, other: Sample) -> str:
    headings = ["metric", "rounds", "mean", "95%", "per core", "CV % there", "here", "CV ratio", "95%"]
    cvs = [{spread.metric: spread.cv for spread in sample.spreads} for sample in (first, other)]
    rows = [
        [
            one.metric,
            str(one.rounds),
            "-" if one.mean is None else percent_change(one.mean.ratio),
            _reach(one.mean, percent_change),
            "-" if one.per_core is None else percent_change(one.per_core),
            *(number(100 * cv[one.metric], digits=3) for cv in reversed(cvs)),
            "-" if one.cv is None else number(one.cv.ratio, digits=3),
            _reach(one.cv, lambda ratio: number(ratio, digits=3)),
        ]
        for one in own
    ]
    return table(headings, rows) if rows else "the two have no metric in common"


def _reach(estimate: Estimate | None, told: Callable[[float], str]) -> str:
    if estimate is None or not all(map(is_bounded, estimate.ci95)):
        return "-"
    return " to ".join(map(told, estimate.ci95))


def _beside(here: Sample, there: Sample) -> str:
    others = {spread.metric: spread for spread in there.spreads}
    rows = []
    for s in here.spreads:
        other = others.get(s.metric)
        if other is None:
            continue
        ratio = s.median / other.median if other.median else None
        per_core = s.per_core_mean / other.per_core_mean if other.per_core_mean else None
        medians = [number(value, s.metric) for value in (s.median, other.median)]
        rows.append([s.metric, *medians, *map(number, (ratio, per_core, 100 * s.cv, 100 * other.cv))])
    headings = ["metric", "median here", "there", "here/there", "per core", "CV % here", "there"]
    return table(headings, rows) if rows else "the two have no metric in common"
