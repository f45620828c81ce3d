"""One look at the blocks of a study: what of a verdict does not depend on what a block is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

from schedtuna.errors import EvidenceError
from schedtuna.evidence.blocks import Block, arrays_of, scale_of
from schedtuna.evidence.checks import Means, SlowRuns, mean_ratio
from schedtuna.evidence.design import Look
from schedtuna.evidence.result import Result, Verdict
from schedtuna.evidence.shift import ShiftTest, Tails
from schedtuna.workload.spec import Direction


class LookAnalysis(ABC):
    """One look at the data; whatever is expensive is computed when it is asked for.

    Args:
        blocks: In the order they ran.
        direction: Which way is better.
        look: The look's level.
        delta: The relative gain that matters.

    Attributes:
        comparison: The test.

    Raises:
        EvidenceError: No block, or a delta that is not a relative gain.
    """

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

    @abstractmethod
    def result(self, look_number: int) -> Result:
        """Everything that the blocks say at this look."""
