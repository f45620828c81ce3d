"""The contract of every sampler: ask for an assignment, tell what it cost.

A sampler decides only what to run next and what it would recommend. It never runs anything, never
sees the confirmation runs, and makes no claim.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from schedtuna.samplers.observation import Observation
from schedtuna.samplers.racing import rank
from schedtuna.space import ParameterSpace, ParameterValue

NR_SUGGESTIONS = 3  # assignments of earlier studies that are tried early


class Sampler(ABC):
    """What to try next.

    A resumed study builds a fresh sampler and tells it the whole history, so `tell` must accept
    assignments that this object never asked for.

    Args:
        space: What can be varied.
        budget: How many runs it will be told in all, repeats and the default's included.
        rng: The only source of randomness.
    """

    name: ClassVar[str]
    extra: ClassVar[str | None] = None  # the optional dependency group that it needs

    def __init__(self, space: ParameterSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space = space
        self.budget = budget
        self.rng = rng
        self.history: list[Observation] = []
        self.suggestions: list[dict[str, ParameterValue]] = []

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Names of the options that this sampler takes beyond the space, budget and rng."""
        parameters = inspect.signature(cls).parameters
        return tuple(name for name in parameters if name not in ("space", "budget", "rng"))

    @abstractmethod
    def ask(self) -> dict[str, ParameterValue]:
        """Return the complete assignment to run next; one seen before is a repeat, on purpose."""

    def tell(self, observation: Observation) -> None:
        """Learn from one run."""
        self.history.append(observation)

    @property
    def nr_settled(self) -> int:
        """How many of the next calls of `ask` return what they would, whatever is told before them."""
        return 0

    @abstractmethod
    def recommend(self) -> dict[str, ParameterValue]:
        """Return the assignment to confirm; the default where nothing looks better."""

    def pretrain(self, observations: Sequence[Observation], *, epochs: int = 1) -> None:  # noqa: ARG002 - of learners
        """Take in runs of other studies of the same space, before the first `ask`.

        They say what to try early, and never count as runs of this study: nothing is recommended
        for what it did elsewhere.
        """
        self._suggest(observations)

    def trust(self, told: Sequence[Observation]) -> None:
        """Take in what a model says that assignments of this space cost, before the first `ask`.

        The model may be wrong: unless a sampler knows better, its best ones are tried early, and no more.
        """
        self._suggest(told)

    def _suggest(self, observations: Sequence[Observation]) -> None:
        ranked = [dict(c.values) for c in rank(self.space, observations) if c.eligible]
        default = self.space.default()
        self.suggestions += [values for values in ranked[:NR_SUGGESTIONS] if values != default]

    def training_metrics(self) -> dict[str, float]:
        """Numbers about the learner itself after the last `tell`, for plots; may be empty."""
        return {}

    def save(self, path: Path) -> None:  # noqa: B027 - most samplers keep nothing but the history
        """Write a checkpoint; a sampler that its history rebuilds writes nothing."""

    def load(self, path: Path) -> None:  # noqa: B027 - as above
        """Read a checkpoint that `save` wrote for the same space."""

    def close(self) -> None:  # noqa: B027 - as above
        """Close what is open; asking and telling end here."""
