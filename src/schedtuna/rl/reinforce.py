"""REINFORCE with a baseline: a softmax over each parameter's levels, by policy gradient.

Two hidden layers, one softmax per parameter; L is the cost of the run in units of the costs seen. The action
credited is the one nearest to what ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from schedtuna.rl.gradient import Baseline, perceptron, policy_loss
from schedtuna.rl.learner import OFFLINE_BATCH, LearningSampler, imitation_weights
from schedtuna.space import ParameterValue

NR_LEVELS = 7
HIDDEN = 32
BASELINE_WEIGHT = 0.2  # of the newest run in the running mean
LEARNING_RATE = 1e-2  # tens of updates, not millions
DEFAULT_LOGIT = 1.0  # the policy starts near the default


class ReinforceSampler(LearningSampler):
    """Policy gradient over the discrete encoding."""

    name = "reinforce"

    def build(self) -> None:
        """Make the network and its optimiser."""
        self._sizes = [len(row) for row in self.space.levels(NR_LEVELS)]
        self._input = torch.tensor([[1.0, *self.context.values()]], device=self.device)
        self._input = torch.sign(self._input) * torch.log1p(self._input.abs())  # any unit fits
        self.network = perceptron(self._input.shape[1], [HIDDEN, HIDDEN], sum(self._sizes))
        logits = self.network[-1]
        assert isinstance(logits, torch.nn.Linear)  # perceptron() ends with one
        with torch.no_grad():  # near uniform at first, but for the default
            logits.weight.mul_(0.1)
            logits.bias.zero_()
            starts = np.cumsum([0, *self._sizes[:-1]])
            logits.bias[starts + np.array(self._levels(self.space.default()))] = DEFAULT_LOGIT
        self.network.to(self.device)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate or LEARNING_RATE)
        self._baseline = Baseline(BASELINE_WEIGHT)
        self._rollout: list[tuple[tuple[int, ...], float]] = []

    def act(self) -> dict[str, ParameterValue]:
        """Draw a level of each parameter."""
        with torch.no_grad():
            levels = [int(torch.multinomial(row.exp(), 1)) for row in self.log_policy()]
        return self.space.from_levels(levels, NR_LEVELS)

    def learn(self, values: dict[str, ParameterValue], reward: float) -> dict[str, float] | None:
        """Collect a rollout; step where it is complete."""
        self._rollout.append((self._levels(values), -reward))
        if len(self._rollout) < self.update_frequency:
            return None
        policy = self.log_policy()
        log_probability = torch.stack(
            [
                torch.stack([row[level] for row, level in zip(policy, levels, strict=True)]).sum()
                for levels, _ in self._rollout
            ]
        )
        costs = [cost for _, cost in self._rollout]
        baselines = [self._baseline.take(cost) for cost in costs]
        loss = policy_loss(
            log_probability,
            torch.tensor(costs, device=self.device),
            torch.tensor(baselines, device=self.device),
        )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's is untyped
        self._optimizer.step()
        self._rollout = []
        entropy = torch.stack([-(row.exp() * row).sum() for row in policy]).mean()
        assert self._baseline.mean is not None  # set by the first run of the rollout
        return {
            "policy_loss": float(loss.detach()),
            "value_baseline": -self._baseline.mean,
            "exploration": float(entropy.detach()),
        }

    def learn_offline(
        self, values: Sequence[dict[str, ParameterValue]], rewards: np.ndarray, steps: int
    ) -> dict[str, float]:
        """Imitate the runs, good ones more."""
        levels = torch.tensor([self._levels(ran) for ran in values], device=self.device)
        weights = imitation_weights(rewards).to(self.device)
        loss = torch.zeros(())
        for _ in range(steps):
            batch = torch.randint(len(levels), (OFFLINE_BATCH,), device=self.device)
            log_probability = torch.stack(
                [row[levels[batch, place]] for place, row in enumerate(self.log_policy())]
            ).sum(0)
            loss = -(weights[batch] * log_probability).mean()
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's is untyped
            self._optimizer.step()
        self._baseline.mean = -float(rewards.mean())
        return {"policy_loss": float(loss.detach()), "value_baseline": -self._baseline.mean}

    def log_policy(self) -> list[torch.Tensor]:
        """Log probabilities of each parameter's levels."""
        parts = torch.split(self.network(self._input)[0], self._sizes)
        return [torch.log_softmax(part, dim=0) for part in parts]

    def state(self) -> dict[str, Any]:
        """The network, the optimiser and the baseline."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "baseline": self._baseline.mean,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._baseline.mean = state["baseline"]

    def _levels(self, values: dict[str, ParameterValue]) -> tuple[int, ...]:
        return self.space.to_levels(values, NR_LEVELS)
