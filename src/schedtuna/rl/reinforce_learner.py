"""REINFORCE in an environment: rollouts of all environments, one step of the gradient each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv

from schedtuna.rl.gradient import Baseline, exploration, perceptron, policy_loss
from schedtuna.rl.learners import HIDDEN, LOOK_AHEAD, Demonstrations, Learner, returns_to_go
from schedtuna.rl.policy import EPSILON, Network, normalised, require_choice
from schedtuna.rl.slots import SlotLayout, SlotNetwork
from schedtuna.rl.tensors import as_tensors
from schedtuna.rl.world import action_masks, sizes

ROLLOUT = 2 * LOOK_AHEAD  # steps of each environment: the rewards of half of them are all seen
BASELINE_WEIGHT = 0.2
LEARNING_RATE = 3e-3
IMITATION_BATCH = 512


class SoftmaxLearner(Learner):
    """A network with two hidden layers and a softmax over actions; subclasses say how it learns.

    Where an environment has slots, each is judged by the same weights (`schedtuna.rl.slots`).
    """

    def __init__(self, vector: VecEnv, *, nr_steps: int, seed: int) -> None:
        super().__init__(vector, nr_steps=nr_steps, seed=seed)
        nr_observed, nr_actions = sizes(vector)
        self.layout = SlotLayout.of(vector)
        self.module: torch.nn.Sequential | SlotNetwork = (
            perceptron(nr_observed, HIDDEN, nr_actions) if self.layout is None else SlotNetwork(self.layout)
        )
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=LEARNING_RATE)
        self.seen = RunningMeanStd(shape=(nr_observed,))

    def log_policy(self, observations: np.ndarray, masks: np.ndarray | None) -> torch.Tensor:
        """Return log probabilities of actions (n, actions) for what is observed (n, observed)."""
        scores = self.module(torch.as_tensor(normalised(observations, *self.statistics())))
        if masks is not None:
            require_choice(masks)
            scores = scores.masked_fill(~torch.as_tensor(masks), -torch.inf)
        return torch.log_softmax(scores, dim=1)

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of what is observed; the same for all slots, if there are slots."""
        mean, variance = self.seen.mean, self.seen.var
        return (mean, variance) if self.layout is None else self.layout.tied(mean, variance)

    def step_on(self, loss: torch.Tensor) -> float:
        """Take a step of the gradient; returns the loss."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch lacks the type
        self.optimizer.step()
        return float(loss.detach())

    def imitate(self, shown: Demonstrations, epochs: int) -> dict[str, float]:
        """Descend on the cross-entropy of what was shown."""
        known = shown.actions.reshape(-1) >= 0
        observed = shown.observations.reshape(-1, shown.observations.shape[-1])[known]
        masks = None if shown.masks is None else shown.masks.reshape(-1, shown.masks.shape[-1])[known]
        actions = torch.as_tensor(shown.actions.reshape(-1)[known])
        self.seen.update(observed)
        loss = 0.0
        for _ in range(epochs):
            order = torch.randperm(len(actions))
            for first in range(0, len(order), IMITATION_BATCH):
                batch = order[first : first + IMITATION_BATCH]
                rows = batch.numpy()
                policy = self.log_policy(observed[rows], None if masks is None else masks[rows])
                loss = self.step_on(-policy.gather(1, actions[batch][:, None]).mean())
        return {"imitation_loss": loss}

    def network(self) -> Network:
        """Its layers, and what it knows of observations."""
        mean, variance = (array.astype(np.float32) for array in self.statistics())
        if isinstance(self.module, SlotNetwork):
            return Network(self.module.layers(), "tanh", mean, variance)
        layers = tuple(
            (layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy())
            for layer in self.module
            if isinstance(layer, torch.nn.Linear)
        )
        return Network(layers, "tanh", mean, variance)

    def state(self) -> Any:
        """Weights, the optimiser's state, statistics, counters."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "statistics": [self.seen.mean, self.seen.var, float(self.seen.count)],
            "nr_done": self.nr_done,
        }

    def restore(self, state: Any) -> None:
        """Take back what `state` returned."""
        self.module.load_state_dict(as_tensors(state["module"]))
        self.optimizer.load_state_dict(as_tensors(state["optimizer"]))
        mean, variance, count = state["statistics"]
        self.seen.mean, self.seen.var, self.seen.count = np.array(mean), np.array(variance), float(count)
        self.nr_done = int(state["nr_done"])


