"""With which parameters does a scheduler run? `schedtuna/Params-v0`: a step sets them while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from schedtuna.backend.places.simulated import KNOBS
from schedtuna.env.assigning import (
    DISCARD_S,
    DISCRETE,
    NR_ARRIVALS,
    STEP_S,
    STEPS,
    STEPS_PER_LOAD,
    AssigningEnv,
)
from schedtuna.env.batch import whole_number
from schedtuna.env.course import DEFAULT, LOADS
from schedtuna.errors import UsageError
from schedtuna.sim.loads import LoadSource
from schedtuna.sim.schedulers import native_schedulers, parsed_scheduler
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.topology import MachineShape
from schedtuna.space import Assignment, ParameterSpace

NR_ARMS, MOST_ARMS = 16, 4096
_ARMS_SEED = 0  # the arms are the same for everybody


def params_space(scheduler: str) -> ParameterSpace:
    """Return the parameters of a scheduler of the simulator that can be set while it runs.

    Of `fair` they are those that a machine lets one set.

    Raises:
        UsageError: There is no such scheduler, or nothing of it can be set.
    """
    found = parsed_scheduler(scheduler)
    if found.name not in native_schedulers():
        raise UsageError(f"the parameters of {found.name} hold from its beginning on")
    names = KNOBS if found.name == DEFAULT else found.parameters
    if not names:
        hot = ", ".join(name for name, row in native_schedulers().items() if row.parameters)
        raise UsageError(f"{found.name} has no parameters", hint=f"scheduler= one of {hot}")
    stated = {name: row.default for name, row in found.parameters.items()} | dict(found.values)
    specs = [found.parameters[name].model_copy(update={"default": stated[name]}) for name in names]
    return ParameterSpace(specs=tuple(specs))


class ParamsEnv(AssigningEnv):
    """Parameters of a simulated scheduler, set while it runs.

    Args:
        workload: The loads of which an episode is made; default: a member of each family.
        cpus, topology, costs: The machine, as for `Simulation`.
        scheduler: Whose parameters; values that are given here are what an episode begins with. All is
            measured by `fair` as it is.
        actions: ``discrete``: one of `nr_arms` assignments that are spread out over the space, the first of
            which is the one that an episode begins with; ``continuous``: a point of the cube [-1, 1].
        nr_arms: As said.
        reward: Weights of the terms of L (`schedtuna.features.loss`), without ``switching``.
        steps, steps_per_load, step_s, discard_s, nr_arrivals, seed, render_mode: See `CourseEnv`.

    Raises:
        UsageError: One of them is none.
    """

    def __init__(
        self,
        workload: LoadSource | Sequence[LoadSource] = LOADS,
        *,
        cpus: int | None = 4,
        topology: MachineShape | str | None = None,
        costs: Mapping[str, int] | None = None,
        scheduler: str = DEFAULT,
        actions: str = DISCRETE,
        nr_arms: int = NR_ARMS,
        reward: Mapping[str, float] | None = None,
        steps: int = STEPS,
        steps_per_load: int = STEPS_PER_LOAD,
        step_s: float = STEP_S,
        discard_s: float = DISCARD_S,
        nr_arrivals: int = NR_ARRIVALS,
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        space = params_space(scheduler)
        arms = space.candidates(
            whole_number("nr_arms", nr_arms, 2, MOST_ARMS), np.random.default_rng(_ARMS_SEED)
        )
        super().__init__(
            workload,
            space=space,
            arms=arms,
            actions=actions,
            reward=reward,
            cpus=cpus,
            topology=topology,
            costs=costs,
            steps=steps,
            steps_per_load=steps_per_load,
            step_s=step_s,
            discard_s=discard_s,
            nr_arrivals=nr_arrivals,
            seed=seed,
            render_mode=render_mode,
        )
        self.scheduler = scheduler
        self.scheduler_name = parsed_scheduler(scheduler).name

    def begin_load(self, simulation_of: Callable[[str], Simulation]) -> Simulation:
        """The next load begins with the values that are in force."""
        simulation = simulation_of(self.scheduler)
        simulation.set_parameters(self.values)
        return simulation

    def put(self, simulation: Simulation, values: Assignment) -> None:
        """Set them while it runs."""
        simulation.set_parameters(values)
