"""Whose decisions does a policy start from? A scheduler's, or another policy's: behaviour cloning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.model.file import read_model
from schedtuna.model.model import DecisionModel
from schedtuna.rl.evaluation import Decider
from schedtuna.rl.learners import Demonstrations
from schedtuna.rl.model_expert import ModelDecider
from schedtuna.rl.policy import TrainedPolicy
from schedtuna.rl.pretrained import find_policy, is_policy
from schedtuna.rl.reinforce_learner import SoftmaxLearner
from schedtuna.rl.world import World, action_masks

if TYPE_CHECKING:
    from schedtuna.env.watching import WatchedSchedulers

SHARE = 4  # of all decisions of a training, one in so many is shown at most
MOST_SHOWN = 32_768
EPOCHS = 10
_TELL_EVERY = 256

Tell = Callable[[int], None]


class Imitation(SoftmaxLearner):
    """What imitates, and learns nothing of its own: the arm to compare the others with."""

    learns: ClassVar[bool] = False

    def advance(self, nr_steps: int, seed: int, tell: Callable[[int], None]) -> dict[str, float]:  # noqa: ARG002
        """Do nothing."""
        return {}


class Expert(Protocol):
    """Whoever is imitated."""

    def show(self, nr_steps: int, seed: int, tell: Tell) -> Demonstrations:
        """Decide so many times in episodes with this seed, and tell how often it has."""


def make_expert(name: str, world: World, loads: Sequence[str]) -> Expert:
    """Return who decides.

    Args:
        name: A scheduler that can be watched in the environment, a policy's file, folder or name, or the file
            of a model that says who comes first.
        world: For which environment.
        loads: On which loads; empty: those of the environment's parameters.

    Raises:
        UsageError: There is no such scheduler, or the policy is for another environment.
        PolicyError: The policy can't be read.
    """
    path = Path(name)
    if (model := _model_of(path)) is not None:
        return _DeciderExpert(ModelDecider(model, world.fit()), world, loads)
    if is_policy(name):
        policy = find_policy(name)
        policy.require_fit(world.fit())
        return _DeciderExpert(policy, world, loads)
    return _SchedulerExpert(world.watched(name, loads))


def _model_of(path: Path) -> DecisionModel | None:
    """Return the model in its canonical form that a file holds; None: it holds none."""
    if not path.is_file():
        return None
    try:
        return read_model(path)
    except ModelError:
        return None  # a policy, perhaps: whoever reads that says what is wrong


@dataclass(frozen=True)
class _SchedulerExpert:
    watched: WatchedSchedulers

    def show(self, nr_steps: int, seed: int, tell: Tell) -> Demonstrations:
        """Let it decide in one episode after the other."""
        observed = self.watched.reset(seed)
        rows: list[tuple[Any, ...]] = []
        for step in range(nr_steps):
            mask = self.watched.action_masks()
            action, following, reward, terminated, truncated, _ = self.watched.step()
            rows.append((observed[None], [action], [reward], [terminated or truncated], mask[None]))
            observed = self.watched.reset() if terminated or truncated else following
            if step % _TELL_EVERY == 0:
                tell(step)
        return Demonstrations(*(np.asarray(column) for column in zip(*rows, strict=True)))


@dataclass(frozen=True)
class _DeciderExpert:
    decider: Decider
    world: World
    loads: Sequence[str]

    def show(self, nr_steps: int, seed: int, tell: Tell) -> Demonstrations:
        """Let it decide in several environments beside each other."""
        vector = self.world.vector(SoftmaxLearner.nr_environments, self.loads)
        vector.seed(seed)
        observed = np.asarray(vector.reset())
        rows: list[tuple[np.ndarray, ...]] = []
        all_masks: list[np.ndarray] = []
        for step in range(max(1, nr_steps // vector.num_envs)):
            masks = action_masks(vector)
            if masks is not None:
                all_masks.append(masks)
            actions = self.decider.act(observed, masks)
            following, rewards, ends, _ = vector.step(actions)
            rows.append((observed, actions, rewards, ends))
            observed = np.asarray(following)
            tell((step + 1) * vector.num_envs)
        vector.close()
        seen, actions, rewards, ends = (np.stack(column) for column in zip(*rows, strict=True))
        return Demonstrations(seen, actions, rewards, ends, np.stack(all_masks) if all_masks else None)


def agreement(policy: TrainedPolicy, shown: Demonstrations) -> float:
    """Return the share of decisions in which a policy does what was shown."""
    known = shown.actions.reshape(-1) >= 0
    observed = shown.observations.reshape(-1, shown.observations.shape[-1])[known]
    masks = None if shown.masks is None else shown.masks.reshape(-1, shown.masks.shape[-1])[known]
    return float((policy.act(observed, masks) == shown.actions.reshape(-1)[known]).mean())
