"""What do the scores of ten training seeds say? Interquartile means with intervals that hold; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from schedtuna.errors import EvidenceError

LEAST_SEEDS = 10
CUT = 0.25  # at either end: what is left is the interquartile range


@dataclass(frozen=True)
class Middle:
    """An interquartile mean, and where the true one is with 95% confidence.

    Attributes:
        mean: Of the middle half of the scores.
        low, high: Each bound holds with 97.5%.
        lower_bound, upper_bound: One-sided: each holds with 95%.
        nr: Scores.
    """

    mean: float
    low: float
    high: float
    lower_bound: float
    upper_bound: float
    nr: int


def interquartile_mean(scores: Sequence[float] | np.ndarray) -> Middle:
    """Return the mean of the middle half, with Tukey and McLaughlin's interval (Sankhya A 25, 1963).

    Its degrees of freedom are those of the scores that are left, so that it covers what it says where a
    bootstrap over ten seeds covers 84%.

    Raises:
        EvidenceError: There are fewer than four scores, or one is no number.
    """
    values = np.sort(np.asarray(scores, float))
    if values.size < 4 or not np.isfinite(values).all():
        raise EvidenceError("an interquartile mean needs at least four scores, all of them numbers")
    cut = int(CUT * values.size)
    kept = values.size - 2 * cut
    mean = float(values[cut : values.size - cut].mean())
    winsorised = np.clip(values, values[cut], values[values.size - cut - 1])
    error = float(winsorised.std(ddof=1)) / ((1 - 2 * cut / values.size) * math.sqrt(values.size))
    two_sided, one_sided = (float(stats.t.ppf(share, kept - 1)) * error for share in (0.975, 0.95))
    return Middle(mean, mean - two_sided, mean + two_sided, mean - one_sided, mean + one_sided, values.size)


@dataclass(frozen=True)
class Claim:
    """Whether a learned policy beats a fixed rule.

    Attributes:
        wins: It does, by the rule of `judge`.
        gain: How much lower its cost is, as a share of the rule's.
        reason: In words.
    """

    wins: bool
    gain: Middle
    reason: str


def judge(
    costs: Sequence[float] | np.ndarray,
    rule_cost: float,
    other_costs: Sequence[float] | np.ndarray,
    rule_other_cost: float,
    *,
    margin: float = 0.02,
) -> Claim:
    """Return whether training gives a better policy than a rule: on one metric, and no worse on another.

    The 95% bound of the interquartile mean over the seeds must be below the rule's cost, and on the other
    metric below that plus the margin.

    Args:
        costs: Of the learned policy, one per training seed: lower is better.
        rule_cost: Of the rule on the same loads, more than 0.
        other_costs: Of the learned policy on the other metric.
        rule_other_cost: Of the rule on that, more than 0.
        margin: By which share it may be worse on the other metric.

    Raises:
        EvidenceError: There are fewer than ten seeds, or a cost of the rule is not positive.
    """
    if len(costs) < LEAST_SEEDS or len(other_costs) != len(costs):
        raise EvidenceError(
            f"a policy is judged by {LEAST_SEEDS} training seeds or more, not by {len(costs)}"
        )
    if not (rule_cost > 0 and rule_other_cost > 0):
        raise EvidenceError("a rule's costs must be more than 0 to be compared with")
    gain = interquartile_mean(1 - np.asarray(costs, float) / rule_cost)
    loss = interquartile_mean(np.asarray(other_costs, float) / rule_other_cost - 1)
    if gain.lower_bound <= 0:
        return Claim(False, gain, "no gain that ten seeds show" if gain.mean > 0 else "no gain")
    if loss.upper_bound > margin:
        return Claim(False, gain, f"up to {loss.upper_bound:.1%} worse on the other metric")
    return Claim(True, gain, f"better by at least {gain.lower_bound:.1%}")
