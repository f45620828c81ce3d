"""`schedtuna/PickNext-v0`: which task runs next on the CPU that chooses?

A step is a choice among two tasks or more, on a simulated machine; docs/environments.md states the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.env.actions import nth_action
from schedtuna.env.batch import BoundBatch
from schedtuna.env.load_env import RGB, LoadEnv, Observation
from schedtuna.env.setting import DEFAULT_ARRIVALS, EnvLoad, PickNextSetting
from schedtuna.errors import UsageError
from schedtuna.sim.native import Autoreset, BadInputError, Batch
from schedtuna.sim.schedulers import SchedulerSource
from schedtuna.sim.topology import MachineShape


class CPUSchedulerEnv(LoadEnv):
    """One simulated machine, whose CPUs ask what to run.

    Args:
        workload, cpus, topology, scheduler, decision_ns, reward, arrivals, nr_slots, slice_us, episode_ms,
            costs: See `PickNextSetting`.
        seed: Of the episodes until `reset(seed=)` sets another; None: drawn.
        render_mode: See `LoadEnv`.

    Raises:
        UsageError: One of them is none.
    """

    setting: PickNextSetting

    def __init__(
        self,
        *,
        workload: EnvLoad = "bursts",
        cpus: int | None = None,
        topology: MachineShape | str | None = None,
        scheduler: SchedulerSource = "fair",
        decision_ns: int | str = "bpf",
        reward: Mapping[str, float] | None = None,
        seed: int | None = None,
        arrivals: Sequence[int] = DEFAULT_ARRIVALS,
        nr_slots: int = 16,
        slice_us: int = 4000,
        episode_ms: float = 500.0,
        costs: Mapping[str, int] | None = None,
        render_mode: str | None = None,
    ) -> None:
        setting = PickNextSetting(
            workload=workload,
            cpus=cpus,
            topology=topology,
            scheduler=scheduler,
            decision_ns=decision_ns,
            reward=reward,
            arrivals=arrivals,
            nr_slots=nr_slots,
            slice_us=slice_us,
            episode_ms=episode_ms,
            costs=costs or {},
        )
        super().__init__(setting, seed=seed, render_mode=render_mode)
        self.observation_space = self.setting.observation_space
        self.action_space = self.setting.action_space
        self._batch = BoundBatch(Batch, self.setting.native, 1, 0, Autoreset.DISABLED, nr_threads=1)
        self._batch.native.set_traced(render_mode == RGB)
        self._step, self._nr_actions = self._batch.native.step_one, self.setting.native.nr_actions
        self._observation = self._batch.observations[0]
        self._mask: npt.NDArray[np.bool_] = self._batch.masks[0]
        self._mask_as_int8 = self._mask.view(np.int8)  # as Gymnasium's samplers take it

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Of this episode and those after it.
            options: ``workload``: the index of a load; ``arrivals``: one of the setting's seeds; ``slots``:
                what permutes the slots. With any of them the others are 0, the first and 0.
        """
        self.begin(self._batch.native, (0,), seed=seed, options=options)
        return self._observation.copy(), {"action_mask": self._mask_as_int8.copy()}

    def episode(self, options: Mapping[str, Any]) -> tuple[int, ...]:
        """Return which load, which arrivals and which slots the options of `reset` mean.

        Raises:
            UsageError: There are none such.
        """
        named = {name: value for name, value in options.items() if name != "slots"}
        return (*super().episode(named), int(options.get("slots", 0)))

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Let the CPU do what the action says, and go on to the next choice.

        Raises:
            UsageError: There is no such action, or the episode has ended.
        """
        try:
            reward, terminated, truncated, elapsed_ns = self._step(nth_action(action, self._nr_actions))
        except BadInputError as error:
            raise UsageError(str(error)) from error
        info: dict[str, Any] = {"action_mask": self._mask_as_int8.copy(), "elapsed_ns": elapsed_ns}
        if terminated or truncated:
            info |= self._end()
        return self._observation.copy(), reward, terminated, truncated, info

    def _end(self) -> dict[str, Any]:
        return {"terms": self._batch.terms_of(0), "nr_masked": int(self._batch.nr_masked[0])}

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return which actions do what they say now; another one lets run who came first."""
        return self._mask.copy()

    def render(self) -> Any:
        """Return the machine as text: what runs where, and who stands in which slot; or as a picture."""
        if self.render_mode is None:
            return None
        now_ns, deciding, running, *_ = self._batch.native.state(0)
        if self.render_mode == RGB:
            return self.picture(self._batch.native, now_ns)
        lines = [f"{now_ns / 1e6:.3f} ms" + ("" if deciding is None else f", CPU {deciding} chooses")]
        lines += [f"  CPU {cpu}: {name or 'idle'}" for cpu, name in enumerate(running)]
        for slot, task in enumerate(self._batch.native.slots(0)):
            if task is not None:
                number, name, cpu, nice, waited_ns, attained_ns, *_ = task
                lines.append(
                    f"  slot {slot}: {name}/{number}, nice {nice}, last on CPU {cpu}, "
                    f"waits for {waited_ns / 1e3:.0f} us, computed {attained_ns / 1e3:.0f} us"
                )
        return "\n".join(lines)
