"""UCB1 (Auer et al. 2002) in an environment: which action is best if one looks at nothing?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from schedtuna.rl.learners import Learner
from schedtuna.rl.policy import Network, best_allowed
from schedtuna.rl.world import action_masks, sizes
from schedtuna.samplers.bandits import upper_bounds


class Ucb(Learner):
    """One arm per action, each pull one decision: the decision's reward counts, and nothing that follows."""

    def __init__(self, vector: VecEnv, *, nr_steps: int, seed: int) -> None:
        super().__init__(vector, nr_steps=nr_steps, seed=seed)
        _, nr_actions = sizes(vector)
        self._sums, self._counts = np.zeros(nr_actions), np.zeros(nr_actions)
        self._range = [0.0, 0.0]

    def advance(self, nr_steps: int, seed: int, tell: Callable[[int], None]) -> dict[str, float]:
        """Pull the arm with the highest bound that is allowed, in every environment."""
        self.vector.seed(seed)
        self.vector.reset()
        end = self.nr_done + nr_steps
        while self.nr_done < end:
            bounds = upper_bounds(self._means(), self._counts, self._range[1] - self._range[0])
            bounds = np.where(
                np.isinf(bounds), 1e9, bounds
            )  # before all others, and still below what is masked
            actions = best_allowed(np.tile(bounds, (self.vector.num_envs, 1)), action_masks(self.vector))
            _, rewards, _, _ = self.vector.step(actions)
            if not self.nr_done:
                self._range = [float(rewards.min()), float(rewards.max())]
            self._range = [
                min(self._range[0], float(rewards.min())),
                max(self._range[1], float(rewards.max())),
            ]
            np.add.at(self._sums, actions, rewards)
            np.add.at(self._counts, actions, 1)
            self.nr_done += self.vector.num_envs
            tell(self.nr_done)
        return {"best_arm": float(self._means().argmax()), "best_reward": float(self._means().max())}

    def network(self) -> Network:
        """The arms' means, whatever is observed."""
        nr_observed, _ = sizes(self.vector)
        weights = np.zeros((len(self._sums), nr_observed), np.float32)
        blind = np.zeros(nr_observed, np.float32), np.ones(nr_observed, np.float32)
        return Network(((weights, self._means().astype(np.float32)),), "tanh", *blind)

    def state(self) -> Any:
        """What each arm gave, and how often it was pulled."""
        return {"sums": self._sums, "counts": self._counts, "range": self._range, "nr_done": self.nr_done}

    def restore(self, state: Any) -> None:
        """Take back what `state` returned."""
        self._sums, self._counts = np.array(state["sums"]), np.array(state["counts"])
        self._range, self.nr_done = [float(end) for end in state["range"]], int(state["nr_done"])

    def _means(self) -> np.ndarray:
        """Mean rewards; an arm that was never pulled is worth the worst."""
        untried = np.full(len(self._sums), self._range[0])
        means: np.ndarray = np.divide(self._sums, self._counts, out=untried, where=self._counts > 0)
        return means
