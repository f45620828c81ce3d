"""How does a trained model decide in `PickNext`? It scores each candidate, and the greatest score runs.

Observations are bins of the feature table, from 0 to 1: what the model takes, divided by the last bin.
"""

from __future__ import annotations

import numpy as np

from schedtuna.errors import UsageError
from schedtuna.features.table import FEATURES
from schedtuna.model.model import DecisionModel
from schedtuna.model.runtime import ModelRuntime
from schedtuna.rl.policy import PolicyFit
from schedtuna.sim.model_scheduler import require_scheduling

_SLOT = "slot"


class ModelDecider:
    """Runs the candidate that a model scores highest; of equal ones the first.

    Args:
        model: It says of a task whether it deserves a CPU.
        fit: What the environment shows.

    Raises:
        ModelError: It says something else.
        UsageError: The environment has no candidates, or does not show what the model looks at.
    """

    def __init__(self, model: DecisionModel, fit: PolicyFit) -> None:
        require_scheduling(model)
        slots = [name.partition(".")[0] for name in fit.features if name.startswith(_SLOT)]
        self._slots = list(dict.fromkeys(slots))
        if not self._slots:
            raise UsageError(
                f"{fit.environment} has no candidates that {model.name} could choose from",
                hint="a model decides in schedtuna/PickNext-v0",
            )
        self._runtime = ModelRuntime(model)
        places = {name: number for number, name in enumerate(fit.features)}
        self._last = np.array([one.bins.last for one in model.inputs])
        self._columns = np.zeros((len(self._slots), len(model.inputs)), np.int64)
        for index, one in enumerate(model.inputs):
            row = FEATURES.get(one.name)
            shown = [places.get(f"{slot}.{one.name}", places.get(one.name, -1)) for slot in self._slots]
            if row is None or row.bins != one.bins or min(shown) < 0:
                raise UsageError(
                    f"{fit.environment} does not show {one.name} as {model.name} takes it",
                    hint="train a model with --feature on what `slot0.` of its observations names",
                )
            self._columns[:, index] = shown

    def act(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        """Return whom to run, [n], of observations [n, observed] and masks [n, actions]."""
        rows = np.rint(observations[:, self._columns] * self._last).astype(np.uint16)
        n, nr_slots, width = rows.shape
        scores = self._runtime.logits(rows.reshape(-1, width))[:, 0].reshape(n, nr_slots).astype(np.int64)
        if masks is not None:
            scores = np.where(masks[:, :nr_slots], scores, np.iinfo(np.int64).min)
        return np.asarray(scores.argmax(axis=1))
