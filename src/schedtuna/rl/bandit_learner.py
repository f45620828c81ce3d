"""Bandits in an environment: which action is best if one looks at nothing, or at the present alone?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from schedtuna.errors import UsageError
from schedtuna.rl.learners import Learner
from schedtuna.rl.policy import Network, best_allowed
from schedtuna.rl.world import action_masks, sizes
from schedtuna.samplers.bandits import upper_bounds

MOST_OBSERVED = 256  # by LinUCB, which keeps a square of it per action


class Ucb(Learner):
    """UCB1 (Auer et al. 2002): an arm per action; a decision's reward counts, and nothing that follows."""

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


class LinUcb(Learner):
    """LinUCB (Li et al. 2010): a line per action over what is observed, and how little is known of it.

    Each decision's reward counts, and nothing that follows: for environments that are nearly bandits.

    Args:
        vector: Where it acts.
        nr_steps: How many decisions it is given in all.
        seed: Of what is drawn.
        width: Standard deviations of optimism.
    """

    nr_environments = 8

    def __init__(self, vector: VecEnv, *, nr_steps: int, seed: int, width: float = 1.0) -> None:
        super().__init__(vector, nr_steps=nr_steps, seed=seed)
        nr_observed, nr_actions = sizes(vector)
        if nr_observed > MOST_OBSERVED:
            raise UsageError(
                f"linucb inverts a matrix of {nr_observed} rows per action: expected {MOST_OBSERVED} at most",
                hint="it is for schedtuna/Slice-v0, Params-v0 and Swap-v0",
            )
        self.width = width
        size = nr_observed + 1  # and a constant
        self._inverses = np.tile(np.eye(size), (nr_actions, 1, 1))
        self._targets = np.zeros((nr_actions, size))
        self._rewards = [0.0, 0.0, 0.0]  # how many, their sum, the sum of their squares

    def advance(self, nr_steps: int, seed: int, tell: Callable[[int], None]) -> dict[str, float]:
        """Take the action whose line is highest, optimistically, in every environment."""
        self.vector.seed(seed)
        rows = self._rows(np.asarray(self.vector.reset()))
        end = self.nr_done + nr_steps
        while self.nr_done < end:
            actions = best_allowed(self._bounds(rows), action_masks(self.vector))
            observations, rewards, _, _ = self.vector.step(actions)
            for row, action, reward in zip(rows, actions.tolist(), rewards.tolist(), strict=True):
                self._learn(row, action, reward)
            rows = self._rows(np.asarray(observations))
            self.nr_done += self.vector.num_envs
            tell(self.nr_done)
        return {"mean_reward": self._rewards[1] / max(self._rewards[0], 1.0)}

    def network(self) -> Network:
        """The lines, which are all that is left when nothing is explored any more."""
        lines = np.einsum("aij,aj->ai", self._inverses, self._targets)
        nr_observed = lines.shape[1] - 1
        plain = np.zeros(nr_observed, np.float32), np.ones(nr_observed, np.float32)
        weights, biases = lines[:, :-1].astype(np.float32), lines[:, -1].astype(np.float32)
        return Network(((weights, biases),), "tanh", *plain)

    def state(self) -> Any:
        """What is known of each action."""
        return {
            "inverses": self._inverses,
            "targets": self._targets,
            "rewards": self._rewards,
            "nr_done": self.nr_done,
        }

    def restore(self, state: Any) -> None:
        """Take back what `state` returned."""
        self._inverses, self._targets = np.array(state["inverses"]), np.array(state["targets"])
        self._rewards, self.nr_done = list(state["rewards"]), state["nr_done"]

    @staticmethod
    def _rows(observations: np.ndarray) -> np.ndarray:
        return np.hstack([observations.astype(float), np.ones((len(observations), 1))])

    def _bounds(self, rows: np.ndarray) -> np.ndarray:
        """Return an upper bound of each action's reward, (n, actions), in units of what rewards spread."""
        lines = np.einsum("aij,aj->ai", self._inverses, self._targets)
        unknown = np.sqrt(np.einsum("ni,aij,nj->na", rows, self._inverses, rows))
        bounds: np.ndarray = rows @ lines.T + self.width * self._spread() * unknown
        return bounds

    def _spread(self) -> float:
        count, total, squares = self._rewards
        return max(squares / count - (total / count) ** 2, 0.0) ** 0.5 or 1.0 if count > 1 else 1.0

    def _learn(self, row: np.ndarray, action: int, reward: float) -> None:
        """Sherman and Morrison's update of the inverse by one row."""
        inverse = self._inverses[action]
        moved = inverse @ row
        self._inverses[action] = inverse - np.outer(moved, moved) / (1.0 + row @ moved)
        self._targets[action] += reward * row
        self._rewards = [self._rewards[0] + 1, self._rewards[1] + reward, self._rewards[2] + reward**2]
