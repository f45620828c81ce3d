"""What does a scheduler do where an environment would ask? Told as the environment tells of a policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.env.batch import BoundBatch
from schedtuna.env.setting import PickNextSetting
from schedtuna.errors import UsageError
from schedtuna.sim.native import Autoreset, BadInputError, Batch
from schedtuna.sim.schedulers import native_schedulers

NO_ACTION = -1  # who ran stood in no slot


def watchable() -> list[str]:
    """Return the names of the schedulers that can be watched."""
    return list(native_schedulers())


class WatchedSchedulers:
    """Episodes of `schedtuna/PickNext-v0` in which a scheduler of the simulator decides, at no cost.

    Args:
        watched: One of `schedtuna sim list`, with or without values.
        seed: Of the episodes.
        settings: See `PickNextSetting`.

    Raises:
        UsageError: One of them is none.
    """

    def __init__(self, watched: str, /, *, seed: int = 0, **settings: Any) -> None:
        self.setting = PickNextSetting(**settings)
        self._batch = BoundBatch(
            Batch, self.setting.setup(watched), 1, seed, Autoreset.DISABLED, nr_threads=1
        )

    def reset(self, seed: int | None = None) -> npt.NDArray[np.float32]:
        """Begin an episode, and return what is observed at its first decision.

        Args:
            seed: Of this episode and those after it; None: they go on.
        """
        if seed is not None:
            self._batch.native.seed(0, seed)
        self._batch.native.reset(0)
        observed: npt.NDArray[np.float32] = self._batch.observations[0].copy()
        return observed

    def step(self) -> tuple[int, npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Let the scheduler decide, and go on to its next decision.

        Returns:
            Which action that was (`NO_ACTION`: none does that), and what the environment's `step` returns.

        Raises:
            UsageError: The episode has ended, or the load is stuck.
        """
        batch = self._batch
        try:
            action = batch.native.watch_one()
        except BadInputError as error:
            raise UsageError(str(error)) from error
        terminated, truncated = bool(batch.terminated[0]), bool(batch.truncated[0])
        info: dict[str, Any] = {"elapsed_ns": int(batch.elapsed_ns[0])}
        if terminated or truncated:
            info["terms"] = batch.terms_of(0)
        return action, batch.observations[0].copy(), float(batch.rewards[0]), terminated, truncated, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return which actions the environment would allow."""
        mask: npt.NDArray[np.bool_] = self._batch.masks[0].copy()
        return mask
