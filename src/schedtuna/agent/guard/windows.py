"""In which intervals are the changes in force? On and off in an order that chance decides.

Time is cut into slots of a few intervals; the first of each is dropped, as what was changed at its
beginning may still be settling. Two slots make a pair; once a benefit is proven, twenty make a cycle
with a single one without the changes, which is 5% of the time.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schedtuna.errors import UsageError
from schedtuna.evidence.on_off import OnOffCycle, OnOffPair, OnOffUnit

if TYPE_CHECKING:
    import numpy as np

SLOT_INTERVALS = 5
CYCLE_SLOTS = 20


@dataclass
class _Slot:
    on: bool
    costs: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    nr_seen: int = 0
    spoilt: str = ""


@dataclass(frozen=True)
class FinishedUnits:
    """What a pair or cycle gave.

    Attributes:
        units: By metric; a metric that was missing in half of a slot or more has none.
        same: Log costs of the windows of each slot, by metric: the same arm, minutes apart at most.
        void: Why it says nothing; empty where it does.
    """

    units: Mapping[str, OnOffUnit]
    same: Mapping[str, list[list[float]]]
    void: str = ""


class Windows:
    """Which arm is in force, and what its intervals measured.

    Args:
        rng: Draws the orders.
        slot_intervals: Of a slot, the dropped one included.

    Raises:
        UsageError: A slot would have no interval left.
    """

    def __init__(self, rng: np.random.Generator, slot_intervals: int = SLOT_INTERVALS) -> None:
        if slot_intervals < 2:
            raise UsageError(
                f"slots of {slot_intervals} intervals: the first is dropped, so 2 or more are needed"
            )
        self._rng = rng
        self._slot_intervals = slot_intervals
        self._arms: list[bool] = []
        self._slots: list[_Slot] = []
        self.restart(proven=False)

    def restart(self, *, proven: bool) -> None:
        """Begin a new pair, or a cycle where a benefit is proven."""
        self._proven = proven
        if proven:
            off_at = int(self._rng.integers(CYCLE_SLOTS))
            self._arms = [slot != off_at for slot in range(CYCLE_SLOTS)]
        else:
            first = bool(self._rng.integers(2))
            self._arms = [first, not first]
        self._slots = [_Slot(self._arms[0])]

    @property
    def on(self) -> bool:
        """Whether the changes are to be in force in the interval that comes."""
        return self._slots[-1].on

    def observe(self, costs: Mapping[str, float], spoilt: str = "") -> FinishedUnits | None:
        """Take the interval that ended.

        Args:
            costs: Log costs by metric, less is better; what is not known is missing.
            spoilt: Why the interval is no measure of its arm; empty: it is one.

        Returns:
            A pair or cycle, where it was the last of one; the next has begun then.
        """
        slot = self._slots[-1]
        slot.nr_seen += 1
        if slot.nr_seen > 1:
            slot.spoilt = slot.spoilt or spoilt
            for name, cost in costs.items():
                slot.costs[name].append(cost)
        if slot.nr_seen < self._slot_intervals:
            return None
        if len(self._slots) < len(self._arms):
            self._slots.append(_Slot(self._arms[len(self._slots)]))
            return None
        done = _finished(self._slots, (self._slot_intervals - 1) / 2)
        self.restart(proven=self._proven)
        return done


def _finished(slots: list[_Slot], least: float) -> FinishedUnits:
    if void := next((slot.spoilt for slot in slots if slot.spoilt), ""):
        return FinishedUnits({}, {}, void)
    names = [
        name
        for name in slots[0].costs
        if all(len(slot.costs.get(name, ())) >= max(least, 1) for slot in slots)
    ]
    units = {name: _unit([statistics.fmean(slot.costs[name]) for slot in slots], slots) for name in names}
    same = {name: [slot.costs[name] for slot in slots] for name in names}
    return FinishedUnits(units, same, "" if units else "no metric was known throughout")


def _unit(means: list[float], slots: list[_Slot]) -> OnOffUnit:
    if len(slots) == 2:
        on, off = means if slots[0].on else reversed(means)
        return OnOffPair(on, off)
    return OnOffCycle(tuple(means), next(i for i, slot in enumerate(slots) if not slot.on))


def pairs_to_tell(ratio: float, noise_ratio: float) -> float:
    """About how many pairs tell a given effect, at the noise of the same minutes.

    Reached in half of all cases, by simulation with normal noise: 15 pairs at an effect of one standard
    deviation of a pair's difference, 25 at 0.6, 80 at 0.3: about 6.5 + 8 / d^1.8.
    """
    if ratio == 1:
        return math.inf
    # The median of |x - y| of two windows is 0.954 sigma; a difference of halves of 4 has sigma / sqrt(2).
    sigma = max(math.log(noise_ratio), 1e-6) / 0.954 / math.sqrt(2)
    return 6.5 + 8 * math.exp(-1.8 * math.log(abs(math.log(ratio)) / sigma))
