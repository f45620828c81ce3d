"""Improved, worse, no evidence, or too noisy to say? From blocks of runs to one verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from schedtuna.errors import EvidenceError
from schedtuna.evidence import checks
from schedtuna.evidence.design import ALPHA_PER_SIDE, Arm, Look, plan_blocks
from schedtuna.evidence.notes import notes_of
from schedtuna.evidence.permutation import Comparison, FloatArray, IntArray, Tails
from schedtuna.workload.spec import Direction

DELTA = 0.03

Observation = float | None
"""What a run measured; None where it failed or timed out, which counts as the worst value."""


class Verdict(StrEnum):
    """What the runs say about the candidate."""

    IMPROVED = "improved"
    NO_EVIDENCE = "no_evidence"
    WORSE = "worse"
    TOO_NOISY = "too_noisy"


@dataclass(frozen=True)
class Block:
    """Three runs made back to back.

    Attributes:
        order: The arms in the order they ran.
        values: What each arm's run measured.
    """

    order: tuple[Arm, ...]
    values: Mapping[Arm, Observation]

    def __post_init__(self) -> None:
        if sorted(self.order) != sorted(Arm) or set(self.values) != set(Arm):
            raise EvidenceError(
                f"a block of {', '.join(self.order)} with values of {', '.join(self.values)}: "
                f"expected each of {', '.join(Arm)} once",
                hint="leave out a block that was interrupted",
            )
        for arm, value in self.values.items():
            if value is not None and not math.isfinite(value):
                raise EvidenceError(
                    f"the {arm} run measured {value}: expected a finite number",
                    hint="give None for a run that failed or timed out",
                )


@dataclass(frozen=True)
class Estimate:
    """A ratio candidate / default (or default again / default) with its interval.

    Attributes:
        ratio: Hodges and Lehmann's estimate.
        ci95: An interval of at least 95% confidence; `inf` and 0 (or -inf) where nothing bounds it.
    """

    ratio: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class SameArm(Estimate):
    """The A/A comparison: both arms are the default, so every difference is noise.

    Attributes:
        p: Two-sided p-value.
        alarm: p < .01: something other than the scheduler differs between runs.
    """

    p: float
    alarm: bool


@dataclass(frozen=True)
class Check:
    """A check of the design's assumptions.

    Attributes:
        ratio: How much slower (or, for `max`, lower) the suspect runs are; 1 is none.
        p: Two-sided p-value.
        alarm: Whether p is below .01.
    """

    ratio: float
    p: float
    alarm: bool


@dataclass(frozen=True)
class CarryOverCheck(Check):
    """Whether the candidate leaves something behind for the next run.

    Attributes:
        suspected: p < .1: the verdict had to hold with the carry-over taken off, too.
        effect_ratio: The typical run's ratio with it taken off, where suspected.
        withheld: Whether that kept the verdict from being given.
    """

    suspected: bool
    effect_ratio: float
    withheld: bool


@dataclass(frozen=True)
class Guard:
    """What the typical run hides: the mean, and runs that are far slower than typical.

    Attributes:
        mean: Ratio of the means over the runs that finished.
        slow_candidate: Share of slow (or failed) runs of the candidate.
        slow_default: The same of the default.
        slow_p: One-sided p-value that the candidate has more of them.
        blocked: Whether this kept the verdict from being `improved`.
    """

    mean: Estimate
    slow_candidate: float
    slow_default: float
    slow_p: float
    blocked: bool


@dataclass(frozen=True)
class Result:
    """What a study says.

    Attributes:
        verdict: One of four.
        direction: Which way is better.
        delta: The relative gain that matters.
        scale: `ratio`, or `difference` where values of zero or less rule out logarithms; then
            ratios are 1 + difference / typical default.
        effect: The typical run's ratio, candidate / default.
        p_improved: One-sided p-value against "not better".
        p_worse: One-sided p-value against "not worse".
        blocks: Blocks that the verdict rests on.
        pairs: Candidate runs compared, one per block.
        look: Number of the look, from 1; 0 before the first.
        p_bound: The one-sided level of that look.
        aa: Default again against default.
        noise_cv: Coefficient of variation of single runs, robust.
        runs_needed: Where too noisy: total runs that would tell, by the noise and effect seen.
        guard: The estimand guard.
        carry_over: Default runs after the candidate's against those after the default's.
        position: The slowest position within blocks against the fastest.
        failures: Failed and timed-out runs by arm.
        notes: What a reader should know, one sentence each.
    """

    verdict: Verdict
    direction: Direction
    delta: float
    scale: str
    effect: Estimate
    p_improved: float
    p_worse: float
    blocks: int
    pairs: int
    look: int
    p_bound: float
    aa: SameArm
    noise_cv: float
    runs_needed: int | None
    guard: Guard
    carry_over: CarryOverCheck
    position: Check
    failures: Mapping[Arm, int]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite becomes None."""
        data: dict[str, Any] = _jsonable(asdict(self))
        return data


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True)
class Scale:
    """How raw values become costs (lower is better), and shifts of costs become ratios.

    Attributes:
        sign: 1 where less is better, -1 where more is.
        reference: None for logarithms; else the typical default value that differences refer to.
    """

    sign: int
    reference: float | None

    def costs(self, values: FloatArray) -> FloatArray:
        """Costs of raw values; nan (failed) becomes inf."""
        scaled = np.log(values) if self.reference is None else values / self.reference
        return np.where(np.isnan(values), np.inf, self.sign * scaled)

    def ratio(self, shift: float) -> float:
        """The ratio of raw values that a shift of costs means."""
        if self.reference is None:
            return math.exp(min(self.sign * shift, 700.0)) if math.isfinite(shift) else self._endless(shift)
        return 1 + self.sign * shift

    def _endless(self, shift: float) -> float:
        return math.inf if self.sign * shift > 0 else 0.0

    def interval(self, low: float, high: float) -> tuple[float, float]:
        """Ratios of an interval of shifts, in order."""
        ends = (self.ratio(low), self.ratio(high))
        return min(ends), max(ends)

    def gain(self, delta: float) -> float:
        """The shift of costs that is a gain of delta."""
        if self.reference is None:
            return self.sign * math.log1p(-self.sign * delta)
        return -delta


