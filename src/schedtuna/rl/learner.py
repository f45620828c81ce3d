"""What the samplers that train a network share: rewards, checkpoints, metrics, randomness.

These are policies, so they learn from what ran, whoever chose it: the action that is credited is
the one that names the assignment that ran. They have no model of noise; the race of the last part
of the budget repeats what they found.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schedtuna.env.reward import RewardScale
from schedtuna.errors import MissingExtraError, StudyError, UsageError
from schedtuna.files import make_folder, write_output
from schedtuna.files.versions import StoredFormat
from schedtuna.rl.randomness import Randomness, one_thread
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.raced import RacedSampler
from schedtuna.space import ParameterSpace, ParameterValue

STORED = StoredFormat(StudyError)
OFFLINE_BATCH = 16  # runs per gradient step of pre-training
TEMPERATURE = 0.5  # of the weights of runs that are imitated, in standard deviations of their rewards
MAX_WEIGHT = 20.0
MIN_UPDATES = 4  # a short budget shortens the rollouts, so that some learning happens at all


class LearningSampler(RacedSampler):
    """A sampler that trains a network.

    Args:
        space: What can be varied.
        budget: Runs in all.
        rng: The only source of randomness.
        learning_rate: Step size; None takes the algorithm's own.
        update_frequency: Runs per update; fewer where the budget would not allow four updates.
        reward_scaling: Multiplies every reward.
        use_gpu: Whether to use a GPU where there is one.
        pretrained: A checkpoint to start from.
        tensorboard: Folder for TensorBoard's event files.
        context: Numbers about the machine and the workload, by name: what the policy sees.

    Raises:
        UsageError: An option out of bounds, or no such checkpoint.
        MissingExtraError: TensorBoard is asked for and not installed.
    """

    extra = "rl"

    def __init__(
        self,
        space: ParameterSpace,
        *,
        budget: int,
        rng: np.random.Generator,
        learning_rate: float | None = None,
        update_frequency: int = 5,
        reward_scaling: float = 1.0,
        use_gpu: bool = True,
        pretrained: str | Path | None = None,
        tensorboard: str | Path | None = None,
        context: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(space, budget=budget, rng=rng)
        if learning_rate is not None and not 0 < learning_rate < 1:
            raise UsageError(f"learning rate {learning_rate}: expected between 0 and 1")
        if update_frequency < 1:
            raise UsageError(f"update frequency {update_frequency}: expected at least 1 run")
        if not reward_scaling > 0:
            raise UsageError(f"reward scaling {reward_scaling}: expected more than 0")
        self.learning_rate = learning_rate
        # Two at least: advantages are relative to the other runs of a rollout.
        self.update_frequency = max(2, min(update_frequency, budget // MIN_UPDATES))
        self.device = "cuda" if use_gpu and torch.cuda.is_available() else "cpu"
        self.rewards = RewardScale(reward_scaling)
        self.context = dict(context or {})
        self.nr_updates = 0
        self._metrics: dict[str, float] = {}
        self._randomness = Randomness(int(rng.integers(2**31)))
        self._writer = tensorboard_writer(tensorboard) if tensorboard else None
        with self.own_randomness():
            self.build()
        if pretrained is not None:
            self.load(Path(pretrained))

    # ---------------------------------------------------------------- what an algorithm says

    @abstractmethod
    def build(self) -> None:
        """Make the networks and optimisers."""

    @abstractmethod
    def act(self) -> dict[str, ParameterValue]:
        """Return what the policy does now."""

    @abstractmethod
    def learn(self, values: dict[str, ParameterValue], reward: float) -> dict[str, float] | None:
        """Take in one run; return the update's metrics where it led to one."""

    @abstractmethod
    def learn_offline(
        self, values: Sequence[dict[str, ParameterValue]], rewards: np.ndarray, steps: int
    ) -> dict[str, float]:
        """Take this many gradient steps on runs that someone else chose; return the last metrics."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything that was learnt, as tensors, numbers, text, lists and dictionaries."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""

    # ---------------------------------------------------------------- the sampler's contract

    def propose(self) -> dict[str, ParameterValue]:
        """Return what the policy does now."""
        with self.own_randomness():
            return self.act()

    def tell(self, observation: Observation) -> None:
        """Learn from one run; the race's repeats are for the choice, not for the policy."""
        raced = self.racing(len(self.history))
        super().tell(observation)
        reward = self.rewards.reward(observation.cost)
        self._metrics["reward"] = reward
        if not raced:
            self._learn(observation.values, reward)
        if self._writer is not None:
            for name, number in self._metrics.items():
                self._writer.add_scalar(f"tune/{name}", number, len(self.history))

    def pretrain(self, observations: Sequence[Observation], *, epochs: int = 1) -> None:
        """Train on runs of other studies of the same space; who chose them, and why, is not known."""
        super().pretrain(observations, epochs=epochs)
        if not observations:
            return
        scale = RewardScale(self.rewards.factor)
        for observation in observations:
            scale.reward(observation.cost)  # the spread of all of it, before the first reward counts
        rewards = [scale.reward(observation.cost) for observation in observations]
        steps = epochs * -(-len(observations) // OFFLINE_BATCH)
        with self.own_randomness():
            metrics = self.learn_offline([dict(o.values) for o in observations], np.array(rewards), steps)
        self.nr_updates += steps
        self._metrics.update(metrics)

    def training_metrics(self) -> dict[str, float]:
        """Return reward, policy loss, value loss and exploration, as far as there are any."""
        return dict(self._metrics)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all.

        Raises:
            StudyError: It can't be written.
        """
        content = io.BytesIO()  # torch tells a full disk by a RuntimeError about positions
        torch.save(
            {
                "version": STORED.newest,
                "sampler": self.name,
                "space": self.space.stable_hash(),
                "nr_updates": self.nr_updates,
                "state": self.state(),
            },
            content,
        )
        try:
            write_output(path, content.getvalue())
        except OSError as error:
            raise StudyError(
                f"can't write the checkpoint {path}: {error.strerror}; the runs so far are kept",
                hint="free some space or fix the permissions, then continue with --resume",
            ) from None

    def load(self, path: Path) -> None:
        """Read a checkpoint.

        Raises:
            UsageError: There is none, or it is of another sampler or another space.
            StudyError: It is damaged, or a newer version wrote it.
        """
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            found = {key: content[key] for key in ("version", "sampler", "space", "nr_updates", "state")}
        except FileNotFoundError:
            raise UsageError(f"{path}: no such checkpoint") from None
        except Exception as error:  # noqa: BLE001 - torch raises whatever its unpickler meets
            raise StudyError(
                f"{path} is not a checkpoint of a sampler, or is damaged",
                hint=f"a study writes checkpoint_episode_N.pt; torch says: {error!s:.200}",
            ) from None
        found = STORED.upgrade(found, path)
        if found["sampler"] != self.name:
            raise UsageError(f"{path} is a checkpoint of {found['sampler']}, not of {self.name}")
        if found["space"] != self.space.stable_hash():
            raise UsageError(
                f"{path} was trained on another parameter space",
                hint="use it with the scheduler, release and parameters that it was trained on",
            )
        try:
            self.restore(found["state"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise StudyError(f"{path} does not fit this network: {str(error).splitlines()[0]}") from None
        self.nr_updates = int(found["nr_updates"])

    def close(self) -> None:
        """Close TensorBoard's event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _learn(self, values: dict[str, ParameterValue], reward: float) -> None:
        with self.own_randomness():
            metrics = self.learn(values, reward)
        if metrics is not None:
            self.nr_updates += 1
            self._metrics.update(metrics)

    @contextmanager
    def own_randomness(self) -> Iterator[None]:
        """Lend this sampler's state to the global generators that torch and SB3 draw from."""
        with self._randomness.lent(), one_thread():
            yield


def imitation_weights(rewards: np.ndarray) -> torch.Tensor:
    """How much each of the runs that someone else chose is imitated: mean 1, good ones more.

    Exponential weights (advantage-weighted regression, Peng et al. 2019) stay positive. A policy
    gradient would push away from bad runs without bound, as they are not the policy's own.
    """
    spread = float(rewards.std()) or 1.0
    weights = np.minimum(np.exp((rewards - rewards.mean()) / (TEMPERATURE * spread)), MAX_WEIGHT)
    return torch.as_tensor(weights / weights.mean(), dtype=torch.float32)


def tensorboard_writer(folder: str | Path, first_step: int = 1) -> Any:
    """Return what writes event files into a folder; what is there of this step and later is hidden.

    Raises:
        MissingExtraError: TensorBoard is not installed.
        UntrustedError: Somebody else owns the folder or can write it.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("writing TensorBoard's event files", "rl") from None
    make_folder(Path(folder), by_path=True)  # where nobody else can lay out the names that it will write
    # A resumed study tells its history again: the steps of the session before are shown once.
    return SummaryWriter(str(folder), purge_step=first_step)
