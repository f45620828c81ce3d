"""Which scheduler next? `schedtuna/Swap-v0`: a step is a few seconds of a load under the scheduler chosen.

An episode is a sequence of loads, each of which goes on for some steps while schedulers take it over from
each other, with all tasks that wait. What is observed are the features of the step before, behind the part
of it that is discarded, and which scheduler is on: a host's samples have them, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from schedtuna.errors import SimulationError, UsageError
from schedtuna.features.loss import LOSS_TERMS, SWITCHING, complete_weights, loss, window_figures
from schedtuna.features.table import feature
from schedtuna.features.told import TOLD, told_samples
from schedtuna.features.windows import Window, windows
from schedtuna.sim.loads import LoadSource
from schedtuna.sim.native import Stop
from schedtuna.sim.schedulers import chosen_scheduler
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.topology import MachineShape
from schedtuna.trace.intervals import intervals
from schedtuna.trace.schema import EventArray

DEFAULT = "fair"
SCHEDULERS = (DEFAULT, "rr:slice_us=3000", "fifo", "las", "mlfq", "vtime", "interactive")
LOADS = (
    "poisson:load=0.7",
    "heavy-tail:load=0.7",
    "bursts:load=0.5",
    "interactive:load=0.6",
    "barrier:load=0.8",
    "ping-pong:load=0.8",
    "fork-join:load=0.7",
)
# Observed: each feature's average over the window, and its change in it.
OBSERVED = tuple(name for base in TOLD for name in (base, f"{base}.percent_change"))
_SAMPLES_PER_WINDOW = 3
Observation = npt.NDArray[np.float32]


@dataclass
class _Course:
    """A load from its beginning, step by step, whoever schedules it.

    Attributes:
        simulation: Of it, traced.
        step_ns, discard_ns: How long a step is, and how much of its beginning is left out.
        figures: The terms of L of each step so far.
        seen: What samples of the last step tell.
    """

    simulation: Simulation
    step_ns: int
    discard_ns: int
    figures: list[dict[str, float]] = field(default_factory=list)
    seen: Window | None = None
    _events: list[EventArray] = field(default_factory=list)

    def go_on(self) -> None:
        """Simulate the next step.

        Raises:
            SimulationError: Its tasks wait for each other for ever.
        """
        simulation, begin_ns = self.simulation, len(self.figures) * self.step_ns
        end_ns, nr_cpus = begin_ns + self.step_ns, simulation.shape.nr_cpus
        if simulation.run(end_ns) is Stop.DEADLOCK:
            raise SimulationError(
                f"the load {simulation.load_facts['name']} is stuck: {simulation.waiting()}",
                hint="mend it, or leave it out",
            )
        self._events.append(simulation.take_events())
        events = np.concatenate(self._events)
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


class SwapEnv(gymnasium.Env[Observation, np.int64]):
    """Which scheduler next.

    Args:
        workload: The loads of which an episode is made; default: a member of each family.
        cpus, topology, costs: The machine, as for `Simulation`.
        schedulers: Those to choose from: names with or without values. The first step of an episode, and
            the default that all is measured by, is `fair`.
        reward: Weights of the terms of L and of ``switching`` (`schedtuna.features.loss`).
        steps: Of an episode, which is truncated then.
        steps_per_load: After how many the next load begins, under the scheduler that is on.
        step_s: Simulated seconds of a step.
        discard_s: How much of its beginning neither counts nor is observed.
        nr_arrivals: How many draws of arrivals each load has.
        seed: Of the episodes, until `reset(seed=)` gives another.

    Raises:
        UsageError: A load, scheduler, weight or length is none.
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012 - Gymnasium's own declaration

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
        self.loads: list[LoadSource] = (
            list(workload) if isinstance(workload, Sequence) and not isinstance(workload, str) else [workload]
        )
        self.schedulers = tuple(schedulers)
        self.weights = complete_weights(reward)
        if min(len(self.loads), steps, steps_per_load, nr_arrivals) < 1:
            raise UsageError("an episode has at least one load, one step of each, and one draw of arrivals")
        if not 0 <= discard_s < step_s:
            raise UsageError(f"of a step of {step_s:g} s, {discard_s:g} s can't be discarded")
        if len(self.schedulers) < 2:
            raise UsageError("there is nothing to choose: name two schedulers or more")
        for scheduler in self.schedulers:
            chosen_scheduler(scheduler)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UsageError(f"there is no render mode {render_mode!r}", hint="ansi")
        self.machine: dict[str, Any] = {
            "cpus": None if topology else cpus,
            "topology": topology,
            "costs": costs,
        }
        self.steps, self.steps_per_load, self.nr_arrivals = steps, steps_per_load, nr_arrivals
        self.step_ns, self.discard_ns = round(step_s * 1e9), round(discard_s * 1e9)
        self.render_mode = render_mode
        self.action_space: spaces.Discrete = spaces.Discrete(len(self.schedulers))
        self.may_be_on = tuple(dict.fromkeys((DEFAULT, *self.schedulers)))
        self.observed = spaces.Box(0, 1, (len(OBSERVED) + len(self.may_be_on),), np.float32)
        self.observation_space = self.observed
        self.defaults = Defaults()
        self._first_seed: int | None = seed
        self._nth_step = 0
        self._course: _Course | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the first load has gone on for a step under `fair`."""
        super().reset(seed=self._first_seed if seed is None else seed, options=options)
        self._first_seed = None
        self._current = DEFAULT
        self._nth_step, self._last = 0, ""
        self._draw()
        self._go_on()
        return self._observation(), {"load": str(self.loads[self._drawn[0]])}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Let a scheduler take over, or go on, for a step.

        Raises:
            UsageError: There is no such action, or the episode has ended.
        """
        if self._course is None or self._nth_step >= self.steps:
            raise UsageError("the episode has ended: reset() begins the next one")
        if not self.action_space.contains(np.int64(action)):
            raise UsageError(f"action {action}: expected 0 to {len(self.schedulers) - 1}")
        chosen = self.schedulers[int(action)]
        self._nth_step += 1
        if len(self._course.figures) == self.steps_per_load:
            self._draw()
        swapped = chosen != self._current
        if swapped:
            self._course.simulation.swap(chosen)
            self._current = chosen
        self._go_on()
        figures, default = self._course.figures[-1], self._default_figures()
        total = sum(self.weights[term.name] for term in LOSS_TERMS)
        lost = loss(figures, default, self.weights)
        paid = self.weights[SWITCHING.name] * swapped * self._swap_share
        reward = (total - lost - paid) / total
        info = {
            "load": str(self.loads[self._drawn[0]]),
            "scheduler": chosen,
            "swapped": swapped,
            "loss": lost,
            "figures": figures,
            "default": default,
            "elapsed_ns": self.step_ns,
        }
        self._last = f"{info['load']}: {chosen}, L {lost:.3f} of {total:g}, reward {reward:+.3f}"
        return self._observation(), reward, False, self._nth_step >= self.steps, info

    def render(self) -> str | None:
        """Return the last step in a line."""
        return f"step {self._nth_step} of {self.steps}: {self._last}" if self.render_mode else None

    @cached_property
    def _swap_share(self) -> float:
        assert self._course is not None
        return min(self._course.simulation.costs["swap_ns"] / self.step_ns, 1.0)

    def _draw(self) -> None:
        """Begin the next load, under the scheduler that is on."""
        rng = self.np_random
        self._drawn = (int(rng.integers(len(self.loads))), int(rng.integers(self.nr_arrivals)))
        self._course = self._begun(self._drawn, self._current)

    def _begun(self, drawn: tuple[int, int], scheduler: str) -> _Course:
        load, arrival = drawn
        simulation = Simulation(
            self.loads[load],
            scheduler,
            seed=1 + arrival,
            duration_s=self.steps_per_load * self.step_ns / 1e9,
            traced=True,
            **self.machine,
        )
        return _Course(simulation, self.step_ns, self.discard_ns)

    def _go_on(self) -> None:
        assert self._course is not None
        self._course.go_on()

    def _default_figures(self) -> dict[str, float]:
        """Return what the default scheduler makes of the step, alone since the load began; simulated once."""
        assert self._course is not None
        figures = self.defaults.of(self._drawn, self._default_course)
        return figures[len(self._course.figures) - 1]

    def _default_course(self) -> list[dict[str, float]]:
        default = self._begun(self._drawn, DEFAULT)
        for _ in range(self.steps_per_load):
            default.go_on()
        return default.figures

    def _observation(self) -> Observation:
        assert self._course is not None and self._course.seen is not None
        values: list[float] = []
        for name in TOLD:
            told = self._course.seen.features[name]
            values += [_scaled(name, told.average), _scaled(f"{name}.percent_change", told.percent_change)]
        return np.array([*values, *(float(name == self._current) for name in self.may_be_on)], np.float32)


def _scaled(name: str, value: float | None) -> float:
    """A feature's bin, from 0 to 1; unknown is the bin of 0."""
    bins = feature(name).bins
    return float(bins.quantise(np.array([int(value or 0)]))[0]) / (bins.nr_bins - 1)