def _scale_of(values: FloatArray, slots: IntArray, direction: Direction) -> Scale:
    sign = 1 if direction is Direction.MIN else -1
    finite = values[np.isfinite(values)]
    if (finite > 0).all():
        return Scale(sign, None)
    defaults = np.abs(np.concatenate([checks.arm(values, slots, 0), checks.arm(values, slots, 1)]))
    defaults = defaults[np.isfinite(defaults)]
    for typical in (np.median(defaults) if len(defaults) else 0.0, np.abs(finite).mean()):
        if typical > 0:
            return Scale(sign, float(typical))
    return Scale(sign, 1.0)


def _arrays(blocks: Sequence[Block]) -> tuple[FloatArray, IntArray]:
    """Raw values in run order (nan: failed), and each arm's position; both of shape (n, 3)."""
    values = np.array([[block.values[arm] for arm in block.order] for block in blocks], dtype=np.float64)
    slots = np.array([[block.order.index(arm) for arm in Arm] for block in blocks], dtype=np.int64)
    return values, slots


def decides(
    blocks: Sequence[Block],
    direction: Direction,
    look: Look,
    *,
    delta: float = DELTA,
    settle_worse: bool = False,
) -> bool:
    """Whether a look ends the study; see `Sequential`."""
    analysis = _Analysis(blocks, direction, look, delta)
    verdict = analysis.verdict
    if verdict is Verdict.IMPROVED and analysis.slow.suspect:
        return False
    if analysis.guarded:  # more runs may clear the candidate's mean and slow runs, or not
        return False
    if verdict is Verdict.NO_EVIDENCE and settle_worse:
        return analysis.loss_excluded()
    return verdict is not Verdict.TOO_NOISY


def judge(
    blocks: Sequence[Block],
    direction: Direction,
    *,
    delta: float = DELTA,
    look: Look | None = None,
    look_number: int = 1,
) -> Result:
    """Everything that the blocks say.

    Args:
        blocks: In the order they ran.
        direction: Which way is better.
        delta: The relative gain that matters.
        look: The look's level; default: a study of fixed size with a single look.
        look_number: Which of the study's looks it is, from 1.

    Raises:
        EvidenceError: No block, or a delta that is no relative gain.
    """
    look = look or Look(len(blocks), ALPHA_PER_SIDE)
    return _Analysis(blocks, direction, look, delta).result(look_number)


