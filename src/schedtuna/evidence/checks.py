"""Can the comparison be trusted? A/A, positions within blocks, and the estimand guard.

Every function takes costs in run order (shape (n, 3), lower is better, `inf` for a failed run) and
`slots` (shape (n, 3)): the position at which default, default again and candidate ran.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from schedtuna.evidence.permutation import (
    DECIMALS,
    FAILED,
    align,
    double_midranks,
    normal_scores,
    pair_sigma,
    position_q,
)
from schedtuna.evidence.shift import FloatArray, IntArray

ALARM = 0.01
SLOW_LEVEL = 0.12  # 2 slow runs of n against 0 of 2n give 1/9: blocks
SLOW_SUSPICION = 0.34  # 1 against 0 gives 1/3: more runs are needed
SLOW_SIGMAS = 4.0
SLOW_LEAST = math.log(1.2)
MEAN_LEVEL = 0.05


@dataclass(frozen=True)
class Shift:
    """A shift that should not be there.

    Attributes:
        shift: Estimate, on the costs' scale.
        low: Lower end of its 95% interval; -inf where too few blocks bound it.
        high: Upper end.
        p: Two-sided p-value.
        alarm: Whether p is below .01.
    """

    shift: float
    low: float
    high: float
    p: float
    alarm: bool


def arm(costs: FloatArray, slots: IntArray, index: int) -> FloatArray:
    """The costs of one arm, by block: 0 default, 1 default again, 2 candidate."""
    return np.asarray(costs[np.arange(len(costs)), slots[:, index]])


def _signed_sum_chances(ranks: Iterable[int]) -> FloatArray:
    """P(sum of the positive ranks = k) under random signs, k = 0, 1, ..."""
    chances = np.ones(1)
    for rank in ranks:
        grown = np.zeros(len(chances) + rank)
        grown[: len(chances)] += chances
        grown[rank:] += chances
        chances = grown / 2
    return chances


def same_arm(costs: FloatArray, slots: IntArray) -> Shift:
    """Default again against default: Wilcoxon's signed ranks, exact, with Walsh averages' interval."""
    finite = np.where(np.isfinite(costs), costs, FAILED)
    differences = np.round(arm(finite, slots, 1) - arm(finite, slots, 0), DECIMALS)
    ranks = double_midranks(np.abs(differences))
    chances = _signed_sum_chances(np.sort(ranks).tolist())
    # A difference of zero has no sign: half of its rank goes to either side.
    observed = float(ranks[differences > 0].sum() + ranks[differences == 0].sum() / 2)
    lower = float(chances[: math.floor(observed) + 1].sum())
    upper = float(chances[math.ceil(observed) :].sum())
    p = min(1.0, 2 * min(lower, upper))

    i, j = np.triu_indices(len(differences))
    walsh = np.sort((differences[i] + differences[j]) / 2)
    untied = np.cumsum(_signed_sum_chances(range(1, len(differences) + 1)))
    cut = int(np.searchsorted(untied, 0.025 + 1e-12, side="right"))
    low, high = (-math.inf, math.inf) if cut == 0 else (float(walsh[cut - 1]), float(walsh[-cut]))
    return Shift(_bounded(float(np.median(walsh))), _bounded(low), _bounded(high), p, p < ALARM)


def _bounded(shift: float) -> float:
    return shift if abs(shift) < FAILED / 4 else math.copysign(math.inf, shift)


@dataclass(frozen=True)
class Positions:
    """Whether a run's place within its block matters.

    Attributes:
        spread: The largest difference between two places' medians, on the costs' scale.
        p: P-value of no difference.
        alarm: Whether p is below .01.
    """

    spread: float
    p: float
    alarm: bool


def positions(costs: FloatArray, slots: IntArray, effect: float) -> Positions:
    """Compare the first, second and third runs of all blocks.

    Orders are random, so a difference costs precision, never validity; the test takes it off
    where it is there.
    """
    finite = _without_effect(costs, slots, effect)
    residuals = np.round(finite - np.sort(finite, axis=1)[:, 1:2], DECIMALS)
    medians = np.median(residuals, axis=0)
    p = math.exp(-position_q(normal_scores(residuals)) / 2)  # chi-square with 2 degrees of freedom
    return Positions(float(medians.max() - medians.min()), p, p < ALARM)


def _without_effect(costs: FloatArray, slots: IntArray, effect: float) -> FloatArray:
    moved = costs.copy()
    moved[np.arange(len(moved)), slots[:, 2]] -= effect
    return np.where(np.isfinite(moved), moved, FAILED)


def run_sigma(costs: FloatArray, slots: IntArray, effect: float) -> float:
    """Standard deviation of single runs, robust, the effect and the blocks' levels taken off."""
    return pair_sigma(_without_effect(costs, slots, effect))


