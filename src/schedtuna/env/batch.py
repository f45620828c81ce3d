"""Where does a native batch of environments read and write? One row of each array per environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from schedtuna.env.terms import REWARD_TERMS
from schedtuna.errors import UsageError
from schedtuna.sim.native import Autoreset, Batch, MigrateBatch, MigrateSetup, PickNextSetup

Actions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Native = TypeVar("Native", Batch, MigrateBatch)


class BoundBatch(Generic[Native]):
    """A native batch and its arrays.

    Args:
        kind: Of which environments: `Batch` of PickNext, `MigrateBatch`.
        setup: What they share.
        n: How many.
        seed: Of the first one.
        autoreset: What the step after an episode's end does.
        nr_threads: 0: as many as pay.

    Raises:
        UsageError: There are none, or more than a million.
    """

    def __init__(
        self,
        kind: Callable[[Any, int, int, Autoreset, int], Native],
        setup: PickNextSetup | MigrateSetup,
        n: int,
        seed: int,
        autoreset: Autoreset,
        *,
        nr_threads: int = 0,
    ) -> None:
        self.native: Native = kind(setup, whole_number("num_envs", n, 1, 2**20), seed, autoreset, nr_threads)
        self.actions: Actions = np.zeros(n, np.int64)
        self.observations = np.zeros((n, setup.nr_observed), np.float32)
        self.final_observations = np.zeros((n, setup.nr_observed), np.float32)
        self.rewards = np.zeros(n, np.float64)
        self.terminated = np.zeros(n, np.bool_)
        self.truncated = np.zeros(n, np.bool_)
        self.elapsed_ns = np.zeros(n, np.int64)
        self.nr_masked = np.zeros(n, np.int64)
        self.masks = np.ones((n, setup.nr_actions), np.bool_)
        self.terms = np.zeros((n, len(REWARD_TERMS)), np.float64)
        arrays = {name: array for name, array in vars(self).items() if isinstance(array, np.ndarray)}
        self.native.bind(arrays)

    def take(self, actions: Any) -> None:
        """Copy actions in.

        Raises:
            UsageError: They are no integers, or not one per environment.
        """
        given = np.asarray(actions)
        if given.shape != self.actions.shape or given.dtype.kind not in "iu":
            raise UsageError(
                f"actions of shape {given.shape} and type {given.dtype}: "
                f"expected {len(self.actions)} whole numbers"
            )
        self.actions[:] = given

    def terms_of(self, i: int) -> dict[str, float]:
        """Return what each term came to over the default scheduler's, where an episode has just ended."""
        return dict(zip(REWARD_TERMS, self.terms[i].tolist(), strict=True))


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """Return a keyword's value.

    Raises:
        UsageError: It is no whole number, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise UsageError(f"{name}={value!r}: expected a whole number from {least} to {most:,}")
    return int(value)
