"""DQN and SAC: stable-baselines3's, which learn again and again from what they remember.

Their replay buffers are part of a checkpoint, with all that other learners have there.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from schedtuna.rl.learners import GAMMA, HIDDEN, Demonstrations
from schedtuna.rl.policy import ActionKind
from schedtuna.rl.sb3_learners import ImitatingLearner, Sb3Learner, mean_square

BUFFER = 50_000  # decisions that are remembered
BATCH = 256
MARGIN = 0.8  # by which a demonstrated action is to be worth more than others (Hester et al. 2018)
GREEDY_FROM = 0.5  # of the decisions: by then a DQN has stopped to explore more than it goes on to
LEAST_EXPLORATION = 0.02


class Dqn(ImitatingLearner):
    """Mnih et al. 2015."""

    activation = "relu"
    metric_names: ClassVar = {"train/loss": "value_loss", "rollout/exploration_rate": "exploration"}
    model: DQN

    def make(self) -> BaseAlgorithm:
        """A gradient step of a large batch after each step of all environments."""
        model = DQN(
            "MlpPolicy",
            self.scaled,
            learning_rate=5e-4,
            buffer_size=BUFFER,
            learning_starts=min(2000, self.total // 10),
            batch_size=BATCH,
            train_freq=1,
            gradient_steps=2,
            target_update_interval=max(2000, self.vector.num_envs),
            gamma=GAMMA,
            device="cpu",
            policy_kwargs={"net_arch": HIDDEN},
        )
        model.exploration_schedule = self._exploration
        return model

    def linear(self) -> list[torch.nn.Linear]:
        """Those of the action values."""
        return [layer for layer in self.model.q_net.q_net if isinstance(layer, torch.nn.Linear)]

    def imitation_loss(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        returns: torch.Tensor,
        whole: torch.Tensor,
        masks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What was shown is worth what it gave, and everything else less by a margin."""
        values = self.model.q_net(observations)
        shown = values.gather(1, actions[:, None])[:, 0]
        others = values + MARGIN * (torch.nn.functional.one_hot(actions, values.shape[1]) == 0)
        if masks is not None:
            others = others.masked_fill(~masks, -torch.inf)
        above: torch.Tensor = (others.max(dim=1).values - shown).mean()
        return above + 0.5 * mean_square(shown - returns, whole)

    def imitate(self, shown: Demonstrations, epochs: int) -> dict[str, float]:
        """As said; the target network follows."""
        metrics = super().imitate(shown, epochs)
        self.model.q_net_target.load_state_dict(self.model.q_net.state_dict())
        return metrics

    def state(self) -> Any:
        """As said, with the replay buffer."""
        return super().state() | buffer_state(self.model) | {"nr_calls": self.model._n_calls}

    def restore(self, state: Any) -> None:
        """Take back what `state` returned."""
        super().restore(state)
        restore_buffer(self.model, state)
        self.model.exploration_rate = self._exploration(0)
        self.model._n_calls = int(state["nr_calls"])

    def _exploration(self, _progress: float) -> float:
        """From 1 down to what remains, over half of all decisions."""
        share = self.model.num_timesteps / max(GREEDY_FROM * self.total, 1)
        return max(LEAST_EXPLORATION, 1 - share * (1 - LEAST_EXPLORATION))


class Sac(Sb3Learner):
    """Haarnoja et al. 2018: a setting is a point, and how much it is varied is learnt, too."""

    action_kind: ClassVar[ActionKind] = "continuous"
    nr_environments = 8
    activation = "relu"
    metric_names: ClassVar[dict[str, str]] = {
        "train/actor_loss": "policy_loss",
        "train/critic_loss": "value_loss",
        "train/ent_coef": "entropy_weight",
    }
    model: SAC

    def make(self) -> BaseAlgorithm:
        """As many gradient steps as decisions."""
        return SAC(
            "MlpPolicy",
            self.scaled,
            learning_rate=1e-3,
            buffer_size=BUFFER,
            learning_starts=min(1000, self.total // 10),
            batch_size=BATCH,
            train_freq=1,
            gradient_steps=-1,
            gamma=GAMMA,
            device="cpu",
            policy_kwargs={"net_arch": HIDDEN},
        )

    def linear(self) -> list[torch.nn.Linear]:
        """The actor's, down to the point whose hyperbolic tangent is the action that it holds for best."""
        found = [*self.model.actor.latent_pi, self.model.actor.mu]
        return [layer for layer in found if isinstance(layer, torch.nn.Linear)]

    def state(self) -> Any:
        """As said, with the replay buffer and the weight of entropy."""
        weight = self.model.log_ent_coef
        assert weight is not None  # it is learnt
        return super().state() | buffer_state(self.model) | {"log_entropy_weight": float(weight.detach())}

    def restore(self, state: Any) -> None:
        """Take back what `state` returned."""
        super().restore(state)
        restore_buffer(self.model, state)
        weight = self.model.log_ent_coef
        assert weight is not None  # it is learnt
        weight.data.fill_(float(state["log_entropy_weight"]))


_BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def buffer_state(model: OffPolicyAlgorithm) -> dict[str, Any]:
    """Return what a learner remembers."""
    buffer = _buffer(model)
    size = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {name: getattr(buffer, name)[:size] for name in _BUFFER}
    return {"buffer": arrays, "position": [buffer.pos, buffer.full]}


def restore_buffer(model: OffPolicyAlgorithm, state: Any) -> None:
    """Take back what `buffer_state` returned."""
    buffer = _buffer(model)
    for name, array in state["buffer"].items():
        getattr(buffer, name)[: len(array)] = array
    buffer.pos, buffer.full = state["position"]


def _buffer(model: OffPolicyAlgorithm) -> ReplayBuffer:
    assert model.replay_buffer is not None  # SB3 makes it with the model
    return model.replay_buffer
