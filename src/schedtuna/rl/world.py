"""Which environment is a policy trained in, on which loads? Made by its id, singly or as a vector for SB3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from schedtuna.env.registration import LIVE
from schedtuna.errors import UsageError, nearest
from schedtuna.plugins import load_class
from schedtuna.rl.policy import PolicyFit

if TYPE_CHECKING:
    from schedtuna.env.watching import WatchedSchedulers

OWN = "schedtuna/"  # what ids of ours begin with


@dataclass(frozen=True)
class Face:
    """How stable-baselines3 gets many of an environment of ours.

    Attributes:
        path: ``module:Class`` of the vector.
        has_arrivals: Whether seeds of arrivals can be told, which make a load's episodes.
        is_watchable: Whether a scheduler's decisions can be told as its actions.
        has_settings: Whether an action says what holds for a whole step, so that one that never changes is a
            rule.
        has_points: Whether such an action can be a point of a cube, with ``actions="continuous"``.
    """

    path: str
    has_arrivals: bool = False
    is_watchable: bool = False
    has_settings: bool = False
    has_points: bool = False


FACES = {
    "schedtuna/PickNext-v0": Face(
        "schedtuna.env.sb3:CPUSchedulerVecEnv", has_arrivals=True, is_watchable=True
    ),
    "schedtuna/Migrate-v0": Face("schedtuna.env.sb3:MigrateVecEnv", has_arrivals=True),
    "schedtuna/Swap-v0": Face("schedtuna.env.sb3:SwapVecEnv", has_settings=True),
    "schedtuna/Slice-v0": Face("schedtuna.env.sb3:SliceVecEnv", has_settings=True, has_points=True),
    "schedtuna/Params-v0": Face("schedtuna.env.sb3:ParamsVecEnv", has_settings=True, has_points=True),
}


@dataclass(frozen=True)
class World:
    """An environment by its id.

    Attributes:
        environment: As for gymnasium.make.
        parameters: Keywords for that.
    """

    environment: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def make(
        self, load: str | Sequence[str] | None = None, arrivals: Sequence[int] | None = None
    ) -> gymnasium.Env[np.ndarray, Any]:
        """Make one environment.

        Args:
            load: Its `workload`, or several; None: that of the parameters, or its own default.
            arrivals: Its `arrivals`; None: the same. What has none of its own is not told.

        Raises:
            UsageError: There is no such environment, or it can't be made so, or can't be trained in.
        """
        import_module("schedtuna.env")  # registers ours
        try:
            made = gymnasium.make(self.environment, **self._keywords(load, arrivals))
        except gymnasium.error.Error:
            raise UsageError(
                f"there is no environment {self.environment!r}: {nearest(self.environment, environments())}",
                hint="`schedtuna rl list` shows them; module:Id imports one of your own first",
            ) from None
        except TypeError as error:
            said = str(error).partition(" was raised from the environment creator")[0]
            raise UsageError(
                f"{self.environment} can't be made so: {said}",
                hint="docs/environments.md lists what each of ours is made with",
            ) from None
        actions, observed = made.action_space, made.observation_space
        if not (_is_learnable(actions) and isinstance(observed, spaces.Box)):
            raise UsageError(
                f"{self.environment} can't be trained in: expected a box of numbers to observe, and actions "
                f"from 0 or points of a cube from -1 to 1, and it has {observed} and {actions}"
            )
        return made

    def fit(self) -> PolicyFit:
        """Return what a policy has to fit."""
        made = self.make()
        setting = getattr(made.unwrapped, "setting", None)
        fit = PolicyFit(
            environment=self.environment,
            nr_observed=int(np.prod(made.observation_space.shape or ())),
            nr_actions=_size(made.action_space),
            action_kind="discrete" if isinstance(made.action_space, spaces.Discrete) else "continuous",
            features=list(getattr(setting, "observation_names", ())),
        )
        made.close()
        return fit

    @property
    def is_live(self) -> bool:
        """Whether its steps are measured on a machine, and take their time."""
        return self.environment in LIVE

    @property
    def discrete(self) -> World:
        """The same, but for its actions, if they can be points: those have numbers in it."""
        return (
            replace(self, parameters={**self.parameters, "actions": "discrete"}) if self.has_points else self
        )

    @property
    def has_points(self) -> bool:
        """Whether an action can be a point of a cube in it."""
        return self._face is not None and self._face.has_points

    @property
    def has_settings(self) -> bool:
        """Whether an action that never changes is a rule in it."""
        return self._face is not None and self._face.has_settings

    def experts(self) -> list[str]:
        """Return the names of schedulers whose decisions can be watched in it."""
        if self._face is None or not self._face.is_watchable:
            return []
        from schedtuna.env.watching import watchable

        return watchable()

    def watched(
        self, scheduler: str, loads: Sequence[str], arrivals: Sequence[int] | None = None
    ) -> WatchedSchedulers:
        """Return the same episodes in which a scheduler decides.

        Args:
            scheduler: One of `experts()`, with or without values, or a sched_ext object: `scx_NAME`.
            loads: Empty: those of the parameters.
            arrivals: As in `make`.

        Raises:
            UsageError: There is none of this name, or it can't be watched here.
        """
        known = self.experts()
        if not (known and scheduler.startswith("scx_")) and scheduler.partition(":")[0] not in known:
            raise UsageError(
                f"{self.environment} can't tell what {scheduler!r} would do: {nearest(scheduler, known)}",
                hint="or name a policy that `schedtuna rl train` wrote",
            )
        from schedtuna.env.watching import WatchedSchedulers

        return WatchedSchedulers(scheduler, **self._keywords(list(loads) or None, arrivals))

    def vector(self, nr: int, loads: Sequence[str]) -> VecEnv:
        """Make a vector of so many environments, of one where it measures, over all loads."""
        if self._face is not None:
            face = load_class(self._face.path, VecEnv, what=self.environment, hint="")
            made: VecEnv = face(nr, **self._keywords(list(loads) or None, None))
            return made
        if self.is_live:  # two on one machine would disturb each other
            return DummyVecEnv([partial(self.make, list(loads) or None)])
        return DummyVecEnv([partial(self.make, loads[i % len(loads)] if loads else None) for i in range(nr)])

    @property
    def _face(self) -> Face | None:
        return FACES.get(self.environment)

    def _keywords(self, load: Any, arrivals: Sequence[int] | None) -> dict[str, Any]:
        said = dict(self.parameters)
        if load is not None:
            said["workload"] = load
        if arrivals is not None and self._face is not None and self._face.has_arrivals:
            said["arrivals"] = list(arrivals)
        return said


def environments() -> list[str]:
    """Return the ids of our environments that can be trained in."""
    import_module("schedtuna.env")
    return sorted(name for name in gymnasium.registry if name.startswith(OWN))


def sizes(vector: VecEnv) -> tuple[int, int]:
    """Return how many numbers are observed, and how many actions there are, or coordinates of one."""
    return int(np.prod(vector.observation_space.shape or ())), _size(vector.action_space)


def action_masks(vector: VecEnv) -> np.ndarray | None:
    """Return which actions are allowed, (n, actions); None where the environment knows no masks."""
    if not vector.has_attr("action_masks"):
        return None
    return np.stack(vector.env_method("action_masks"))


def _is_learnable(actions: spaces.Space[Any]) -> bool:
    if isinstance(actions, spaces.Discrete):
        return bool(actions.start == 0)
    if not (isinstance(actions, spaces.Box) and len(actions.shape) == 1):
        return False
    return bool((actions.low == -1).all() and (actions.high == 1).all())


def _size(actions: spaces.Space[Any]) -> int:
    """How many actions there are, or coordinates of one; `World.make` lets no other ones pass."""
    return int(actions.n) if isinstance(actions, spaces.Discrete) else int(np.prod(actions.shape or ()))
