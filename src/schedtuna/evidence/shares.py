"""Does more of what the candidate attempts fail? A faster server that answers with errors is not faster.

A run's share is what failed of what it attempted, by its tool's own counts. The shares of both sides
are compared run by run, as the metric is: errors come in bursts, so that single requests are not
independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.evidence.blocks import Block, arrays_of, design_of
from schedtuna.evidence.design import Arm, Design
from schedtuna.evidence.pairs import PairCosts
from schedtuna.evidence.permutation import BlockCosts

SHARE_LEVEL = 0.05
SHARE_MATTERS = 0.001  # of what was attempted: from here on a larger share is not an improvement


@dataclass(frozen=True)
class FailureShare:
    """One kind of failure, on both sides.

    Attributes:
        field: The tool's count of it.
        what: In a few words, for people.
        default: Mean share of the default's runs.
        candidate: Mean share of the candidate's.
        p: One-sided p-value that the candidate's is not above.
    """

    field: str
    what: str
    default: float
    candidate: float
    p: float

    @property
    def is_higher(self) -> bool:
        """Whether the candidate's share is credibly above the default's."""
        return self.p <= SHARE_LEVEL and self.candidate > self.default

    @property
    def matters(self) -> bool:
        """Whether it is so far above that the candidate is not an improvement."""
        return self.is_higher and self.candidate - self.default >= SHARE_MATTERS

    def tell(self) -> str:
        """Say both shares."""
        return f"{self.what}: {_percent(self.candidate)} instead of {_percent(self.default)}"


def compare_shares(
    field: str, what: str, orders: Sequence[tuple[Arm, ...]], shares: Sequence[Mapping[Arm, float | None]]
) -> FailureShare | None:
    """Compare the shares of blocks whose runs all have one; None where no block does.

    Args:
        field: The tool's count.
        what: In a few words.
        orders: The order of each block's runs.
        shares: The share of each block's runs; None where a run failed or does not say.
    """
    blocks = [
        Block(order, of)
        for order, of in zip(orders, shares, strict=True)
        if all(share is not None for share in of.values())
    ]
    if not blocks:
        return None
    values, slots = arrays_of(blocks)
    by_arm = np.take_along_axis(values, slots, axis=1)
    is_pairs = design_of(blocks) is Design.PAIRS
    p = (PairCosts(by_arm[:, 1:]) if is_pairs else BlockCosts(values, slots[:, 2])).test().upper
    return FailureShare(field, what, float(by_arm[:, :2].mean()), float(by_arm[:, 2].mean()), p)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
