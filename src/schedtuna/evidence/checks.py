"""Can the comparison be trusted? A/A, carry-over, positions, and the estimand guard.

Every function takes costs in run order (shape (n, 3), lower is better, `inf` for a failed run) and
`slots` (shape (n, 3)): the position at which default, default again and candidate ran.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from schedtuna.evidence.permutation import (
    FAILED,
    Comparison,
    FloatArray,
    IntArray,
    align,
    double_midranks,
    normal_scores,
    pair_sigma,
    position_q,
)

AA_ALARM = 0.01
CHECK_ALARM = 0.01
CARRY_OVER_DOUBT = 0.1  # from here on a claim has to survive without the carry-over
SLOW_LEVEL = 0.12  # 2 slow runs of n against 0 of 2n give 1/9: blocks
SLOW_SUSPICION = 0.34  # 1 against 0 gives 1/3: more runs are needed
SLOW_SIGMAS = 4.0
SLOW_LEAST = math.log(1.2)
MEAN_LEVEL = 0.05
CARRY_OVER_DRAWS = 2000


@dataclass(frozen=True)
class ShiftCheck:
    """A shift that should not be there.

    Attributes:
        shift: Estimate on the costs' scale.
        low: Lower end of its 95% interval; -inf where too few blocks bound it.
        high: Upper end.
        p: Two-sided p-value.
        alarm: Whether p is below the check's level.
    """

    shift: float
    low: float
    high: float
    p: float
    alarm: bool


def arm(costs: FloatArray, slots: IntArray, index: int) -> FloatArray:
    """The costs of one arm, by block: 0 default, 1 default again, 2 candidate."""
    return np.asarray(costs[np.arange(len(costs)), slots[:, index]])


@functools.lru_cache(maxsize=64)
def _signed_rank_chances(blocks: int) -> FloatArray:
    """P(sum of the positive ranks = k) under random signs, k = 0 ... n(n+1)/2."""
    chances = np.ones(1)
    for rank in range(1, blocks + 1):
        grown = np.zeros(len(chances) + rank)
        grown[: len(chances)] += chances
        grown[rank:] += chances
        chances = grown / 2
    return chances


def same_arm(costs: FloatArray, slots: IntArray) -> ShiftCheck:
    """Default again against default: Wilcoxon's signed ranks, exact, with Walsh averages' interval."""
    finite = np.where(np.isfinite(costs), costs, FAILED)
    differences = np.round(arm(finite, slots, 1) - arm(finite, slots, 0), 10)
    nr_blocks = len(differences)
    ranks = double_midranks(np.abs(differences))
    chances = np.ones(1)
    for rank in np.sort(ranks).tolist():
        grown = np.zeros(len(chances) + rank)
        grown[: len(chances)] += chances
        grown[rank:] += chances
        chances = grown / 2
    # A difference of zero has no sign: half of its rank to either side.
    observed = float(ranks[differences > 0].sum() + ranks[differences == 0].sum() / 2)
    lower = float(chances[: math.floor(observed) + 1].sum())
    upper = float(chances[math.ceil(observed) :].sum())
    p = min(1.0, 2 * min(lower, upper))

    i, j = np.triu_indices(nr_blocks)
    walsh = np.sort((differences[i] + differences[j]) / 2)
    cut = int(np.searchsorted(np.cumsum(_signed_rank_chances(nr_blocks)), 0.025 + 1e-12, side="right"))
    low, high = (-math.inf, math.inf) if cut == 0 else (float(walsh[cut - 1]), float(walsh[-cut]))
    return ShiftCheck(_bounded(float(np.median(walsh))), _bounded(low), _bounded(high), p, p < AA_ALARM)


def _bounded(shift: float) -> float:
    return shift if abs(shift) < FAILED / 4 else math.copysign(math.inf, shift)


def _after_candidate(candidate: IntArray) -> FloatArray:
    """1 for a run that follows a candidate's run, else 0; shape (..., n, 3).

    Args:
        candidate: Shape (..., n), the candidate's position in each block.
    """
    flat = (candidate[..., None] == np.arange(3)).reshape(*candidate.shape[:-1], -1)
    after = np.roll(flat, 1, axis=-1).astype(np.float64)
    after[..., 0] = 0  # the first run follows none
    return np.asarray(after.reshape(*candidate.shape, 3))


def _carry_over_weights(candidate: IntArray) -> FloatArray:
    """What `_after_candidate` holds beyond the candidate's own effect, scaled to length 1.

    Centred within blocks and made orthogonal to the candidate's column, so that a sum over scores
    weighted by it is blind to the blocks' levels and to the effect. Shape (..., 3n).
    """
    after = _after_candidate(candidate)
    after = after - after.mean(axis=-1, keepdims=True)
    own = (candidate[..., None] == np.arange(3)) - 1 / 3
    slope = (after * own).sum(axis=(-1, -2), keepdims=True) / (own**2).sum(axis=(-1, -2), keepdims=True)
    after = (after - slope * own).reshape(*candidate.shape[:-1], -1)
    length = np.sqrt((after**2).sum(axis=-1, keepdims=True))
    return np.asarray(after / np.maximum(length, 1e-12))


@functools.lru_cache(maxsize=16)
def _redrawn_weights(blocks: int) -> FloatArray:
    rng = np.random.default_rng(blocks)  # fixed: the same data always get the same answer
    return _carry_over_weights(rng.integers(0, 3, (CARRY_OVER_DRAWS, blocks)))


@dataclass(frozen=True)
class CarryOver:
    """What runs leave behind for the next.

    Attributes:
        p: Two-sided p-value of nothing being left.
        alarm: Whether p is below .01.
        shift: How much a run after a candidate's is above one after a default's; 0 unless p < .1.
        effect: The candidate's shift with the carry-over taken off.
        costs: All costs with it taken off.
    """

    p: float
    alarm: bool
    shift: float
    effect: float
    costs: FloatArray


def carry_over(comparison: Comparison, effect: float) -> CarryOver:
    """Runs after a candidate's against those after a default's.

    The A/A arm is blind to what a candidate leaves behind, because both defaults suffer. The
    p-value redraws the orders (2,000 times) with the estimated effect taken off.

    Args:
        comparison: The costs.
        effect: The candidate's estimated shift, finite.
    """
    candidate, costs = comparison.candidate, comparison.values
    weights = _carry_over_weights(candidate)
    after = _after_candidate(candidate)
    reach = comparison.bracket[1] - comparison.bracket[0]
    tolerance = max(pair_sigma(comparison.shifted(effect)) / 200, 1e-9)

    def excess(shift: float, effect: float) -> float:
        moved = Comparison(costs - shift * after, candidate)
        return float(weights @ _residual_scores(moved.shifted(effect)).ravel())

    scores = _residual_scores(comparison.shifted(effect)).ravel()
    null = _redrawn_weights(len(costs)) @ scores
    p = (1 + int((np.abs(null) >= abs(excess(0.0, effect)) - 1e-9).sum())) / (1 + len(null))
    if p >= CARRY_OVER_DOUBT:
        return CarryOver(p, alarm=False, shift=0.0, effect=effect, costs=costs)
    shift, adjusted = 0.0, comparison
    for _ in range(2):  # effect and carry-over in turn; they are nearly orthogonal
        low, high = -reach, reach
        while high - low > tolerance:
            shift = (low + high) / 2
            low, high = (shift, high) if excess(shift, effect) > 0 else (low, shift)
        adjusted = Comparison(costs - shift * after, candidate)
        effect = adjusted.bounded(adjusted.estimate())
    return CarryOver(p, p < CHECK_ALARM, shift, effect, adjusted.values)


def _residual_scores(costs: FloatArray) -> FloatArray:
    aligned = align(costs)
    return normal_scores(np.round(aligned - np.median(aligned, axis=0), 10))


def positions(costs: FloatArray, slots: IntArray, effect: float) -> ShiftCheck:
    """Whether the first, second or third run of a block is systematically slower.

    `shift` is the largest difference between two positions' medians. Orders are random, so this
    costs precision, never validity; the test takes it off when it is there.
    """
    finite = _without_effect(costs, slots, effect)
    residuals = finite - np.sort(finite, axis=1)[:, 1:2]
    q = position_q(normal_scores(np.round(residuals, 10)))
    medians = np.median(residuals, axis=0)
    p = math.exp(-q / 2)
    return ShiftCheck(float(medians.max() - medians.min()), 0.0, math.inf, p, p < CHECK_ALARM)


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
