"""A network that `schedtuna rl train` trained in schedtuna/Swap-v0, as a decider: its best arm, and a floor.

It learns nothing more here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from schedtuna.agent.swap.deciders import (
    FLOOR,
    Arrays,
    FloatArray,
    SwapSight,
    one_hot,
    take_arrays,
    with_floor,
)
from schedtuna.errors import PolicyError
from schedtuna.features.observed import OBSERVED, SWAP_SCHEDULERS
from schedtuna.rl.policy import TrainedPolicy, load_policy

ENVIRONMENT = "schedtuna/Swap-v0"


class TrainedDecider:
    """Asks a trained policy.

    Args:
        policy: Of `rl train`.
        arms: What the schedulers are called in it, the default first.

    Raises:
        PolicyError: It is for another environment, or for other arms or features.
    """

    name = "trained"
    has_floor = True

    def __init__(self, policy: TrainedPolicy, arms: tuple[str, ...]) -> None:
        self.nr_learned = 0
        manifest = policy.manifest
        if manifest.fit.environment != ENVIRONMENT:
            raise PolicyError(f"the policy is for {manifest.fit.environment}, not for {ENVIRONMENT}")
        own = manifest.parameters.get("schedulers", list(SWAP_SCHEDULERS))
        actions = tuple(map(str, own)) if isinstance(own, list) else ()
        if tuple(dict.fromkeys(("fair", *actions))) != arms or len(actions) != manifest.fit.nr_actions:
            raise PolicyError(
                f"the policy chooses among {', '.join(actions)}, and not among {', '.join(arms)}",
                hint='name just these, in their order; `as = "NAME"` of an arm says what it stands for',
            )
        if manifest.fit.nr_observed != len(OBSERVED) + len(arms):
            raise PolicyError(f"the policy sees {manifest.fit.nr_observed} numbers: it is of another version")
        self._network = policy.network
        self._places = [arms.index(action) for action in actions]
        self._nr = len(arms)

    def propensities(self, sight: SwapSight) -> FloatArray:
        """Return almost all for the arm with the highest score."""
        (scores,) = self._network.scores(sight.observation[None, :])
        ranked = np.full(self._nr, -np.inf)
        ranked[self._places] = scores
        best = int(np.where(sight.allowed, ranked, -np.inf).argmax())
        return with_floor(one_hot(best, self._nr), sight.allowed, FLOOR)

    def learn(self, sight: SwapSight, action: int, propensity: float, cost: float) -> None:
        """Do nothing."""

    def expected(self, sight: SwapSight) -> FloatArray:  # noqa: ARG002
        """Return nothing: scores are no costs."""
        return np.full(self._nr, np.nan)

    def state(self) -> Arrays:
        """Return nothing."""
        return {}

    def restore(self, arrays: Arrays) -> None:
        """Take nothing."""
        take_arrays(arrays, {})


def load_trained(path: Path, arms: tuple[str, ...]) -> TrainedDecider:
    """Read a policy of `rl train`, from its file or its folder.

    Raises:
        PolicyError: There is none, or none that fits.
    """
    return TrainedDecider(load_policy(path), arms)
