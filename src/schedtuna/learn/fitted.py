"""What does an algorithm make of rows? A model in its canonical form, and its scores before rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schedtuna.learn.problem import Floats, LearningProblem, LearningRows
from schedtuna.model.core import BinArray
from schedtuna.model.model import DecisionModel

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class FittedModel:
    """What was trained.

    Attributes:
        algorithm: By which.
        model: In its canonical form.
        unit: A logit divided by it is the score.
        exact: The library's own scores of rows of bins, before anything was rounded.
        settings: What it was trained with.
        curve: Loss on training and validation rows after each round, where there are rounds.
        gains: How much each input brought, where the algorithm tells.
    """

    algorithm: str
    model: DecisionModel
    unit: float
    exact: Callable[[BinArray], Floats]
    settings: Settings
    curve: Mapping[str, list[float]] = field(default_factory=dict)
    gains: Mapping[str, float] = field(default_factory=dict)

    def score(self, bins: BinArray) -> Floats:
        """Return the scores of rows as they are deployed: float64 [rows]."""
        return self.model.core.logits(bins)[:, 0] / self.unit


def made_by(algorithm: str, problem: LearningProblem) -> str:
    """What a model's file says of where it is from."""
    return f"trained by {algorithm} on {len(problem.train):,} rows: {problem.task}"


def grouped_by_choice(rows: LearningRows) -> tuple[LearningRows, np.ndarray]:
    """Return rows in the order of their choices, and how many rows each choice has."""
    order = np.argsort(rows.choice, kind="stable")
    ordered = rows.where(order)
    return ordered, np.unique(ordered.choice, return_counts=True)[1]
