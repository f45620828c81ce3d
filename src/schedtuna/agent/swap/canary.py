"""Which schedulers have cost so much that they are not chosen again, and under which loads? Pure.

What draws keeps a share for each arm, however bad it is: one that costs ten times the default's costs half as
much as the default even at a share of 5%. So what is far too bad is left out, and its share with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

LIMIT = 3.0  # times the default's cost
LEAST_WINDOWS = 2  # of a class: one alone may have begun under another load, or be an accident


@dataclass
class Canary:
    """What each arm's windows have cost, over the default's.

    Attributes:
        arms: Their names; the first one, the default, is never left out.
    """

    arms: Sequence[str]
    _costs: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def take(self, arm: str, cost: float, *classes: str) -> None:
        """Take in a window.

        Args:
            arm: Whose it was.
            cost: Of it.
            classes: Of the loads under which it was chosen, and under which it was measured.
        """
        for one in dict.fromkeys(classes):
            self._costs.setdefault((one, arm), []).append(cost)

    def why_not(self, arm: str, load_class: str) -> str:
        """Why an arm is not to be chosen under a class of loads; empty: it may be."""
        costs = self._costs.get((load_class, arm), ())
        if arm == self.arms[0] or len(costs) < LEAST_WINDOWS or (mean := sum(costs) / len(costs)) <= LIMIT:
            return ""
        return f"{len(costs)} windows cost {mean:.1f} times the default's on average with {load_class}"

    def allowed(self, load_class: str) -> npt.NDArray[np.bool_]:
        """Which arms may be chosen under a class of loads."""
        return np.array([not self.why_not(arm, load_class) for arm in self.arms])
