"""What is an algorithm that learns a policy in an environment? Which are there?

One row per algorithm; nothing of one is imported before it is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from schedtuna.errors import UsageError, nearest
from schedtuna.plugins import load_class

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from schedtuna.rl.policy import ActionKind, Network
    from schedtuna.rl.world import World

GAMMA = 0.99
HIDDEN = [64, 64]
LOOK_AHEAD = (
    100  # decisions whose rewards a return counts; what comes after has less than gamma^100 of the weight
)


@dataclass(frozen=True)
class Demonstrations:
    """What somebody decided, in order of time; n environments beside each other.

    Attributes:
        observations: As the environment shows them, (steps, n, observed).
        actions: (steps, n); below 0: something that no action does.
        rewards: As the environment gives them, (steps, n).
        ends: Whether an episode ended with the step, (steps, n).
        masks: What was allowed, (steps, n, actions); None: everything.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    ends: np.ndarray
    masks: np.ndarray | None


class Learner(ABC):
    """An algorithm at work on one vector of environments.

    Args:
        vector: Where it acts.
        nr_steps: How many decisions it is given in all; schedules are over them.
        seed: Of what is drawn at first; the global generators of Python, numpy and torch have it.
    """

    action_kind: ClassVar[ActionKind] = "discrete"
    nr_environments: ClassVar[int] = 32
    needs_masks: ClassVar[bool] = False
    learns: ClassVar[bool] = True  # by itself, and not by imitating alone

    def __init__(self, vector: VecEnv, *, nr_steps: int, seed: int) -> None:
        self.vector = vector
        self.total = nr_steps
        self.seed = seed
        self.nr_done = 0

    @classmethod
    def of_world(cls, world: World, loads: Sequence[str], *, nr_steps: int, seed: int) -> Self:
        """Make one that acts in a world, on these loads or on its own."""
        return cls(world.vector(cls.nr_environments, loads), nr_steps=nr_steps, seed=seed)

    def close(self) -> None:
        """End what it acts in."""
        self.vector.close()

    @abstractmethod
    def advance(self, nr_steps: int, seed: int, tell: Callable[[int], None]) -> dict[str, float]:
        """Begin new episodes, and learn from so many decisions, rounded up to whole rollouts.

        Args:
            nr_steps: Decisions, summed over the vector.
            seed: Of everything that is drawn; the global generators of Python, numpy and torch have one.
            tell: Is told, now and then, how many have been made in all.

        Returns:
            Metrics, by name.
        """

    @abstractmethod
    def network(self) -> Network:
        """Return what it would act by now."""

    @abstractmethod
    def state(self) -> Any:
        """Return all that it goes on from, as tensors, numbers, texts, lists and dictionaries."""

    @abstractmethod
    def restore(self, state: Any) -> None:
        """Take back what `state` returned, which comes with arrays in place of tensors."""

    def imitate(self, shown: Demonstrations, epochs: int) -> dict[str, float]:
        """Learn to decide as was shown, if it can; returns metrics."""
        raise NotImplementedError

    @classmethod
    def require_imitating(cls) -> None:
        """Refuse one that can't imitate.

        Raises:
            UsageError: It can't.
        """
        if cls.imitate is Learner.imitate:
            raise UsageError(f"{cls.__name__} can't imitate", hint="leave --warm-start out")


def returns_to_go(
    rewards: np.ndarray, ends: np.ndarray, gamma: float = GAMMA
) -> tuple[np.ndarray, np.ndarray]:
    """Return the discounted sums of rewards from each step on, and where they are whole, both (steps, n).

    A sum is whole where its episode ends, or goes on for LOOK_AHEAD steps: what is cut off counts little.
    """
    sums = np.zeros(rewards.shape)
    whole = np.zeros(rewards.shape, bool)
    following, left = np.zeros(rewards.shape[1]), np.zeros(rewards.shape[1], int)
    for step in range(len(rewards) - 1, -1, -1):
        following = rewards[step] + gamma * np.where(ends[step], 0.0, following)
        left = np.where(ends[step], LOOK_AHEAD, left + 1)
        sums[step], whole[step] = following, left >= LOOK_AHEAD
    return sums, whole


@dataclass(frozen=True)
class AlgorithmEntry:
    """One algorithm that can be named.

    Attributes:
        path: ``module:Class`` of its `Learner`.
        summary: What it does.
    """

    path: str
    summary: str


