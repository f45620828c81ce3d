"""One look at pairs: what is said of runs that their seeds fix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from schedtuna.evidence.analysis import LookAnalysis
from schedtuna.evidence.blocks import Block
from schedtuna.evidence.checks import SLOW_LEAST, SLOW_SIGMAS, SlowRuns
from schedtuna.evidence.design import Arm, Design, Look, plan_blocks
from schedtuna.evidence.notes import notes_of
from schedtuna.evidence.pairs import SLOW_LEVEL, SLOW_SUSPICION, PairCosts
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

# Of the default against itself, and of runs that leave nothing for the next, nothing has to be estimated.
_SAME = SameArm(1.0, (1.0, 1.0), 1.0, alarm=False)
_NO_POSITION = AssumptionCheck(1.0, 1.0, alarm=False)
_PER_PAIR = 1.5  # variance of a triple's part in the estimate, over that of a run: what `plan_blocks` takes


class PairAnalysis(LookAnalysis):
    """One look at pairs: sign flips over seeds."""

    comparison: PairCosts

    def __init__(self, blocks: Sequence[Block], direction: Direction, look: Look, delta: float) -> None:
        super().__init__(blocks, direction, look, delta)
        self.comparison = PairCosts(self.costs[:, 1:])

    @cached_property
    def slow(self) -> SlowRuns:
        """Far slower runs of either side."""
        candidate, default, p = self.comparison.slow(self.shift, SLOW_LEAST, SLOW_SIGMAS)
        return SlowRuns(candidate, default, p, p < SLOW_LEVEL, p < SLOW_SUSPICION)

    def result(self, look_number: int) -> Result:
        """Everything that the pairs say at this look."""
        scale = self.scale
        low, high = self.comparison.interval(
            self.look.p_bound, self.estimate, {0.0: self.none, self.gain: self.at_gain}
        )
        sigma = self.comparison.sigma(self.shift)
        failed = np.isnan(self.values)
        verdict = self.verdict
        carry = CarryOverCheck(
            1.0,
            1.0,
            alarm=False,
            suspected=False,
            effect_ratio=scale.ratio(self.estimate),
            withheld=False,
            plausible_ratio=1.0,
            exposed=False,
            blocks_needed=0,
        )
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
            aa=_SAME,
            noise_cv=_as_cv(sigma) if scale.reference is None else sigma,
            runs_needed=self._runs_needed(sigma) if verdict is Verdict.TOO_NOISY else None,
            guard=Guard(
                Estimate(self.means.ratio, (max(self.means.low, scale.floor), self.means.high)),
                self.slow.candidate,
                self.slow.default,
                self.slow.p,
                blocked=self.guarded,
            ),
            carry_over=carry,
            position=_NO_POSITION,
            failures={
                arm: int(failed[:, column].sum()) for arm, column in ((Arm.A, 0), (Arm.A2, 1), (Arm.B, 2))
            },
            notes=(),
            design=Design.PAIRS,
        )
        return replace(result, notes=notes_of(result))

    def _runs_needed(self, sigma: float) -> int:
        """Runs to tell the effect seen from none, or from a gain of delta, whichever is further."""
        distance = max(abs(self.estimate), abs(self.estimate - self.gain))
        noise_cv = _as_cv(sigma / math.sqrt(_PER_PAIR))
        blocks = plan_blocks(noise_cv, -math.expm1(-min(distance, abs(self.gain))))
        return Design.PAIRS.runs_per_block * max(blocks, len(self.values) + 1)


def _as_cv(sigma: float) -> float:
    return math.sqrt(math.expm1(min(sigma, 5.0) ** 2))
