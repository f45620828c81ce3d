"""Many environments of loads that go on step by step, as Gymnasium's vectors: a thread per CPU steps them.

A step is mostly the native simulation and numpy's passes over its events, which let other threads run. What
the default scheduler makes of a load is simulated once for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from schedtuna.env.batch import whole_number
from schedtuna.env.course import CourseEnv
from schedtuna.env.params import ParamsEnv
from schedtuna.env.slices import SliceEnv
from schedtuna.env.swap import SwapEnv
from schedtuna.env.vector import ManyEnvs, Step, autoreset_of
from schedtuna.errors import UsageError

_One = tuple[npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]


class CourseVectorEnv(ManyEnvs):
    """Machines side by side; number i does what a single one with the seed + i does.

    Args:
        num_envs: How many.
        autoreset_mode: See `ManyEnvs`.
        seed: Of the first one, until `reset(seed=)` sets others.
        nr_threads: 0: one per CPU.
        render_mode: None.
        settings: Keywords of a single one.

    Raises:
        UsageError: One of them is none.
    """

    single: ClassVar[type[CourseEnv]]

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        seed: int = 0,
        nr_threads: int = 0,
        render_mode: None = None,
        **settings: Any,
    ) -> None:
        whole_number("num_envs", num_envs, 1, 2**16)
        self.envs = [self._one(seed + i, settings) for i in range(num_envs)]
        for env in self.envs:
            env.defaults = self.envs[0].defaults
        first = self.envs[0]
        mode = autoreset_of(autoreset_mode)
        super().__init__(num_envs, mode, first.observed, first.action_space, render_mode)
        nr = whole_number("nr_threads", nr_threads, 0, 1024) or len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(min(nr, num_envs))
        self._observations = np.zeros(self.observation_space.shape or (), np.float32)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in each, or in those that ``options["reset_mask"]`` names.

        Args:
            seed: The first one's, from which others count on, or one for each.
            options: ``reset_mask``: as said.
        """
        if isinstance(seed, int):
            super().reset(seed=seed)
            seed = range(seed, seed + self.num_envs)
        seeds = [None] * self.num_envs if seed is None else list(seed)
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs)), np.bool_)
        which = np.flatnonzero(mask).tolist()
        info: dict[str, Any] = {}
        for i, (observation, told) in zip(
            which, self._each(which, lambda i: self.envs[i].reset(seed=seeds[i])), strict=True
        ):
            self._observations[i] = observation
            self.has_ended[i] = False
            info = self._add_info(info, told, i)
        return self._observations.copy(), info

    def step(self, actions: npt.NDArray[Any]) -> Step:
        """Take a step in each.

        Raises:
            UsageError: There is no such action.
        """
        given, expected = np.asarray(actions), self.action_space
        is_continuous = isinstance(self.single_action_space, spaces.Box)
        if given.shape != expected.shape or given.dtype.kind not in ("f" if is_continuous else "iu"):
            raise UsageError(
                f"actions of shape {given.shape} and type {given.dtype}: expected {expected.shape} "
                + ("numbers with a fraction" if is_continuous else "whole numbers")
            )
        self.require_begun()
        rewards = np.zeros(self.num_envs, np.float64)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        info: dict[str, Any] = {}
        found = self._each(range(self.num_envs), lambda i: self._step(i, given[i]))
        for i, (observation, rewards[i], terminated[i], truncated[i], told) in enumerate(found):
            self._observations[i] = observation
            info = self._add_info(info, told, i)
        self.has_ended = terminated | truncated
        return self._observations.copy(), rewards, terminated, truncated, info

    def close_extras(self, **_: Any) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _step(self, i: int, action: Any) -> _One:
        env = self.envs[i]
        if self.has_ended[i] and self.mode is AutoresetMode.NEXT_STEP:
            observation, info = env.reset()
            return observation, 0.0, False, False, info
        observation, reward, terminated, truncated, info = env.step(action)
        if (terminated or truncated) and self.is_same_step:
            final = {"final_obs": observation, "final_info": info}
            observation, info = env.reset()
            info = info | final
        return observation, reward, terminated, truncated, info

    def _each(self, which: Sequence[int], do: Callable[[int], Any]) -> list[Any]:
        """Do it for each, and return what comes of it; raises what the first one of them raised."""
        return [future.result() for future in [self._threads.submit(do, i) for i in which]]

    @classmethod
    def _one(cls, seed: int, settings: dict[str, Any]) -> CourseEnv:
        return cls.single(seed=seed, **settings)


class SwapVectorEnv(CourseVectorEnv):
    """Many of `schedtuna/Swap-v0`; arguments: see `CourseVectorEnv` and `SwapEnv`."""

    single = SwapEnv


class SliceVectorEnv(CourseVectorEnv):
    """Many of `schedtuna/Slice-v0`; arguments: see `CourseVectorEnv` and `SliceEnv`."""

    single = SliceEnv


class ParamsVectorEnv(CourseVectorEnv):
    """Many of `schedtuna/Params-v0`; arguments: see `CourseVectorEnv` and `ParamsEnv`."""

    single = ParamsEnv
