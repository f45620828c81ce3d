"""Does the candidate leave something behind for the next run?

A residue (caches, temperature, memory, leftover processes) slows or speeds whatever follows a
candidate's run. That is mostly a default's run, which biases the comparison, and the A/A arm is
blind to it, because both defaults suffer alike.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from schedtuna.evidence.permutation import Comparison, FloatArray, IntArray, align, normal_scores, pair_sigma

ALARM = 0.01
# A verdict has to hold with the carry-over taken off where p is below DOUBT, and in studies of fewer
# than SURE_BLOCKS blocks, where p can't clear anybody.
DOUBT = 0.1
SURE_BLOCKS = 19
DRAWS = 2000


def _after_candidate(candidate: IntArray) -> FloatArray:
    """1 for a run that follows a candidate's run, else 0; shape (..., n, 3).

    Args:
        candidate: Shape (..., n), the candidate's position in each block.
    """
    flat = (candidate[..., None] == np.arange(3)).reshape(*candidate.shape[:-1], -1)
    after = np.roll(flat, 1, axis=-1).astype(np.float64)
    after[..., 0] = 0  # the first run follows none
    return np.asarray(after.reshape(*candidate.shape, 3))


def _weights(candidate: IntArray) -> FloatArray:
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
    return _weights(rng.integers(0, 3, (DRAWS, blocks)))


@dataclass(frozen=True)
class CarryOver:
    """What runs leave behind for the next.

    Attributes:
        p: Two-sided p-value of nothing being left.
        alarm: Whether p is below .01.
        suspected: Whether a verdict has to hold with it taken off, too.
        shift: How much a run after a candidate's is above one after a default's; 0 unless suspected.
        effect: The candidate's shift with the carry-over taken off.
        costs: All costs with it taken off.
    """

    p: float
    alarm: bool
    suspected: bool
    shift: float
    effect: float
    costs: FloatArray


def measure(comparison: Comparison, effect: float) -> CarryOver:
    """Compare runs after a candidate's with runs after a default's.

    The p-value redraws the orders (2,000 times) with the estimated effect taken off.

    Args:
        comparison: The costs.
        effect: The candidate's estimated shift, finite.
    """
    candidate, costs = comparison.candidate, comparison.values
    weights = _weights(candidate)
    after = _after_candidate(candidate)
    reach = comparison.bracket[1] - comparison.bracket[0]
    tolerance = max(pair_sigma(comparison.shifted(effect)) / 200, 1e-9)

    def excess(shift: float, effect: float) -> float:
        moved = Comparison(costs - shift * after, candidate)
        return float(weights @ _residual_scores(moved.shifted(effect)).ravel())

    scores = _residual_scores(comparison.shifted(effect)).ravel()
    null = _redrawn_weights(len(costs)) @ scores
    p = (1 + int((np.abs(null) >= abs(excess(0.0, effect)) - 1e-9).sum())) / (1 + len(null))
    if p >= DOUBT and len(costs) >= SURE_BLOCKS:
        return CarryOver(p, alarm=False, suspected=False, shift=0.0, effect=effect, costs=costs)
    shift, adjusted = 0.0, comparison
    for _ in range(2):  # effect and carry-over in turn; they are nearly orthogonal
        low, high = -reach, reach
        while high - low > tolerance:
            shift = (low + high) / 2
            low, high = (shift, high) if excess(shift, effect) > 0 else (low, shift)
        adjusted = Comparison(costs - shift * after, candidate)
        effect = adjusted.bounded(adjusted.estimate())
    return CarryOver(p, p < ALARM, suspected=True, shift=shift, effect=effect, costs=adjusted.values)


def _residual_scores(costs: FloatArray) -> FloatArray:
    aligned = align(costs)
    return normal_scores(np.round(aligned - np.median(aligned, axis=0), 10))
