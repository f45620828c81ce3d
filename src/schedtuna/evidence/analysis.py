"""One look at the blocks of a study: what of a verdict does not depend on what a block is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from schedtuna.errors import EvidenceError
from schedtuna.evidence.blocks import Block, arrays_of, scale_of
from schedtuna.evidence.checks import Means, SlowRuns, mean_ratio
from schedtuna.evidence.design import Arm, Design, Look, plan_blocks
from schedtuna.evidence.notes import notes_of
from schedtuna.evidence.result import (
    AssumptionCheck,
    CarryOverCheck,
    Estimate,
    Guard,
    Result,
    SameArm,
    Verdict,
)
from schedtuna.evidence.shift import ShiftTest, Tails
from schedtuna.workload.spec import Direction


@dataclass(frozen=True)
class Checked:
    """What of a result depends on what a block is; see `Result`."""

    aa: SameArm
    carry_over: CarryOverCheck
    position: AssumptionCheck
    failures: Mapping[Arm, int]


def as_cv(sigma: float) -> float:
    """The coefficient of variation of a log-normal run with this sigma."""
    return math.sqrt(math.expm1(min(sigma, 5.0) ** 2))


class LookAnalysis(ABC):
    """One look at the data; whatever is expensive is computed when it is asked for.

    Args:
        blocks: In the order they ran.
        direction: Which way is better.
        look: The look's level.
        delta: The relative gain that matters.

    Attributes:
        design: What a block is.
        comparison: The test.

    Raises:
        EvidenceError: No block, or a delta that is not a relative gain.
    """

    design: ClassVar[Design]
    comparison: ShiftTest

    def __init__(self, blocks: Sequence[Block], direction: Direction, look: Look, delta: float) -> None:
        if not 0 < delta < 1:
            raise EvidenceError(f"delta={delta}: expected a relative gain between 0 and 1")
        self.direction, self.look, self.delta = direction, look, delta
        self.values, self.slots = arrays_of(blocks)
        self.scale = scale_of(self.values, self.slots, direction)
        self.costs = self.scale.costs(self.values)
        self.gain = self.scale.gain(delta)

    @cached_property
    def none(self) -> Tails:
        """The test of no effect."""
        return self.comparison.test(0.0)

    @cached_property
    def at_gain(self) -> Tails:
        """The test of a gain of exactly delta."""
        return self.comparison.test(self.gain)

    @cached_property
    def estimate(self) -> float:
        """Hodges and Lehmann's shift of costs; infinite where failures leave it unbounded."""
        return self.comparison.estimate()

    @cached_property
    def shift(self) -> float:
        """The estimate, finite: what is taken off the candidate to look at the noise."""
        return self.comparison.bounded(self.estimate)

    @cached_property
    @abstractmethod
    def slow(self) -> SlowRuns:
        """Far slower runs."""

    @cached_property
    def means(self) -> Means:
        """The means' ratio."""
        return mean_ratio(self.values, self.slots, sign=self.scale.sign)

    @property
    def by_ranks(self) -> Verdict:
        """The verdict of the ranks, with no safeguard."""
        return self._by_ranks(self.none, lambda: self.at_gain)

    @cached_property
    def typical(self) -> Verdict:
        """The verdict on the typical run."""
        return self.by_ranks

    def _by_ranks(self, none: Tails, at_gain: Callable[[], Tails]) -> Verdict:
        bound = self.look.p_bound
        if none.lower <= bound:
            return Verdict.IMPROVED
        if none.upper <= bound:
            return Verdict.WORSE
        return Verdict.NO_EVIDENCE if at_gain().upper <= bound else Verdict.TOO_NOISY

    @cached_property
    def guarded(self) -> bool:
        """Whether the typical run improved, but the mean or the slow runs are credibly worse."""
        return self.typical is Verdict.IMPROVED and (self.slow.worse or self.means.worse)

    @property
    def verdict(self) -> Verdict:
        """The verdict on what a user pays for: the typical run, the mean and the slow runs."""
        return Verdict.NO_EVIDENCE if self.guarded else self.typical

    def loss_excluded(self) -> bool:
        """Whether a loss of delta is excluded as well."""
        return self.comparison.test(-self.gain).lower <= self.look.p_bound

    def ends_study(self, *, settle_worse: bool) -> bool:
        """Whether a sequential study may stop at this look."""
        if self.typical is Verdict.IMPROVED:  # more runs may clear a candidate of its slow runs, or not
            return not (self.guarded or self.slow.suspect)
        if self.typical is Verdict.NO_EVIDENCE and settle_worse:
            return self.loss_excluded()
        return self.typical is not Verdict.TOO_NOISY

    def result(self, look_number: int) -> Result:
        """Everything that the blocks say at this look."""
        scale, verdict, checked = self.scale, self.verdict, self._checked
        low, high = self.comparison.interval(
            self.look.p_bound, self.estimate, {0.0: self.none, self.gain: self.at_gain}
        )
        is_noisy = verdict is Verdict.TOO_NOISY and not checked.carry_over.withheld
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
            aa=checked.aa,
            noise_cv=self.noise_cv,
            runs_needed=self._runs_needed() if is_noisy else None,
            guard=Guard(
                Estimate(self.means.ratio, (max(self.means.low, scale.floor), self.means.high)),
                self.slow.candidate,
                self.slow.default,
                self.slow.p,
                blocked=self.guarded,
            ),
            carry_over=checked.carry_over,
            position=checked.position,
            failures=checked.failures,
            notes=(),
            design=self.design,
        )
        return replace(result, notes=notes_of(result))

    @property
    @abstractmethod
    def noise_cv(self) -> float:
        """The noise that its design lets one tell, relative to a typical run."""

    @property
    @abstractmethod
    def _checked(self) -> Checked:
        """What its design lets one check of the runs."""

    @property
    def _run_cv(self) -> float:
        """The noise of single runs, for which `plan_blocks` plans."""
        return self.noise_cv

    def _runs_needed(self) -> int:
        """Runs to tell the effect seen from none, or from a gain of delta, whichever is further."""
        distance = max(abs(self.estimate), abs(self.estimate - self.gain))
        blocks = plan_blocks(self._run_cv, -math.expm1(-min(distance, abs(self.gain))))
        return self.design.runs_per_block * max(blocks, len(self.values) + 1)
