"""Improved, worse, no evidence, or too noisy to say? From blocks of runs to one verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from schedtuna.errors import EvidenceError
from schedtuna.evidence import DELTA, carry_over, checks
from schedtuna.evidence.blocks import Block, CostScale, Observation, arrays_of, scale_of
from schedtuna.evidence.design import ALPHA_PER_SIDE, Arm, Look, plan_blocks
from schedtuna.evidence.notes import notes_of
from schedtuna.evidence.permutation import BlockCosts, Tails
from schedtuna.evidence.result import (
    AssumptionCheck,
    CarryOverCheck,
    Estimate,
    Guard,
    Result,
    SameArm,
    Verdict,
)
from schedtuna.workload.spec import Direction

__all__ = ["DELTA", "Block", "BlockAnalysis", "Estimate", "Observation", "Result", "Verdict", "judge"]


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
        EvidenceError: No block, or a delta that is not a relative gain.
    """
    look = look or Look(len(blocks), ALPHA_PER_SIDE)
    return BlockAnalysis(blocks, direction, look, delta).result(look_number)


def excludes_loss(result: Result) -> bool:
    """Whether the runs exclude a loss of delta as well as they do a gain."""
    scale = CostScale(
        1 if result.direction is Direction.MIN else -1, None if result.scale == "ratio" else 1.0
    )
    bound, (low, high) = scale.ratio(-scale.gain(result.delta)), result.effect.ci95
    return high < bound if result.direction is Direction.MIN else low > bound


class BlockAnalysis:
    """One look at the data; whatever is expensive is computed when it is asked for.

    Args:
        blocks: In the order they ran.
        direction: Which way is better.
        look: The look's level.
        delta: The relative gain that matters.

    Raises:
        EvidenceError: No block, or a delta that is not a relative gain.
    """

    def __init__(self, blocks: Sequence[Block], direction: Direction, look: Look, delta: float) -> None:
        if not blocks:
            raise EvidenceError("no complete block to judge", hint="run at least one block of three runs")
        if not 0 < delta < 1:
            raise EvidenceError(f"delta={delta}: expected a relative gain between 0 and 1")
        self.direction, self.look, self.delta = direction, look, delta
        self.values, self.slots = arrays_of(blocks)
        self.scale = scale_of(self.values, self.slots, direction)
        self.costs = self.scale.costs(self.values)
        self.gain = self.scale.gain(delta)
        self.comparison = BlockCosts(self.costs, self.slots[:, 2])

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
    def slow(self) -> checks.SlowRuns:
        """Far slower runs."""
        return checks.slow_runs(self.costs, self.slots, self.shift)

    @cached_property
    def means(self) -> checks.Means:
        """The means' ratio."""
        return checks.mean_ratio(self.values, self.slots, sign=self.scale.sign)

    @cached_property
    def carry(self) -> carry_over.CarryOver:
        """What the candidate leaves behind."""
        return carry_over.measure(self.comparison, self.shift)

    @property
    def by_ranks(self) -> Verdict:
        """The verdict of the ranks, with no safeguard."""
        return self._by_ranks(self.none, lambda: self.at_gain)

    @cached_property
    def typical(self) -> Verdict:
        """The verdict on the typical run. It must hold with a likely carry-over taken off, too."""
        plain = self.by_ranks
        if plain is Verdict.TOO_NOISY or not self.carry.binding:
            return plain
        return plain if self._holds_without(self.carry.shift) else Verdict.TOO_NOISY

    def _holds_without(self, residue: float) -> bool:
        """Whether the ranks say the same with a residue taken off the runs after the candidate's."""
        clean = carry_over.without(self.comparison, residue)
        return self.by_ranks is self._by_ranks(clean.test(0.0), lambda: clean.test(self.gain))

    @property
    def harmful_residue(self) -> float:
        """The largest plausible residue of the sign that flatters the verdict.

        What slows the runs after the candidate's makes the candidate look better.
        """
        flatters_losses = self.by_ranks in {Verdict.WORSE, Verdict.NO_EVIDENCE}
        return -self.carry.plausible if flatters_losses else self.carry.plausible

    @property
    def exposed(self) -> bool:
        """Whether there is a verdict that would not be one if a plausible residue were there."""
        return self.typical is not Verdict.TOO_NOISY and not self._holds_without(self.harmful_residue)

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
        withheld = self.typical is not self.by_ranks
        noisy = verdict is Verdict.TOO_NOISY and not withheld
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
            runs_needed=self._runs_needed(noise_cv) if noisy else None,
            guard=Guard(
                Estimate(self.means.ratio, (max(self.means.low, scale.floor), self.means.high)),
                self.slow.candidate,
                self.slow.default,
                self.slow.p,
                blocked=self.guarded,
            ),
            carry_over=CarryOverCheck(
                scale.ratio(carry.shift),
                carry.p,
                carry.alarm,
                suspected=carry.suspected,
                effect_ratio=scale.ratio(carry.effect),
                withheld=withheld,
                plausible_ratio=scale.ratio(self.harmful_residue),
                exposed=self.exposed,
                blocks_needed=carry_over.blocks_to_tell(sigma, carry.plausible),
            ),
            position=AssumptionCheck(scale.ratio(position.spread), position.p, position.alarm),
            failures={arm: int(checks.arm(failed, self.slots, k).sum()) for k, arm in enumerate(Arm)},
            notes=(),
        )
        return replace(result, notes=notes_of(result))

    def _runs_needed(self, noise_cv: float) -> int:
        """Runs to tell the effect seen from none, or from a gain of delta, whichever is further."""
        distance = max(abs(self.estimate), abs(self.estimate - self.gain))
        blocks = plan_blocks(noise_cv, -math.expm1(-min(distance, abs(self.gain))))
        return 3 * max(blocks, len(self.values) + 1)
