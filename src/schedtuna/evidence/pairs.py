"""How surprising are the signs of the differences? The sign-flip test, for places without noise.

There a run is fixed by its seed, so that the default again is the default, and the order of runs says
nothing. What is random is the seed: a pair's difference is one draw. Without an effect, a change of
scheduling only shuffles what happens, so that either run of a pair could as well have been the other
one: every difference is as likely to have the opposite sign, and each of the 2^n sets of signs is
equally likely.

The scores are those of Wilcoxon's signed ranks, made normal (van der Waerden): the quantile of a half
normal distribution at rank / (n + 1) of the difference's size. A difference of zero has no sign, and the
score 0. The distribution is a convolution, as in `permutation`: exact, without random draws.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from schedtuna.evidence.permutation import DECIMALS, FAILED, MAD_TO_SIGMA, double_midranks, tails
from schedtuna.evidence.shift import FloatArray, ShiftTest, Tails, around

SLOW_LEVEL = 0.13  # 3 slow runs of one side against 0 of the other give 1/8
SLOW_SUSPICION = 0.51  # 1 against 0 gives 1/2: more runs are needed


@dataclass(frozen=True)
class PairCosts(ShiftTest):
    """Costs (lower is better) of n pairs.

    Attributes:
        values: Shape (n, 2): default, candidate. A failed run is `inf`.
    """

    values: FloatArray

    @functools.cached_property
    def differences(self) -> FloatArray:
        """Candidate less default; a failure of one side is beyond all others, one of both is none."""
        default, candidate = self.values[:, 0], self.values[:, 1]
        failed: FloatArray = np.isfinite(default).astype(np.float64) - np.isfinite(candidate)
        both = np.isfinite(default) & np.isfinite(candidate)
        gaps = np.asarray(FAILED * failed, np.float64)
        np.subtract(candidate, default, out=gaps, where=both)
        return gaps

    def shifted(self, shift: float) -> FloatArray:
        """The differences with the shift taken off; failures stay what they are."""
        finite = np.isfinite(self.values).all(axis=1)
        moved = np.where(finite, self.differences - shift, self.differences)
        return np.asarray(np.round(moved, DECIMALS))

    @property
    def rarest(self) -> float:
        """One of 2^n sets of signs."""
        return 2.0 ** -len(self.values)

    @functools.cached_property
    def bracket(self) -> tuple[float, float]:
        """Shifts below and above every difference."""
        return around(np.where(np.abs(self.differences) < FAILED / 2, self.differences, np.nan))

    def sigma(self, shift: float) -> float:
        """Standard deviation of the differences around a shift, by their median size."""
        sizes = np.abs(self.shifted(shift))
        sizes = sizes[sizes < FAILED / 2]
        return float(np.median(sizes)) * MAD_TO_SIGMA if sizes.size else 0.0

    def test(self, shift: float = 0.0) -> Tails:
        """P-values of the hypothesis that the candidate differs by exactly this shift."""
        differences = self.shifted(shift)
        scores = _signed_scores(differences)
        return tails(np.stack([-scores, scores], axis=1), (differences > 0).astype(np.int64))

    def excess(self, shift: float) -> float:
        """The signed scores' sum; without an effect it is 0 on average."""
        differences = self.shifted(shift)
        return float((np.sign(differences) * _signed_scores(differences)).sum())

    def slow(self, shift: float, least: float, sigmas: float) -> tuple[float, float, float]:
        """Compare how often each side was far slower than its typical run, failures included.

        Returns:
            The candidate's share, the default's, and the one-sided p-value that the candidate has more, by
            the signs of the pairs in which one of both was.
        """
        residuals = self.shifted(shift)
        limit = max(sigmas * self.sigma(shift), least)
        candidate, default = int((residuals > limit).sum()), int((residuals < -limit).sum())
        total = candidate + default
        p = sum(math.comb(total, k) for k in range(candidate, total + 1)) / 2**total
        return candidate / len(residuals), default / len(residuals), p


def _signed_scores(differences: FloatArray) -> FloatArray:
    """Scores of the differences' sizes; that of none is 0."""
    from scipy.special import ndtri  # 0.1 s to import

    ranks = double_midranks(np.abs(differences)) / 2
    scores = ndtri((1 + ranks / (len(differences) + 1)) / 2)
    return np.asarray(np.where(differences == 0, 0.0, scores))
