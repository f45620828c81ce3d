"""Many environments of the simulated machine at once, as stable-baselines3 wants them: one call per step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from schedtuna.env.batch import BoundBatch, Flags
from schedtuna.env.course_vector import CourseVectorEnv, ParamsVectorEnv, SliceVectorEnv, SwapVectorEnv
from schedtuna.env.migrate import MigrateSetting
from schedtuna.env.setting import PickNextSetting
from schedtuna.errors import UsageError
from schedtuna.sim.native import Autoreset, BadInputError, Batch, MigrateBatch


class _Face(VecEnv):
    """What stable-baselines3 asks of every vector of ours."""

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of this, once for each environment."""
        value = None if attr_name == "render_mode" else getattr(self, attr_name)
        return [value for _ in self._which(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:  # noqa: ARG002
        """Refuse: environments are made with what they are."""
        raise AttributeError(f"{attr_name} can't be set: make others")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call `action_masks`, which those that know masks can answer all at once."""
        if method_name != "action_masks" or method_args or method_kwargs or not self.has_attr(method_name):
            raise AttributeError(f"there is no method {method_name} to call on each")
        masks = self.get_attr(method_name)[0]()
        return [masks[i] for i in self._which(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:  # noqa: ARG002
        """None is."""
        return [False for _ in self._which(indices)]

    def _which(self, indices: VecEnvIndices) -> Iterable[int]:
        return self._get_indices(indices)


class _NativeFace(_Face):
    """Simulated machines side by side; number i does what a single one with the seed + i does.

    What it returns is its caller's: stable-baselines3 keeps observations until the next step.
    """

    def __init__(self, setting: PickNextSetting | MigrateSetting, batch: BoundBatch[Any]) -> None:
        self.setting, self._batch = setting, batch
        super().__init__(len(batch.actions), setting.observation_space, setting.action_space)

    def reset(self) -> npt.NDArray[np.float32]:
        """Begin an episode in each, with the seeds that `seed` set."""
        for i, seed in enumerate(self._seeds):
            if seed is not None:
                self._batch.native.seed(i, seed)
        self._reset_seeds()
        self._reset_options()
        try:
            self._batch.native.reset_all()
        except BadInputError as error:
            raise UsageError(str(error)) from error
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self._batch.observations.copy()

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Take the actions."""
        self._batch.take(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Take a step in each; where an episode ends the observation is the next one's first.

        Raises:
            UsageError: There is no such action.
        """
        batch = self._batch
        try:
            batch.native.step()
        except BadInputError as error:
            raise UsageError(str(error)) from error
        dones = batch.terminated | batch.truncated
        infos: list[dict[str, Any]] = [{"elapsed_ns": elapsed} for elapsed in batch.elapsed_ns.tolist()]
        for i in np.flatnonzero(dones).tolist():
            infos[i] |= {
                "terminal_observation": batch.final_observations[i].copy(),
                "TimeLimit.truncated": bool(batch.truncated[i] and not batch.terminated[i]),
                "terms": batch.terms_of(i),
                "nr_masked": int(batch.nr_masked[i]),
            }
        return batch.observations.copy(), batch.rewards.astype(np.float32), dones, infos


class CPUSchedulerVecEnv(_NativeFace):
    """Many of `schedtuna/PickNext-v0`.

    Args:
        num_envs: How many.
        seed: Of the first one.
        nr_threads: 0: as many as pay, and as there are CPUs at most.
        settings: See `PickNextSetting`.

    Raises:
        UsageError: One of them is none.
    """

    def __init__(self, num_envs: int, *, seed: int = 0, nr_threads: int = 0, **settings: Any) -> None:
        setting = PickNextSetting(**settings)
        batch = BoundBatch(Batch, setting.native, num_envs, seed, Autoreset.SAME_STEP, nr_threads=nr_threads)
        super().__init__(setting, batch)

    def action_masks(self) -> Flags:
        """Return which actions do what they say now, a row for each."""
        return self._batch.masks.copy()


class MigrateVecEnv(_NativeFace):
    """Many of `schedtuna/Migrate-v0`, which knows no masks; arguments as of `CPUSchedulerVecEnv`.

    Raises:
        UsageError: One of them is none.
    """

    def __init__(self, num_envs: int, *, seed: int = 0, nr_threads: int = 0, **settings: Any) -> None:
        setting = MigrateSetting(**settings)
        batch = BoundBatch(
            MigrateBatch, setting.native, num_envs, seed, Autoreset.SAME_STEP, nr_threads=nr_threads
        )
        super().__init__(setting, batch)


class _CourseFace(_Face):
    """Gymnasium's vector of them is what steps.

    Raises:
        UsageError: One of the arguments is none.
    """

    many: ClassVar[type[CourseVectorEnv]]

    def __init__(self, num_envs: int, **settings: Any) -> None:
        self._many = self.many(num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **settings)
        super().__init__(num_envs, self._many.single_observation_space, self._many.single_action_space)

    def reset(self) -> npt.NDArray[np.float32]:
        """Begin an episode in each, with the seeds that `seed` set."""
        observations, _ = self._many.reset(seed=self._seeds)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return observations

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Take the actions."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Take a step in each; where an episode ends the observation is the next one's first.

        Raises:
            UsageError: There is no such action.
        """
        observations, rewards, terminated, truncated, told = self._many.step(self._actions)
        dones = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(dones):
            infos[i] = {
                "terminal_observation": told["final_obs"][i],
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
            }
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """End the threads."""
        self._many.close()


class SwapVecEnv(_CourseFace):
    """Many of `schedtuna/Swap-v0`; arguments as of `SwapVectorEnv`."""

    many = SwapVectorEnv


class SliceVecEnv(_CourseFace):
    """Many of `schedtuna/Slice-v0`; arguments as of `SliceVectorEnv`."""

    many = SliceVectorEnv


class ParamsVecEnv(_CourseFace):
    """Many of `schedtuna/Params-v0`; arguments as of `ParamsVectorEnv`."""

    many = ParamsVectorEnv
