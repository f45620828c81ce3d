"""What was learned of earlier decisions, and what later ones say of it."""

from __future__ import annotations

from dataclasses import dataclass

from schedtuna.evidence.gate import GateVerdict
from schedtuna.model.model import DecisionModel


@dataclass(frozen=True)
class GatedAttempt:
    """What later decisions say of what was fitted on earlier ones.

    Attributes:
        verdict: Of the gate: whether it may replace what is in charge.
        nr_fitted, nr_judged: By how many decisions it was fitted and judged.
        judged_until_s: When the last of these was logged (Unix): another attempt needs later ones.
    """

    verdict: GateVerdict
    nr_fitted: int
    nr_judged: int
    judged_until_s: float


@dataclass(frozen=True)
class LearnedModel:
    """A model that was fitted.

    Attributes:
        model: It.
        attempt: What later decisions say of it.
    """

    model: DecisionModel
    attempt: GatedAttempt
