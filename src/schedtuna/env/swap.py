"""Which scheduler next? `schedtuna/Swap-v0`: a step is a few seconds of a load under the scheduler chosen.

Schedulers take a load over from each other, with all tasks that wait; see `schedtuna.env.course`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from schedtuna.env.course import DEFAULT, LOADS, CourseEnv
from schedtuna.errors import UsageError
from schedtuna.features.loss import SWITCHING, complete_weights
from schedtuna.features.observed import OBSERVED, SWAP_SCHEDULERS
from schedtuna.sim.loads import LoadSource
from schedtuna.sim.schedulers import chosen_scheduler
from schedtuna.sim.simulation import Simulation, complete_costs
from schedtuna.sim.topology import MachineShape

SCHEDULERS = SWAP_SCHEDULERS


class SwapEnv(CourseEnv):
    """Which scheduler next.

    Args:
        workload: The loads of which an episode is made; default: a member of each family.
        cpus, topology, costs: The machine, as for `Simulation`.
        schedulers: Those to choose from: names with or without values. The first step of an episode, and
            the default that all is measured by, is `fair`.
        reward: Weights of the terms of L and of ``switching`` (`schedtuna.features.loss`).
        steps, steps_per_load, step_s, discard_s, nr_arrivals, seed, render_mode: See `CourseEnv`.

    Raises:
        UsageError: A load, scheduler, weight or length is none.
    """

    def __init__(
        self,
        workload: LoadSource | Sequence[LoadSource] = LOADS,
        *,
        cpus: int | None = 4,
        topology: MachineShape | str | None = None,
        costs: Mapping[str, int] | None = None,
        schedulers: Sequence[str] = SCHEDULERS,
        reward: Mapping[str, float] | None = None,
        steps: int = 12,
        steps_per_load: int = 3,
        step_s: float = 5.0,
        discard_s: float = 2.0,
        nr_arrivals: int = 8,
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            workload,
            cpus=cpus,
            topology=topology,
            costs=costs,
            weights=complete_weights(reward),
            steps=steps,
            steps_per_load=steps_per_load,
            step_s=step_s,
            discard_s=discard_s,
            nr_arrivals=nr_arrivals,
            seed=seed,
            render_mode=render_mode,
        )
        self.schedulers = tuple(schedulers)
        if len(self.schedulers) < 2:
            raise UsageError("there is nothing to choose: name two schedulers or more")
        for scheduler in self.schedulers:
            chosen_scheduler(scheduler)
        self.action_space: spaces.Discrete = spaces.Discrete(len(self.schedulers))
        self.may_be_on = tuple(dict.fromkeys((DEFAULT, *self.schedulers)))
        self.observed = spaces.Box(0, 1, (len(OBSERVED) + len(self.may_be_on),), np.float32)
        self.observation_space = self.observed

    def forget(self) -> None:
        """An episode begins under `fair`."""
        self._current = DEFAULT

    def begin_load(self, simulation_of: Callable[[str], Simulation]) -> Simulation:
        """The scheduler that is on schedules the next load, too."""
        return simulation_of(self._current)

    def decide(self, simulation: Simulation, action: Any) -> tuple[str, float, dict[str, Any]]:
        """Let a scheduler take over, or go on."""
        chosen = self.schedulers[int(action)]
        swapped = chosen != self._current
        if swapped:
            simulation.swap(chosen)
            self._current = chosen
        paid = self.weights[SWITCHING.name] * swapped * self._swap_share
        return chosen, paid, {"scheduler": chosen, "swapped": swapped}

    def in_force(self) -> list[float]:
        """Which scheduler is on."""
        return [float(name == self._current) for name in self.may_be_on]

    @cached_property
    def _swap_share(self) -> float:
        return min(complete_costs(self.machine["costs"] or {})["swap_ns"] / self.step_ns, 1.0)
