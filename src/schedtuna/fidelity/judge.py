"""Are model and machine equivalent, cell by cell and in their differences? Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from schedtuna.fidelity import rules
from schedtuna.fidelity.rules import Tolerance

Values = Sequence[float] | npt.NDArray[np.float64]


class CellOutcome(StrEnum):
    """What a cell says."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    TOO_NOISY = "too noisy"  # the machine differs from itself
    INSENSITIVE = "insensitive"  # the metric would not notice, and does not count


@dataclass(frozen=True)
class Cell:
    """A metric of a load, on both sides.

    Attributes:
        load, metric: Of what; ``share:TASK`` is that of one task.
        real, model: Means.
        tolerance: How far they may be apart, in the metric's unit.
        low, high: Interval of model - real; infinite where there are too few runs.
        aa: How far real runs are from real runs, relative to their mean.
        outcome: The verdict.
        reason: Why it is `too noisy` or `insensitive`.
    """

    load: str
    metric: str
    real: float
    model: float
    tolerance: float
    low: float
    high: float
    aa: float
    outcome: CellOutcome
    reason: str = ""

    @property
    def off(self) -> float:
        """How many times the one is the other, 1 or more."""
        return times_off(self.real, self.model)


def times_off(real: float, model: float) -> float:
    """Return how many times one of two values is the other, 1 or more."""
    low, high = sorted((abs(real), abs(model)))
    return 1.0 if high == 0 else math.inf if low == 0 else high / low


def difference_interval(
    real: Values, model: Values, confidence: float = rules.CONFIDENCE
) -> tuple[float, float]:
    """Return Welch's interval of mean(model) - mean(real); infinite where a side has one value alone."""
    from scipy import stats

    if min(len(real), len(model)) < 2:
        return -math.inf, math.inf
    squares = [np.var(side, ddof=1) / len(side) for side in (real, model)]
    difference, error = float(np.mean(model) - np.mean(real)), math.sqrt(sum(squares))
    if error == 0:
        return difference, difference
    freedom = sum(squares) ** 2 / sum(
        square**2 / (len(side) - 1) for square, side in zip(squares, (real, model), strict=True)
    )
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    return difference - half, difference + half


def self_difference(values: Values) -> float:
    """Return how far the even runs of a load may be from its odd ones, relative to the mean.

    The larger of the difference and half its interval: few runs that agree by chance are no quiet machine.
    """
    mean = abs(float(np.mean(values)))
    low, high = difference_interval(values[::2], values[1::2])
    if mean == 0:
        return 0.0 if (low, high) == (0, 0) else math.inf
    return max(abs(low + high) / 2, (high - low) / 2) / mean if math.isfinite(low) else math.inf


def judge_cell(
    load: str,
    metric: str,
    real: Values,
    model: Values,
    tolerance: Tolerance,
    *,
    disturbed: str = "",
    insensitive: str = "",
) -> Cell:
    """Say whether two samples of a metric are equivalent.

    Args:
        load: Name.
        metric: Name.
        real: One value per run.
        model: Likewise.
        tolerance: How far the means may be apart.
        disturbed: Why the real runs are not to be judged by; empty: they are.
        insensitive: Why the metric says nothing about this load; empty: it does.
    """
    real_mean, model_mean = float(np.mean(real)), float(np.mean(model))
    allowed = tolerance.of(real_mean)
    low, high = difference_interval(real, model)
    aa = self_difference(real)
    reason = insensitive or disturbed
    if insensitive:
        outcome = CellOutcome.INSENSITIVE
    elif disturbed:
        outcome = CellOutcome.TOO_NOISY
    elif aa > rules.MOST_AA:
        outcome = CellOutcome.TOO_NOISY
        reason = f"real runs differ from real runs by up to {aa:.0%}"
    else:
        outcome = CellOutcome.PASS if -allowed <= low and high <= allowed else CellOutcome.FAIL
    return Cell(load, metric, real_mean, model_mean, allowed, low, high, aa, outcome, reason)


def moves(before: Values, after: Values, tolerance: Tolerance) -> bool:
    """Whether a setting moves a metric by as much as its tolerance asks for."""
    mean = float(np.mean(before))
    return abs(float(np.mean(after)) - mean) >= rules.LEAST_REACTION * tolerance.of(mean)


