"""`schedtuna/Migrate-v0`: shall a task go to another CPU's queue, where the kernel's scheduler would take it?

A step is one such migration under `fair`, at a wakeup or by balancing; docs/environments.md states the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from schedtuna.env.actions import nth_action
from schedtuna.env.batch import BoundBatch
from schedtuna.env.load_env import RGB, LoadEnv, Observation
from schedtuna.env.setting import DEFAULT_ARRIVALS, EnvLoad, LoadSetting
from schedtuna.errors import UsageError
from schedtuna.features.table import FEATURES
from schedtuna.sim.native import MIGRATION_FEATURES, Autoreset, BadInputError, MigrateBatch, MigrateSetup
from schedtuna.sim.schedulers import SchedulerSource, chosen_scheduler
from schedtuna.sim.simulation import complete_costs
from schedtuna.sim.topology import MachineShape

ACTIONS = ("stay", "migrate")


@dataclass(frozen=True, kw_only=True)
class MigrateSetting(LoadSetting):
    """The keywords of `schedtuna/Migrate-v0`: those of every environment of the simulated machine.

    Attributes:
        workload: As of all of them; by default one in which tasks wake up at any time.
    """

    workload: EnvLoad = "poisson"

    @cached_property
    def native(self) -> MigrateSetup:
        """What environments share."""
        try:
            return MigrateSetup(
                [load for _, load in self.loads],
                self.seeds,
                self.shape.native(),
                complete_costs(self.costs),
                self.episode_ns,
                self.cost_ns,
                chosen_scheduler(self.scheduler)[0],
                self.weights,
                [FEATURES[name].bins.edges()[1:].tolist() for name in MIGRATION_FEATURES],
            )
        except BadInputError as error:
            raise UsageError(str(error)) from error

    @property
    def observation_space(self) -> spaces.Box:
        """Bins of `MIGRATION_FEATURES`, from 0 to 1."""
        return spaces.Box(0.0, 1.0, (self.native.nr_observed,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        """See `ACTIONS`."""
        return spaces.Discrete(self.native.nr_actions)


class MigrateEnv(LoadEnv):
    """One simulated machine under `fair`, which asks before a task goes from one CPU to another.

    Args:
        workload, cpus, topology, scheduler, decision_ns, reward, arrivals, episode_ms, costs: See
            `LoadSetting`; `scheduler` is `fair`, with or without values.
        seed: Of the episodes until `reset(seed=)` sets another; None: drawn.
        render_mode: See `LoadEnv`.

    Raises:
        UsageError: One of them is none.
    """

    setting: MigrateSetting

    def __init__(
        self,
        *,
        workload: EnvLoad = "poisson",
        cpus: int | None = None,
        topology: MachineShape | str | None = None,
        scheduler: SchedulerSource = "fair",
        decision_ns: int | str = "bpf",
        reward: Mapping[str, float] | None = None,
        seed: int | None = None,
        arrivals: Sequence[int] = DEFAULT_ARRIVALS,
        episode_ms: float = 500.0,
        costs: Mapping[str, int] | None = None,
        render_mode: str | None = None,
    ) -> None:
        setting = MigrateSetting(
            workload=workload,
            cpus=cpus,
            topology=topology,
            scheduler=scheduler,
            decision_ns=decision_ns,
            reward=reward,
            arrivals=arrivals,
            episode_ms=episode_ms,
            costs=costs or {},
        )
        super().__init__(setting, seed=seed, render_mode=render_mode)
        self.observation_space = self.setting.observation_space
        self.action_space = self.setting.action_space
        self._batch = BoundBatch(MigrateBatch, self.setting.native, 1, 0, Autoreset.DISABLED, nr_threads=1)
        self._batch.native.set_traced(render_mode == RGB)
        self._observation = self._batch.observations[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Of this episode and those after it.
            options: ``workload``: the index of a load; ``arrivals``: one of the setting's seeds. With any of
                them the other is the first.
        """
        self.begin(self._batch.native, (0,), seed=seed, options=options)
        return self._observation.copy(), {}

    def episode(self, options: Mapping[str, Any]) -> tuple[int, ...]:
        """Return which load and which arrivals the options of `reset` mean; there are no slots to permute.

        Raises:
            UsageError: There are none such.
        """
        return (*super().episode(options), 0)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Let the task go (1) or stay (0), and go on to the next one.

        Raises:
            UsageError: There is no such action, or the episode has ended.
        """
        try:
            outcome = self._batch.native.step_one(nth_action(action, len(ACTIONS)))
        except BadInputError as error:
            raise UsageError(str(error)) from error
        reward, terminated, truncated, elapsed_ns = outcome
        info: dict[str, Any] = {"elapsed_ns": elapsed_ns}
        if terminated or truncated:
            info["terms"] = self._batch.terms_of(0)
        return self._observation.copy(), reward, terminated, truncated, info

    def render(self) -> Any:
        """Return the decision that is due as a line of text; or as a picture."""
        if self.render_mode is None:
            return None
        now_ns, name, source, destination, wakes, idle, busy, loads = self._batch.native.state(0)
        if self.render_mode == RGB:
            return self.picture(self._batch.native, now_ns)
        if name is None:
            return f"{now_ns / 1e6:.3f} ms: the end"
        why = "wakes up" if wakes else "waits"
        return (
            f"{now_ns / 1e6:.3f} ms: {name} {why} on CPU {source} (used {loads[0] / 10.24:.0f}%), "
            f"and would go to CPU {destination} ({loads[1] / 10.24:.0f}%); {idle} idle, {busy} busy"
        )
