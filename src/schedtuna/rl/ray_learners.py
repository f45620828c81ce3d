"""PPO, IMPALA and APPO of Ray's RLlib: runners on many machines play, and one learner learns.

Which runner ends when depends on the machines, so unlike all other algorithms two trainings of one seed
differ, and so does one that was killed and went on. RLlib says nothing when its runners have died, but for
"no samples": what was played is counted here. Observations are scaled by what a random policy sees at first.
RLlib's networks know no masks, so what is masked is tried, as by the plain PPO of stable-baselines3.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

import gymnasium
import numpy as np
import torch
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from stable_baselines3.common.vec_env import VecEnv

from schedtuna.errors import PolicyError
from schedtuna.rl.learners import GAMMA, HIDDEN, Demonstrations, Learner
from schedtuna.rl.policy import Network, normalised
from schedtuna.rl.ray_cluster import connected, nr_cpus
from schedtuna.rl.world import World, action_masks

NR_EACH = 8  # environments of a runner
ROLLOUT = 64  # steps of each of them between two updates
MOST_RUNNERS = 64
MOST_SILENT = 5  # rounds without a decision, while runners are begun anew
LOOKS = 64  # random decisions of each environment that scale observations
IMITATION_BATCH = 512
_MODULE = "default_policy"
_LAYERS = ("encoder.actor_encoder.net.mlp.0", "encoder.actor_encoder.net.mlp.2", "pi.net.mlp.0")
_METRICS = {
    "policy_loss": "policy_loss",
    "vf_loss": "value_loss",
    "mean_vf_loss": "value_loss",
    "entropy": "entropy",
}


class ScaledObservation(gymnasium.ObservationWrapper[np.ndarray, Any, np.ndarray]):
    """Shows observations as policies see them: in standard deviations from a fixed mean."""

    def __init__(self, env: gymnasium.Env[np.ndarray, Any], mean: np.ndarray, variance: np.ndarray) -> None:
        super().__init__(env)
        self._mean, self._variance = mean, variance
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, mean.shape, np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Scale one."""
        return normalised(observation.reshape(-1), self._mean, self._variance)


