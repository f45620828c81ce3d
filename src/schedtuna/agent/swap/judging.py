"""What would a policy `swap` of a file have drawn where another one decided? For `agent evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from schedtuna.agent.decisions.rows import DecisionRow
from schedtuna.agent.swap.deciders import SwapDecider, SwapSight
from schedtuna.agent.swap.making import make_swap
from schedtuna.agent.swap.policy import SEEN
from schedtuna.errors import EvidenceError
from schedtuna.features.observed import told_observation


class SwapChooser:
    """A policy `swap`, with what it has learned; it learns nothing more.

    Args:
        file: Its table.
        decider: What chooses in place of what the file has learned.

    Raises:
        ConfigFileError, UsageError, PolicyError: As `make_swap`.
    """

    def __init__(self, file: Path, decider: SwapDecider | None = None) -> None:
        self.name = f"swap:{file}"
        self._policy = make_swap(file, seed=0)
        self.decider = decider or self._policy.decider

    def probabilities(self, row: DecisionRow) -> Sequence[float]:
        """Return what its decider says; where an arm could not be chosen, it can't be here, either."""
        return [float(one) for one in self.decider.propensities(self.sight(row))]

    def sight(self, row: DecisionRow) -> SwapSight:
        """Return what a decider looks at where a decision was made.

        Raises:
            EvidenceError: It is among other arms, or does not tell.
        """
        arms = self._policy.arms
        if row.arms != arms:
            raise EvidenceError(
                f"decision {row.id} is among {', '.join(row.arms)}, and {self.name} chooses among "
                f"{', '.join(arms)}"
            )
        names = told_observation(arms)
        if lacking := [name for name in names if SEEN + name not in row.features]:
            raise EvidenceError(f"decision {row.id} does not tell {lacking[0]}, which {self.name} looks at")
        observation = np.array([row.features[SEEN + name] for name in names], np.float32)
        values = {name: value for name, value in row.features.items() if not name.startswith(SEEN)}
        allowed = np.array([share > 0 for share in row.propensities or [1.0] * len(arms)])
        return SwapSight(observation, values, int(observation[-len(arms) :].argmax()), allowed)
