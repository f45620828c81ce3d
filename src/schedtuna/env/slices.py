"""How long may which task run before it is somebody else's turn? `schedtuna/Slice-v0`.

A step sets two slices under `fair`: of tasks that compute little between two sleeps, and of the others. Who
is what is seen from outside, as from /proc: CPU time per voluntary switch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from schedtuna.env.assigning import (
    DISCARD_S,
    DISCRETE,
    NR_ARRIVALS,
    STEP_S,
    STEPS,
    STEPS_PER_LOAD,
    AssigningEnv,
)
from schedtuna.env.course import DEFAULT, LOADS, Look
from schedtuna.errors import UsageError
from schedtuna.sim.loads import LoadSource
from schedtuna.sim.native import TaskState
from schedtuna.sim.schedulers import native_schedulers
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.topology import MachineShape
from schedtuna.space import Assignment, ParameterSpace, ParameterSpec, ParameterType

SLICES_US = (100, 400, 1000, 10_000, 50_000)  # of discrete actions, beside the scheduler's own
LEAST_US, MOST_US = 100, 100_000  # as the kernel clamps them
SPLIT_US = 1000  # CPU time per sleep that is `short` at most
LOOK_MS = 100
SHORT, LONG = "short_slice_us", "long_slice_us"


def own_slice_us(nr_cpus: int) -> int:
    """Return the slice of a task that asks for none, under `fair` as it is (kernel: update_sysctl())."""
    base = native_schedulers()[DEFAULT].parameters["base_slice_us"].default
    assert isinstance(base, int)
    return base * min(nr_cpus, 8).bit_length()


def slice_space(nr_cpus: int) -> ParameterSpace:
    """Return the two slices; their default stands for none that is asked for."""
    own_us = own_slice_us(nr_cpus)
    short = _slice(SHORT, f"{SPLIT_US:,} us at most", own_us)
    return ParameterSpace(specs=(short, _slice(LONG, f"more than {SPLIT_US:,} us", own_us)))


def slice_arms(nr_cpus: int) -> list[Assignment]:
    """Return what discrete actions set: all pairs, the default first."""
    slices = (own_slice_us(nr_cpus), *SLICES_US)
    return [{SHORT: short, LONG: long} for short, long in itertools.product(slices, slices)]


def _slice(name: str, whose: str, own_us: int) -> ParameterSpec:
    return ParameterSpec(
        name=name,
        type=ParameterType.INTEGER,
        default=own_us,
        min_value=LEAST_US,
        max_value=MOST_US,
        log=True,
        unit="us",
        description=f"slice of tasks that compute {whose} per sleep",
    )


class SliceEnv(AssigningEnv):
    """Slices of two kinds of tasks, under `fair`.

    Args:
        workload: The loads of which an episode is made; default: a member of each family.
        cpus, topology, costs: The machine, as for `Simulation`.
        actions: ``discrete``: one of `slice_arms`; ``continuous``: two numbers from -1 to 1,
            each the logarithm of a slice from `LEAST_US` to `MOST_US`.
        split_us: CPU time per sleep up to which a task counts as short.
        look_ms: How often tasks are looked at, and given the slice of what they are.
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
        actions: str = DISCRETE,
        split_us: float = SPLIT_US,
        look_ms: float = LOOK_MS,
        reward: Mapping[str, float] | None = None,
        steps: int = STEPS,
        steps_per_load: int = STEPS_PER_LOAD,
        step_s: float = STEP_S,
        discard_s: float = DISCARD_S,
        nr_arrivals: int = NR_ARRIVALS,
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        nr_cpus = MachineShape.of(None if topology else cpus, topology).nr_cpus
        super().__init__(
            workload,
            space=slice_space(nr_cpus),
            arms=slice_arms(nr_cpus),
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
        if not (split_us > 0 and look_ms >= 1):
            raise UsageError(
                f"split_us={split_us:g}, look_ms={look_ms:g}: expected a positive time, and 1 ms at least"
            )
        self._own_us = own_slice_us(nr_cpus)
        self.split_ns, self.look_ns = round(split_us * 1e3), round(look_ms * 1e6)

    def begin_load(self, simulation_of: Callable[[str], Simulation]) -> Simulation:
        """All loads run under `fair`."""
        self._given: dict[int, int] = {}
        return simulation_of(DEFAULT)

    def look(self) -> tuple[Look | None, int]:
        """Give each task the slice of what it is, unless there is nothing to give or to take back."""
        is_idle = not self._given and self.values == self.space.default()
        return (None, 0) if is_idle else (self._assign, self.look_ns)

    def _assign(self, simulation: Simulation) -> None:
        tallies = simulation.tallies()
        for task in simulation.state().tasks:
            if task.state is TaskState.DEAD or task.is_kthread:
                continue
            if task.slice_ns != self._given.get(task.id, 0):
                continue  # it asks for one itself, which is its own affair
            nr_sleeps = tallies[task.id][2]
            is_short = nr_sleeps > 0 and task.cpu_time_ns <= self.split_ns * nr_sleeps
            if not nr_sleeps and task.cpu_time_ns <= self.split_ns:
                continue  # nothing is known of it yet
            chosen_us = self.values[SHORT if is_short else LONG]
            assert isinstance(chosen_us, int)
            slice_ns = 0 if chosen_us == self._own_us else chosen_us * 1000
            if task.slice_ns != slice_ns:
                simulation.set_attributes(task.id, slice_ns=slice_ns)
                self._given[task.id] = slice_ns
