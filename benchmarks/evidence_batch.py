"""The evidence's test, estimate and carry-over check on many studies of one size at once.

A cell of a simulation holds thousands of studies; `schedtuna.evidence` judges one at a time. These
are the same formulas over arrays of shape (studies, blocks, 3), without failures and without ties.
P-values come from all 3^n relabellings up to six blocks, above from Lugannani and Rice's
approximation. `evidence_carry_over.py` holds their decisions against the package's own.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from schedtuna.evidence import carry_over
from schedtuna.evidence.permutation import CLIP_SIGMAS, MAD_TO_SIGMA, POSITION_Q

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ENUMERATED = 6  # blocks up to which all relabellings are tried
NEWTON_STEPS = 12
BISECTIONS = 16


def sigma_of(values: FloatArray) -> FloatArray:
    """`permutation.pair_sigma` of every study."""
    differences = np.abs(values - values[..., [1, 2, 0]]).reshape(len(values), -1)
    return np.asarray(np.median(differences, axis=1) * MAD_TO_SIGMA / np.sqrt(2))


@functools.cache
def _normal_quantiles(size: int) -> FloatArray:
    return np.asarray(ndtri(np.arange(1, size + 1) / (size + 1)))


def _scores(residuals: FloatArray) -> FloatArray:
    size = residuals[0].size
    order = residuals.reshape(len(residuals), size).argsort(axis=1)
    scores = np.empty(order.shape)
    np.put_along_axis(scores, order, _normal_quantiles(size)[None, :], axis=1)
    return np.asarray(scores.reshape(residuals.shape))


def _aligned(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`permutation.align`, and the scores of what it returns."""
    residuals = values - np.median(values, axis=2, keepdims=True)
    reach = (CLIP_SIGMAS * sigma_of(values))[:, None, None]
    residuals -= np.clip(residuals, -reach, reach).mean(axis=2, keepdims=True)
    scores = _scores(residuals)
    centred = scores - scores.mean(axis=2, keepdims=True)
    q = 2 * (centred.sum(axis=1) ** 2).sum(axis=1) / (centred**2).sum(axis=(1, 2))
    differ = q > POSITION_Q
    if differ.any():
        residuals[differ] -= np.median(residuals[differ], axis=1, keepdims=True)
        scores[differ] = _scores(residuals[differ])
    return residuals, scores


@functools.cache
def _relabellings(blocks: int) -> FloatArray:
    labels = np.array(list(itertools.product(range(3), repeat=blocks)))
    return np.asarray((labels[:, :, None] == np.arange(3)).reshape(len(labels), -1), dtype=np.float64)


def tails(scores: FloatArray, mine: FloatArray) -> tuple[FloatArray, FloatArray]:
    """One-sided p-values, (lower, upper), of the candidate's sum of scores.

    Args:
        scores: Of every study, block and run.
        mine: 1 where the candidate ran, else 0.
    """
    observed = (scores * mine).sum(axis=(1, 2))
    blocks = scores.shape[1]
    if blocks <= ENUMERATED:
        sums = scores.reshape(len(scores), -1) @ _relabellings(blocks).T
        return (sums <= observed[:, None] + 1e-9).mean(axis=1), (sums >= observed[:, None] - 1e-9).mean(
            axis=1
        )
    return _saddlepoint(scores, observed)


