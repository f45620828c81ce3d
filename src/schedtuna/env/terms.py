"""What can a reward be made of, and what weighs what?

Each term is in nanoseconds, adds up over an episode, and is divided by what the default scheduler comes to
under the same arrivals. With weights w a step's reward is the sum of w * sign * term / default * 100, over
the sum of |w|: the default scheduler itself scores -100 over an episode where all signs are minus.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from schedtuna.errors import UsageError, nearest
from schedtuna.sim.native import term_table

DEFAULT_REWARD: Mapping[str, float] = {"latency": 1.0, "energy": 0.2}


@dataclass(frozen=True)
class RewardTerm:
    """A row of the table.

    Attributes:
        name: What weights call it.
        sign: 1: more is better; -1: less is.
        help: Its formula.
    """

    name: str
    sign: int
    help: str


REWARD_TERMS: dict[str, RewardTerm] = {row[0]: RewardTerm(*row) for row in term_table()}


def reward_weights(reward: Mapping[str, float] | None) -> dict[str, float]:
    """Return what each term weighs.

    Raises:
        UsageError: There is no such term, a weight is no number from 0 on, or all are 0.
    """
    weights = dict(DEFAULT_REWARD if reward is None else reward)
    for name, weight in weights.items():
        if name not in REWARD_TERMS:
            raise UsageError(f"a reward has no term {name!r}: {nearest(name, REWARD_TERMS)}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise UsageError(f"reward: {name}={weight!r}: expected a finite number, 0 or more")
    if not any(weights.values()):
        raise UsageError(f"reward {weights}: nothing weighs anything", hint=f"{dict(DEFAULT_REWARD)}")
    return {name: float(weight) for name, weight in weights.items()}
