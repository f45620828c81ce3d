"""What is the action worth that never changes? The measure of policies where steps are nearly a bandit's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.errors import UsageError
from schedtuna.rl.evaluation import evaluate, mean_score
from schedtuna.rl.world import World

BEST, PREFIX = "best-fixed", "fixed:"
_ROUNDS = (4, 8, 16)  # loads on which those are played that are left
_KEPT = 4  # of how many one is left after a round
_SEED = 3  # of the episodes in which the best one is found: neither training's nor anybody's evaluation


@dataclass(frozen=True)
class Fixed:
    """Whoever always does the same.

    Attributes:
        action: What.
    """

    action: int

    def act(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:  # noqa: ARG002
        """Return it, once per observation."""
        return np.full(len(observations), self.action)


def is_fixed(name: str) -> bool:
    """Whether a name means an action that never changes."""
    return name == BEST or name.startswith(PREFIX)


def fixed_named(name: str, world: World, loads: Sequence[str]) -> Fixed:
    """Return what ``fixed:N`` or ``best-fixed`` means.

    Args:
        name: As said.
        world: Where it acts.
        loads: On which the best one is found, those of a training; each round takes the first of them.

    Raises:
        UsageError: There is no such action, or the environment's steps are not of a kind for it.
    """
    if not world.has_settings:
        raise UsageError(
            f"{name}: in {world.environment} an action that never changes is no rule",
            hint="name a scheduler; `schedtuna rl list` shows them",
        )
    nr_actions = world.fit().nr_actions
    if name != BEST:
        number = name.removeprefix(PREFIX)
        if not (number.isascii() and number.isdigit() and int(number) < nr_actions):
            raise UsageError(f"{name}: expected {PREFIX}0 to {PREFIX}{nr_actions - 1}, or {BEST}")
        return Fixed(int(number))
    left = [Fixed(action) for action in range(nr_actions)]
    for nr_loads in _ROUNDS:
        chosen = list(loads[:nr_loads])
        scores = [
            mean_score(evaluate(one, world, chosen, seed=_SEED, episodes=max(len(chosen), 1))) for one in left
        ]
        order = np.argsort(-np.array(scores), kind="stable")
        left = [left[i] for i in order[: max(1, len(left) // _KEPT)]]
    return left[0]