def _saddlepoint(scores: FloatArray, observed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lugannani and Rice's tails of a sum of independent draws, one of three scores per block."""
    tilt = np.zeros(len(scores))
    least, most = scores.min(axis=2).sum(axis=1), scores.max(axis=2).sum(axis=1)
    inner = 1e-4 * (most - least)
    at = np.clip(observed, least + inner, most - inner)
    for _ in range(NEWTON_STEPS):
        _, mean, variance = _cumulants(scores, tilt)
        tilt = np.clip(tilt + np.clip((at - mean) / np.maximum(variance, 1e-9), -1, 1), -12, 12)
    log_mgf, _, variance = _cumulants(scores, tilt)
    root = np.sign(tilt) * np.sqrt(np.maximum(2 * (tilt * at - log_mgf), 0))
    scaled = tilt * np.sqrt(variance)
    near = np.abs(root) < 1e-3
    safe_root, safe_scaled = np.where(near, 1, root), np.where(near, 1, scaled)
    density = np.exp(-(root**2) / 2) / np.sqrt(2 * np.pi)
    upper = 1 - ndtr(root) + np.where(near, 0, density * (1 / safe_scaled - 1 / safe_root))
    upper = np.clip(upper, 0, 1)
    return 1 - upper, upper


def _cumulants(scores: FloatArray, tilt: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    weights = np.exp(tilt[:, None, None] * scores)
    total = weights.sum(axis=2)
    mean = (weights * scores).sum(axis=2) / total
    square = (weights * scores**2).sum(axis=2) / total
    return np.log(total / 3).sum(axis=1), mean.sum(axis=1), (square - mean**2).sum(axis=1)


def _bisect(
    below: Callable[[FloatArray], NDArray[np.bool_]], low: FloatArray, high: FloatArray
) -> FloatArray:
    """Where a condition that holds at `low` ceases to, for every study."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        holds = below(middle)
        low, high = np.where(holds, middle, low), np.where(holds, high, middle)
    return (low + high) / 2


class Batch:
    """Studies of one size.

    Args:
        costs: Logarithms in run order, shape (studies, blocks, 3).
        candidate: The candidate's position in every block, shape (studies, blocks).
    """

    def __init__(self, costs: FloatArray, candidate: IntArray) -> None:
        self.costs, self.candidate = costs, candidate
        self.mine = (candidate[..., None] == np.arange(3)).astype(np.float64)
        self.after = carry_over._after_candidate(candidate)
        self.weights = carry_over._weights(candidate)
        reach = np.abs(costs - np.median(costs, axis=2, keepdims=True)).max(axis=(1, 2))
        self.reach = 2.5 * reach + 1e-6

    def without(self, effect: FloatArray, residue: FloatArray) -> FloatArray:
        """The costs with an effect and a residue taken off."""
        taken = effect[:, None, None] * self.mine + residue[:, None, None] * self.after
        return np.asarray(self.costs - taken)

    def test(self, effect: float, residue: FloatArray) -> tuple[FloatArray, FloatArray]:
        """P-values of no effect where the candidate has one more, a residue taken off: (lower, upper)."""
        moved = self.without(np.full(len(self.costs), -effect), residue)
        return tails(_aligned(moved)[1], self.mine)

    def estimate(self, residue: FloatArray) -> FloatArray:
        """Hodges and Lehmann's shift, a residue taken off."""

        def below(effect: FloatArray) -> NDArray[np.bool_]:
            scores = _aligned(self.without(effect, residue))[1]
            excess = (scores * self.mine).sum(axis=(1, 2)) - scores.mean(axis=2).sum(axis=1)
            return np.asarray(excess > 0)

        return _bisect(below, -self.reach, self.reach)

    def residual_scores(self, effect: FloatArray, residue: FloatArray) -> FloatArray:
        """The scores that the check weighs, by run."""
        aligned = _aligned(self.without(effect, residue))[0]
        return _scores(aligned - np.median(aligned, axis=1, keepdims=True)).reshape(len(aligned), -1)

    def residue(self, effect: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The check's p-value, and its estimate of what is left behind."""
        none = np.zeros(len(self.costs))
        scores = self.residual_scores(effect, none)
        observed = np.abs((scores * self.weights).sum(axis=1))
        null = np.abs(scores @ carry_over._redrawn_weights(self.costs.shape[1]).T)
        p = (1 + (null >= observed[:, None] - 1e-9).sum(axis=1)) / (1 + null.shape[1])
        found = none
        for _ in range(2):
            found = _bisect(self._above(effect), -self.reach, self.reach)
            effect = self.estimate(found)
        return p, found

    def _above(self, effect: FloatArray) -> Callable[[FloatArray], NDArray[np.bool_]]:
        def above(residue: FloatArray) -> NDArray[np.bool_]:
            return np.asarray((self.residual_scores(effect, residue) * self.weights).sum(axis=1) > 0)

        return above

    def error(self, effect: FloatArray) -> FloatArray:
        """Standard error of the residue's estimate, from the column's length and the noise."""
        after = self.after - self.after.mean(axis=2, keepdims=True)
        own = self.mine - 1 / 3
        slope = (after * own).sum(axis=(1, 2)) / (own**2).sum(axis=(1, 2))
        length = np.sqrt(((after - slope[:, None, None] * own) ** 2).sum(axis=(1, 2)))
        noise = sigma_of(self.without(effect, np.zeros(len(effect))))
        return np.asarray(noise / np.maximum(length, 1e-3))

    def some(self, chosen: NDArray[np.bool_]) -> Batch:
        """Only the chosen studies."""
        return Batch(self.costs[chosen], self.candidate[chosen])