class RayLearner(Learner):
    """One of RLlib's algorithms.

    Args:
        vector: Environments of this process, to look at observations.
        nr_steps: Decisions in all.
        seed: Of the runners' environments and of the networks.
        world: What the runners play in.
        loads: On what; runners take turns.

    Raises:
        UnavailableError: There is no Ray cluster.
    """

    nr_environments = 16

    def __init__(
        self, vector: VecEnv, *, nr_steps: int, seed: int, world: World, loads: Sequence[str] = ()
    ) -> None:
        super().__init__(vector, nr_steps=nr_steps, seed=seed)
        self._mean, self._variance = _looks(vector, seed)
        self._nr_played = 0  # as RLlib counts
        self._stack = ExitStack()
        self._stack.enter_context(connected())
        try:
            name = f"schedtuna-{id(self):x}"
            tune.register_env(name, partial(_made, world, tuple(loads), self._mean, self._variance))
            self.nr_runners = min(nr_cpus(), MOST_RUNNERS)
            self.algorithm: Algorithm = self._config(name).build_algo()
        except BaseException:
            self._stack.close()
            raise

    @classmethod
    def of_world(cls, world: World, loads: Sequence[str], *, nr_steps: int, seed: int) -> Self:
        """Make one; its runners make environments of their own."""
        vector = world.vector(cls.nr_environments, loads)
        return cls(vector, nr_steps=nr_steps, seed=seed, world=world, loads=loads)

    @abstractmethod
    def config(self) -> AlgorithmConfig:
        """Return what is the algorithm's own."""

    @property
    def round_size(self) -> int:
        """Decisions of all runners between two updates; fewer where four updates would not fit."""
        each = max(8, min(ROLLOUT, self.total // (4 * NR_EACH * self.nr_runners)))
        return each * NR_EACH * self.nr_runners

    def _config(self, environment: str) -> AlgorithmConfig:
        config = self.config().environment(environment)
        config.env_runners(
            num_env_runners=self.nr_runners,
            num_envs_per_env_runner=NR_EACH,
            rollout_fragment_length=self.round_size // (NR_EACH * self.nr_runners),
        )
        config.rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=HIDDEN, fcnet_activation="tanh", vf_share_layers=False
            )
        )
        config.learners(num_learners=0)
        config.fault_tolerance(restart_failed_env_runners=True)
        config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=self.round_size)
        config.debugging(seed=self.seed % 2**31, log_level="ERROR")
        return config

    def advance(self, nr_steps: int, seed: int, tell: Callable[[int], None]) -> dict[str, float]:  # noqa: ARG002 - the runners' seeds are set once
        """Let RLlib play and learn; runners that died are begun anew.

        Raises:
            PolicyError: No runner played any more.
        """
        until = self.nr_done + nr_steps
        silent = 0
        result: dict[str, Any] = {}
        while self.nr_done < until:
            result = self.algorithm.train()
            ever = int(result.get("num_env_steps_sampled_lifetime", 0))  # of one round without any it is NaN
            played, self._nr_played = ever - self._nr_played, ever
            silent = 0 if played else silent + 1
            if silent >= MOST_SILENT:
                raise PolicyError(
                    f"Ray's runners decide nothing any more: {self.nr_healthy} of {self.nr_runners} live",
                    hint="look at Ray's log, then go on with --resume",
                )
            self.nr_done += played
            tell(self.nr_done)
        learnt = result.get("learners", {}).get(_MODULE, {})
        return {ours: float(learnt[theirs]) for theirs, ours in _METRICS.items() if theirs in learnt}

    @property
    def nr_healthy(self) -> int:
        """How many runners live."""
        group = self.algorithm.env_runner_group
        return group.num_healthy_remote_workers() if group else 0

    def network(self) -> Network:
        """The actor's layers."""
        weights = self._weights()
        layers = tuple(
            (np.array(weights[f"{name}.weight"]), np.array(weights[f"{name}.bias"])) for name in _LAYERS
        )
        return Network(layers, "tanh", self._mean, self._variance)

    def _weights(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = self._learner_state()["rl_module"][_MODULE]
        return found

    def _learner_state(self) -> dict[str, Any]:
        assert self.algorithm.learner_group is not None  # RLlib's new stack always has one
        state: dict[str, Any] = self.algorithm.learner_group.get_state(
            not_components=["learner/metrics_logger"]
        )
        learner: dict[str, Any] = state["learner"]
        return learner

    def state(self) -> Any:
        """Weights, optimisers, scales, counters."""
        learner = self._learner_state()
        kept = {name: learner[name] for name in ("rl_module", "optimizer")}
        return {"learner": kept, "scales": [self._mean, self._variance], "nr_done": self.nr_done}

    def restore(self, state: Any) -> None:
        """Take back what `state` returned; scales are those of the seed already."""
        if not all(map(np.array_equal, state["scales"], (self._mean, self._variance))):
            raise ValueError("its observations were scaled in another way")
        self._put(state["learner"])
        self.nr_done = int(state["nr_done"])

    def _put(self, learner: dict[str, Any]) -> None:
        group, runners = self.algorithm.learner_group, self.algorithm.env_runner_group
        assert group is not None and runners is not None
        group.set_state({"learner": learner})
        runners.sync_weights(from_worker_or_learner_group=group, inference_only=True)

    def imitate(self, shown: Demonstrations, epochs: int) -> dict[str, float]:
        """Descend on the cross-entropy of what was shown; the critic begins as it is."""
        known = shown.actions.reshape(-1) >= 0
        observed = shown.observations.reshape(-1, shown.observations.shape[-1])[known]
        inputs = torch.as_tensor(normalised(observed, self._mean, self._variance))
        actions = torch.as_tensor(shown.actions.reshape(-1)[known].astype(np.int64))
        weights = self._weights()
        tensors = {
            f"{name}.{part}": torch.tensor(weights[f"{name}.{part}"], requires_grad=True)
            for name in _LAYERS
            for part in ("weight", "bias")
        }
        optimizer = torch.optim.Adam(tensors.values(), lr=1e-3)
        loss = torch.zeros(())
        for _ in range(epochs):
            order = torch.randperm(len(inputs))
            for first in range(0, len(order), IMITATION_BATCH):
                batch = order[first : first + IMITATION_BATCH]
                loss = torch.nn.functional.cross_entropy(_scores(tensors, inputs[batch]), actions[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call] # torch lacks the type
                optimizer.step()
        learnt = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
        self._put({"rl_module": {_MODULE: weights | learnt}})
        return {"imitation_loss": float(loss.detach())}

    def close(self) -> None:
        """End the runners, and the cluster if it is its own."""
        with contextlib.suppress(AttributeError):  # not built
            self.algorithm.stop()
        self._stack.close()
        super().close()


class RayPpo(RayLearner):
    """All runners play, then the learner learns."""

    def config(self) -> AlgorithmConfig:
        """Those of the PPO of stable-baselines3 here."""
        return PPOConfig().training(
            train_batch_size_per_learner=self.round_size,
            minibatch_size=min(2048, self.round_size),
            num_epochs=4,
            lr=1e-3,
            gamma=GAMMA,
            lambda_=0.95,
            clip_param=0.2,
            use_kl_loss=False,
            vf_clip_param=np.inf,
            grad_clip=0.5,
        )


class RayImpala(RayLearner):
    """Runners play on while the learner learns from what they played by weights of before."""

    def config(self) -> AlgorithmConfig:
        """RLlib's, at our discount."""
        return IMPALAConfig().training(
            train_batch_size_per_learner=self.round_size, lr=1e-3, gamma=GAMMA, entropy_coeff=0.005
        )


class RayAppo(RayLearner):
    """The same with PPO's clipped loss: what stands in for A3C."""

    def config(self) -> AlgorithmConfig:
        """RLlib's, at our discount."""
        return APPOConfig().training(
            train_batch_size_per_learner=self.round_size, lr=1e-3, gamma=GAMMA, entropy_coeff=0.005
        )


def _made(
    world: World, loads: Sequence[str], mean: np.ndarray, variance: np.ndarray, context: Any
) -> gymnasium.Env[np.ndarray, Any]:
    """Make an environment of a runner."""
    place = max(context.worker_index - 1, 0) * NR_EACH + context.vector_index
    load = loads[place % len(loads)] if loads else None
    return ScaledObservation(world.make(load), mean, variance)


def _looks(vector: VecEnv, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of what a random policy sees."""
    random = np.random.default_rng(seed)
    vector.seed(seed)
    seen = [np.asarray(vector.reset()).reshape(vector.num_envs, -1)]
    assert isinstance(vector.action_space, gymnasium.spaces.Discrete)  # `World.make` sees to that
    for _ in range(LOOKS):
        wishes = random.random((vector.num_envs, int(vector.action_space.n)))
        masks = action_masks(vector)
        observed, *_ = vector.step((wishes if masks is None else wishes * masks).argmax(axis=1))
        seen.append(np.asarray(observed).reshape(vector.num_envs, -1))
    rows = np.concatenate(seen)
    return rows.mean(axis=0, dtype=np.float64).astype(np.float32), rows.var(axis=0, dtype=np.float64).astype(
        np.float32
    )


def _scores(tensors: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    hidden = inputs
    for name in _LAYERS[:-1]:
        hidden = torch.tanh(hidden @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"])
    return hidden @ tensors[f"{_LAYERS[-1]}.weight"].T + tensors[f"{_LAYERS[-1]}.bias"]
