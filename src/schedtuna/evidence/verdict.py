"""Improved, worse, no evidence, or too noisy to say? From blocks of runs to one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from schedtuna.evidence import DELTA, carry_over, checks
from schedtuna.evidence.analysis import Checked, LookAnalysis, as_cv
from schedtuna.evidence.blocks import Block, CostScale, Observation, design_of
from schedtuna.evidence.design import ALPHA_PER_SIDE, Arm, Design, Look
from schedtuna.evidence.pair_analysis import PairAnalysis
from schedtuna.evidence.permutation import BlockCosts
from schedtuna.evidence.result import (
    AssumptionCheck,
    CarryOverCheck,
    Estimate,
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
    return analysis_of(blocks, direction, look, delta).result(look_number)


def analysis_of(blocks: Sequence[Block], direction: Direction, look: Look, delta: float) -> LookAnalysis:
    """Return a look at blocks, as their design has it; see `LookAnalysis`."""
    kind = PairAnalysis if design_of(blocks) is Design.PAIRS else BlockAnalysis
    return kind(blocks, direction, look, delta)


def excludes_loss(result: Result) -> bool:
    """Whether the runs exclude a loss of delta as well as they do a gain."""
    scale = CostScale(
        1 if result.direction is Direction.MIN else -1, None if result.scale == "ratio" else 1.0
    )
    bound, (low, high) = scale.ratio(-scale.gain(result.delta)), result.effect.ci95
    return high < bound if result.direction is Direction.MIN else low > bound


class BlockAnalysis(LookAnalysis):
    """One look at blocks of three runs: permutations within blocks, and what three runs let one check."""

    design = Design.TRIPLES
    comparison: BlockCosts

    def __init__(self, blocks: Sequence[Block], direction: Direction, look: Look, delta: float) -> None:
        super().__init__(blocks, direction, look, delta)
        self.comparison = BlockCosts(self.costs, self.slots[:, 2])

    @cached_property
    def slow(self) -> checks.SlowRuns:
        """Far slower runs."""
        return checks.slow_runs(self.costs, self.slots, self.shift)

    @cached_property
    def carry(self) -> carry_over.CarryOver:
        """What the candidate leaves behind."""
        return carry_over.measure(self.comparison, self.shift)

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

    @property
    def noise_cv(self) -> float:
        """The noise of single runs."""
        return as_cv(self._sigma) if self.scale.reference is None else self._sigma

    @cached_property
    def _sigma(self) -> float:
        return checks.run_sigma(self.costs, self.slots, self.shift)

    @property
    def _checked(self) -> Checked:
        scale, carry = self.scale, self.carry
        aa = checks.same_arm(self.costs, self.slots)
        position = checks.positions(self.costs, self.slots, self.shift)
        failed = np.isnan(self.values)
        return Checked(
            SameArm(scale.ratio(aa.shift), scale.interval(aa.low, aa.high), aa.p, aa.alarm),
            CarryOverCheck(
                scale.ratio(carry.shift),
                carry.p,
                carry.alarm,
                suspected=carry.suspected,
                effect_ratio=scale.ratio(carry.effect),
                withheld=self.typical is not self.by_ranks,
                plausible_ratio=scale.ratio(self.harmful_residue),
                exposed=self.exposed,
                blocks_needed=carry_over.blocks_to_tell(self._sigma, carry.plausible),
            ),
            AssumptionCheck(scale.ratio(position.spread), position.p, position.alarm),
            {arm: int(checks.arm(failed, self.slots, k).sum()) for k, arm in enumerate(Arm)},
        )
