"""Runs loads on a simulated machine: a run is one simulation, measured as a recorded trace is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from schedtuna.backend.base import KERNELS_OWN, Trial
from schedtuna.backend.reading import Ran, RunError, TrialReader
from schedtuna.errors import SimulationError, SimulationTimeoutError, StudyError, TraceError, UsageError
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.sim.loads import read_load
from schedtuna.sim.topology import MachineShape
from schedtuna.sim.traced import simulate
from schedtuna.trace.aggregates.metrics import SCHED_METRICS
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.folder import read_manifest
from schedtuna.workload.command import RawRun
from schedtuna.workload.spec import MetricSpec, Workload

COMMAND = ("schedtuna", "sim", "run")


def load_of(workload: Workload) -> str:
    """Return the load that a workload stands for: what follows `schedtuna sim run`.

    Raises:
        UsageError: It is a command, which no model can run.
    """
    if workload.argv[:-1] == COMMAND and not workload.shell:
        return workload.argv[-1]
    raise UsageError(
        f"a simulated machine can't run {workload.title}: it simulates loads, not programs",
        hint="give it a load: --workload FILE, TRACE or a family such as `interactive`",
    )


def workload_of(load: str) -> Workload:
    """Return the workload that stands for a load; files are named by their full path."""
    path = Path(load)
    return Workload(argv=(*COMMAND, str(path.resolve()) if path.exists() else load), name=load)


def recorded_command(load: str) -> list[str]:
    """Return the command that a trace is of; empty: it is none, or of no command."""
    folder = Path(load)
    if not folder.is_dir():
        return []
    with suppress(TraceError):
        return list(map(str, read_manifest(folder).get("command") or ()))
    return []


class SimulatedBackend:
    """A simulated machine, new for every run.

    Args:
        shape: How it is laid out.
        costs: Its constants that differ from the defaults.
        workload: What will run; it has to stay as it is.
        metrics: What is read from every run, besides what is always read.
        required: Names of more metrics that every run must have.
        is_noisy: Whether its interrupts and kernel threads draw anew in every run.
        certification: For what the model is certified, or why it is not.
        objects: What there is to say of each scheduler that is a sched_ext object, by its name.

    Attributes:
        identity: What the runs' numbers depend on, besides load and scheduler.
        warnings: What to know before the first run.

    Raises:
        UsageError: The load can't be simulated, or a run is to be made as only a command's can.
    """

    name = "sim"

    def __init__(
        self,
        shape: MachineShape,
        costs: Mapping[str, int],
        workload: Workload,
        *,
        metrics: Sequence[MetricSpec] = (),
        required: Sequence[str] = (),
        is_noisy: bool = False,
        certification: str = "",
        objects: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.reading = TrialReader(metrics, required)
        told = "".join(f", {name}={value}" for name, value in sorted(costs.items()))
        self.identity = {"simulated machine": f"{shape}{told}"}
        self.warnings = [f"all of this is simulated: the model is {certification}"] if certification else []
        for name, facts in (objects or {}).items():
            self.identity[f"object of {name}"] = f"{str(facts['sha256'])[:16]}, for {facts['kernel']}"
            settings = facts["settings"]
            of_loader = "its own initial values, not its loader's"
            if settings is not None:
                self.identity[f"settings of {name}"] = settings["key"]
                of_loader = f"what {settings['program']} prepares on {settings['topology']}"
            self.warnings.append(
                f"{name} is its own code with {of_loader}, for the kernel {facts['kernel']}; what is around "
                "it is modelled"
            )
        self._shape, self._costs, self._is_noisy = shape, dict(costs), is_noisy
        self._facts: dict[str, dict[str, Any]] = {}
        self._read(workload)

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int, nth: int = 0) -> Trial:
        """Simulate the load once under the scheduler; its noise is drawn anew for each `nth` run with a seed.

        Raises:
            UsageError: The workload is no load.
            StudyError: The load's file is not what it was.
            MetricError: A successful first run of the default lacks a metric.
        """
        self._read(workload)
        noise_seed = _noise_seed(seed, nth) if self._is_noisy else seed
        return self.reading.trial_of(
            lambda: self._ran(workload, scheduler, seed, noise_seed), workload, scheduler, seed=seed
        )

    def _read(self, workload: Workload) -> None:
        """Read a load's text, and refuse one that has changed since it was first read."""
        load = load_of(workload)
        if workload.user is not None or workload.warmup_runs or workload.washout_s:
            raise UsageError(
                "a simulated machine has no users, and nothing to warm up or to rest",
                hint="leave --user, --warmup and --washout out",
            )
        native, facts = read_load(load, nr_cpus=self._shape.nr_cpus, costs=self._costs, seed=1)
        if native.duration_ns is None and native.is_endless:
            raise UsageError(
                f"{load} has no end: tasks go round for ever", hint='give it one: "global": {"duration": 10}'
            )
        if self._facts.setdefault(load, facts) != facts:
            raise StudyError(f"{load} was changed since the first run", hint="start anew with what it is now")

    def _ran(self, workload: Workload, scheduler: SchedulerConfig, seed: int, noise_seed: int) -> Ran:
        started_at = time.time()
        try:
            trace = simulate(
                load_of(workload),
                _source(scheduler),
                topology=self._shape,
                seed=seed,
                noise_seed=noise_seed,
                costs=self._costs,
                timeout_s=workload.timeout_s,
            )
        except SimulationTimeoutError as error:
            raise RunError(str(error), is_timeout=True) from error
        except SimulationError as error:
            raise RunError(str(error)) from error
        figures = Analysis(trace).overall(kthreads=False)
        usage = {
            "wall_time_s": trace.manifest["duration_s"],
            "cpu_time_s": figures["cpu_time_ns"] / 1e9,
            "nr_voluntary_switches": float(figures["nr_voluntary"]),
            "nr_involuntary_switches": float(figures["nr_involuntary"]),
        }
        counters = {
            name: float(row.value(figures))
            for name, row in SCHED_METRICS.items()
            if figures.get(row.column) is not None
        }
        raw = RawRun(0, None, False, started_at, usage, counters=counters)
        return Ran(raw, covariates={"noise_seed": float(noise_seed)} if self._is_noisy else {})


def _source(scheduler: SchedulerConfig) -> SchedulerConfig | str:
    if scheduler.name in KERNELS_OWN and not scheduler.values:
        return "fair"
    return scheduler.name if ":" in scheduler.name else scheduler


def _noise_seed(seed: int, nth: int) -> int:
    """Return 32 bits: a covariate is a float, which has to hold the seed."""
    return int(np.random.SeedSequence([seed, nth]).generate_state(1)[0])
