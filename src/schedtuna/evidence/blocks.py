"""Blocks of runs, and the costs that they are turned into."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.errors import EvidenceError
from schedtuna.evidence.design import Arm, Design
from schedtuna.evidence.shift import FloatArray, IntArray
from schedtuna.workload.spec import Direction

Observation = float | None
"""What a run measured; None where it failed or timed out, which counts as the worst value."""


@dataclass(frozen=True)
class Block:
    """Runs made back to back: three, or two on a place without noise.

    Attributes:
        order: The arms in the order they ran.
        values: What each arm's run measured.
    """

    order: tuple[Arm, ...]
    values: Mapping[Arm, Observation]

    def __post_init__(self) -> None:
        arms = sorted(self.order)
        if all(arms != sorted(design.arms) for design in Design) or sorted(self.values) != arms:
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


def design_of(blocks: Sequence[Block]) -> Design:
    """What the blocks are.

    Raises:
        EvidenceError: None, or of two designs.
    """
    if not blocks:
        raise EvidenceError("no complete block to judge", hint="run at least one block")
    found = {len(block.order) for block in blocks}
    if len(found) > 1:
        raise EvidenceError("blocks of two and of three runs are of two designs", hint="judge each by itself")
    return next(design for design in Design if design.runs_per_block in found)


def arrays_of(blocks: Sequence[Block]) -> tuple[FloatArray, IntArray]:
    """Raw values in run order (nan: failed), and each arm's position; both of shape (n, 3).

    A pair's default, which would be the same again, stands for both.
    """
    if design_of(blocks) is Design.PAIRS:
        values = np.array([[block.values[arm] for arm in (Arm.A, Arm.A, Arm.B)] for block in blocks], float)
        return values, np.tile(np.arange(3), (len(blocks), 1))
    values = np.array([[block.values[arm] for arm in block.order] for block in blocks], dtype=np.float64)
    slots = np.array([[block.order.index(arm) for arm in Arm] for block in blocks], dtype=np.int64)
    return values, slots


@dataclass(frozen=True)
class CostScale:
    """How raw values become costs (lower is better), and shifts of costs become ratios.

    Attributes:
        sign: 1 where less is better, -1 where more is.
        reference: None for logarithms; else the typical default value that differences refer to.
        floor: The lowest ratio: 0 where no value is negative, as nothing falls by more than all of it.
    """

    sign: int
    reference: float | None
    floor: float = -math.inf

    def costs(self, values: FloatArray) -> FloatArray:
        """Costs of raw values; nan (failed) becomes inf."""
        scaled = np.log(values) if self.reference is None else values / self.reference
        return np.where(np.isnan(values), np.inf, self.sign * scaled)

    def ratio(self, shift: float) -> float:
        """The ratio of raw values that a shift of costs means; infinite where nothing bounds it."""
        change = self.sign * shift
        if not math.isfinite(change):
            return change
        return math.exp(min(change, 700.0)) if self.reference is None else max(1 + change, self.floor)

    def interval(self, low: float, high: float) -> tuple[float, float]:
        """Ratios of an interval of shifts, in order."""
        ends = (self.ratio(low), self.ratio(high))
        return min(ends), max(ends)

    def gain(self, delta: float) -> float:
        """The shift of costs that is a gain of delta."""
        if self.reference is None:
            return self.sign * math.log1p(-self.sign * delta)
        return -delta


def scale_of(values: FloatArray, slots: IntArray, direction: Direction) -> CostScale:
    """Logarithms where all values are above zero, else differences over the typical default value.

    Args:
        values: See `arrays_of`.
        slots: See `arrays_of`.
        direction: Which way is better.
    """
    sign = 1 if direction is Direction.MIN else -1
    finite = values[np.isfinite(values)]
    if (finite > 0).all():
        return CostScale(sign, None)
    floor = 0.0 if (finite >= 0).all() else -math.inf
    defaults = np.abs(np.take_along_axis(values, slots[:, :2], axis=1))
    defaults = defaults[np.isfinite(defaults)]
    for typical in (np.median(defaults) if len(defaults) else 0.0, np.abs(finite).mean()):
        if typical > 0:
            return CostScale(sign, float(typical), floor)
    return CostScale(sign, 1.0, floor)
