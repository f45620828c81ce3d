"""Runs workloads on this machine: holds the command at its gate, turns the knobs, measures, reverts."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

from schedtuna.backend.base import KERNELS_OWN, Trial
from schedtuna.backend.inforce import SettingsWatch, settled
from schedtuna.backend.reading import Ran, RunError, TrialReader
from schedtuna.errors import JournalError, KnobError, MetricError, WorkloadError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes
from schedtuna.knobs.undo import put_back_stale, remarks
from schedtuna.machine.tasks import is_alive, start_ticks
from schedtuna.record.filters import TaskFilter
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.control import find_program
from schedtuna.scheduler.host import HostMachine
from schedtuna.scheduler.objects import host_command
from schedtuna.scheduler.scx import SchedulerError, ScxProcess, StuckSchedulerError, read_state
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.scheduler.watch import Watch
from schedtuna.space import ParameterValue
from schedtuna.workload.clients import handed_by
from schedtuna.workload.command import Held, RawRun, check, start
from schedtuna.workload.metrics import needed_counters
from schedtuna.workload.spec import MetricSpec, Workload

_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class HostBackend:
    """This machine, under its own kernel.

    A context manager: entering it reverts what a killed run left behind.

    Args:
        target: What the knobs are turned on. In scope `tree` that is each run's own process tree;
            in the others the command is the load generator, or just what is measured.
        metrics: What is read from every run, besides what is always read.
        required: Names of more metrics that every run must have, such as those of requirements.
        journal: Where changes are written down before they are made; default: this user's.
        limits: Covariates above which a run counts as failed; default: none does. See
            `workload.covariates`.

    Attributes:
        reading: What is read from every run.
        warnings: What was found on entering, for people.
        on_run: Told after each run, warm-up runs included, how long it took, with the rest before it.
    """

    name = "host"
    identity: Mapping[str, str] = {}

    def __init__(
        self,
        target: Target | None = None,
        *,
        metrics: Sequence[MetricSpec] = (),
        required: Sequence[str] = (),
        journal: Journal | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.target = target or Target()
        self.reading = TrialReader(metrics, required, limits)
        self.journal = journal or Journal()
        self.warnings: list[str] = []
        self._service_started = None if self.target.pid is None else start_ticks(self.target.pid)
        self._ops: dict[str, str] = {}  # which version of each sched_ext scheduler the runs were under
        self._settings = SettingsWatch()
        self._ran = False  # whether any command ever ran
        self.on_run: Callable[[float], None] = lambda _took_s: None

    def __enter__(self) -> Self:
        self.warnings += put_back_stale(self.journal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the kernel as it was; every run has cleaned up after itself."""
        self._settings.close()

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
            UnavailableError: A privilege or the kernel's support is missing.
            UsageError: A knob does not exist or does not work in this scope.
            TargetBusyError: Another process turns one of the knobs, which is not the scheduler's fault.
            JournalError: Changes can't be written down, so none may be made.
            WorkloadError: The command can't be run at all, the tuned service is gone, or a
                successful first run of the default lacks a metric.
        """
        self._require_runnable(workload, scheduler)
        return self.reading.trial_of(
            lambda: self._ran_under(workload, scheduler, seed), workload, scheduler, seed=seed
        )

    def _ran_under(self, workload: Workload, scheduler: SchedulerConfig, seed: int) -> Ran:
        try:
            raw, watch = self._under(workload, scheduler, seed)
        except (WorkloadError, KnobError) as error:
            if isinstance(error, MetricError) or not self._ran:
                raise
            raise RunError(str(error)) from error
        except StuckSchedulerError:
            raise  # later runs would not start from what was found
        except SchedulerError as error:
            raise RunError(error.reason, error.log) from error
        ejected = watch.ejected() if watch else ""
        return Ran(
            raw,
            ejected,
            log=watch.log() if watch and ejected else "",
            covariates=self._covariates(raw) | (watch.covariates if watch else {}),
        )

    def _covariates(self, raw: RawRun) -> dict[str, float]:
        """What the machine did meanwhile; a tuned service's time is not a disturbance."""
        ours_too = {"other_fraction"} if self.target.scope is not Scope.TREE else set()
        return {name: value for name, value in raw.covariates.items() if name not in ours_too}

    def _require_runnable(self, workload: Workload, scheduler: SchedulerConfig) -> None:
        if scheduler.name not in KERNELS_OWN:
            with closing(HostMachine()) as machine:
                read_state(machine)
            find_program(scheduler)
        if not self._ran:
            check(workload)
        pid, started = self.target.pid, self._service_started
        if pid is not None and (started is None or not is_alive(pid, started)):
            raise WorkloadError(
                f"the process to tune, {pid}, is not running", hint="start it again, and name its new process"
            )
        if self.target.cgroup is not None and not self.target.cgroup.is_dir():
            raise WorkloadError(f"the control group to tune is not there: {self.target.cgroup}")

    def _under(
        self, workload: Workload, scheduler: SchedulerConfig, seed: int
    ) -> tuple[RawRun, Watch | None]:
        """Return the measured run, and what became of the sched_ext scheduler that it was to be under."""
        if scheduler.name in KERNELS_OWN:
            return self._measure(workload, scheduler.values, seed), None
        with closing(HostMachine()) as machine, ExitStack() as stack:
            program = find_program(scheduler)
            argv = host_command(program, command_line(scheduler))
            running = stack.enter_context(ScxProcess(machine, scheduler, str(program), argv=argv))
            watch = stack.enter_context(Watch(running, scheduler.name, self._ops, python=sys.executable))
            raw = self._measure(workload, {}, seed)
            watch.look()
            stack.close()  # its program tells the reason when it ends
            watch.conclude()
            return raw, watch

    def _measure(self, workload: Workload, values: Mapping[str, ParameterValue], seed: int) -> RawRun:
        """Return the measured run, or the warm-up run that failed."""
        if self.target.scope is Scope.TREE:
            return self._run_all(workload, values, seed)
        with self._applied(self.target, values):
            return self._run_all(workload, {}, seed, in_force=values)

    def _run_all(
        self,
        workload: Workload,
        values: Mapping[str, ParameterValue],
        seed: int,
        in_force: Mapping[str, ParameterValue] | None = None,
    ) -> RawRun:
        for _ in range(workload.warmup_runs):
            raw = self._run_once(workload, values, seed)
            if raw.failure:
                return raw
        counters = needed_counters(self.reading.metrics, self.reading.required)
        return self._run_once(workload, values, seed, counters, in_force)

    def _run_once(
        self,
        workload: Workload,
        values: Mapping[str, ParameterValue],
        seed: int,
        counters: Sequence[str] = (),
        in_force: Mapping[str, ParameterValue] | None = None,
    ) -> RawRun:
        """Run the command under its own values; `in_force` are those of a service."""
        began_s = time.monotonic()
        raw = self._run_held(workload, values, seed, counters, in_force)
        self.on_run(time.monotonic() - began_s)
        return raw

    def _run_held(
        self,
        workload: Workload,
        values: Mapping[str, ParameterValue],
        seed: int,
        counters: Sequence[str],
        in_force: Mapping[str, ParameterValue] | None,
    ) -> RawRun:
        time.sleep(workload.washout_s)
        with start(workload, seed, counters=counters) as held, self._applied(Target(pid=held.pid), values):
            of_tree = self.target.scope is Scope.TREE
            watched_target = Target(pid=held.pid) if of_tree else self.target
            with self._settings.watching(watched_target, in_force or values) as watched:
                if not self.reading.reads_sched:
                    held.go()
                    raw = held.wait()
                else:
                    raw = self._recorded(held)
            self._ran = True
            work_ns = round(1e9 * raw.usage["cpu_time_s"]) if of_tree else 0
            found = settled(watched.findings(work_ns), workload)
            clients = handed_by(row.name for row in watched.seen) if of_tree and values else []
            return replace(raw, in_force=found, clients=tuple(clients))

    def _recorded(self, held: Held) -> RawRun:
        """Run the command while the scheduler's dealings with what is tuned are counted."""
        from schedtuna.record.tree import record_tasks, record_tree

        scope = self.target.scope
        if scope in (Scope.TREE, Scope.PID):
            recording = record_tree(held.pid if scope is Scope.TREE else self.target.model_pid)
        else:
            recording = record_tasks(
                TaskFilter(cgroup=str(self.target.cgroup) if self.target.cgroup else None)
            )
        with recording as recorder:
            held.go()
            raw = held.wait()
        if recorder.nr_lost:
            raise MetricError(f"{recorder.nr_lost} tasks were not recorded, so sched.* would be wrong")
        return replace(raw, counters={**raw.counters, **recorder.metrics()})

    @contextmanager
    def _applied(self, target: Target, values: Mapping[str, ParameterValue]) -> Iterator[None]:
        """Turn the knobs, and back on every way out. Ctrl-C waits until a turn is complete."""
        changes = Changes(target, self.journal)
        try:
            with _uninterrupted():
                changes.apply(values)
            yield
        finally:
            with _uninterrupted():
                told = _revert(changes)
        self.warnings += [text for text in told if text not in self.warnings]
        if changes.undone:
            names = ", ".join(sorted(changes.undone))
            raise RunError(f"`schedtuna undo --force` put {names} back during the run")


def _revert(changes: Changes) -> list[str]:
    try:
        return remarks(changes.revert())
    except KnobError as error:  # later runs would not start from what was found
        raise JournalError(str(error), hint=error.hint) from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and the like wait until a change is complete; they are raised at the end.

    A signal mask would not do: it holds for one thread, and numpy's threads take the signal then.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main one is interrupted
        yield
        return
    waiting: list[int] = []
    before = {
        number: signal.signal(number, lambda raised, _frame: waiting.append(raised))
        for number in _INTERRUPTIONS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])
