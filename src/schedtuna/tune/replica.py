"""A study's command in the model: which settings of the machine are there, and what does a run come to?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from schedtuna.backend.places.simulated import KNOBS
from schedtuna.kernel.slices import slice_scale
from schedtuna.scheduler.fair import NAME as FAIR
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.sim.flat import FlatArray, FlatLoad
from schedtuna.sim.lives import BoolArray
from schedtuna.sim.loads import LoadSource, with_recording
from schedtuna.sim.native import Policy
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.replay import figures
from schedtuna.sim.schedulers import parsed_scheduler
from schedtuna.sim.simulation import Simulation, complete_costs
from schedtuna.sim.topology import MachineShape
from schedtuna.sim.traced import simulate
from schedtuna.space import ParameterValue
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.trace import Trace

Values = Mapping[str, ParameterValue]

MOST_LONGER = 2  # times as long as the recording
FINISH = "finish_ns"  # from when the first of its tasks is there until the last has exited
_COMMAND, _OTHERS = "command", "others"  # what tasks are called in the model
# Attributes of tasks: the knob, and what simulations call it.
_ATTRIBUTES: dict[str, tuple[str, Callable[[Any], int]]] = {
    "slice_us": ("slice_ns", lambda us: 1000 * us),
    "nice": ("nice", lambda nice: nice),
    "policy": ("policy", lambda name: Policy[name.upper()].value),
}
_BASE_SLICE = "base_slice_us"


class Replica:
    """A load that stands for a command, on a simulated machine under `fair`.

    Args:
        source: The load.
        scheduler: `fair` with what is searched of it.
        shape: The machine.
        costs: Its constants that differ from the defaults.
        whose: Which tasks of a recording are set, and measured.
        is_model: Whether the parameters are the model's own.

    Attributes:
        parameters: Those that the model has.
        is_drawn: Whether the load draws anew with every seed.
        end_ns: How long a recording is simulated, which may go on after its end; None: a load that draws
            says so itself.
    """

    def __init__(
        self,
        source: LoadSource,
        scheduler: SchedulerConfig,
        *,
        shape: MachineShape,
        costs: Mapping[str, int],
        whose: Callable[[RecordedLoad], BoolArray],
        is_model: bool = False,
    ) -> None:
        self._source, self._space = with_recording(source), scheduler.space
        self._shape, self._costs = shape, dict(costs)
        self._model = parsed_scheduler(FAIR)
        self._names = {name: name for name in self._model.parameters}
        if not is_model:
            self._names = {knob: name for name, knob in KNOBS.items() if knob not in _ATTRIBUTES}
            self._names[_BASE_SLICE] = _BASE_SLICE
        self._scale = 1 if is_model else slice_scale(shape.nr_cpus)
        known = {*self._names, *_ATTRIBUTES}
        self.parameters = tuple(name for name in scheduler.parameters if name in known)
        self.is_drawn = not isinstance(self._source, RecordedLoad)
        self.end_ns: int | None = None
        self._flats: dict[frozenset[str], FlatLoad] = {}
        if isinstance(self._source, RecordedLoad):
            self._command = whose(self._source)
            self.end_ns = self._source.duration_ns

    def go_on_to_its_end(self) -> None:
        """Simulate a recording until its tasks have exited, however long they take.

        They sleep as long as they did then: woken up at the times at which they were, they could not be done
        any earlier.
        """
        if isinstance(self._source, RecordedLoad):
            self._source, self._flats = self._source.with_loop("closed"), {}
            self.end_ns = MOST_LONGER * self._source.duration_ns

    @property
    def has_tasks(self) -> bool:
        """Whether any task is set."""
        return self.is_drawn or bool(self._command.any())

    def run(self, values: Values, *, seed: int) -> dict[str, float | None]:
        """Simulate it under a complete assignment, and return the figures of its tasks.

        Raises:
            SimulationError: Tasks wait for each other for ever.
            UsageError: The load can't be simulated.
        """
        attributes = self._attributes(values)
        source, on_start = self._source, None
        if isinstance(source, RecordedLoad):
            source = self._flat(source, attributes)
        else:

            def on_start(simulation: Simulation) -> None:
                for task in simulation.state().tasks:
                    if not task.is_kthread:
                        simulation.set_attributes(task.id, **_typed(attributes))

        trace = simulate(
            source,
            self._scheduler(values),
            topology=self._shape,
            seed=seed,
            costs=self._costs,
            duration_s=None if self.end_ns is None else self.end_ns / 1e9,
            on_start=on_start,
        )
        found = Analysis(trace)
        told = found.overall(kthreads=False) if self.is_drawn else dict(figures(found, _COMMAND))
        return told | {FINISH: self._finish_ns(trace)}

    def _scheduler(self, values: Values) -> SchedulerConfig:
        chosen: dict[str, Any] = {}
        for name, own in self._names.items():
            if name in values:
                spec, value = self._model.parameters[own], values[name]
                if name == _BASE_SLICE and isinstance(value, int):
                    value = int(np.clip(value // self._scale, spec.min_value or 0, spec.max_value or value))
                chosen[own] = value
        return self._model.with_values(chosen)

    def _attributes(self, values: Values) -> dict[str, int]:
        """What the tasks are set to; nothing where a value is the default, which may differ among them."""
        return {
            name: number(values[knob])
            for knob, (name, number) in _ATTRIBUTES.items()
            if knob in self.parameters and values[knob] != self._space[knob].default
        }

    def _flat(self, load: RecordedLoad, attributes: Mapping[str, int]) -> FlatLoad:
        kept = frozenset(attributes)
        if kept not in self._flats:
            costs = complete_costs(self._costs)
            flat = load.flat(self._shape.nr_cpus, costs, kept=dict.fromkeys(kept, self._command))
            names = [_COMMAND if each else _OTHERS for each in self._command]
            self._flats[kept] = replace(flat, names=names, duration_ns=MOST_LONGER * flat.duration_ns)
        flat = self._flats[kept]
        tasks: FlatArray = flat.tasks.copy()
        for name, value in attributes.items():
            tasks[name][self._command] = value
        return replace(flat, tasks=tasks)

    def _finish_ns(self, trace: Trace) -> float | None:
        table = trace.tasks
        own = table.filter(~table["is_kthread"] if self.is_drawn else table["comm"] == _COMMAND)
        exits, starts = own["exit_ns"].to_list(), own["start_time_ns"].to_list()
        return None if None in exits or not exits else float(max(exits) - min(starts))


def _typed(attributes: Mapping[str, int]) -> dict[str, Any]:
    return {name: Policy(value) if name == "policy" else value for name, value in attributes.items()}
