"""Random search: the baseline that every other sampler has to beat."""

from __future__ import annotations

from schedtuna.samplers.raced import RacedSampler
from schedtuna.space import ParameterValue


class RandomSampler(RacedSampler):
    """The default, then independent draws, then a race of the best."""

    name = "random"
    proposes_blindly = True

    def propose(self) -> dict[str, ParameterValue]:
        """Return an independent draw."""
        return self.space.sample(self.rng)
