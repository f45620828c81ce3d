"""Runs workloads in guests whose clock counts instructions: equal seeds give equal bits.

A guest is booted and saved once per command, and restored for every trial, so that nothing of one run
is left for the next: there is nothing to warm up, and no rest is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from schedtuna.backend.base import Trial
from schedtuna.backend.reading import Ran, RunError, TrialReader
from schedtuna.backend.vm import scheduler_program
from schedtuna.errors import UnavailableError, UsageError, WorkloadError
from schedtuna.lab.build.examples import find_examples
from schedtuna.lab.deterministic.trials import LIMITS, Deterministic, DeterministicRun, DeterministicSpec
from schedtuna.lab.errors import GuestError
from schedtuna.lab.store import read_lab
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler.scx import SchedulerError
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import MetricSpec, Workload
from schedtuna.workload.suite import in_guest

_SHELL = ("sh", "-c")


class DeterministicBackend:
    """Deterministic guests of the lab, one saved machine per command and scheduler.

    Args:
        machine: Kernel, CPUs, memory and programs.
        metrics: What is read from every run, besides what is always read and `guest_time_s` and
            `nr_context_switches`.
        required: Names of more metrics that every run must have.
        limits: Covariates above which a run counts as failed; an instruction's time has none.

    Attributes:
        reading: What is read from every run.
        identity: What the runs' numbers depend on, besides command and scheduler.
        warnings: What to know before the first run.
        machine: Where the last run was made; None before the first one.
        last: What the last run was, with its hash; None where it came to nothing.

    Raises:
        UnavailableError: The lab is not set up.
    """

    name = "vm"

    def __init__(
        self,
        machine: GuestSpec,
        *,
        metrics: Sequence[MetricSpec] = (),
        required: Sequence[str] = (),
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.lab = read_lab()
        self.reading = TrialReader(metrics, required, limits)
        if self.reading.reads_sched:
            raise UnavailableError("a deterministic guest counts no sched.* metrics")
        kernel = self.lab.kernel(machine.kernel)
        self.identity = {
            "guest": f"{kernel.version}, {machine.laid_out}, deterministic, QEMU {self.lab.qemu.version}"
        }
        self.warnings = list(LIMITS)
        self.machine: Deterministic | None = None
        self.last: DeterministicRun | None = None
        self._spec = machine
        self._examples = find_examples(kernel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing runs between trials."""

    def run(
        self,
        workload: Workload,
        scheduler: SchedulerConfig,
        *,
        seed: int,
        nth: int = 0,  # noqa: ARG002 - it draws nothing
    ) -> Trial:
        """Run the workload once under the scheduler; more than once on several CPUs.

        Raises:
            UnavailableError: The scheduler's program is not installed, or the guest lacks what is asked.
            BootError: The machine does not come up.
            UsageError: The command is nowhere, or a program can't run in a guest.
            MetricError: A successful first run of the default lacks a metric.
        """
        workload = in_guest(workload)
        self.machine, self.last = self._machine(workload, scheduler), None
        return self.reading.trial_of(lambda: self._ran(workload, seed), workload, scheduler, seed=seed)

    def _machine(self, workload: Workload, scheduler: SchedulerConfig) -> Deterministic:
        if workload.user is not None:
            raise UnavailableError("a guest has no other users", hint="leave --user out")
        if workload.warmup_runs:
            raise UsageError("a deterministic guest has nothing to warm up", hint="leave --warmup out")
        program = scheduler_program(scheduler, self._examples)
        spec = DeterministicSpec(
            argv=(*_SHELL, " ".join(workload.argv)) if workload.shell else workload.argv,
            kernel=self._spec.kernel,
            cpus=self._spec.cpus,
            topology=self._spec.topology,
            memory_mib=self._spec.memory_mib,
            programs=self._spec.programs,
            share=workload.folder,
            scheduler=scheduler if program else None,
            scheduler_program=program,
        )
        same = self.machine is not None and self.machine.spec == spec
        return self.machine if same and self.machine else Deterministic(self.lab, spec)

    def _ran(self, workload: Workload, seed: int) -> Ran:
        assert self.machine is not None
        try:
            run = self.machine.run(seed, environment=workload.environment, timeout_s=workload.timeout_s)
        except SchedulerError as error:
            raise RunError(error.reason, error.log) from error
        except (GuestError, WorkloadError) as error:
            raise RunError(str(error)) from error
        self.last = run
        return Ran(replace(run.raw, counters={**run.raw.counters, **numbers_of(run)}), run.ejected)


def numbers_of(run: DeterministicRun) -> dict[str, float]:
    """Return what a deterministic guest itself measures of a run."""
    return {"guest_time_s": run.guest_ns / 1e9, "nr_context_switches": float(run.nr_switches)}
