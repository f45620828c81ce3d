"""Does what is in force help, harm, or neither? From on/off windows that chance ordered to an effect.

The costs are logarithms, lower is better, so an effect of d is a ratio of exp(d). `eprocess` says why one may
look at any time. The interval holds every effect that the games do not refute when it is taken off first.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from schedtuna.evidence.eprocess import REMEMBERED, RankWealth, SizeRanks, pair_scores, slot_scores

ALPHA = 0.05
# Effects that the interval tells apart, as logarithms: fine where it matters, to a factor of 20.
_STEPS = (
    *(k * 0.005 for k in range(1, 21)),
    *(0.1 + k * 0.02 for k in range(1, 21)),
    *(0.5 * 1.12**k for k in range(1, 17)),
)
EFFECTS = (*(-step for step in reversed(_STEPS)), 0.0, *_STEPS)


@dataclass(frozen=True)
class OnOffPair:
    """Two halves next to each other; a coin decided which came first.

    Attributes:
        on: Mean log cost with the candidate in force.
        off: Without it.
    """

    on: float
    off: float


@dataclass(frozen=True)
class OnOffCycle:
    """Slots of which one, drawn evenly, was without the candidate.

    Attributes:
        values: Mean log costs, in the order they ran.
        off_at: Which slot was without.
    """

    values: tuple[float, ...]
    off_at: int

    def gap(self) -> float:
        """On less off: of the slot without and its neighbours."""
        around = [self.values[i] for i in (self.off_at - 1, self.off_at + 1) if 0 <= i < len(self.values)]
        return statistics.fmean(around) - self.values[self.off_at]


OnOffUnit = OnOffPair | OnOffCycle


@dataclass(frozen=True)
class OnOffEffect:
    """What the candidate does to one metric, as far as it is known.

    Attributes:
        ratio: Estimate of on / off; NaN of no unit.
        low: Lower end of the interval: with 95% confidence at whatever time one looks; 0 where unbounded.
        high: Upper end; inf where unbounded.
        noise_ratio: A/A: by what factor two windows of the same arm and the same minutes differed, typically
            (the median); NaN where none were seen.
        nr_units: Pairs and cycles.
        e_harm: Evidence that it raises costs beyond what is tolerated: an e-value, the largest so far.
        e_help: Evidence that it lowers costs.
    """

    ratio: float
    low: float
    high: float
    noise_ratio: float
    nr_units: int
    e_harm: float
    e_help: float

    def of_more_is_better(self) -> OnOffEffect:
        """Return the effect on the metric itself, where its cost is the logarithm of its inverse."""
        low = 1 / self.high if self.high else math.inf
        high = 1 / self.low if self.low else math.inf
        return replace(self, ratio=1 / self.ratio, low=low, high=high)


class OnOffEvidence:
    """Evidence about one metric, unit by unit; memory is bounded.

    Args:
        alpha: Chance of an interval that ever misses the effect.
        tolerated: A ratio up to which higher costs are no harm.
    """

    def __init__(self, alpha: float = ALPHA, *, tolerated: float = 1.0) -> None:
        self.alpha = alpha
        # In each game one of these is taken off first: the last one is for harm.
        self._effects = np.array([*EFFECTS, math.log(tolerated)])
        self._higher, self._lower = RankWealth(len(self._effects)), RankWealth(len(self._effects))
        self._ranks = SizeRanks(len(self._effects))
        self._gaps: deque[float] = deque(maxlen=REMEMBERED)
        self._same: deque[float] = deque(maxlen=2 * REMEMBERED)

    def add(self, unit: OnOffUnit) -> None:
        """Add a unit that is complete."""
        if isinstance(unit, OnOffPair):
            scores = pair_scores(unit.on - unit.off - self._effects, self._ranks)
            self._gaps.append(unit.on - unit.off)
        else:
            is_on = np.arange(len(unit.values)) != unit.off_at
            without = np.array(unit.values)[:, None] - is_on[:, None] * self._effects
            scores = slot_scores(without, unit.off_at)
            self._gaps.append(unit.gap())
        self._higher.add(scores)
        self._lower.add(-scores)

    def add_same(self, costs: Sequence[float]) -> None:
        """Add log costs of windows next to each other under the same arm, in the order they ran."""
        self._same.extend(abs(after - before) for before, after in pairwise(costs))

    @property
    def nr_units(self) -> int:
        """Pairs and cycles so far."""
        return self._higher.nr_units

    @property
    def e_harm(self) -> float:
        """Evidence of costs above what is tolerated; without any effect it reaches 20 in 5% of all lives."""
        return float(self._higher.most[-1])

    @property
    def e_help(self) -> float:
        """Evidence of lower costs."""
        return float(self._lower.most[EFFECTS.index(0.0)])

    def effect(self) -> OnOffEffect:
        """What is known now."""
        low, high = self._interval()
        return OnOffEffect(
            math.exp(_walsh_median(sorted(self._gaps))) if self._gaps else math.nan,
            math.exp(low),
            math.exp(high),
            math.exp(statistics.median(self._same)) if self._same else math.nan,
            self.nr_units,
            self.e_harm,
            self.e_help,
        )

    def _interval(self) -> tuple[float, float]:
        """Between the highest effect that is too low and the lowest that is too high."""
        too_low = self._effects[self._higher.most >= 2 / self.alpha]
        too_high = self._effects[self._lower.most >= 2 / self.alpha]
        return float(too_low.max(initial=-math.inf)), float(too_high.min(initial=math.inf))


def _walsh_median(gaps: Sequence[float]) -> float:
    """Hodges and Lehmann's estimate."""
    return statistics.median((a + b) / 2 for i, a in enumerate(gaps) for b in gaps[i:])
