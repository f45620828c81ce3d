"""Many environments at once, as Gymnasium's vector environments: one native call per step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from schedtuna.env.batch import BoundBatch, Flags
from schedtuna.env.migrate import MigrateSetting
from schedtuna.env.setting import PickNextSetting
from schedtuna.env.terms import REWARD_TERMS
from schedtuna.errors import UsageError
from schedtuna.sim.native import Autoreset, BadInputError, Batch, MigrateBatch

_MODES = {
    AutoresetMode.NEXT_STEP: Autoreset.NEXT_STEP,
    AutoresetMode.SAME_STEP: Autoreset.SAME_STEP,
    AutoresetMode.DISABLED: Autoreset.DISABLED,
}
Step = tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], Flags, Flags, dict[str, Any]]


class ManyEnvs(VectorEnv[Any, Any, Any]):
    """What vectors of ours have in common: how they reset, and that nobody sees them.

    Args:
        num_envs: How many.
        autoreset_mode: ``NextStep``: the step after an episode's end resets, whatever its action;
            ``SameStep``: the step that ends one returns the next one's first observation, and
            ``final_obs`` and ``final_info`` in the info; ``Disabled``: a step after an end is refused, until
            ``reset(options={"reset_mask": ...})`` has begun another episode there.
        observed, actions: The spaces of a single one.
        render_mode: None.

    Raises:
        UsageError: It resets otherwise, or is to be seen.
    """

    def __init__(
        self,
        num_envs: int,
        autoreset_mode: AutoresetMode | str,
        observed: spaces.Box,
        actions: spaces.Space[Any],
        render_mode: None,
    ) -> None:
        if render_mode is not None:
            raise UsageError("many environments are not rendered", hint="make one with gymnasium.make")
        mode = autoreset_of(autoreset_mode)
        self.metadata = {"autoreset_mode": mode, "render_modes": []}
        self.render_mode = None
        self.num_envs = num_envs
        self.single_observation_space = observed
        self.single_action_space = actions
        self.observation_space = batch_space(observed, num_envs)
        self.action_space = batch_space(actions, num_envs)
        self.mode = mode
        self.has_ended = np.zeros(num_envs, np.bool_)
        self.is_same_step = mode is AutoresetMode.SAME_STEP

    def require_begun(self) -> None:
        """Refuse a step where an episode has ended and nothing resets it, before any takes one.

        Raises:
            UsageError: One has.
        """
        if self.mode is AutoresetMode.DISABLED and self.has_ended.any():
            ended = ", ".join(map(str, np.flatnonzero(self.has_ended)[:5]))
            raise UsageError(
                f"the episodes of {int(self.has_ended.sum())} environments have ended: {ended}",
                hint='begin others: reset(options={"reset_mask": terminated | truncated})',
            )


def autoreset_of(mode: AutoresetMode | str) -> AutoresetMode:
    """Return a mode by its name.

    Raises:
        UsageError: There is none of this name here.
    """
    known = [each.value for each in _MODES]
    if mode not in [*_MODES, *known]:
        raise UsageError(f"autoreset_mode {mode}: expected {', '.join(known)}")
    return AutoresetMode(mode)


class NativeVectorEnv(ManyEnvs):
    """Simulated machines side by side; number i does what a single one with the seed + i does.

    Args:
        num_envs: How many.
        autoreset_mode: See `ManyEnvs`.
        seed: Of the first one, until `reset(seed=)` sets others.
        nr_threads: 0: as many as pay, and as there are CPUs at most.
        render_mode: None.
        settings: Keywords of a single one.

    Raises:
        UsageError: One of them is none.
    """

    has_masks: ClassVar[bool]

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
        mode = autoreset_of(autoreset_mode)
        self.setting = self.setting_of(settings)
        self._batch = self.bound(num_envs, _MODES[mode], nr_threads)
        super().__init__(
            num_envs, mode, self.setting.observation_space, self.setting.action_space, render_mode
        )
        self._seed = seed

    @staticmethod
    @abstractmethod
    def setting_of(keywords: dict[str, Any]) -> PickNextSetting | MigrateSetting:
        """Return what the keywords mean."""

    @abstractmethod
    def bound(self, n: int, autoreset: Autoreset, nr_threads: int) -> BoundBatch[Any]:
        """Return a batch of that setting."""

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
        self.has_ended &= False if mask is None else ~np.asarray(mask, np.bool_)
        try:
            if mask is None:
                self._batch.native.reset_all()
            else:
                for number in np.flatnonzero(mask).tolist():
                    self._batch.native.reset(number)
        except BadInputError as error:
            raise UsageError(str(error)) from error
        return self._batch.observations.copy(), self._told_masks()

    def step(self, actions: npt.NDArray[np.int64]) -> Step:
        """Take a step in each.

        Raises:
            UsageError: There is no such action.
        """
        self.require_begun()
        batch = self._batch
        batch.take(actions)
        try:
            batch.native.step()
        except BadInputError as error:
            raise UsageError(str(error)) from error
        terminated, truncated = batch.terminated.copy(), batch.truncated.copy()
        self.has_ended = terminated | truncated
        info: dict[str, Any] = self._told_masks() | {"elapsed_ns": batch.elapsed_ns.copy()}
        if self.has_ended.any():
            self._tell_end(info, self.has_ended)
        return batch.observations.copy(), batch.rewards.copy(), terminated, truncated, info

    def _told_masks(self) -> dict[str, Any]:
        return {"action_mask": self._batch.masks.astype(np.int8)} if self.has_masks else {}

    def _tell_end(self, info: dict[str, Any], ended: Flags) -> None:
        terms: dict[str, Any] = {}
        for name, column in zip(REWARD_TERMS, self._batch.terms.T, strict=True):
            terms[name] = np.where(ended, column, 0.0)
            terms[f"_{name}"] = ended.copy()
        told: dict[str, Any] = {"terms": terms}
        if self.has_masks:
            told["nr_masked"] = np.where(ended, self._batch.nr_masked, 0)
        told |= {f"_{name}": ended.copy() for name in tuple(told)}
        if not self.is_same_step:
            info |= told
            return
        final = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended):
            final[i] = self._batch.final_observations[i].copy()
        told |= {"elapsed_ns": np.where(ended, self._batch.elapsed_ns, 0), "_elapsed_ns": ended.copy()}
        info |= {"final_obs": final, "_final_obs": ended.copy()}
        info |= {"final_info": told, "_final_info": ended.copy()}


class CPUSchedulerVectorEnv(NativeVectorEnv):
    """Many of `schedtuna/PickNext-v0`; arguments: see `NativeVectorEnv` and `PickNextSetting`."""

    setting: PickNextSetting
    has_masks = True

    @staticmethod
    def setting_of(keywords: dict[str, Any]) -> PickNextSetting:
        """Return what the keywords mean."""
        return PickNextSetting(**keywords)

    def bound(self, n: int, autoreset: Autoreset, nr_threads: int) -> BoundBatch[Batch]:
        """Return a batch of that setting."""
        return BoundBatch(Batch, self.setting.native, n, 0, autoreset, nr_threads=nr_threads)

    def action_masks(self) -> Flags:
        """Return which actions do what they say now, a row for each."""
        return self._batch.masks.copy()


class MigrateVectorEnv(NativeVectorEnv):
    """Many of `schedtuna/Migrate-v0`; arguments: see `NativeVectorEnv` and `MigrateSetting`."""

    setting: MigrateSetting
    has_masks = False

    @staticmethod
    def setting_of(keywords: dict[str, Any]) -> MigrateSetting:
        """Return what the keywords mean."""
        return MigrateSetting(**keywords)

    def bound(self, n: int, autoreset: Autoreset, nr_threads: int) -> BoundBatch[MigrateBatch]:
        """Return a batch of that setting."""
        return BoundBatch(MigrateBatch, self.setting.native, n, 0, autoreset, nr_threads=nr_threads)