def cells_agree(cells: Sequence[Cell]) -> tuple[bool, str]:
    """Say whether so many cells pass that the model is the machine, and why not.

    Cells that are too noisy are none that pass.
    """
    counted = [cell for cell in cells if cell.outcome is not CellOutcome.INSENSITIVE]
    if not counted:
        return False, "no cell counts"
    passed = sum(cell.outcome is CellOutcome.PASS for cell in counted)
    judged = [cell for cell in counted if cell.outcome is not CellOutcome.TOO_NOISY]
    worst = max(judged, key=lambda cell: cell.off, default=None)
    if worst is not None and worst.off >= rules.MOST_OFF and worst.outcome is CellOutcome.FAIL:
        return False, f"{worst.metric} of {worst.load} is off by {worst.off:.2g} times"
    if passed < rules.LEAST_PASSED * len(counted):
        noisy = len(counted) - len(judged)
        more = f", {noisy} of them too noisy" if noisy else ""
        return False, f"{passed} of {len(counted)} cells pass{more}"
    return True, f"{passed} of {len(counted)} cells pass"


@dataclass(frozen=True)
class ChangeEffect:
    """What a change of a setting does to a metric, on both sides.

    Attributes:
        change: Its name.
        metric: Of what.
        real, model: Log ratios of the means, after / before.
        low, high: 95% interval of the real one.
    """

    change: str
    metric: str
    real: float
    model: float
    low: float
    high: float

    @property
    def has_verdict(self) -> bool:
        """Whether the machine says that there is a difference."""
        return self.low > 0 or self.high < 0

    @property
    def sign_is_right(self) -> bool:
        """Whether the model says so too, where the machine does."""
        return not self.has_verdict or self.real * self.model > 0


def log_ratio(
    change: str,
    metric: str,
    real: tuple[Values, Values],
    model: tuple[Values, Values],
) -> ChangeEffect:
    """Return the difference between runs before and after a change; values above 0."""
    logs = [[np.log(np.maximum(side, 1e-9)) for side in pair] for pair in (real, model)]
    low, high = difference_interval(logs[0][0], logs[0][1], 0.95)
    return ChangeEffect(
        change,
        metric,
        float(np.mean(logs[0][1]) - np.mean(logs[0][0])),
        float(np.mean(logs[1][1]) - np.mean(logs[1][0])),
        low,
        high,
    )


@dataclass(frozen=True)
class Agreement:
    """How well the model tells differences.

    Attributes:
        nr_verdicts: How many the machine is sure of.
        wrong_signs: Changes among them that the model tells the other way round, or not at all.
        rank_correlation: Spearman's, of the log ratios.
        slope: Of the model's log ratios over the machine's, through no change.
        error: Root mean square of model - machine, as log ratios.
        error_of_no_change: The same of a model in which no change does anything.
        agrees, reason: The verdict by the rules, and why.
    """

    nr_verdicts: int
    wrong_signs: tuple[str, ...]
    rank_correlation: float
    slope: float
    error: float
    error_of_no_change: float
    agrees: bool
    reason: str


def differences_agree(differences: Sequence[ChangeEffect]) -> Agreement:
    """Judge all differences together."""
    from scipy import stats

    real = np.array([one.real for one in differences])
    model = np.array([one.model for one in differences])
    wrong = tuple(one.change for one in differences if not one.sign_is_right)
    spread = len(differences) > 1 and np.ptp(real) > 0 and np.ptp(model) > 0
    rank = float(stats.spearmanr(real, model).statistic) if spread else 0.0
    slope = float(real @ model / (real @ real)) if (real**2).sum() > 0 else 0.0
    error = math.sqrt(float(np.mean((model - real) ** 2))) if len(real) else 0.0
    unchanged = math.sqrt(float(np.mean(real**2))) if len(real) else 0.0
    problems = [
        text
        for text, is_wrong in (
            (f"only {len(differences)} changes", len(differences) < rules.FEWEST_CHANGES),
            (f"the sign is wrong: {', '.join(wrong)}", bool(wrong)),
            (f"rank correlation {rank:.2f}", rank < rules.LEAST_RANK_CORRELATION),
            (f"slope {slope:.2f}", not rules.SLOPES[0] <= slope <= rules.SLOPES[1]),
            ("no better than `no change`", error >= unchanged),
        )
        if is_wrong
    ]
    verdicts = sum(one.has_verdict for one in differences)
    reason = (
        "; ".join(problems) or f"{verdicts} of {len(differences)} have a verdict, and all signs are right"
    )
    return Agreement(verdicts, wrong, rank, slope, error, unchanged, not problems, reason)
