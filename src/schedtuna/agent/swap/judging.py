"""What would a policy `swap` of a file have drawn where another one decided? For `agent evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from schedtuna.agent.decision_rows import DecisionRow
from schedtuna.agent.swap.deciders import SwapSight
from schedtuna.agent.swap.making import make_swap
from schedtuna.agent.swap.policy import SEEN
from schedtuna.errors import EvidenceError
from schedtuna.features.observed import told_observation


class SwapChooser:
    """A policy `swap`, with what it has learned; it learns nothing more.

    Args:
        file: Its table.

    Raises:
        ConfigFileError, UsageError, PolicyError: As `make_swap`.
    """

    def __init__(self, file: Path) -> None:
        self.name = f"swap:{file}"
        self._policy = make_swap(file, seed=0)

    def probabilities(self, row: DecisionRow) -> Sequence[float]:
        """Return what its decider says; where an arm could not be chosen, it can't be here, either."""
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
        sight = SwapSight(observation, values, int(observation[-len(arms) :].argmax()), allowed)
        return [float(one) for one in self._policy.decider.propensities(sight)]