ALGORITHMS: dict[str, AlgorithmEntry] = {
    "ppo": AlgorithmEntry("schedtuna.rl.sb3_learners:Ppo", "proximal policy optimisation, stable-baselines3"),
    "maskable_ppo": AlgorithmEntry(
        "schedtuna.rl.sb3_learners:MaskablePpo", "the same, which never tries what is masked, sb3-contrib"
    ),
    "a2c": AlgorithmEntry("schedtuna.rl.sb3_learners:A2c", "advantage actor-critic, stable-baselines3"),
    "dqn": AlgorithmEntry("schedtuna.rl.off_policy_learners:Dqn", "deep Q-network, stable-baselines3"),
    "sac": AlgorithmEntry(
        "schedtuna.rl.off_policy_learners:Sac", "soft actor-critic of continuous actions, stable-baselines3"
    ),
    "reinforce": AlgorithmEntry(
        "schedtuna.rl.reinforce_learner:Reinforce",
        "policy gradient with a baseline, exploring with 1/sqrt(n)",
    ),
    "ucb": AlgorithmEntry(
        "schedtuna.rl.bandit_learner:Ucb", "bandit: upper confidence bounds, blind to what it observes"
    ),
    "linucb": AlgorithmEntry(
        "schedtuna.rl.bandit_learner:LinUcb", "bandit: a line per action over what it observes"
    ),
    "imitation": AlgorithmEntry(
        "schedtuna.rl.imitation:Imitation", "decides as --warm-start does, and learns nothing else"
    ),
}
# Those that act on many machines: with --ray their short names will do.
RAY_PREFIX = "rllib_"
ALGORITHMS |= {
    f"{RAY_PREFIX}ppo": AlgorithmEntry("schedtuna.rl.ray_learners:RayPpo", "PPO of RLlib, on a Ray cluster"),
    f"{RAY_PREFIX}impala": AlgorithmEntry(
        "schedtuna.rl.ray_learners:RayImpala", "IMPALA of RLlib: runners do not wait for the learner"
    ),
    f"{RAY_PREFIX}appo": AlgorithmEntry(
        "schedtuna.rl.ray_learners:RayAppo", "the same with PPO's loss, of RLlib; in the place of A3C"
    ),
}
_GONE = {
    "a3c": (
        "RLlib has no A3C any more, and no other library here has",
        "`--ray local --algorithm appo` (or impala) has its runners, a2c its synchronous form",
    )
}
_OWN_HINT = "one of your own is named by its class, module:Class; docs/training.md has an example"


def learner_class(name: str) -> type[Learner]:
    """Return an algorithm's class.

    Args:
        name: One of ALGORITHMS, or ``module:Class``.

    Raises:
        UsageError: There is none of this name, or it is no `Learner`.
    """
    if name.removeprefix(RAY_PREFIX) in _GONE:
        what, hint = _GONE[name.removeprefix(RAY_PREFIX)]
        raise UsageError(what, hint=hint)
    if name.startswith(RAY_PREFIX):
        from schedtuna.rl.ray_cluster import require_ray

        require_ray()
    if name in ALGORITHMS:
        name = ALGORITHMS[name].path
    elif ":" not in name:
        raise UsageError(f"there is no algorithm {name!r}: {nearest(name, ALGORITHMS)}", hint=_OWN_HINT)
    return load_class(name, Learner, what=f"algorithm {name}", hint=_OWN_HINT)


def require_actions(name: str, world: World) -> None:
    """Refuse an algorithm where actions are of another kind than its own.

    Raises:
        UsageError: They are, or the environment can't be made.
    """
    wanted, given = learner_class(name).action_kind, world.fit().action_kind
    if wanted == given:
        return
    others = "it is for schedtuna/Slice-v0 and Params-v0" if wanted == "continuous" else "sac takes those"
    raise UsageError(
        f"{name} takes {wanted} actions: {world.environment} has {given} ones",
        hint=f"--set actions={wanted}" if world.has_points else others,
    )


def ray_algorithm(name: str) -> str:
    """Return the name of an algorithm's form in RLlib.

    Raises:
        UsageError: It has none.
    """
    if name.startswith(RAY_PREFIX):
        return name
    if name in _GONE or RAY_PREFIX + name in ALGORITHMS:
        return RAY_PREFIX + name
    there = [known.removeprefix(RAY_PREFIX) for known in ALGORITHMS if known.startswith(RAY_PREFIX)]
    raise UsageError(f"Ray trains {', '.join(there)}, not {name!r}: {nearest(name, there)}")
