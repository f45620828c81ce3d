"""One-at-a-time screen: which parameter matters by itself, and do the good changes add up?

Each parameter is moved alone, away from the default; then the changes that helped are combined,
the best ones first. Blind to interactions, and the easiest to explain.
"""

from __future__ import annotations

import numpy as np

from schedtuna.samplers.raced import RacedSampler
from schedtuna.samplers.racing import rank
from schedtuna.space import ParameterSpace, ParameterValue

LEVELS = (5, 3, 2)  # per number: as many as the budget affords
SCREEN_FRACTION = 0.6  # of the runs before the race


class OneAtATimeSampler(RacedSampler):
    """The default, each change of one parameter, then combinations of those that helped."""

    name = "one-at-a-time"

    def __init__(self, space: ParameterSpace, *, budget: int, rng: np.random.Generator) -> None:
        super().__init__(space, budget=budget, rng=rng)
        affordable = SCREEN_FRACTION * (1 - self.race_fraction) * budget
        changes: list[dict[str, ParameterValue]] = []
        for nr_levels in LEVELS:
            changes = self._single_changes(nr_levels)
            if len(changes) <= affordable:
                break
        order = rng.permutation(len(changes))  # a short budget screens some of every kind
        self._screen = [changes[i] for i in order]

    def _single_changes(self, nr_levels: int) -> list[dict[str, ParameterValue]]:
        default = self.space.default()
        found = [
            self.space.repair({**default, spec.name: value})
            for spec in self.space.specs
            for value in spec.levels(nr_levels)
        ]
        distinct = {self.space.key(values): values for values in found if values != default}
        return list(distinct.values())

    def propose(self) -> dict[str, ParameterValue]:
        """Return the next single change, or a combination of what helped."""
        ran = {self.space.key(o.values) for o in self.history}
        for values in self._screen:
            if self.space.key(values) not in ran:
                return dict(values)
        combined = self._combination()
        if self.space.key(combined) not in ran:
            return combined
        near = [n for n in self.space.neighbours(combined) if self.space.key(n) not in ran]
        return near[int(self.rng.integers(len(near)))] if near else combined

    def _combination(self) -> dict[str, ParameterValue]:
        """The default with each parameter's best single change, of a random number of parameters."""
        default = self.space.default()
        helped: dict[str, ParameterValue] = {}
        for candidate in rank(self.space, self.history):  # best first
            if candidate.values == default:
                break
            changed = self.space.changed(candidate.values)
            if candidate.eligible and len(changed) == 1:
                helped = {**changed, **helped}
        names = list(helped)[::-1]  # best first again
        tried = {self.space.key(o.values) for o in self.history}
        combined = default
        for count in range(len(names), 1, -1):
            combined = self.space.repair({**default, **{name: helped[name] for name in names[:count]}})
            if self.space.key(combined) not in tried:
                return combined
        return combined
