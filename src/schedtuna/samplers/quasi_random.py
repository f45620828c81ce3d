"""Quasi-random search: draws that fill the space evenly (scrambled Sobol points, Owen 1998)."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import qmc

from schedtuna.samplers.raced import RacedSampler
from schedtuna.space import ParameterSpace, ParameterValue


class QuasiRandomSampler(RacedSampler):
    """The default, then a Sobol sequence, then a race of the best."""

    name = "quasi-random"
    proposes_blindly = True

    def __init__(self, space: ParameterSpace, *, budget: int, rng: np.random.Generator) -> None:
        super().__init__(space, budget=budget, rng=rng)
        self._sobol = qmc.Sobol(max(space.unit_size, 1), rng=rng)

    def propose(self) -> dict[str, ParameterValue]:
        """Return the next point of the sequence."""
        with warnings.catch_warnings():  # it warns that one point alone is not balanced
            warnings.simplefilter("ignore", UserWarning)
            point = self._sobol.random(1)[0]
        return self.space.from_unit(point[: self.space.unit_size])
