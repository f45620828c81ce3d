"""PPO, A2C, SAC and DQN of stable-baselines3 over `TuneEnv`, by ask and tell.

SB3's `learn()` pulls steps from an environment; here the study pushes runs. So each run goes into
SB3's own buffer as the step that it was, and `train()` is called when a rollout is complete. At tens
to hundreds of runs, rollouts, batches and warm-up follow from the update frequency and the budget:
SB3's defaults (2,048 steps per update, 100 before the first) would never learn at all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from schedtuna.env.tuning import Encoding, TuneEnv
from schedtuna.rl.learner import OFFLINE_BATCH, LearningSampler, imitation_weights
from schedtuna.space import ParameterValue

HIDDEN = [32, 32]
BATCH_SIZE = 32  # off-policy: drawn with replacement from what ran
STEPS_PER_RUN = 4  # off-policy: gradient steps
BUFFER_SIZE = 10_000
MAX_ARMS = 64
OFFLINE_ARMS = 0.75  # of a finite set, made of what ran in other studies
LEAST_SPREAD = 0.2  # of the actions after pre-training; the cube is 2 wide, and exploration goes on


class Sb3Sampler(LearningSampler):
    """One of SB3's algorithms; subclasses say how it acts and where runs go."""

    encoding: ClassVar[Encoding] = "box"
    default_learning_rate: ClassVar[float] = 3e-3  # ten times SB3's: updates are few
    loss_names: ClassVar[dict[str, str]] = {}  # SB3's name of a metric -> ours

    def build(self) -> None:
        """Make the environment and the algorithm's model."""
        self.env = TuneEnv(
            self.space,
            _never,
            encoding=self.encoding,
            nr_arms=min(MAX_ARMS, max(2, self.budget // 2)),
            context=lambda: self.context,
            seed=int(self.rng.integers(2**31)),
        )
        self.model = self.make(self.learning_rate or self.default_learning_rate)
        self.model.set_logger(Logger(folder=None, output_formats=[]))
        self._observation = self.env.observe()

    @abstractmethod
    def make(self, learning_rate: float) -> BaseAlgorithm:
        """Return SB3's algorithm, sized for the budget."""

    @abstractmethod
    def exploration(self) -> float:
        """How much the policy explores, on the algorithm's own scale."""

    def state(self) -> dict[str, Any]:
        """The weights and the optimisers' states."""
        parameters: dict[str, Any] = self.model.get_parameters()
        return parameters

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.model.set_parameters(state, exact_match=True, device=self.device)

    def _tensor(self) -> torch.Tensor:
        return torch.as_tensor(self._observation[None], device=self.model.device)

    def _trained(self) -> dict[str, float]:
        logged = self.model.logger.name_to_value
        metrics = {
            ours: float(logged[theirs]) for theirs, ours in self.loss_names.items() if theirs in logged
        }
        return {**metrics, "exploration": self.exploration()}


class OnPolicySampler(Sb3Sampler):
    """Rollouts of `update_frequency` runs; each is learnt from once, then dropped."""

    model: OnPolicyAlgorithm

    def build(self) -> None:
        """As said, and remember which raw action stands for what was proposed."""
        super().build()
        self._acted: tuple[dict[str, ParameterValue], np.ndarray] | None = None

    def act(self) -> dict[str, ParameterValue]:
        """Draw from the policy; the environment clips what lies outside of the cube."""
        with torch.no_grad():
            actions, _, _ = self.model.policy(self._tensor())
        action = actions.cpu().numpy()[0]
        values = self.env.decode(action)
        self._acted = (values, action)
        return dict(values)

    def learn(self, values: dict[str, ParameterValue], reward: float) -> dict[str, float] | None:
        """Add the run to the rollout; train where it is complete."""
        if self._acted is not None and self._acted[0] == values:
            action = self._acted[1]
        else:  # the default, a suggestion, or a resumed study's run: the action that names it
            encoded = self.env.encode(values)
            assert encoded is not None  # the box names every assignment
            action = encoded
        self._acted = None
        observed = self._tensor()
        with torch.no_grad():
            value, log_probability, _ = self.model.policy.evaluate_actions(
                observed, torch.as_tensor(action[None], device=self.model.device)
            )
        buffer = self.model.rollout_buffer
        buffer.add(
            self._observation[None], action[None], np.array([reward]), np.ones(1), value, log_probability
        )
        self._observation = self.env.observe()
        if not buffer.full:
            return None
        buffer.compute_returns_and_advantage(torch.zeros(1), np.ones(1))
        self.model.train()
        buffer.reset()
        return self._trained()

    def learn_offline(
        self, values: Sequence[dict[str, ParameterValue]], rewards: np.ndarray, steps: int
    ) -> dict[str, float]:
        """Imitate the runs, good ones more, and fit the value of a run."""
        policy = self.model.policy
        encoded = np.stack([action for action in map(self.env.encode, values) if action is not None])
        actions = torch.as_tensor(encoded, device=self.model.device)
        targets = torch.as_tensor(rewards, dtype=torch.float32, device=self.model.device)
        weights = imitation_weights(rewards).to(self.model.device)
        observed = self._tensor()
        policy.set_training_mode(True)
        losses = (0.0, 0.0)
        for _ in range(steps):
            batch = torch.randint(len(targets), (OFFLINE_BATCH,), device=self.model.device)
            value, log_probability, _ = policy.evaluate_actions(
                observed.expand(OFFLINE_BATCH, -1), actions[batch]
            )
            policy_loss = -(weights[batch] * log_probability).mean()
            value_loss = ((value.flatten() - targets[batch]) ** 2).mean()
            policy.optimizer.zero_grad()
            (policy_loss + 0.5 * value_loss).backward()  # type: ignore[no-untyped-call] # torch lacks the type
            torch.nn.utils.clip_grad_norm_(policy.parameters(), self.model.max_grad_norm)
            policy.optimizer.step()
            losses = float(policy_loss.detach()), float(value_loss.detach())
        with torch.no_grad():
            policy.log_std.clamp_(min=np.log(LEAST_SPREAD))
        return {"policy_loss": losses[0], "value_loss": losses[1], "exploration": self.exploration()}

    def exploration(self) -> float:
        """Mean standard deviation of the policy's actions; the cube is 2 wide."""
        policy = self.model.policy
        return float(policy.log_std.detach().exp().mean())


class PpoSampler(OnPolicySampler):
    """Proximal policy optimisation (Schulman et al. 2017)."""

    name = "ppo"
    loss_names: ClassVar = {"train/policy_gradient_loss": "policy_loss", "train/value_loss": "value_loss"}

    def make(self, learning_rate: float) -> PPO:
        """Return PPO with one batch per rollout."""
        return PPO(
            "MlpPolicy",
            self.env,
            learning_rate=learning_rate,
            n_steps=self.update_frequency,
            batch_size=self.update_frequency,
            n_epochs=10,
            policy_kwargs={"net_arch": HIDDEN, "log_std_init": -0.7},
            device=self.device,
        )


class A2cSampler(OnPolicySampler):
    """Advantage actor-critic (Mnih et al. 2016)."""

    name = "a2c"
    loss_names: ClassVar = {"train/policy_loss": "policy_loss", "train/value_loss": "value_loss"}

    def make(self, learning_rate: float) -> A2C:
        """Return A2C with one step per rollout."""
        return A2C(
            "MlpPolicy",
            self.env,
            learning_rate=learning_rate,
            n_steps=self.update_frequency,
            normalize_advantage=True,
            policy_kwargs={"net_arch": HIDDEN, "log_std_init": -0.7},
            device=self.device,
        )


class OffPolicySampler(Sb3Sampler):
    """A replay buffer of all runs; gradient steps after each `update_frequency` of them."""

    model: OffPolicyAlgorithm

    def act(self) -> dict[str, ParameterValue]:
        """Return a draw while warming up, then what the policy does; a trained one needs no warm-up."""
        if self.stored < self.model.learning_starts and not self.nr_updates:
            return self.explore()
        return self.env.decode(self.decide())

    @abstractmethod
    def explore(self) -> dict[str, ParameterValue]:
        """Return a draw that does not ask the policy."""

    @abstractmethod
    def decide(self) -> Any:
        """Return the policy's action."""

    @property
    def stored(self) -> int:
        """Runs in the replay buffer."""
        buffer = self.model.replay_buffer
        assert buffer is not None  # SB3 makes it with the model
        return int(buffer.size())

    def learn(self, values: dict[str, ParameterValue], reward: float) -> dict[str, float] | None:
        """Store the run; train after each `update_frequency` of them."""
        if not self._store(values, reward):
            return None
        if self.stored < self.model.learning_starts or self.stored % self.update_frequency:
            return None
        self.model.train(gradient_steps=STEPS_PER_RUN * self.update_frequency, batch_size=BATCH_SIZE)
        return self._trained()

    def learn_offline(
        self, values: Sequence[dict[str, ParameterValue]], rewards: np.ndarray, steps: int
    ) -> dict[str, float]:
        """Learn what the runs are worth; an off-policy learner does not care who chose them."""
        for ran, reward in zip(values, rewards, strict=True):
            self._store(ran, float(reward))
        if not self.stored:
            return {}
        self.model.train(gradient_steps=steps, batch_size=OFFLINE_BATCH)
        return self._trained()

    def _store(self, values: dict[str, ParameterValue], reward: float) -> bool:
        """Put a run into the buffer; a finite set's learner can credit no run outside of its set."""
        action = self.env.encode(values)
        if action is None:
            return False
        buffer = self.model.replay_buffer
        assert buffer is not None  # SB3 makes it with the model
        following = self.env.observe()
        buffer.add(
            self._observation[None], following[None], action[None], np.array([reward]), np.ones(1), [{}]
        )
        self._observation = following
        return True

    def _warm_up(self) -> int:
        return max(self.update_frequency, self.budget // 10)


class SacSampler(OffPolicySampler):
    """Soft actor-critic (Haarnoja et al. 2018)."""

    name = "sac"
    loss_names: ClassVar = {"train/actor_loss": "policy_loss", "train/critic_loss": "value_loss"}

    def make(self, learning_rate: float) -> SAC:
        """Return SAC that starts to learn after a tenth of the budget."""
        return SAC(
            "MlpPolicy",
            self.env,
            learning_rate=learning_rate,
            buffer_size=BUFFER_SIZE,
            learning_starts=self._warm_up(),
            batch_size=BATCH_SIZE,
            policy_kwargs={"net_arch": HIDDEN},
            device=self.device,
        )

    def explore(self) -> dict[str, ParameterValue]:
        """Return any assignment."""
        return self.space.sample(self.rng)

    def decide(self) -> np.ndarray:
        """Draw from the actor."""
        action, _ = self.model.predict(self._observation, deterministic=False)
        return action

    def exploration(self) -> float:
        """The entropy coefficient."""
        return float(self.model.logger.name_to_value.get("train/ent_coef", 1.0))


class DqnSampler(OffPolicySampler):
    """Deep Q-network (Mnih et al. 2015) over a finite set, exploring with 1/sqrt(n)."""

    name = "dqn"
    encoding: ClassVar[Encoding] = "discrete"
    loss_names: ClassVar = {"train/loss": "value_loss"}

    def build(self) -> None:
        """As said; it has seen no run of other studies."""
        super().build()
        self._nr_seen = 0

    def make(self, learning_rate: float) -> DQN:
        """Return DQN that starts to learn after a tenth of the budget."""
        return DQN(
            "MlpPolicy",
            self.env,
            learning_rate=learning_rate,
            buffer_size=BUFFER_SIZE,
            learning_starts=self._warm_up(),
            batch_size=BATCH_SIZE,
            policy_kwargs={"net_arch": HIDDEN},
            device=self.device,
        )

    def learn_offline(
        self, values: Sequence[dict[str, ParameterValue]], rewards: np.ndarray, steps: int
    ) -> dict[str, float]:
        """Make most arms of what ran, the best first; an arm that never ran is worth the mean."""
        order = np.argsort(-rewards, kind="stable")
        ran = {self.space.key(values[i]): values[i] for i in order}
        room = round(OFFLINE_ARMS * len(self.env.arms))
        chosen = [self.space.default(), *list(ran.values())[:room], *self.env.arms]
        arms = list({self.space.key(arm): arm for arm in chosen}.values())[: len(self.env.arms)]
        self._use(arms)
        self._nr_seen += len(values)
        untried = [arm for arm in arms if self.space.key(arm) not in ran]
        known = np.concatenate([rewards, np.full(len(untried), rewards.mean())])
        return super().learn_offline([*values, *untried], known, steps)

    def _use(self, arms: list[dict[str, ParameterValue]]) -> None:
        """Take a finite set in place of the one that was drawn; the network starts anew."""
        self.env.arms = arms
        self.env.action_space = spaces.Discrete(len(arms))
        self.model = self.make(self.learning_rate or self.default_learning_rate)
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    def state(self) -> dict[str, Any]:
        """The weights and the optimiser's state, and what the network's outputs stand for."""
        return {**super().state(), "arms": self.env.arms, "nr_seen": self._nr_seen + len(self.history)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        weights = dict(state)
        self._use([self.space.validate_assignment(arm) for arm in weights.pop("arms")])
        self._nr_seen = int(weights.pop("nr_seen"))
        super().restore(weights)

    def explore(self) -> dict[str, ParameterValue]:
        """Return any arm."""
        return self.env.decode(self.rng.integers(len(self.env.arms)))

    def decide(self) -> int:
        """Return the best arm, or any with probability 1/sqrt(n)."""
        if self.rng.random() < self.exploration():
            return int(self.rng.integers(len(self.env.arms)))
        action, _ = self.model.policy.predict(self._observation, deterministic=True)
        return int(action)

    def exploration(self) -> float:
        """The probability of any arm."""
        return float(1 / np.sqrt(self._nr_seen + len(self.history) + 1))


def _never(_values: dict[str, ParameterValue]) -> float | None:
    raise AssertionError("the study runs; the sampler's environment only translates")
