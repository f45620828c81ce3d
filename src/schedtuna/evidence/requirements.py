"""Is `metric >= bound` met? Judged by a confidence interval over runs, not by one run."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np

from schedtuna.errors import EvidenceError
from schedtuna.evidence.shift import FloatArray
from schedtuna.workload.spec import Requirement

CONFIDENCE = 0.95


class Outcome(StrEnum):
    """What the runs say about a requirement."""

    MET = "met"
    NOT_MET = "not_met"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Judgement:
    """One requirement against the runs.

    Attributes:
        requirement: What was required.
        outcome: Met or not met when the whole interval is on one side of the bound.
        estimate: The runs' median, or mean; infinite where failures make it so.
        interval: Two-sided confidence interval of it; infinite where too few runs bound it.
        runs: Number of runs.
        failures: Failed ones among them, which count as the worst value.
        needed: The fewest runs that bound a median at this confidence.
    """

    requirement: Requirement
    outcome: Outcome
    estimate: float
    interval: tuple[float, float]
    runs: int
    failures: int
    needed: int = 0


def judge_requirement(
    requirement: Requirement,
    values: Sequence[float | None],
    *,
    of: Literal["median", "mean"] = "median",
    confidence: float = CONFIDENCE,
) -> Judgement:
    """Judge a requirement on the candidate's runs.

    The median's interval is by order statistics (distribution-free, exact for independent runs);
    the mean's is Student's. A failed run (None) is the worst value: it is never left out.

    Args:
        requirement: Metric, operator, bound.
        values: The metric in every run.
        of: Which typical value the bound is about.
        confidence: Two-sided; divide its complement where several requirements must hold at once.

    Raises:
        EvidenceError: There is no run, or a value is nan.
    """
    if not values:
        raise EvidenceError(f"no run to judge {requirement.metric} by", hint="run at least 6")
    if not 0.5 < confidence < 1:
        raise EvidenceError(f"confidence={confidence}: expected a probability between 0.5 and 1")
    at_least = requirement.operator.startswith(">")
    worst = -math.inf if at_least else math.inf
    runs = np.sort([worst if value is None else value for value in values])
    if np.isnan(runs).any():
        raise EvidenceError(f"{requirement.metric} is nan in a run", hint="give None for a failed run")
    if of == "median":
        estimate, interval = float(_median(runs)), _median_interval(runs, confidence)
    else:
        estimate, interval = _mean_interval(runs, worst, confidence)
    return Judgement(
        requirement,
        _outcome(requirement, interval),
        estimate,
        interval,
        len(values),
        sum(value is None for value in values),
        least_runs(confidence) if of == "median" else 2,
    )


def least_runs(confidence: float = CONFIDENCE) -> int:
    """The fewest runs that bound a median on both sides: 2^(1 - n) <= 1 - confidence."""
    return math.ceil(1 - math.log2(1 - confidence) - 1e-9)


def _outcome(requirement: Requirement, interval: tuple[float, float]) -> Outcome:
    holds = {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }[requirement.operator]
    ends = [holds(end, requirement.bound) for end in interval]
    if all(ends):
        return Outcome.MET
    return Outcome.UNDECIDED if any(ends) else Outcome.NOT_MET


def _median(ordered: FloatArray) -> float:
    """The median; of two different infinities or an infinite half, the worse end stays infinite."""
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)


def _median_interval(ordered: FloatArray, confidence: float) -> tuple[float, float]:
    """Order statistics r and n + 1 - r with P(Binomial(n, 1/2) < r) <= (1 - confidence) / 2."""
    size = len(ordered)
    below = 0.0
    rank = 0
    for count in range(size + 1):
        below += math.comb(size, count) * 0.5**size
        if below > (1 - confidence) / 2:
            break
        rank = count + 1
    if rank == 0:
        return -math.inf, math.inf
    return float(ordered[rank - 1]), float(ordered[size - rank])


def _mean_interval(runs: FloatArray, worst: float, confidence: float) -> tuple[float, tuple[float, float]]:
    from scipy.special import stdtrit  # 0.1 s to import

    if not np.isfinite(runs).all():
        return worst, (worst, worst)
    mean = float(runs.mean())
    if len(runs) < 2:
        return mean, (-math.inf, math.inf)
    reach = (
        float(stdtrit(len(runs) - 1, (1 + confidence) / 2)) * float(runs.std(ddof=1)) / math.sqrt(len(runs))
    )
    return mean, (mean - reach, mean + reach)
