"""A simulated machine as a place: it runs loads, under the simulator's schedulers."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, ClassVar, Literal, NoReturn, Self

from schedtuna.backend.base import Backend
from schedtuna.backend.places.base import Place
from schedtuna.backend.simulated import SimulatedBackend, load_of, recorded_command, workload_of
from schedtuna.errors import UnavailableError, UsageError
from schedtuna.fidelity.envelope import NOISE, certification
from schedtuna.fidelity.machine_file import read_machine
from schedtuna.kernel.slices import slice_scale
from schedtuna.scheduler.fair import NAME as FAIR
from schedtuna.scheduler.objects import is_object
from schedtuna.scheduler.parse import DEFAULT
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.sim.loads import read_load, with_recording
from schedtuna.sim.mixed import is_mixed
from schedtuna.sim.objects import object_facts, searched
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.schedulers import parsed_scheduler, python_scheduler_named
from schedtuna.sim.simulation import complete_costs
from schedtuna.sim.topology import MachineShape
from schedtuna.space import ParameterValue
from schedtuna.workload.command import command_line
from schedtuna.workload.metrics import format_metric, parse_metric
from schedtuna.workload.spec import MetricSpec, RunSpec, Workload
from schedtuna.workload.suite import suite

METRIC = "sched.wakeup_latency_p99_us"
_LONGEST_SLICE_US = 100_000  # that a task may ask for (kernel/sched/syscalls.c)
_DRAWING = (
    "irq_per_s",
    "kthread_per_s",
    "pressure_per_s",
)  # without these a machine has no noise
# What `fair` is searched by: parameters that a machine has, too, and the knob that sets them there.
_SLICE = "base_slice_us"
KNOBS = {
    _SLICE: "slice_us",
    "migration_cost_us": "migration_cost_us",
    **{
        name: f"feature_{name}"
        for name in (
            "run_to_parity",
            "place_lag",
            "delay_dequeue",
            "preempt_short",
            "wakeup_preemption",
            "next_buddy",
            "hrtick",
        )
    },
}


class Simulated(Place):
    """A simulated machine.

    Attributes:
        topology: LLCSxCORESxTHREADS; None: what a trace has that is replayed, else 8 CPUs of one cache.
        costs: Its constants that differ from the defaults, by name.
        noise: Those of them that came with the constants of a machine, and are its noise of an hour.
    """

    kind: Literal["sim"] = "sim"
    topology: str | None = None
    costs: tuple[tuple[str, int], ...] = ()
    noise: tuple[str, ...] = ()
    is_model: ClassVar[bool] = True

    @classmethod
    def of(
        cls,
        cpus: int | None = None,
        topology: str | None = None,
        cost: Mapping[str, int] | None = None,
        machine: str | None = None,
        **_none: Any,
    ) -> Self:
        """Return the machine that options name.

        Raises:
            UsageError: They contradict each other, or there is no such machine, file or constant.
            ConfigFileError: The machine file is none.
        """
        said, plain = dict(cost or {}), complete_costs({})
        fitted = {} if machine is None else read_machine(machine).costs
        complete = complete_costs(fitted | said)
        costs = {name: value for name, value in complete.items() if name in said or value != plain[name]}
        is_open = cpus is None and topology is None
        shape = None if is_open else str(MachineShape.of(cpus, topology))
        noise = tuple(name for name in NOISE if name in costs and name not in said)
        return cls(topology=shape, costs=tuple(sorted(costs.items())), noise=noise)

    @property
    def shape(self) -> MachineShape:
        """How it is laid out."""
        return MachineShape.of(None, self.topology)

    @property
    def is_exact(self) -> bool:
        """Without interrupts and kernel threads, equal seeds are equal runs."""
        costs = complete_costs(dict(self.costs))
        return not any(costs[name] for name in _DRAWING)

    @property
    def label(self) -> str:
        """How many CPUs it has."""
        nr_cpus = self.nr_cpus()
        return f"a simulated machine of {nr_cpus} CPU{'s' if nr_cpus > 1 else ''} ({self.shape})"

    @property
    def caveat(self) -> str:
        """It is a model, and which machine it was held against."""
        return f"in a model, {self.certification}"

    @property
    def certification(self) -> str:
        """For what the model is certified under `fair` as it is, or why it is not."""
        defaults = {name: spec.default for name, spec in parsed_scheduler(FAIR).parameters.items()}
        told = certification(
            str(self.shape), {"name": FAIR, "parameters": defaults}, complete_costs(dict(self.costs))
        )
        return told.text

    def nr_cpus(self) -> int:
        """Return its CPUs."""
        return self.shape.nr_cpus

    def named(self, host: str) -> str:  # noqa: ARG002 - it is the same on every host
        """It is no host's."""
        return self.label

    def options(self) -> tuple[str, ...]:
        """Return the command-line options that name it."""
        costs = [part for name, value in self.costs for part in ("--cost", f"{name}={value}")]
        shape = () if self.topology is None else ("--topology", self.topology)
        return (*super().options(), *shape, *costs)

    def fitting(self, named: str | None) -> Self:
        """Return a machine for a trace: as many CPUs, unless it was said, and the noise that is in it."""
        load = None if named is None else with_recording(named)
        if not isinstance(load, RecordedLoad):
            return self
        costs = tuple(row for row in self.costs if row[0] not in self.noise)
        topology = self.topology or str(MachineShape.of(load.nr_cpus, None))
        return self.model_copy(update={"topology": topology, "costs": costs, "noise": ()})

    def named_workload(self, name: str) -> tuple[Workload, MetricSpec]:
        """Return the load that a file, a trace or a family's name means, and what it is optimised for."""
        if not is_mixed(name) and name in (bundled := suite(self.nr_cpus())):
            self.command(command_line(bundled[name].workload, seed=1))  # a program, whatever it is called by
        workload = workload_of(name)
        read_load(load_of(workload), nr_cpus=self.nr_cpus(), costs=dict(self.costs), seed=1)
        return workload, parse_metric(METRIC)

    def command(self, argv: Sequence[str], *, shell: bool = False) -> NoReturn:  # noqa: ARG002
        """Refuse it: a model has to be told what a program does.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "a simulated machine runs no commands: it needs --workload FILE, TRACE or a name of `sim list`",
            hint="record what the command does, and replay that:\n"
            f"  schedtuna record -o trace -- {shlex.join(argv) or 'COMMAND'}\n"
            "  the same command with --workload trace --cost kthread_per_s=20 in place of the COMMAND",
        )

    def words(self, workload: Workload) -> tuple[str, ...]:
        """Return how a command line names the load."""
        return ("--workload", load_of(workload))

    def identity(self, workload: Workload) -> dict[str, str]:
        """The load, by its content."""
        _, facts = read_load(load_of(workload), nr_cpus=self.nr_cpus(), costs=dict(self.costs), seed=1)
        return {"load": f"{facts['name']} {facts['sha256'][:16]}", "target": "sim"}

    def scheduler(self, text: str) -> SchedulerConfig:
        """Return the simulated scheduler that a text means; ``module:Class`` is one in Python."""
        return python_scheduler_named(text) or parsed_scheduler(text)

    def tunable(
        self, text: str, include: Sequence[str] = (), *, defined: SchedulerConfig | None = None
    ) -> SchedulerConfig:
        """Return a scheduler with its parameters; of `fair` those that a machine lets one set."""
        if include:
            raise UsageError("--include names knobs of this machine: it needs --backend host")
        if defined is not None:
            raise UsageError(f"{defined.name} is defined for real machines: a model has its own schedulers")
        found = self.scheduler(text)
        if found.name == FAIR:
            found = found.with_parameters({name: found.parameters[name] for name in KNOBS})
        elif found.binary_path is not None:
            found = searched(found)
        if not found.parameters:
            raise UnavailableError(
                f"nothing of {found.name} can be tuned",
                hint="`schedtuna sim list` shows each one's parameters",
            )
        return found

    def real_settings(self, scheduler: SchedulerConfig) -> tuple[tuple[str, ...], str] | None:
        """Return what sets the same on a real machine: options, and the scheduler as `compare` reads it.

        None: no machine has this scheduler, or a setting of it; or it is a program, whose options are not its
        object's variables.
        """
        if scheduler.binary_path is not None:
            return None if _is_program_with_values(scheduler) else ((), scheduler.label())
        if scheduler.name == DEFAULT or (scheduler.name == FAIR and not scheduler.values):
            return (), DEFAULT
        if scheduler.name != FAIR or not scheduler.values.keys() <= KNOBS.keys():
            return None
        # `fair` scales its base slice by the number of CPUs; what a task asks for itself is taken as it is.
        values: dict[str, ParameterValue] = {KNOBS[name]: value for name, value in scheduler.values.items()}
        if isinstance(base_us := scheduler.values.get(_SLICE), int):
            values[KNOBS[_SLICE]] = min(base_us * slice_scale(self.nr_cpus()), _LONGEST_SLICE_US)
        everywhere = values.keys() - {KNOBS[_SLICE]}
        if everywhere and KNOBS[_SLICE] in values:
            values[_SLICE] = values.pop(KNOBS[_SLICE])
        options = ("--scope", "machine") if everywhere else ()
        return options, SchedulerConfig(name=FAIR, values=values).label()

    def confirmation(self, default: SchedulerConfig, candidate: SchedulerConfig, spec: RunSpec) -> str:
        """Return the comparison on a machine of what the load stands for; or that there can't be one."""
        options: dict[tuple[str, ...], None] = {}  # in order, each once
        labels = []
        for one in (default, candidate):
            if _is_program_with_values(one):
                return (
                    f"which options of {one.name} set these variables of its object is for you to find: "
                    f"`schedtuna schedulers probe {one.binary_path}` lists its options"
                )
            found = self.real_settings(one)
            if found is None:
                return f"no machine has {one.label()}: it is there in the model alone"
            options[found[0]] = None
            labels.append(found[1])
        metrics = [part for one in spec.metrics for part in ("--metric", format_metric(one))]
        command = shlex.join(recorded_command(load_of(spec.workload))) or "COMMAND"
        how = chain.from_iterable(options)
        return f"{shlex.join(['schedtuna', 'compare', *how, *metrics, *labels])} -- {command}"

    @contextmanager
    def open(
        self,
        spec: RunSpec,
        schedulers: Sequence[SchedulerConfig] = (),
        turned: Iterable[str] = (),  # noqa: ARG002 - a model is nobody else's
    ) -> Iterator[Backend]:
        """Return a backend that makes a new machine for every run.

        Raises:
            UnavailableError: One of the schedulers' objects needs what the simulated kernel lacks.
        """
        yield SimulatedBackend(
            self.shape,
            dict(self.costs),
            spec.workload,
            metrics=spec.metrics,
            required=spec.required,
            is_noisy=not self.is_exact,
            certification=self.certification,
            objects={
                one.name: object_facts(one.binary_path, self.shape)
                for one in schedulers
                if one.binary_path is not None
            },
        )


def _is_program_with_values(scheduler: SchedulerConfig) -> bool:
    """Whether it is a loader's program of which variables of the object were set, past its options."""
    program = scheduler.binary_path
    return program is not None and bool(scheduler.values) and not is_object(program)
