"""By how much do two machines' runs differ, in their mean and in how much they vary? Pure.

Rounds of one run on each are cut into blocks of time; each figure is made again without each block, and how
far it moves says how sure it is (the delete-a-group jackknife: Kott, "Delete-a-group jackknife", 2001). The
blocks are few and long, since runs that follow each other met the same neighbours, clocks and heat. In
simulations, 95% intervals of both figures covered the true one in 93 to 96% from 20 rounds of normal or
log-normal noise on. Where the noise itself wanders (AR(1), 0.6), in 84% of 20 rounds, 92% of 50, 94% of 100;
where one run in twenty is far off, that of the variation in 82% of 20 rounds, 88% of 50, 97% of 100.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from schedtuna.evidence.off_policy import CONFIDENCE, NR_BLOCKS, FloatArray, blocks_of_time
from schedtuna.evidence.result import Estimate

LEAST_ROUNDS = 2 * NR_BLOCKS  # with fewer there is no interval


def mean_ratio(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    """Return the ratio of two machines' means, second over first; None: a mean is not above zero.

    Args:
        first: Of each round; as many of both.
        second: Likewise.
    """
    return _ratio(first, second, _log_mean)


def cv_ratio(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    """Return the ratio of coefficients of variation, second over first; None: one did not vary.

    Args:
        first: Of each round; as many of both.
        second: Likewise.
    """
    return _ratio(first, second, _log_cv)


def _ratio(
    first: Sequence[float], second: Sequence[float], figure: Callable[[FloatArray], float]
) -> Estimate | None:
    values = np.array([first, second], np.float64)
    found = _log_ratio(values, figure)
    if not math.isfinite(found):
        return None
    low, high = _interval(values, figure, found)
    return Estimate(math.exp(found), (math.exp(low), math.exp(high) if high < math.inf else high))


def _interval(values: FloatArray, figure: Callable[[FloatArray], float], found: float) -> tuple[float, float]:
    from scipy import stats

    unbounded = (-math.inf, math.inf)
    if values.shape[1] < LEAST_ROUNDS:
        return unbounded
    block = blocks_of_time(values.shape[1])
    without = np.array([_log_ratio(values[:, block != one], figure) for one in range(NR_BLOCKS)])
    if not np.isfinite(without).all():
        return unbounded
    error = math.sqrt((NR_BLOCKS - 1) * float(without.var()))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, NR_BLOCKS - 1)) * error
    return found - reach, found + reach


def _log_ratio(values: FloatArray, figure: Callable[[FloatArray], float]) -> float:
    if values.shape[1] < 2:
        return math.nan
    return figure(values[1]) - figure(values[0])


def _log_mean(values: FloatArray) -> float:
    mean = float(values.mean())
    return math.log(mean) if mean > 0 else math.nan


def _log_cv(values: FloatArray) -> float:
    sd, mean = float(values.std(ddof=1)), float(values.mean())
    return math.log(sd) - math.log(abs(mean)) if sd > 0 and mean else math.nan
