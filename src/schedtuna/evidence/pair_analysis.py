"""One look at pairs: what is said of runs that their seeds fix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from schedtuna.evidence.analysis import Checked, LookAnalysis, as_cv
from schedtuna.evidence.blocks import Block
from schedtuna.evidence.checks import SLOW_LEAST, SLOW_SIGMAS, SlowRuns
from schedtuna.evidence.design import Arm, Design, Look
from schedtuna.evidence.pairs import SLOW_LEVEL, SLOW_SUSPICION, PairCosts
from schedtuna.evidence.result import (
    AssumptionCheck,
    CarryOverCheck,
    SameArm,
)
from schedtuna.workload.spec import Direction

# Of the default against itself, and of runs that leave nothing for the next, nothing has to be estimated.
_SAME = SameArm(1.0, (1.0, 1.0), 1.0, alarm=False)
_NO_POSITION = AssumptionCheck(1.0, 1.0, alarm=False)
_PER_PAIR = 1.5  # variance of a triple's part in the estimate, over that of a run: what `plan_blocks` takes


class PairAnalysis(LookAnalysis):
    """One look at pairs: sign flips over seeds."""

    design = Design.PAIRS
    comparison: PairCosts

    def __init__(self, blocks: Sequence[Block], direction: Direction, look: Look, delta: float) -> None:
        super().__init__(blocks, direction, look, delta)
        self.comparison = PairCosts(self.costs[:, 1:])

    @cached_property
    def slow(self) -> SlowRuns:
        """Far slower runs of either side."""
        candidate, default, p = self.comparison.slow(self.shift, SLOW_LEAST, SLOW_SIGMAS)
        return SlowRuns(candidate, default, p, p < SLOW_LEVEL, p < SLOW_SUSPICION)

    @property
    def noise_cv(self) -> float:
        """The spread of the effect over seeds."""
        return as_cv(self._sigma) if self.scale.reference is None else self._sigma

    @cached_property
    def _sigma(self) -> float:
        return self.comparison.sigma(self.shift)

    @property
    def _checked(self) -> Checked:
        failed = np.isnan(self.values)
        carry_over = CarryOverCheck(
            1.0,
            1.0,
            alarm=False,
            suspected=False,
            effect_ratio=self.scale.ratio(self.estimate),
            withheld=False,
            plausible_ratio=1.0,
            exposed=False,
            blocks_needed=0,
        )
        # The default again is not run: its column is the default's.
        failures = {Arm.A: int(failed[:, 0].sum()), Arm.A2: 0, Arm.B: int(failed[:, 2].sum())}
        return Checked(_SAME, carry_over, _NO_POSITION, failures)

    @property
    def _run_cv(self) -> float:
        return as_cv(self._sigma / math.sqrt(_PER_PAIR))
