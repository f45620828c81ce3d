"""PPO, maskable PPO and A2C: stable-baselines3's, sized for many environments and one thread.

Their optimisers and running statistics are part of a checkpoint, so that what was killed goes on as if it had
not been.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from schedtuna.rl.learners import GAMMA, HIDDEN, Demonstrations, Learner, returns_to_go
from schedtuna.rl.policy import CLIP, EPSILON, Activation, Network
from schedtuna.rl.slots import SlotLayout, SlotNetwork
from schedtuna.rl.tensors import as_tensors

ROLLOUT = 64  # steps of each environment between two updates of an actor-critic
BATCH = 2048  # smaller ones double the time per decision
IMITATION_BATCH = 512


class Sb3Learner(Learner):
    """One of SB3's algorithms."""

    activation: ClassVar[Activation] = "tanh"
    metric_names: ClassVar[dict[str, str]] = {}  # SB3's name of a metric -> ours

    def __init__(self, vector: VecEnv, *, nr_steps: int, seed: int) -> None:
        super().__init__(vector, nr_steps=nr_steps, seed=seed)
        self.scaled = VecNormalize(vector, clip_obs=CLIP, gamma=GAMMA, epsilon=EPSILON)
        self.model = self.make()
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    @abstractmethod
    def make(self) -> BaseAlgorithm:
        """Return SB3's algorithm on `self.scaled`."""

    @abstractmethod
    def linear(self) -> list[torch.nn.Linear]:
        """Return the layers that score actions, in order."""

    def advance(self, nr_steps: int, seed: int, tell: Callable[[int], None]) -> dict[str, float]:
        """Let SB3 collect and train."""
        self.scaled.seed(seed)
        self.model._last_obs = None
        self.model.action_space.seed(seed)
        self.model.learn(nr_steps, callback=_Teller(tell), log_interval=_NEVER, reset_num_timesteps=False)
        self.nr_done = self.model.num_timesteps
        logged = self.model.logger.name_to_value
        return {ours: float(logged[theirs]) for theirs, ours in self.metric_names.items() if theirs in logged}

    def layers(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Return weights and biases of those."""
        return tuple(
            (layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy())
            for layer in self.linear()
        )

    def network(self) -> Network:
        """Its layers, and what it knows of observations."""
        layers = self.layers()
        seen = self.scaled.obs_rms
        assert isinstance(seen, RunningMeanStd)
        return Network(layers, self.activation, seen.mean.astype(np.float32), seen.var.astype(np.float32))

    def state(self) -> Any:
        """Weights, optimisers, statistics, counters."""
        return {
            "parameters": self.model.get_parameters(),
            "statistics": [_statistics(self.scaled.obs_rms), _statistics(self.scaled.ret_rms)],
            "nr_done": self.model.num_timesteps,
            "nr_updates": self.model._n_updates,
        }

    def restore(self, state: Any) -> None:
        """Take back what `state` returned."""
        self.model.set_parameters(as_tensors(state["parameters"]), exact_match=True)
        kept: tuple[Any, Any] = (self.scaled.obs_rms, self.scaled.ret_rms)
        for running, (mean, variance, count) in zip(kept, state["statistics"], strict=True):
            running.mean, running.var, running.count = np.array(mean), np.array(variance), float(count)
        self.model.num_timesteps = self.nr_done = int(state["nr_done"])
        self.model._n_updates = int(state["nr_updates"])


class ImitatingLearner(Sb3Learner):
    """One that can begin with what was shown."""

    @abstractmethod
    def imitation_loss(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        returns: torch.Tensor,
        whole: torch.Tensor,
        masks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return how unlike what was shown it decides; `whole` is 1 where a return is all seen, else 0."""

    def imitate(self, shown: Demonstrations, epochs: int) -> dict[str, float]:
        """Descend on the loss of what was shown, in the units of the statistics that it gives."""
        self.scaled.obs_rms.update(shown.observations.reshape(-1, shown.observations.shape[-1]))
        returns, whole = returns_to_go(shown.rewards, shown.ends)
        if whole.any():
            self.scaled.ret_rms.update(returns[whole])
        known = shown.actions.reshape(-1) >= 0
        observed = shown.observations.reshape(-1, shown.observations.shape[-1])[known]
        scale = np.sqrt(self.scaled.ret_rms.var + EPSILON)
        columns = [
            torch.as_tensor(self.scaled.normalize_obs(observed)),
            torch.as_tensor(shown.actions.reshape(-1)[known]),
            torch.as_tensor((returns.reshape(-1)[known] / scale).astype(np.float32)),
            torch.as_tensor(whole.reshape(-1)[known].astype(np.float32)),
        ]
        if shown.masks is not None:
            columns.append(torch.as_tensor(shown.masks.reshape(-1, shown.masks.shape[-1])[known]))
        optimizer: torch.optim.Optimizer = self.model.policy.optimizer
        loss = torch.zeros(())
        self.model.policy.set_training_mode(True)
        for _ in range(epochs):
            order = torch.randperm(len(observed))
            for first in range(0, len(order), IMITATION_BATCH):
                batch = order[first : first + IMITATION_BATCH]
                loss = self.imitation_loss(*(column[batch] for column in columns))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call] # torch lacks the type
                optimizer.step()
        return {"imitation_loss": float(loss.detach())}


