"""Does the candidate leave something behind for the next run?

A residue (caches, temperature, memory, leftover processes) slows or speeds whatever follows a
candidate's run. That is mostly a default's run, which biases the comparison (by a third of the
residue), and the A/A arm is blind to it, because both defaults suffer alike.

Few blocks can't tell: their p-value clears nobody, and their estimate of the residue is mostly
noise. A verdict still has to hold with the estimate taken off, which keeps false claims rare where
something is left, but no more of it than is plausible, so that noise can't overturn a wide margin.
benchmarks/evidence_carry_over.py compares this rule with others.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from schedtuna.evidence.permutation import BlockCosts, align, normal_scores, pair_sigma
from schedtuna.evidence.shift import FloatArray, IntArray

ALARM = 0.01
# Where p is below DOUBT, a verdict has to hold with the estimated residue taken off; in studies of
# fewer than SURE_BLOCKS blocks, where p can't clear anybody, with what of it is plausible taken off.
DOUBT = 0.2
SURE_BLOCKS = 19
# What a run leaves behind for the next is taken to be at most half of what it does to itself, or 3%.
PLAUSIBLE_SHARE, PLAUSIBLE_LEAST = 0.5, 0.03
DRAWS = 2000
# Blocks that raise an alarm about a residue in nine of ten studies: CALIBRATION[0] + CALIBRATION[1] *
# (sigma / residue)^2, fitted to benchmarks/evidence_carry_over.py; with fewer than FEWEST_TELLING
# even a threefold one raises none in more than one study of ten.
CALIBRATION = (4, 45.0)
FEWEST_TELLING = 8


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
        suspected: Whether p is below .2.
        binding: Whether a verdict has to hold with the residue taken off, too: suspected, or too
            few blocks to tell.
        shift: How much a run after a candidate's is above one after a default's; not more than is
            plausible unless suspected; 0 unless binding.
        effect: The candidate's shift with the residue taken off.
        plausible: The largest residue that is plausible, on the costs' scale.
    """

    p: float
    alarm: bool
    suspected: bool
    binding: bool
    shift: float
    effect: float
    plausible: float


def without(comparison: BlockCosts, residue: float) -> BlockCosts:
    """The comparison with a residue taken off every run that follows a candidate's."""
    candidate = comparison.candidate
    return BlockCosts(comparison.values - residue * _after_candidate(candidate), candidate)


def plausible(effect: float) -> float:
    """The largest plausible residue of a candidate with this effect, on the costs' scale."""
    return max(PLAUSIBLE_SHARE * abs(effect), PLAUSIBLE_LEAST)


def blocks_to_tell(sigma: float, residue: float) -> int:
    """Blocks that raise an alarm about a residue in nine of ten studies.

    Args:
        sigma: Standard deviation of single runs, on the costs' scale.
        residue: What is left behind, above zero.
    """
    least, factor = CALIBRATION
    return max(math.ceil(least + factor * (sigma / residue) ** 2), FEWEST_TELLING)


def measure(comparison: BlockCosts, effect: float) -> CarryOver:
    """Compare runs after a candidate's with runs after a default's.

    The p-value redraws the orders (2,000 times) with the estimated effect taken off.

    Args:
        comparison: The costs.
        effect: The candidate's estimated shift, finite.
    """
    weights = _weights(comparison.candidate)
    scores = _residual_scores(comparison.shifted(effect)).ravel()
    null = _redrawn_weights(len(comparison.values)) @ scores
    p = (1 + int((np.abs(null) >= abs(float(weights @ scores)) - 1e-9).sum())) / (1 + len(null))
    limit, suspected = plausible(effect), p < DOUBT
    binding = suspected or len(comparison.values) < SURE_BLOCKS
    shift = 0.0
    if binding:
        shift, effect = _estimate(comparison, weights, effect)
    if binding and not suspected and abs(shift) > limit:
        shift = math.copysign(limit, shift)
        adjusted = without(comparison, shift)
        effect = adjusted.bounded(adjusted.estimate())
    return CarryOver(p, p < ALARM, suspected, binding, shift, effect, limit)


def _estimate(comparison: BlockCosts, weights: FloatArray, effect: float) -> tuple[float, float]:
    """The residue, and the candidate's shift with it taken off."""
    reach = comparison.bracket[1] - comparison.bracket[0]
    tolerance = max(pair_sigma(comparison.shifted(effect)) / 200, 1e-9)
    shift = 0.0
    for _ in range(2):  # effect and residue in turn; they are nearly orthogonal
        low, high = -reach, reach
        while high - low > tolerance:
            shift = (low + high) / 2
            scores = _residual_scores(without(comparison, shift).shifted(effect))
            low, high = (shift, high) if float(weights @ scores.ravel()) > 0 else (low, shift)
        adjusted = without(comparison, shift)
        effect = adjusted.bounded(adjusted.estimate())
    return shift, effect


def _residual_scores(costs: FloatArray) -> FloatArray:
    aligned = align(costs)
    return normal_scores(np.round(aligned - np.median(aligned, axis=0), 10))
