"""Many of `schedtuna/PickNext-v0` at once, as Gymnasium's vector environment: one native call per step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from schedtuna.env.setting import BoundBatch, PickNextSetting
from schedtuna.env.terms import REWARD_TERMS
from schedtuna.errors import UsageError
from schedtuna.sim.native import Autoreset, BadInputError

_MODES = {AutoresetMode.NEXT_STEP: Autoreset.NEXT_STEP, AutoresetMode.SAME_STEP: Autoreset.SAME_STEP}
_Flags = npt.NDArray[np.bool_]
_Step = tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], _Flags, _Flags, dict[str, Any]]


class CPUSchedulerVectorEnv(VectorEnv[Any, Any, Any]):
    """Simulated machines side by side; number i does what a single one with the seed + i does.

    Args:
        num_envs: How many.
        autoreset_mode: ``NextStep``: the step after an episode's end resets, whatever its action;
            ``SameStep``: the step that ends one returns the next one's first observation, and
            ``final_obs`` and ``final_info`` in the info.
        seed: Of the first one, until `reset(seed=)` sets others.
        nr_threads: 0: one for each 256 environments, as many as there are CPUs at most.
        render_mode: None.
        settings: See `PickNextSetting`.

    Raises:
        UsageError: One of them is none.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        seed: int | None = None,
        nr_threads: int = 0,
        render_mode: None = None,
        **settings: Any,
    ) -> None:
        mode = AutoresetMode(autoreset_mode)
        if mode not in _MODES:
            raise UsageError(f"autoreset_mode {mode.value}: expected NextStep or SameStep")
        if render_mode is not None:
            raise UsageError("many environments are not rendered", hint="make one with gymnasium.make")
        self.setting = PickNextSetting(**settings)
        self.metadata = {"autoreset_mode": mode, "render_modes": []}
        self.render_mode = None
        self.num_envs = num_envs
        self.single_observation_space = self.setting.observation_space
        self.single_action_space = self.setting.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._is_same_step = mode is AutoresetMode.SAME_STEP
        self._seed = seed
        self._batch = BoundBatch(self.setting.native, num_envs, 0, _MODES[mode], nr_threads)

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
        if seed is None and self._seed is not None:
            seed = self._seed
        if seed is None and self._np_random is None:
            seed = int(self.np_random.integers(2**32))
        self._seed = None
        if isinstance(seed, int):
            super().reset(seed=seed)
            seed = range(seed, seed + self.num_envs)
        for i, one in enumerate(() if seed is None else seed):
            if one is not None:
                self._batch.native.seed(i, one)
        mask = (options or {}).get("reset_mask")
        try:
            if mask is None:
                self._batch.native.reset_all()
            else:
                for number in np.flatnonzero(mask).tolist():
                    self._batch.native.reset(number)
        except BadInputError as error:
            raise UsageError(str(error)) from error
        return self._batch.observations.copy(), {"action_mask": self._batch.masks.astype(np.int8)}

    def step(self, actions: npt.NDArray[np.int64]) -> _Step:
        """Take a step in each.

        Raises:
            UsageError: There is no such action.
        """
        batch = self._batch
        batch.take(actions)
        try:
            batch.native.step()
        except BadInputError as error:
            raise UsageError(str(error)) from error
        terminated, truncated = batch.terminated.copy(), batch.truncated.copy()
        info: dict[str, Any] = {
            "action_mask": batch.masks.view(np.int8).copy(),
            "elapsed_ns": batch.elapsed_ns.copy(),
        }
        ended = terminated | truncated
        if ended.any():
            self._tell_end(info, ended)
        return batch.observations.copy(), batch.rewards.copy(), terminated, truncated, info

    def _tell_end(self, info: dict[str, Any], ended: _Flags) -> None:
        terms: dict[str, Any] = {}
        for name, column in zip(REWARD_TERMS, self._batch.terms.T, strict=True):
            terms[name] = np.where(ended, column, 0.0)
            terms[f"_{name}"] = ended.copy()
        told = {"terms": terms, "nr_masked": np.where(ended, self._batch.nr_masked, 0)}
        told |= {f"_{name}": ended.copy() for name in ("terms", "nr_masked")}
        if not self._is_same_step:
            info |= told
            return
        final = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended):
            final[i] = self._batch.final_observations[i].copy()
        told |= {"elapsed_ns": np.where(ended, self._batch.elapsed_ns, 0), "_elapsed_ns": ended.copy()}
        info |= {"final_obs": final, "_final_obs": ended.copy()}
        info |= {"final_info": told, "_final_info": ended.copy()}

    def action_masks(self) -> _Flags:
        """Return which actions do what they say now, a row for each."""
        return self._batch.masks.copy()