class ActorCritic(ImitatingLearner):
    """Rollouts of all environments, each learnt from and dropped; slots are judged alike."""

    @property
    def layout(self) -> SlotLayout | None:
        """Where the environment has slots."""
        return SlotLayout.of(self.vector)

    def policy_of(self, kind: str) -> tuple[Any, dict[str, Any]]:
        """Return SB3's policy, or the one of that name in `slot_policies`, and what it is made with."""
        if self.layout is None:
            return "MlpPolicy", {"net_arch": HIDDEN}
        from schedtuna.rl import slot_policies

        return getattr(slot_policies, kind), {
            "net_arch": {"pi": [], "vf": HIDDEN},
            "layout": self.layout,
        }

    def layers(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """The actor's."""
        scores: Any = self.model.policy.action_net
        return scores.layers() if isinstance(scores, SlotNetwork) else super().layers()

    def linear(self) -> list[torch.nn.Linear]:
        """The actor's."""
        policy: Any = self.model.policy  # sb3-contrib's is of no class that SB3 knows
        found = [*policy.mlp_extractor.policy_net, policy.action_net]
        return [layer for layer in found if isinstance(layer, torch.nn.Linear)]

    def imitation_loss(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        returns: torch.Tensor,
        whole: torch.Tensor,
        masks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Cross-entropy of the actor, and half the squared error of the critic."""
        extra = {"action_masks": masks} if self.needs_masks else {}
        policy: Any = self.model.policy
        values, log_probability, _ = policy.evaluate_actions(observations, actions, **extra)
        loss: torch.Tensor = -log_probability.mean() + 0.5 * mean_square(values.flatten() - returns, whole)
        return loss

    @property
    def rollout(self) -> int:
        """Steps of each environment between two updates: fewer where four updates would not fit."""
        return max(8, min(ROLLOUT, self.total // (4 * self.vector.num_envs)))


class Ppo(ActorCritic):
    """Schulman et al. 2017."""

    metric_names: ClassVar = {
        "train/policy_gradient_loss": "policy_loss",
        "train/value_loss": "value_loss",
        "train/entropy_loss": "minus_entropy",
        "train/approx_kl": "kl",
    }

    def make(self) -> BaseAlgorithm:
        """PPO with batches of a whole rollout or 2,048."""
        policy, made_with = self.policy_of("SlotActorCritic")
        return PPO(policy, self.scaled, policy_kwargs=made_with, **self.options())

    def options(self) -> dict[str, Any]:
        """What PPO and its maskable form are made with."""
        return {
            "learning_rate": 1e-3,
            "n_steps": self.rollout,
            "batch_size": min(BATCH, self.rollout * self.vector.num_envs),
            "n_epochs": 10,
            "gamma": GAMMA,
            "target_kl": 0.03,
            "device": "cpu",
        }


class MaskablePpo(Ppo):
    """PPO over the actions that are allowed (Huang and Ontanon 2022)."""

    needs_masks = True

    def make(self) -> BaseAlgorithm:
        """The same options."""
        from sb3_contrib import MaskablePPO

        policy, made_with = self.policy_of("MaskableSlotActorCritic")
        return MaskablePPO(policy, self.scaled, policy_kwargs=made_with, **self.options())


class A2c(ActorCritic):
    """Mnih et al. 2016."""

    metric_names: ClassVar = {
        "train/policy_loss": "policy_loss",
        "train/value_loss": "value_loss",
        "train/entropy_loss": "minus_entropy",
    }

    def make(self) -> BaseAlgorithm:
        """One step per rollout, over all environments."""
        policy, made_with = self.policy_of("SlotActorCritic")
        return A2C(
            policy,
            self.scaled,
            n_steps=max(8, self.rollout // 4),
            gamma=GAMMA,
            normalize_advantage=True,
            device="cpu",
            policy_kwargs=made_with,
        )


_NEVER = 10**9  # episodes between two lines of a log that nobody reads


class _Teller(BaseCallback):
    """Says how far it is, after each step of all environments."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._tell = tell

    def _on_step(self) -> bool:
        self._tell(self.num_timesteps)
        return True


def mean_square(errors: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the mean of the squares of those errors that count."""
    return (errors**2 * counts).sum() / counts.sum().clamp(min=1)


def _statistics(running: Any) -> list[Any]:
    return [np.asarray(running.mean), np.asarray(running.var), float(running.count)]