class _Analysis:
    """One look at the data; whatever is expensive is computed when it is asked for."""

    def __init__(self, blocks: Sequence[Block], direction: Direction, look: Look, delta: float) -> None:
        if not blocks:
            raise EvidenceError("no complete block to judge", hint="run at least one block of three runs")
        if not 0 < delta < 1:
            raise EvidenceError(f"delta={delta}: expected a relative gain between 0 and 1")
        self.direction, self.look, self.delta = direction, look, delta
        self.values, self.slots = _arrays(blocks)
        self.scale = _scale_of(self.values, self.slots, direction)
        self.costs = self.scale.costs(self.values)
        self.gain = self.scale.gain(delta)
        self.comparison = Comparison(self.costs, self.slots[:, 2])

    @cached_property
    def none(self) -> Tails:
        return self.comparison.test(0.0)

    @cached_property
    def at_gain(self) -> Tails:
        return self.comparison.test(self.gain)

    @cached_property
    def estimate(self) -> float:
        return self.comparison.estimate()

    @cached_property
    def shift(self) -> float:
        """The estimate, finite: what is taken off the candidate to look at the noise."""
        return self.comparison.bounded(self.estimate)

    @cached_property
    def slow(self) -> checks.SlowRuns:
        return checks.slow_runs(self.costs, self.slots, self.shift)

    @cached_property
    def means(self) -> checks.Means:
        return checks.mean_ratio(self.values, self.slots, sign=self.scale.sign)

    @cached_property
    def carry(self) -> checks.CarryOver:
        return checks.carry_over(self.comparison, self.shift)

    @property
    def by_ranks(self) -> Verdict:
        """The verdict of the ranks, with no safeguard."""
        return self._by_ranks(self.none, self.at_gain)

    @cached_property
    def typical(self) -> Verdict:
        """The verdict on the typical run. It must hold with a likely carry-over taken off, too."""
        plain = self.by_ranks
        if plain is Verdict.TOO_NOISY or self.carry.p >= checks.CARRY_OVER_DOUBT:
            return plain
        without = Comparison(self.carry.costs, self.slots[:, 2])
        same = plain is self._by_ranks(without.test(0.0), without.test(self.gain))
        return plain if same else Verdict.TOO_NOISY

    def _by_ranks(self, none: Tails, at_gain: Tails) -> Verdict:
        bound = self.look.p_bound
        if none.lower <= bound:
            return Verdict.IMPROVED
        if none.upper <= bound:
            return Verdict.WORSE
        return Verdict.NO_EVIDENCE if at_gain.upper <= bound else Verdict.TOO_NOISY

    @cached_property
    def guarded(self) -> bool:
        """Whether the typical run improved, but the mean or the slow runs are credibly worse."""
        return self.typical is Verdict.IMPROVED and (self.slow.worse or self.means.worse)

    @property
    def verdict(self) -> Verdict:
        return Verdict.NO_EVIDENCE if self.guarded else self.typical

    def loss_excluded(self) -> bool:
        """Whether a loss of delta is excluded as well."""
        return self.comparison.test(-self.gain).lower <= self.look.p_bound

    def result(self, look_number: int) -> Result:
        scale = self.scale
        low, high = self.comparison.interval(
            self.look.p_bound, self.estimate, {0.0: self.none, self.gain: self.at_gain}
        )
        sigma = checks.run_sigma(self.costs, self.slots, self.shift)
        noise_cv = math.sqrt(math.expm1(min(sigma, 5.0) ** 2)) if scale.reference is None else sigma
        aa = checks.same_arm(self.costs, self.slots)
        carry = self.carry
        position = checks.positions(self.costs, self.slots, self.shift)
        failed = np.isnan(self.values)
        verdict = self.verdict
        result = Result(
            verdict=verdict,
            direction=self.direction,
            delta=self.delta,
            scale="ratio" if scale.reference is None else "difference",
            effect=Estimate(scale.ratio(self.estimate), scale.interval(low, high)),
            p_improved=self.none.lower,
            p_worse=self.none.upper,
            blocks=len(self.values),
            pairs=len(self.values),
            look=look_number,
            p_bound=self.look.p_bound,
            aa=SameArm(scale.ratio(aa.shift), scale.interval(aa.low, aa.high), aa.p, aa.alarm),
            noise_cv=noise_cv,
            runs_needed=self._runs_needed(noise_cv) if verdict is Verdict.TOO_NOISY else None,
            guard=Guard(
                Estimate(self.means.ratio, (self.means.low, self.means.high)),
                self.slow.candidate,
                self.slow.default,
                self.slow.p,
                blocked=self.guarded,
            ),
            carry_over=CarryOverCheck(
                scale.ratio(carry.shift),
                carry.p,
                carry.alarm,
                suspected=carry.p < checks.CARRY_OVER_DOUBT,
                effect_ratio=scale.ratio(carry.effect),
                withheld=self.typical is not self.by_ranks,
            ),
            position=Check(scale.ratio(position.shift), position.p, position.alarm),
            failures={arm: int(checks.arm(failed, self.slots, k).sum()) for k, arm in enumerate(Arm)},
            notes=(),
        )
        return replace(result, notes=notes_of(result))

    def _runs_needed(self, noise_cv: float) -> int:
        """Runs to tell the effect seen from none, or from a gain of delta, whichever is further."""
        distance = max(abs(self.estimate), abs(self.estimate - self.gain))
        blocks = plan_blocks(noise_cv, -math.expm1(-min(distance, abs(self.gain))))
        return 3 * max(blocks, len(self.values) + 1)