class Reinforce(SoftmaxLearner):
    """Policy gradient with a baseline; any action with probability 1/sqrt(n) in the n-th rollout."""

    def __init__(self, vector: VecEnv, *, nr_steps: int, seed: int) -> None:
        super().__init__(vector, nr_steps=nr_steps, seed=seed)
        self._baseline = Baseline(BASELINE_WEIGHT)
        self._nr_rollouts = 0

    def advance(self, nr_steps: int, seed: int, tell: Callable[[int], None]) -> dict[str, float]:
        """Collect rollouts, and step once for each."""
        self.vector.seed(seed)
        rng = np.random.default_rng(seed)
        observations, metrics = self.vector.reset(), {}
        end = self.nr_done + nr_steps
        while self.nr_done < end:
            self._nr_rollouts += 1
            shown, observations = self._collect(np.asarray(observations), rng, tell)
            metrics = self._learn(shown)
        return metrics

    def _collect(
        self, observations: np.ndarray, rng: np.random.Generator, tell: Callable[[int], None]
    ) -> tuple[Demonstrations, np.ndarray]:
        rows: list[tuple[np.ndarray, ...]] = []
        mask_rows: list[np.ndarray] = []
        for _ in range(ROLLOUT):
            masks = action_masks(self.vector)
            if masks is not None:
                mask_rows.append(masks)
            with torch.no_grad():
                chances = self._mixed(self.log_policy(observations, masks), masks).exp().double().numpy()
            drawn = rng.random((len(chances), 1)) * chances.sum(axis=1, keepdims=True)
            actions = (chances.cumsum(axis=1) <= drawn).sum(axis=1).clip(max=chances.shape[1] - 1)
            following, rewards, ends, _ = self.vector.step(actions)
            rows.append((observations, actions, rewards, ends))
            observations = np.asarray(following)
            self.nr_done += self.vector.num_envs
            tell(self.nr_done)
        seen, actions, rewards, ends = (np.stack(column) for column in zip(*rows, strict=True))
        return Demonstrations(
            seen, actions, rewards, ends, np.stack(mask_rows) if mask_rows else None
        ), observations

    def _mixed(self, log_policy: torch.Tensor, masks: np.ndarray | None) -> torch.Tensor:
        """Log probabilities of what it does: its policy, or with the probability epsilon anything allowed."""
        epsilon = exploration(self._nr_rollouts)
        allowed = torch.ones_like(log_policy)
        if masks is not None:
            allowed = torch.as_tensor(masks, dtype=torch.float32)
        mixed = (1 - epsilon) * log_policy.exp() + epsilon * allowed / allowed.sum(dim=1, keepdim=True)
        return mixed.clamp(min=1e-30).log()

    def _learn(self, shown: Demonstrations) -> dict[str, float]:
        returns, whole = returns_to_go(shown.rewards, shown.ends)
        kept = whole.reshape(-1)
        observed = shown.observations.reshape(-1, shown.observations.shape[-1])
        masks = None if shown.masks is None else shown.masks.reshape(-1, shown.masks.shape[-1])[kept]
        policy = self._mixed(self.log_policy(observed[kept], masks), masks)
        taken = policy.gather(1, torch.as_tensor(shown.actions.reshape(-1)[kept])[:, None])[:, 0]
        costs = -returns.reshape(-1)[kept]
        spread = float(np.sqrt(costs.var() + EPSILON))
        before = self._baseline.mean
        self._baseline.take(float(costs.mean()))
        baseline = float(costs.mean()) if before is None else before
        loss = self.step_on(
            policy_loss(taken, torch.as_tensor((costs - baseline) / spread, dtype=torch.float32), 0.0)
        )
        self.seen.update(observed)
        return {
            "policy_loss": loss,
            "value_baseline": -baseline,
            "exploration": exploration(self._nr_rollouts),
            "entropy": float(-(policy.exp() * policy).sum(dim=1).mean().detach()),
        }

    def state(self) -> Any:
        """As said, with the baseline."""
        return super().state() | {"baseline": self._baseline.mean, "nr_rollouts": self._nr_rollouts}

    def restore(self, state: Any) -> None:
        """Take back what `state` returned."""
        super().restore(state)
        self._baseline.mean, self._nr_rollouts = state["baseline"], int(state["nr_rollouts"])
