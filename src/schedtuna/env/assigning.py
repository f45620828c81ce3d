"""What do `schedtuna/Slice-v0` and `schedtuna/Params-v0` share? An action is an assignment of parameters.

Nearly a bandit: what an assignment does to a load shows within its own step, and little of it lasts. So the
best assignment that never changes, and LinUCB, are what a policy is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from schedtuna.env.course import CourseEnv
from schedtuna.errors import UsageError
from schedtuna.features.loss import LOSS_TERMS, SWITCHING, WEIGHTS, complete_weights
from schedtuna.features.observed import OBSERVED
from schedtuna.sim.loads import LoadSource
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.topology import MachineShape
from schedtuna.space import Assignment, ParameterSpace, spell_assignment

DISCRETE, CONTINUOUS = "discrete", "continuous"
STEPS, STEPS_PER_LOAD, STEP_S, DISCARD_S, NR_ARRIVALS = 12, 4, 1.0, 0.2, 8


class AssigningEnv(CourseEnv):
    """Loads, and somebody who sets parameters before each step.

    Args:
        workload, cpus, topology, costs: See `CourseEnv`.
        space: Of the assignments; its default is in force when an episode begins.
        arms: Those that discrete actions are the numbers of; the first is the default.
        actions: ``discrete``, or ``continuous``: points of the cube [-1, 1].
        reward: Weights of the terms of L; a change costs nothing, so nothing weighs ``switching``.
        steps, steps_per_load, step_s, discard_s, nr_arrivals, seed, render_mode: See `CourseEnv`.

    Raises:
        UsageError: One of them is none.
    """

    def __init__(
        self,
        workload: LoadSource | Sequence[LoadSource],
        *,
        space: ParameterSpace,
        arms: Sequence[Assignment],
        actions: str,
        reward: Mapping[str, float] | None,
        cpus: int | None,
        topology: MachineShape | str | None,
        costs: Mapping[str, int] | None,
        steps: int,
        steps_per_load: int,
        step_s: float,
        discard_s: float,
        nr_arrivals: int,
        seed: int,
        render_mode: str | None,
    ) -> None:
        if actions not in (DISCRETE, CONTINUOUS):
            raise UsageError(f"actions={actions!r}: expected {DISCRETE} or {CONTINUOUS}")
        if (reward or {}).get(SWITCHING.name):
            raise UsageError(
                f"reward: {SWITCHING.name} weighs nothing here: to set a parameter takes no time that shows",
                hint=f"weigh {', '.join(term.name for term in LOSS_TERMS)}",
            )
        super().__init__(
            workload,
            cpus=cpus,
            topology=topology,
            costs=costs,
            weights=complete_weights(WEIGHTS if reward is None else reward) | {SWITCHING.name: 0.0},
            steps=steps,
            steps_per_load=steps_per_load,
            step_s=step_s,
            discard_s=discard_s,
            nr_arrivals=nr_arrivals,
            seed=seed,
            render_mode=render_mode,
        )
        self.space = space
        self.arms = [dict(arm) for arm in arms]
        if actions == DISCRETE:
            self.action_space: spaces.Space[Any] = spaces.Discrete(len(self.arms))
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (space.unit_size,), np.float32)
        self.observed = spaces.Box(0, 1, (len(OBSERVED) + space.unit_size,), np.float32)
        self.observation_space = self.observed
        self.forget()

    def put(self, simulation: Simulation, values: Assignment) -> None:
        """Let these values be in force in a load that runs, where they are not put otherwise (`look`)."""

    def forget(self) -> None:
        """An episode begins with the default."""
        self.values: Assignment = self.space.default()

    def decide(self, simulation: Simulation, action: Any) -> tuple[str, float, dict[str, Any]]:
        """Put an assignment in force."""
        self.values = self.assignment(action)
        self.put(simulation, self.values)
        return spell_assignment(self.values, ","), 0.0, {"values": dict(self.values)}

    def assignment(self, action: Any) -> Assignment:
        """Return what an action sets."""
        if isinstance(self.action_space, spaces.Discrete):
            return self.arms[int(action)]
        return self.space.from_unit((np.asarray(action, float) + 1) / 2)

    def in_force(self) -> list[float]:
        """The values as a point of the unit cube."""
        return [float(number) for number in self.space.to_unit(self.values)]
