"""What do environments have in common whose steps are stretches of a load, and whose episodes are several?

A load goes on for some steps, whoever decides and whatever about it; then the next one begins, under what is
in force. What is observed are the features of the step before, behind the part of it that is discarded, and
what is in force: a host's samples have them, too. The reward is L of `schedtuna.features.loss`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from schedtuna.env.actions import nth_action
from schedtuna.env.gantt import strip
from schedtuna.errors import SimulationError, UsageError
from schedtuna.features.loss import LOSS_TERMS, loss, window_figures
from schedtuna.features.observed import window_numbers
from schedtuna.features.told import TOLD, told_samples
from schedtuna.features.windows import Window, windows
from schedtuna.sim.loads import LoadSource
from schedtuna.sim.native import Stop
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.topology import MachineShape
from schedtuna.trace.intervals import intervals
from schedtuna.trace.schema import EventArray

DEFAULT = "fair"
LOADS = (
    "poisson:load=0.7",
    "heavy-tail:load=0.7",
    "bursts:load=0.5",
    "interactive:load=0.6",
    "barrier:load=0.8",
    "ping-pong:load=0.8",
    "fork-join:load=0.7",
)
_SAMPLES_PER_WINDOW = 3
RENDER_MODES = ("ansi", "rgb_array")
Observation = npt.NDArray[np.float32]
Look = Callable[[Simulation], None]


@dataclass
class Course:
    """A load from its beginning, step by step, whoever schedules it.

    Attributes:
        simulation: Of it, traced.
        step_ns, discard_ns: How long a step is, and how much of its beginning is left out.
        figures: The terms of L of each step so far.
        seen: What samples of the last step tell.
        events: Of each step.
    """

    simulation: Simulation
    step_ns: int
    discard_ns: int
    figures: list[dict[str, float]] = field(default_factory=list)
    seen: Window | None = None
    events: list[EventArray] = field(default_factory=list)

    def go_on(self, look: Look | None = None, look_ns: int = 0) -> None:
        """Simulate the next step.

        Args:
            look: Is called at its beginning, and then every `look_ns`.
            look_ns: As said.

        Raises:
            SimulationError: Its tasks wait for each other for ever.
        """
        simulation, begin_ns = self.simulation, len(self.figures) * self.step_ns
        end_ns, nr_cpus = begin_ns + self.step_ns, simulation.shape.nr_cpus
        if look is not None:
            for at_ns in range(begin_ns, end_ns, look_ns):
                self._run(at_ns)
                look(simulation)
        self._run(end_ns)
        self.events.append(simulation.take_events())
        events = np.concatenate(self.events)
        found = intervals(events, start_ns=0, end_ns=end_ns).sorted()
        first_ns = begin_ns + self.discard_ns
        weights = {task.id + 1: task.weight for task in simulation.state().tasks}
        self.figures.append(window_figures(found, first_ns, end_ns, nr_cpus=nr_cpus, weights=weights))
        times = np.linspace(first_ns, end_ns, _SAMPLES_PER_WINDOW + 1).astype(np.int64).tolist()
        samples = told_samples(found, events, times, begin_ns=begin_ns, nr_cpus=nr_cpus)
        (self.seen,) = windows(
            samples,
            TOLD,
            length_s=self.step_ns / 1e9,
            discard_s=self.discard_ns / 1e9,
            begin_ns=begin_ns,
        )

    def _run(self, until_ns: int) -> None:
        if self.simulation.run(until_ns) is Stop.DEADLOCK:
            raise SimulationError(
                f"the load {self.simulation.load_facts['name']} is stuck: {self.simulation.waiting()}",
                hint="mend it, or leave it out",
            )


class Defaults:
    """What the default scheduler makes of each load and draw of arrivals, simulated once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], list[dict[str, float]]] = {}
        self._locks: defaultdict[tuple[int, int], Lock] = defaultdict(Lock)

    def of(
        self, drawn: tuple[int, int], simulate: Callable[[], list[dict[str, float]]]
    ) -> list[dict[str, float]]:
        """Return the terms of L of each step; others who ask for the same wait until they are known."""
        with self._locks[drawn]:
            if drawn not in self._known:
                self._known[drawn] = simulate()
            return self._known[drawn]


