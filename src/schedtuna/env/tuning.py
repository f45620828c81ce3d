"""Tuning as a Gymnasium environment: an action is an assignment, a reward is one run.

An episode is one run, because nothing that a run does changes what the next one gets: without a
context this is a bandit, with one (what the machine is doing just before the run) a contextual
bandit. `terminated` is therefore true after every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from schedtuna.env.reward import CLIP, ContextScale, RewardScale
from schedtuna.errors import SpaceError, UsageError
from schedtuna.space import Assignment, ParameterSpace, ParameterValue

Context = Mapping[str, float]
Encoding = Literal["box", "discrete"]


class TuneEnv(gymnasium.Env[np.ndarray, Any]):
    """One run per episode.

    Args:
        space: What can be varied.
        run: Runs an assignment once and returns its cost (lower is better; 0 is the default's), or
            None where it failed.
        encoding: ``box``: a point of the cube [-1, 1] per action, for continuous policies;
            ``discrete``: the index of one of `arms`, for value-based ones.
        nr_arms: How many assignments the discrete encoding offers.
        context: Returns what is known before each run, always under the same names.
        reward_scaling: Multiplies every reward.
        seed: Of the draw of the arms.

    Raises:
        UsageError: An encoding that is none of the two.
        SpaceError: The space has no parameters.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        space: ParameterSpace,
        run: Callable[[dict[str, ParameterValue]], float | None],
        *,
        encoding: Encoding = "box",
        nr_arms: int = 64,
        context: Callable[[], Context] | None = None,
        reward_scaling: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not space.unit_size:
            raise SpaceError("nothing to tune: the space has no parameters")
        if encoding not in ("box", "discrete"):
            raise UsageError(f"encoding {encoding!r}: expected box or discrete")
        self.space = space
        self.run = run
        self.encoding = encoding
        self.reward_scaling = reward_scaling
        self.arms: list[dict[str, ParameterValue]] = []
        self._context = context or dict
        self._names = sorted(self._context())
        self._forget()
        self.observation_space = spaces.Box(-CLIP, CLIP, (max(len(self._names), 1),), np.float32)
        if encoding == "discrete":
            self.arms = space.candidates(nr_arms, np.random.default_rng(seed))
            self.action_space: spaces.Space[Any] = spaces.Discrete(len(self.arms))
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (space.unit_size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode and return what is known before its run; a seed forgets what was seen."""
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._forget()
        return self.observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Run the assignment that the action names; the episode is over."""
        values = self.decode(action)
        cost = self.run(values)
        info = {"values": values, "cost": cost, "failed": cost is None}
        return self.observe(), self.rewards.reward(cost), True, False, info

    def _forget(self) -> None:
        self.rewards = RewardScale(self.reward_scaling)
        self._scale = ContextScale(max(len(self._names), 1))

    def observe(self) -> np.ndarray:
        """What is known before a run, scaled by what was seen; one zero without a context."""
        if not self._names:
            return np.zeros(1, np.float32)
        context = self._context()
        return self._scale.scale(np.array([context[name] for name in self._names]))

    def decode(self, action: Any) -> dict[str, ParameterValue]:
        """The valid assignment that an action names."""
        if self.encoding == "discrete":
            return dict(self.arms[int(action)])
        return self.space.from_unit((np.clip(np.asarray(action, dtype=float), -1.0, 1.0) + 1.0) / 2.0)

    def encode(self, values: Assignment) -> np.ndarray | None:
        """The action that names an assignment; None where no arm is it."""
        if self.encoding == "box":
            return (2.0 * self.space.to_unit(values) - 1.0).astype(np.float32)
        keys = [self.space.key(arm) for arm in self.arms]
        key = self.space.key(values)
        return np.array(keys.index(key)) if key in keys else None
