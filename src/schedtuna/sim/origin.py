"""Of what is a trace? It can be simulated again, as it was or with something changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from schedtuna.errors import SimulationError, TraceError
from schedtuna.sim.loads import LoadSource, LoadText
from schedtuna.sim.native import cost_table
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.schedulers import SchedulerSource, scheduler_text
from schedtuna.sim.simulation import Simulation
from schedtuna.space import ParameterValue
from schedtuna.trace.trace import Trace

_HINT = "simulate it anew: schedtuna sim run LOAD -o DIR"


@dataclass(frozen=True)
class Origin:
    """A load, a machine and a scheduler, and how far they were simulated.

    Attributes:
        load: The load.
        is_recorded: Whether it is what the kernel's tasks did, replayed.
        scheduler: The scheduler's name.
        parameters: Its parameters' values.
        machine: The other arguments of `Simulation`.
        until_ns: How long.
        hash: What the switches came to; None: nobody has simulated it before.
    """

    load: LoadSource
    is_recorded: bool
    scheduler: str
    parameters: dict[str, ParameterValue]
    machine: dict[str, Any]
    until_ns: int
    hash: str | None

    @classmethod
    def of(cls, trace: Trace) -> Self:
        """Read it from a trace's manifest; a trace that was recorded is replayed under `fair`.

        Raises:
            TraceError: Its manifest doesn't say enough, or it can't be replayed.
        """
        facts = trace.manifest.get("simulation")
        if not isinstance(facts, dict):
            load = RecordedLoad(trace)
            costs = {name: initial for name, initial, *_ in cost_table()}
            machine = {"topology": f"1x{load.nr_cpus}x1", "seed": 1, "noise_seed": 1, "costs": costs}
            return cls(load, True, "fair", {}, machine, load.duration_ns, None)
        if facts.get("swaps"):
            raise TraceError(
                "the trace is of more than one scheduler", hint="simulate it under one, and ask again"
            )
        try:
            workload, scheduler = facts["workload"], facts["scheduler"]
            is_of_suite = workload.get("is_of_suite") is True
            name = str(workload["name"])
            return cls(
                name if is_of_suite else LoadText(name, str(workload["text"])),
                False,
                str(scheduler["name"]),
                dict(scheduler["parameters"]),
                {name: facts[name] for name in ("topology", "seed", "noise_seed", "costs")},
                trace.window_ns[1],
                str(facts["totals"]["hash"]),
            )
        except (KeyError, TypeError) as error:
            raise TraceError(f"the trace doesn't say of what it is: no {error}", hint=_HINT) from error

    def simulation(self, scheduler: SchedulerSource | None = None) -> Simulation:
        """Return it at its beginning, its events kept; under another scheduler if one is given."""
        return self._begun.fork() if scheduler is None else self._new(scheduler)

    @cached_property
    def _begun(self) -> Simulation:
        return self._new(scheduler_text(self.scheduler, self.parameters))

    def _new(self, scheduler: SchedulerSource) -> Simulation:
        return Simulation(self.load, scheduler, traced=True, **self.machine)

    def repeated(self) -> Simulation:
        """Return it at its end.

        Raises:
            SimulationError: It is not what the trace says.
        """
        simulation = self.simulation()
        simulation.run(self.until_ns)
        if self.hash is not None and f"{simulation.totals.hash:016x}" != self.hash:
            raise SimulationError(
                "simulated again, the load does something else than in the trace: another version of"
                " schedtuna wrote it, or its scheduler or what that begins with has changed",
                hint=_HINT,
            )
        return simulation