class CourseEnv(gymnasium.Env[Observation, Any]):
    """Loads that go on step by step, and somebody who decides before each step.

    Args:
        workload: The loads of which an episode is made; default: a member of each family.
        cpus, topology, costs: The machine, as for `Simulation`.
        weights: Of the terms of L, complete.
        steps: Of an episode, which is truncated then.
        steps_per_load: After how many the next load begins, under what is in force.
        step_s: Simulated seconds of a step.
        discard_s: How much of its beginning neither counts nor is observed.
        nr_arrivals: How many draws of arrivals each load has.
        seed: Of the episodes, until `reset(seed=)` gives another.
        render_mode: ``ansi``: the last step in a line; ``rgb_array``: it as a picture; None.

    Raises:
        UsageError: A load or length is none.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012 - Gymnasium's own declaration
    action_space: spaces.Space[Any]
    observed: spaces.Box

    def __init__(
        self,
        workload: LoadSource | Sequence[LoadSource],
        *,
        cpus: int | None,
        topology: MachineShape | str | None,
        costs: Mapping[str, int] | None,
        weights: Mapping[str, float],
        steps: int,
        steps_per_load: int,
        step_s: float,
        discard_s: float,
        nr_arrivals: int,
        seed: int,
        render_mode: str | None,
    ) -> None:
        self.loads: list[LoadSource] = (
            list(workload) if isinstance(workload, Sequence) and not isinstance(workload, str) else [workload]
        )
        self.weights = dict(weights)
        if min(len(self.loads), steps, steps_per_load, nr_arrivals) < 1:
            raise UsageError("an episode has at least one load, one step of each, and one draw of arrivals")
        if not 0 <= discard_s < step_s:
            raise UsageError(f"of a step of {step_s:g} s, {discard_s:g} s can't be discarded")
        if render_mode not in (None, *RENDER_MODES):
            raise UsageError(f"there is no render mode {render_mode!r}", hint=", ".join(RENDER_MODES))
        self.machine: dict[str, Any] = {
            "cpus": None if topology else cpus,
            "topology": topology,
            "costs": costs,
        }
        self.steps, self.steps_per_load, self.nr_arrivals = steps, steps_per_load, nr_arrivals
        self.step_ns, self.discard_ns = round(step_s * 1e9), round(discard_s * 1e9)
        self.render_mode = render_mode
        self.defaults = Defaults()
        self._first_seed: int | None = seed
        self._nth_step = 0
        self._course: Course | None = None

    @property
    def nr_cpus(self) -> int:
        """How many CPUs the machine has, once an episode has begun."""
        assert self._course is not None
        return self._course.simulation.shape.nr_cpus

    @abstractmethod
    def forget(self) -> None:
        """Put what is in force back to what an episode begins with."""

    @abstractmethod
    def decide(self, simulation: Simulation, action: Any) -> tuple[str, float, dict[str, Any]]:
        """Put an action in force.

        Returns:
            What it is in words, what it costs in units of L, and what `info` tells of it.

        Raises:
            UsageError: There is no such action.
        """

    @abstractmethod
    def in_force(self) -> list[float]:
        """Return what is in force as numbers from 0 to 1, which are observed."""

    @abstractmethod
    def begin_load(self, simulation_of: Callable[[str], Simulation]) -> Simulation:
        """Return a load's beginning under what is in force; `simulation_of` makes it under a scheduler."""

    def look(self) -> tuple[Look | None, int]:
        """Return what looks at the tasks during a step, and every how many ns; None: nothing does."""
        return None, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the first load has gone on for a step as it does by default."""
        super().reset(seed=self._first_seed if seed is None else seed, options=options)
        self._first_seed = None
        self.forget()
        self._nth_step, self._last = 0, ""
        self._draw()
        self._go_on()
        return self._observation(), {"load": str(self.loads[self._drawn[0]]), "seen": self._averages()}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Put an action in force, and go on for a step.

        Raises:
            UsageError: There is no such action, or the episode has ended.
        """
        if self._course is None or self._nth_step >= self.steps:
            raise UsageError("the episode has ended: reset() begins the next one")
        self.require_action(action)
        self._nth_step += 1
        if len(self._course.figures) == self.steps_per_load:
            self._draw()
        name, paid, told = self.decide(self._course.simulation, action)
        self._go_on()
        figures, default = self._course.figures[-1], self._default_figures()
        total = sum(self.weights[term.name] for term in LOSS_TERMS)
        lost = loss(figures, default, self.weights)
        reward = (total - lost - paid) / total
        load = str(self.loads[self._drawn[0]])
        info = {"load": load, **told, "loss": lost, "figures": figures, "default": default}
        info |= {"elapsed_ns": self.step_ns, "seen": self._averages()}
        self._last = f"{load}: {name}, L {lost:.3f} of {total:g}, reward {reward:+.3f}"
        return self._observation(), reward, False, self._nth_step >= self.steps, info

    def require_action(self, action: Any) -> None:
        """Refuse what is no action.

        Raises:
            UsageError: It is none.
        """
        if not isinstance(self.action_space, spaces.Discrete):
            if not self.action_space.contains(np.asarray(action, np.float32)):
                raise UsageError(f"action {action}: expected {self.action_space.shape} numbers from -1 to 1")
        else:
            nth_action(action, int(self.action_space.n))

    def render(self) -> Any:
        """Return the last step in a line, or as a picture (height, width, 3) of who ran on which CPU."""
        if self.render_mode == "ansi":
            return f"step {self._nth_step} of {self.steps}: {self._last}"
        if self.render_mode is None or self._course is None:
            return None
        end_ns = len(self._course.figures) * self.step_ns
        return strip(
            np.concatenate(self._course.events),
            nr_cpus=self._course.simulation.shape.nr_cpus,
            begin_ns=end_ns - self.step_ns,
            end_ns=end_ns,
        )

    def _draw(self) -> None:
        """Begin the next load, under what is in force."""
        rng = self.np_random
        self._drawn = (int(rng.integers(len(self.loads))), int(rng.integers(self.nr_arrivals)))
        simulation = self.begin_load(lambda scheduler: self._begun(self._drawn, scheduler))
        self._course = Course(simulation, self.step_ns, self.discard_ns)

    def _begun(self, drawn: tuple[int, int], scheduler: str) -> Simulation:
        load, arrival = drawn
        return Simulation(
            self.loads[load],
            scheduler,
            seed=1 + arrival,
            duration_s=self.steps_per_load * self.step_ns / 1e9,
            traced=True,
            **self.machine,
        )

    def _go_on(self) -> None:
        assert self._course is not None
        self._course.go_on(*self.look())

    def _default_figures(self) -> dict[str, float]:
        """Return what the default scheduler makes of the step, alone since the load began; simulated once."""
        assert self._course is not None
        figures = self.defaults.of(self._drawn, self._default_course)
        return figures[len(self._course.figures) - 1]

    def _default_course(self) -> list[dict[str, float]]:
        default = Course(self._begun(self._drawn, DEFAULT), self.step_ns, self.discard_ns)
        for _ in range(self.steps_per_load):
            default.go_on()
        return default.figures

    def _observation(self) -> Observation:
        assert self._course is not None and self._course.seen is not None
        return np.array([*window_numbers(self._course.seen.features), *self.in_force()], np.float32)

    def _averages(self) -> dict[str, float]:
        """What was seen, in the features' own units, as far as it is known."""
        assert self._course is not None and self._course.seen is not None
        found = self._course.seen.features
        return {name: one.average for name, one in found.items() if one.average is not None}
