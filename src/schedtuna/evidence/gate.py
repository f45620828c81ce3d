"""May a new version replace the one in charge? Judged by groups of later data, one vote each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.errors import EvidenceError

CONFIDENCE = 0.95
LEAST_GROUPS = 5  # with fewer, Student's interval rests on its assumption of a normal law alone


@dataclass(frozen=True)
class GateVerdict:
    """What the gate says.

    Attributes:
        passed: Whether the new version may replace the old one.
        gain: Mean over groups of what is better by the new one, in the unit of the given gains.
        low, high: Its two-sided interval, by Student's t over groups; infinite where there is none.
        nr_groups: How many there were.
        least_gain: What `low` had to exceed.
        why: The reason, for people.
    """

    passed: bool
    gain: float
    low: float
    high: float
    nr_groups: int
    least_gain: float
    why: str


def judge_gate(
    gains: Sequence[float],
    *,
    least_gain: float = 0.0,
    least_groups: int = LEAST_GROUPS,
    confidence: float = CONFIDENCE,
) -> GateVerdict:
    """Let a new version pass only if its gain is shown, not where it is merely no worse.

    The groups have to be independent of each other, and of what either version was made of: runs, or blocks
    of time with a gap, later than what trained them; not rows, which repeat their run. Who asks again and
    again, of the same data, sooner or later passes by luck: each attempt needs data of its own.

    Args:
        gains: Of each group, by how much the new version is better; a worse one is negative.
        least_gain: What a change has to be worth, in the same unit: below it, none pays.
        least_groups: With fewer the gate stays shut.
        confidence: Of the interval.

    Raises:
        EvidenceError: A gain is no finite number, or an option is out of its bounds.
    """
    values = np.asarray(gains, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or not math.isfinite(least_gain):
        raise EvidenceError("gains of groups are finite numbers, one of each group")
    if least_groups < 2 or not 0 < confidence < 1 or least_gain < 0:
        raise EvidenceError("expected 2 groups or more, a confidence within 0 and 1, a gain of 0 or more")
    count = len(values)
    mean = float(values.mean()) if count else 0.0
    low, high = _interval(values, confidence)
    told = f"{mean:+.4g} [{low:+.4g}, {high:+.4g}] over {count} groups"
    if count < least_groups:
        passed, why = False, f"later data is of {count} groups, and {least_groups} are needed"
    elif low > least_gain:
        passed, why = True, f"a gain is shown: {told}"
    elif high < 0:
        passed, why = False, f"the new version is worse: {told}"
    else:
        wanted = f" of more than {least_gain:g}" if least_gain else ""
        passed, why = False, f"no gain{wanted} is shown: {told}"
    return GateVerdict(passed, mean, low, high, count, least_gain, why)


def _interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    from scipy import stats

    count = len(values)
    if count < 2:
        return -math.inf, math.inf
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * float(values.std(ddof=1)) / math.sqrt(count)
    return float(values.mean()) - reach, float(values.mean()) + reach