@dataclass(frozen=True)
class SlowRuns:
    """How often runs were far slower than their arm's typical run, failures included.

    Attributes:
        candidate: Share of the candidate's runs.
        default: Share of the default's runs, both arms.
        p: One-sided p-value that the candidate has more.
        worse: Whether it credibly has.
        suspect: Whether it may have: not enough to condemn it, too much to stop at.
    """

    candidate: float
    default: float
    p: float
    worse: bool
    suspect: bool


def slow_runs(costs: FloatArray, slots: IntArray, effect: float) -> SlowRuns:
    """Compare the arms' slow runs: exact, by relabelling within blocks.

    A run is slow when it is 4 sigma, and at least 20%, above its block once the candidate's
    typical shift is taken off.
    """
    values = _without_effect(costs, slots, effect)
    slow = align(values) > max(SLOW_SIGMAS * pair_sigma(values), SLOW_LEAST)
    slow |= ~np.isfinite(costs)
    chances = np.ones(1)
    for share in (slow.sum(axis=1) / 3).tolist():
        if share:
            chances = np.convolve(chances, (1 - share, share))
    count = int(slow[np.arange(len(slow)), slots[:, 2]].sum())
    p = float(chances[count:].sum())
    others = int(slow.sum()) - count
    return SlowRuns(count / len(costs), others / (2 * len(costs)), p, p < SLOW_LEVEL, p < SLOW_SUSPICION)


@dataclass(frozen=True)
class Means:
    """The ratio of the arms' means over the runs that finished.

    Attributes:
        ratio: Candidate / default, of raw values.
        low: Lower end of the 95% interval.
        high: Upper end.
        worse: Whether the candidate's mean is credibly the worse (one-sided 5%).
    """

    ratio: float
    low: float
    high: float
    worse: bool


def mean_ratio(values: FloatArray, slots: IntArray, *, sign: int) -> Means:
    """Ratio of means with Fieller-type t interval over blocks.

    Args:
        values: Raw values in run order, `nan` where a run failed.
        slots: See the module.
        sign: 1 where less is better, -1 where more is.
    """
    from scipy.special import stdtrit  # 0.1 s to import

    mine = arm(values, slots, 2)
    controls = np.stack([arm(values, slots, 0), arm(values, slots, 1)])
    complete = np.isfinite(mine) & np.isfinite(controls).any(axis=0)
    nr_blocks = int(complete.sum())
    if nr_blocks < 2:
        return Means(math.nan, -math.inf, math.inf, worse=False)
    ours = mine[complete]
    theirs = np.nanmean(controls[:, complete], axis=0)
    reference = float(theirs.mean())
    if reference == 0:
        return Means(math.nan, -math.inf, math.inf, worse=False)
    ratio = float(ours.mean()) / reference
    error = float(np.std(ours - ratio * theirs, ddof=1)) / math.sqrt(nr_blocks) / abs(reference)
    wide = float(stdtrit(nr_blocks - 1, 0.975)) * error
    narrow = float(stdtrit(nr_blocks - 1, 1 - MEAN_LEVEL)) * error
    worse = sign * math.copysign(1, reference) * (ratio - 1) > narrow + 1e-12
    return Means(ratio, ratio - wide, ratio + wide, worse)
