"""When may a study stop? At its looks, when one decides."""

from __future__ import annotations

from schedtuna.errors import EvidenceError
from schedtuna.evidence.analysis import LookAnalysis
from schedtuna.evidence.design import ALPHA_PER_SIDE, MAX_BLOCKS, Design, Look, looks_for
from schedtuna.evidence.verdict import DELTA, Block, Result, analysis_of
from schedtuna.workload.spec import Direction


class Sequential:
    """A study that grows block by block.

    It ends at the first look that finds the candidate improved or worse, or that excludes a gain
    of delta, and at the horizon. Whatever is asked between looks is answered by the last look:
    peeking is free because it changes nothing.

    Args:
        direction: Which way is better.
        max_blocks: The horizon.
        delta: The relative gain that matters.
        settle_worse: Whether to go on when a gain is excluded but a loss of delta is not: yes for
            a regression gate, no for a tuner, which saves the runs.
        alpha: One-sided error rate; divide it by the number of candidates or primary metrics.
        design: What a block is.

    Raises:
        EvidenceError: No outcome could be significant within so few blocks.
    """

    def __init__(
        self,
        direction: Direction,
        *,
        max_blocks: int = MAX_BLOCKS,
        delta: float = DELTA,
        alpha: float = ALPHA_PER_SIDE,
        settle_worse: bool = False,
        design: Design = Design.TRIPLES,
    ) -> None:
        self.direction = direction
        self.delta = delta
        self.looks = looks_for(max_blocks, alpha, design)
        self.settle_worse = settle_worse
        self.blocks: list[Block] = []
        self._analyses: list[LookAnalysis] = []  # one per look taken

    def add(self, block: Block) -> None:
        """Add a complete block, in the order they ran.

        Raises:
            EvidenceError: The study has ended; more data is a new study.
        """
        if self.should_stop():
            raise EvidenceError("the study has ended; more data is a new study")
        self.blocks.append(block)
        look = self.looks[len(self._analyses)]
        if len(self.blocks) == look.blocks:
            self._analyses.append(analysis_of(self.blocks, self.direction, look, self.delta))

    def should_stop(self) -> bool:
        """Whether the study has ended: a look decided, or the horizon is reached."""
        if not self._analyses:
            return False
        at_horizon = len(self._analyses) == len(self.looks)
        return at_horizon or self._analyses[-1].ends_study(settle_worse=self.settle_worse)

    @property
    def last_look(self) -> Look | None:
        """The last look that was taken."""
        return self._analyses[-1].look if self._analyses else None

    def result(self) -> Result:
        """The last look's result; before the first look, descriptive numbers that decide nothing.

        Raises:
            EvidenceError: There is no complete block yet.
        """
        if self._analyses:
            return self._analyses[-1].result(len(self._analyses))
        undecided = Look(len(self.blocks), 0.0)
        return analysis_of(self.blocks, self.direction, undecided, self.delta).result(0)
