"""Successive halving over repetitions: many assignments once, the better half twice, and so on.

The budget of a rung is the number of runs that each of its assignments gets, so the assignments
that stay get more repeats and less noise (Karnin et al. 2013, "Almost Optimal Exploration in
Multi-Armed Bandits").
"""

from __future__ import annotations

import math

from schedtuna.samplers.base import Sampler
from schedtuna.samplers.racing import race, rank, recommend
from schedtuna.space import ParameterValue

ETA = 2.0  # of each rung's assignments one in so many stays, and gets so many times the runs


class HalvingSampler(Sampler):
    """The default and random draws, halved by their shrunken means."""

    name = "halving"

    def ask(self) -> dict[str, ParameterValue]:
        """Return the next assignment that its rung owes a run."""
        if not self.history:
            return self.space.default()
        ranked = rank(self.space, self.history)
        if len(ranked) < self._width() and len(self.history) < self.budget // 2:
            return self.suggestions.pop(0) if self.suggestions else self.space.sample(self.rng)
        alive = [candidate for candidate in ranked if candidate.eligible]
        width, runs = float(len(alive)), 1.0
        while width > 1:
            width, runs = width / ETA, runs * ETA
            for candidate in alive[: math.ceil(width)]:
                if candidate.nr_runs < runs:
                    return dict(candidate.values)
        return race(self.space, self.history, self.rng)

    def recommend(self) -> dict[str, ParameterValue]:
        """Return the assignment with the best posterior mean."""
        return recommend(self.space, self.history)

    def _width(self) -> int:
        """Assignments of the first rung: each later rung costs about as much as half of it.

        With n assignments, rung k has n / 2^k of them at 2^k runs, of which half ran before:
        n (1 + log2(n) / 2) runs in all.
        """
        width = 2
        while (width + 1) * (1 + math.log(width + 1, ETA) / 2) <= self.budget:
            width += 1
        return width
