"""What the samplers without a model of noise share: they propose, and the race decides."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from schedtuna.samplers.base import Sampler
from schedtuna.samplers.racing import race, recommend
from schedtuna.space import ParameterValue


class RacedSampler(Sampler):
    """A sampler that has no model of noise: the default first, its own proposals, then a race.

    Subclasses say what to try in `propose`; repeats and the recommendation are the race's.
    """

    race_fraction: float = 0.4  # of the budget, its last part
    proposes_blindly: ClassVar[bool] = False  # whether what was told has no say in what is proposed

    def ask(self) -> dict[str, ParameterValue]:
        """Return the default, then a suggestion or proposal, and in the last part a repeat that decides."""
        if not self.history:
            return self.space.default()
        if self.racing(len(self.history)):
            return race(self.space, self.history, self.rng)
        return self.suggestions.pop(0) if self.suggestions else self.propose()

    def racing(self, nr_told: int) -> bool:
        """Whether the run after `nr_told` runs belongs to the race."""
        return nr_told >= self.budget - int(self.race_fraction * self.budget)

    @property
    def nr_settled(self) -> int:
        """Those before the race, of a sampler whose proposals do not depend on what was told."""
        if not self.proposes_blindly or not self.history:
            return 0
        return max(0, self.budget - int(self.race_fraction * self.budget) - len(self.history))

    @abstractmethod
    def propose(self) -> dict[str, ParameterValue]:
        """Return the next assignment to try."""

    def recommend(self) -> dict[str, ParameterValue]:
        """Return the assignment with the best posterior mean."""
        return recommend(self.space, self.history)
