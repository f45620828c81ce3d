"""Runs workloads in the lab, under sched_ext schedulers that this machine need not have.

One guest serves many runs: each starts the scheduler anew, runs the command, asks the kernel whether
that scheduler was in charge all the time, and stops it. A guest that dies is replaced.

Times in an emulated guest are those of the emulation: compare them with each other, never with a
real machine's.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from schedtuna.backend.base import KERNELS_OWN, Trial
from schedtuna.backend.reading import Ran, RunError, TrialReader
from schedtuna.errors import MetricError, UnavailableError, UsageError, WorkloadError
from schedtuna.lab.boot import boot
from schedtuna.lab.build.examples import find_examples
from schedtuna.lab.errors import GuestError
from schedtuna.lab.image import PROGRAMS
from schedtuna.lab.layers import guest_program
from schedtuna.lab.store import Lab, read_lab
from schedtuna.lab.vm import BootedGuest, GuestSpec
from schedtuna.machine.procstat import read_proc_stat
from schedtuna.scheduler.probe import installed
from schedtuna.scheduler.scx import SchedulerError, ScxProcess, StuckSchedulerError
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.scheduler.watch import Watch
from schedtuna.workload.command import RawRun, command_line
from schedtuna.workload.covariates import covariates
from schedtuna.workload.spec import SEED_VARIABLE, MetricSpec, Workload
from schedtuna.workload.suite import in_guest

_SHELL = "sh"


class VmBackend:
    """The lab's guests.

    A context manager: leaving it powers the guest off.

    Args:
        machine: Kernel, CPUs, memory and programs of the guest.
        lab: What is installed; default: this user's lab.
        metrics: What is read from every run, besides what is always read.
        required: Names of more metrics that every run must have.
        limits: Covariates above which a run counts as failed; default: none does.

    Attributes:
        reading: What is read from every run.
        identity: What the runs' numbers depend on, besides command and scheduler.
        warnings: What to know before the first run.
        nr_failed_boots: How many guests did not come up at once.

    Raises:
        UnavailableError: The lab is not set up.
    """

    name = "vm"

    def __init__(
        self,
        machine: GuestSpec | None = None,
        *,
        lab: Lab | None = None,
        metrics: Sequence[MetricSpec] = (),
        required: Sequence[str] = (),
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.lab = lab or read_lab()
        machine = machine or GuestSpec()
        self.reading = TrialReader(metrics, required, limits)
        self.nr_failed_boots = 0
        self._spec = replace(machine, recording=self.reading.reads_sched)
        self._asked = machine.programs
        self._guest: BootedGuest | None = None
        self._ops: dict[str, str] = {}  # which version of each scheduler the runs were under
        guest = f"{self.lab.kernel(machine.kernel).version}, {machine.laid_out}, {self.lab.accelerator}"
        self.identity = {"guest": guest}
        turns = ", and its CPUs take turns" if self.lab.accelerator == "tcg" else ""
        self.warnings = [f"runs are made in a guest ({guest}): its times are not this machine's{turns}"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop_guest()

    def run(
        self,
        workload: Workload,
        scheduler: SchedulerConfig,
        *,
        seed: int,
        nth: int = 0,  # noqa: ARG002 - it draws by itself
    ) -> Trial:
        """Run the workload once under the scheduler, with its warm-up runs before.

        Raises:
            UnavailableError: The scheduler's program is not installed, or it is a setting that a
                guest can't have.
            BootError: Guests do not come up.
            UsageError: The command is nowhere, or a program can't run in a guest.
            MetricError: A successful first run of the default lacks a metric.
        """
        workload = in_guest(workload)
        program = scheduler_program(scheduler, find_examples(self.lab.kernel(self._spec.kernel)))
        return self.reading.trial_of(
            lambda: self._ran_under(workload, scheduler, program, seed), workload, scheduler, seed=seed
        )

    def _ran_under(
        self, workload: Workload, scheduler: SchedulerConfig, program: Path | None, seed: int
    ) -> Ran:
        ran: Ran | None = None  # from the command's end on
        try:
            guest = self._prepare(workload, program)
            before, cpu_s = read_proc_stat(), guest.cpu_s()
            with ExitStack() as stack:
                watch = None
                if program is not None:
                    started = ScxProcess(guest, scheduler, guest_program(program), cpu_s=guest.cpu_s)
                    running = stack.enter_context(started)
                    watch = stack.enter_context(Watch(running, scheduler.name, self._ops))
                raw = self._run_all(guest, workload, seed)
                machine = covariates(read_proc_stat() - before, guest.cpu_s() - cpu_s)
                ran = Ran(raw, covariates=machine)
                if watch:
                    watch.look()
                guest.fetch_changes()
            if watch:
                watch.conclude()
        except (GuestError, StuckSchedulerError) as error:
            self._drop_guest()  # the next run gets a fresh one
            raise RunError(str(error), ran=ran) from error
        except SchedulerError as error:
            raise RunError(error.reason, error.log) from error
        except WorkloadError as error:
            if isinstance(error, MetricError):
                raise
            raise RunError(str(error)) from error
        ejected = watch.ejected() if watch else ""
        return replace(
            ran,
            ejected=ejected,
            log=watch.log() if watch and ejected else "",
            covariates=machine | (watch.covariates if watch else {}),
        )

    def _run_all(self, guest: BootedGuest, workload: Workload, seed: int) -> RawRun:
        """Return the measured run, or the warm-up run that failed."""
        command = None if workload.shell else host_command(workload)
        argv = command_line(workload, seed)
        if command:
            argv = [guest_program(command), *argv[1:]]
        elif workload.folder is None:
            argv = [Path(argv[0]).name, *argv[1:]]
        for nr_left in reversed(range(workload.warmup_runs + 1)):
            time.sleep(workload.washout_s)
            raw = self._run_once(guest, argv, workload, seed, record=self._spec.recording and not nr_left)
            if raw.failure:
                break
        return raw

    def _run_once(
        self, guest: BootedGuest, argv: Sequence[str], workload: Workload, seed: int, *, record: bool
    ) -> RawRun:
        environment = workload.environment | {SEED_VARIABLE: str(seed)}
        folder, timeout_s = "/share" if workload.folder else "/root", workload.timeout_s
        if not record:
            return guest.run(argv, environment=environment, folder=folder, timeout_s=timeout_s)
        from schedtuna.trace.aggregates.remote import metrics_of_dump

        raw, dump = guest.run_recorded(argv, environment=environment, folder=folder, timeout_s=timeout_s)
        return replace(raw, counters=metrics_of_dump(dump))

    def _prepare(self, workload: Workload, program: Path | None) -> BootedGuest:
        """Return a guest that has all that the run needs: the one that is up, if it does."""
        if workload.user is not None:
            raise UnavailableError("a guest has no other users", hint="leave --user out")
        command = None if workload.shell else host_command(workload)
        needed = {path for path in (program, command) if path is not None}
        share = workload.folder.absolute() if workload.folder else None
        # A program of an earlier run may have the name of one of this run's: it is left out.
        places = {guest_program(path) for path in needed}
        earlier = {*self._spec.programs} - {*self._asked}
        others = {path for path in earlier if guest_program(path) not in places}
        programs = tuple(sorted({*self._asked, *others, *needed}))
        wanted = replace(self._spec, programs=programs, share=share)
        if self._guest is None or wanted != self._spec:
            self._drop_guest()
            self._spec = wanted
            self._guest, failed = boot(self.lab, wanted)
            self.nr_failed_boots += failed
        return self._guest

    def _drop_guest(self) -> None:
        if self._guest is not None:
            self._guest.close()
            self._guest = None


def scheduler_program(scheduler: SchedulerConfig, examples: Mapping[str, Path] | None = None) -> Path | None:
    """Return the program that loads a scheduler; None for the kernel's own.

    Args:
        scheduler: Which one.
        examples: What was built for the guest's kernel, for those that are not installed.

    Raises:
        UnavailableError: It is not installed, or it is the kernel's own with settings.
    """
    if scheduler.name in KERNELS_OWN:
        if scheduler.values:
            raise UnavailableError(
                f"in a guest {scheduler.name} runs as it is, without {', '.join(scheduler.values)}",
                hint="try the kernel's own settings on the host",
            )
        return None
    path = scheduler.binary_path or installed().get(scheduler.name) or (examples or {}).get(scheduler.name)
    if path is None:
        raise UnavailableError(
            f"{scheduler.name} is not installed",
            hint="put its folder into SCHEDTUNA_SCX_PATH or PATH; "
            "`schedtuna lab setup --schedulers` builds the kernel's examples",
        )
    return Path(path).resolve() if Path(path).is_symlink() else Path(path)


def host_command(workload: Workload) -> Path | None:
    """Return the program to copy into the guest; None where the guest or the shared folder has it.

    Raises:
        UsageError: It is nowhere.
    """
    name = workload.argv[0]
    if workload.folder is not None and "/" in name:
        return None
    if Path(name).name in (*PROGRAMS, _SHELL):  # also where it is named by its path on this machine
        return None
    path = shutil.which(name)
    if path is None:
        raise UsageError(
            f"command not found: {name}",
            hint=f"a guest has {', '.join(PROGRAMS)}; others come from this machine",
        )
    return Path(path).absolute()
