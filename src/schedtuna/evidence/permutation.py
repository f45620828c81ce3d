"""How surprising is the candidate's place within its blocks? The exact permutation test.

Three runs per block sit at three positions; the order was drawn at random. Without an effect the
three values would have come out the same whatever the labels, so each of the 3^n ways to say which
run of each block was the candidate's is equally likely. Nothing else is assumed: drift, correlation
between runs and unequal noise cannot break it.

The scores are functions of the values that never see the labels:

1. a block's location is taken off (median plus the mean of deviations clipped at 0.7 sigma:
   as robust as the median, a little more efficient);
2. where the positions within a block differ beyond chance (p < .01), so are their medians;
3. the 3n aligned values become van der Waerden's normal scores.

The statistic, the sum of the candidate's scores, is linear in the labels, so its distribution over
all 3^n relabellings is a convolution of n three-point distributions: no random draws. Scores are
rounded to a grid first, which makes the distribution exact for the statistic that is used.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from schedtuna.evidence.shift import FloatArray, IntArray, ShiftTest, Tails, around

CLIP_SIGMAS = 0.7
POSITION_Q = -2 * math.log(0.01)  # upper 1% of a chi-square with 2 degrees of freedom
DECIMALS = 10  # differences of logarithms that agree to this many decimals are ties
MAD_TO_SIGMA = 1.4826
FAILED = 1e6  # beyond any logarithm of a measurement, and any multiple of a typical one


def pair_sigma(values: FloatArray) -> float:
    """Standard deviation of a run, from differences within blocks, by the MAD.

    Args:
        values: Shape (n, 3); label-free, so a shift of one run per block inflates it. Failures
            are left out.
    """
    differences = np.sort(np.abs(values - values[:, [1, 2, 0]]), axis=None)
    differences = differences[differences < FAILED / 2]
    if not differences.size:
        return 0.0
    middle = (differences[(len(differences) - 1) // 2] + differences[len(differences) // 2]) / 2
    return float(middle) * MAD_TO_SIGMA / math.sqrt(2)


def align(values: FloatArray) -> FloatArray:
    """Take the blocks' locations off, and the positions' where they differ. Sees no labels."""
    residuals = _without_blocks(values)
    differ = position_q(normal_scores(residuals)) > POSITION_Q
    return _without_positions(residuals) if differ else residuals


def _without_blocks(values: FloatArray) -> FloatArray:
    residuals = values - np.sort(values, axis=1)[:, 1:2]  # the median of three
    reach = CLIP_SIGMAS * pair_sigma(values)
    residuals = residuals - np.minimum(np.maximum(residuals, -reach), reach).mean(axis=1, keepdims=True)
    return np.asarray(np.round(residuals, DECIMALS))


def _without_positions(residuals: FloatArray) -> FloatArray:
    return np.asarray(np.round(residuals - np.median(residuals, axis=0), DECIMALS))


@functools.lru_cache(maxsize=64)
def _score_table(size: int) -> FloatArray:
    """Normal score by twice the rank, so that midranks have an entry."""
    from scipy.special import ndtri  # 0.1 s to import

    table = np.zeros(2 * size + 1)
    table[1:] = ndtri(np.arange(1, 2 * size + 1) / (2 * (size + 1)))
    return table


def double_midranks(values: FloatArray) -> IntArray:
    """Twice the rank from 1, ties sharing the mean; shape kept."""
    flat = values.ravel()
    order = np.argsort(flat)
    ordered = flat[order]
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    counts = np.diff(starts, append=flat.size)
    ranks = np.empty(flat.size, dtype=np.int64)
    ranks[order] = np.repeat(2 * starts + counts + 1, counts)
    return ranks.reshape(values.shape)


def normal_scores(aligned: FloatArray) -> FloatArray:
    """Van der Waerden's scores over all values: normal quantiles of rank / (N + 1)."""
    return np.asarray(_score_table(aligned.size)[double_midranks(aligned)])


def position_q(scores: FloatArray) -> float:
    """Aligned Friedman statistic for equal positions; chi-square with 2 degrees of freedom."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    variance = float((centred**2).sum()) / 2
    return float((centred.sum(axis=0) ** 2).sum()) / variance if variance > 0 else 0.0


def tails(scores: FloatArray, candidate: IntArray) -> Tails:
    """Exact p-values of the candidate's sum of scores over all k^n relabellings.

    Args:
        scores: Shape (n, k).
        candidate: Shape (n,), the candidate's position in each block.
    """
    steps = max(8, 1024 // len(scores))
    grid = np.rint(scores * steps).astype(np.int64)
    grid -= grid.min(axis=1, keepdims=True)
    observed = int(grid[np.arange(len(grid)), candidate].sum())
    chances = np.ones(1)
    for row in np.sort(grid, axis=1).tolist():
        grown = np.zeros(len(chances) + row[-1])
        for shift in row:
            grown[shift : shift + len(chances)] += chances
        chances = grown / len(row)
    return Tails(float(chances[: observed + 1].sum()), float(chances[observed:].sum()))


@dataclass(frozen=True)
class BlockCosts(ShiftTest):
    """Costs (lower is better) of n blocks, and where the candidate ran.

    Attributes:
        values: Shape (n, 3) in run order. A failed run is `inf`.
        candidate: Shape (n,), its position in each block.
    """

    values: FloatArray
    candidate: IntArray

    @property
    def rarest(self) -> float:
        """One of 3^n relabellings."""
        return 3.0 ** -len(self.values)

    def sigma(self, shift: float) -> float:
        """Standard deviation of a run, the shift taken off the candidate."""
        return pair_sigma(self.shifted(shift))

    def shifted(self, shift: float) -> FloatArray:
        """The costs with the shift taken off the candidate; failures stay the worst."""
        moved = self.values.copy()
        moved[np.arange(len(moved)), self.candidate] -= shift
        return np.where(np.isfinite(moved), moved, FAILED)

    def test(self, shift: float = 0.0) -> Tails:
        """P-values of the hypothesis that the candidate differs by exactly this shift.

        A failure could decide whether the positions are adjusted for, and so make a candidate look
        better that failed once more. With failures the larger of both p-values counts.
        """
        costs = self.shifted(shift)
        if np.isfinite(self.values).all():
            aligned = [align(costs)]
        else:
            residuals = _without_blocks(costs)
            aligned = [residuals, _without_positions(residuals)]
        found = [tails(normal_scores(each), self.candidate) for each in aligned]
        return Tails(max(each.lower for each in found), max(each.upper for each in found))

    def excess(self, shift: float) -> float:
        """The candidate's sum of scores, less its expectation, under a shift."""
        scores = normal_scores(align(self.shifted(shift)))
        chosen = scores[np.arange(len(scores)), self.candidate]
        return float((chosen - scores.mean(axis=1)).sum())

    @functools.cached_property
    def bracket(self) -> tuple[float, float]:
        """Shifts between which the candidate passes from above every control to below: (low, high).

        Moves with the candidate, so that whatever is bisected from here does, too.
        """
        mine = self.values[np.arange(len(self.values)), self.candidate]
        others = np.ones_like(self.values, dtype=bool)
        others[np.arange(len(self.values)), self.candidate] = False
        return around((np.where(np.isfinite(mine), mine, np.nan)[:, None] - self.values)[others])
