"""This machine as a place: a command, a running service or all of it, under its own kernel."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, Self

from schedtuna.backend.base import KERNELS_OWN
from schedtuna.backend.host import HostBackend
from schedtuna.backend.places.base import Place
from schedtuna.backend.reach import require_reach
from schedtuna.errors import (
    OutOfBoundsError,
    SpaceError,
    StudyError,
    UnavailableError,
    UnknownParameterError,
    UsageError,
)
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.claims import claimed, require_free
from schedtuna.knobs.registry import all_knobs
from schedtuna.knobs.services import target_of
from schedtuna.knobs.task_attributes import may_have_nice
from schedtuna.knobs.vital import refuse_vital
from schedtuna.machine.daemons import running_daemons
from schedtuna.machine.probe import Probe
from schedtuna.machine.tasks import boot_id, start_ticks
from schedtuna.scheduler.control import find_installed, find_program
from schedtuna.scheduler.fair import NAME as FAIR
from schedtuna.scheduler.fair import fair, left_out, moved_defaults, notes, unavailable
from schedtuna.scheduler.host import HostMachine
from schedtuna.scheduler.live import ineffective_there
from schedtuna.scheduler.lookup import lookup
from schedtuna.scheduler.objects import OURS, is_object
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.registry import names
from schedtuna.scheduler.scx import read_state
from schedtuna.scheduler.settable import for_search
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.command import check
from schedtuna.workload.spec import RunSpec, Workload


class Host(Place):
    """This machine, and what of it is tuned.

    Attributes:
        scope: How far changes reach.
        pid: The process (scope pid).
        pid_is: Which process that was: its boot and its start, since numbers are used again.
        cgroup: The control group's directory (scope cgroup).
        force: Whether init, or what this process is part of, may be tuned.
    """

    kind: Literal["host"] = "host"
    scope: Scope = Scope.TREE
    pid: int | None = None
    pid_is: str = ""
    cgroup: Path | None = None
    force: bool = False
    turns_knobs: ClassVar[bool] = True

    @classmethod
    def of(
        cls,
        scope: Scope | None = None,
        pid: int | None = None,
        cgroup: Path | None = None,
        unit: str | None = None,
        *,
        force: bool = False,
        **_none: Any,
    ) -> Self:
        """Return what the scope options name; a process, a control group or a unit implies its scope.

        Raises:
            UsageError: They contradict each other, or there is no such process, control group or unit.
        """
        return cls.on(target_of(scope, pid, cgroup, unit, force=force))

    @classmethod
    def on(cls, target: Target) -> Self:
        """Return the place where a target is tuned."""
        who = "" if target.pid is None else _identity(target.pid)
        return cls(scope=target.scope, pid=target.pid, pid_is=who, cgroup=target.cgroup, force=target.force)

    def target(self) -> Target:
        """Return what the knobs turn.

        Raises:
            StudyError: The process has ended.
            UsageError: The control group is gone, or init, the kernel or this process would be tuned.
        """
        if self.pid is not None and _identity(self.pid) != self.pid_is:
            raise StudyError(
                f"process {self.pid}, which is tuned, has ended",
                hint="start anew; --cgroup names a service for longer than one process lives",
            )
        target = Target(self.scope, pid=self.pid, cgroup=self.cgroup, force=self.force)
        refuse_vital(target)
        return target

    @property
    def label(self) -> str:
        """``this machine``, and what of it where that is more than a command."""
        return " ".join(["this machine", *(() if self.scope is Scope.TREE else self._named)])

    @property
    def _named(self) -> list[str]:
        return [part for part in (str(self.scope), str(self.pid or self.cgroup or "")) if part]

    @property
    def is_service(self) -> bool:
        """Whether a process or a control group is tuned that runs already."""
        return self.scope in (Scope.PID, Scope.CGROUP)

    def nr_cpus(self) -> int:
        """Return how many CPUs this process may use."""
        return len(os.sched_getaffinity(0))

    def online_cpus(self) -> int:
        """Return how many CPUs are online."""
        return os.cpu_count() or 1

    def named(self, host: str) -> str:
        """It is that machine."""
        return host

    def options(self) -> tuple[str, ...]:
        """Return the command-line options that name it; none for a command on this machine."""
        if self.is_service:
            return (f"--{self.scope}", str(self.pid or self.cgroup), *(["--force"] if self.force else []))
        return () if self.scope is Scope.TREE else ("--scope", str(self.scope))

    def identity(self, workload: Workload) -> dict[str, str]:
        """The program that runs, and what is tuned."""
        return {"program": os.path.realpath(check(workload)), "target": " ".join(self._named)}

    def require_free(self) -> None:
        """Refuse a target whose knobs another run is turning."""
        require_free(self.target())

    def scheduler(self, text: str, *, stated: bool = False) -> SchedulerConfig:
        """Return the scheduler that a text means, with the knobs that the target has.

        With `stated` it has values that the target's first thread has already, too.
        """
        found = []

        def look_up(name: str) -> SchedulerConfig:
            found.append(lookup(name, self.target()) if name == FAIR else find_installed(name))
            return found[-1]

        try:
            return parse_scheduler(text, look_up, stated=stated)
        except SpaceError as error:
            if found and found[-1].name == FAIR:
                _explain(text, error, self.target())
            raise

    def tunable(
        self, text: str, include: Sequence[str] = (), *, defined: SchedulerConfig | None = None
    ) -> SchedulerConfig:
        """Return a scheduler with what can be tuned of it on this machine."""
        if text == FAIR:
            found = defined or fair(self.target(), include=include)
            if not found.parameters:
                raise UnavailableError(
                    "nothing can be tuned here in this scope",
                    hint="`schedtuna knobs`, with the same --scope, --pid or --cgroup, gives the reasons; "
                    "root may change more",
                )
            return found
        if defined is not None and defined.name not in set(names()):
            raise UnavailableError(
                f"{text} is defined, but can't be started on this machine",
                hint="register_scheduler() makes one known, with its program: docs/sched-ext.md, section "
                "A scheduler of your own",
            )
        # An unknown name is told apart from one that can't run here.
        found = defined or for_search(parse_scheduler(text, find_installed))
        try:
            with closing(HostMachine()) as machine:
                read_state(machine)
            find_program(found)
        except UnavailableError as error:
            _refuse(text, error)
        idle = _ineffective(found)
        return found.with_parameters({n: s for n, s in found.parameters.items() if n not in idle})

    def left_out(self, text: str) -> list[str]:
        """Say which knobs do nothing where the target is, or which parameters of scx_tuna on this machine."""
        if text == FAIR:
            return left_out(self.target())
        idle = _ineffective(parse_scheduler(text, find_installed))
        return [f"{name} is left out: {reason}" for name, reason in idle.items()]

    def missing(self, scheduler: SchedulerConfig) -> dict[str, str]:
        """Say which knobs of a scheduler can't be turned now, as autogroup_nice where autogroup is off."""
        gone = unavailable(self.target()) if scheduler.name == FAIR else {}
        return {name: reason for name, reason in gone.items() if name in scheduler.parameters}

    @contextmanager
    def open(
        self, spec: RunSpec, schedulers: Sequence[SchedulerConfig] = (), turned: Iterable[str] = ()
    ) -> Iterator[HostBackend]:
        """Claim the target, put back what a killed run has left, and turn knobs run by run.

        Without schedulers runs are made as the machine is: they may be the load of another run that turns it.
        """
        target, turned = self.target(), list(turned)
        backend = HostBackend(target, metrics=spec.metrics, required=spec.required, limits=spec.limits)
        if not schedulers and not turned:
            with ExitStack() as stack:
                stack.push(backend)  # left, and not entered: nothing is put back
                yield backend
            return
        reach = require_reach(spec.workload, target, schedulers, turned)
        own = [one for one in schedulers if one.name in KERNELS_OWN]
        knobs = {name for one in own for name in one.values}
        with _claimed(target, schedulers, knobs | set(turned)), backend:
            told = dict.fromkeys(
                note for one in own for note in (*moved_defaults(target, one), *notes(target, one.values))
            )
            backend.warnings += [*reach, *_daemon_warnings(), *told]
            yield backend


def _identity(pid: int) -> str:
    return f"{boot_id()} {start_ticks(pid)}"


def _claimed(
    target: Target, schedulers: Sequence[SchedulerConfig], turned: Iterable[str]
) -> AbstractContextManager[None]:
    """Claim the target; the whole machine where another scheduler is to be in charge of it."""
    if all(scheduler.name in KERNELS_OWN for scheduler in schedulers):
        return claimed(target, turned=turned)
    return claimed(Target(Scope.MACHINE))


def _daemon_warnings() -> Iterator[str]:
    for found in running_daemons(Probe.live()):
        if found.daemon.interferes:
            yield f"{found.daemon.name} is running and {found.daemon.does}; stop it: {found.daemon.stop}"


def _ineffective(scheduler: SchedulerConfig) -> dict[str, str]:
    """Which of scx_tuna's parameters do nothing on this machine, however they are set: name -> why."""
    if scheduler.name not in OURS or not is_object(scheduler.binary_path):
        return {}
    with closing(HostMachine()) as machine:
        return ineffective_there(machine, {})


def _refuse(name: str, problem: UnavailableError) -> NoReturn:
    raise UnavailableError(
        f"{name} can't run on this machine: {problem}",
        hint=f"tune the kernel's own (--scheduler {FAIR}; scheduler_name='{FAIR}' in Python), or run {name} "
        "in the lab's guests (--backend vm; backend='vm'); `schedtuna doctor` says what is missing here",
    ) from problem


def _explain(text: str, error: SpaceError, target: Target) -> None:
    """Raise a better error where the machine, not the text, is why a value was refused."""
    if isinstance(error, UnknownParameterError):
        name = error.name
        scopes = {knob.name: knob.scopes for knob in all_knobs()}.get(name, frozenset())
        if reason := unavailable(target).get(name):
            raise UnavailableError(
                f"{text}: {name} can't be changed here: {reason}", hint="`schedtuna knobs` lists what can"
            ) from None
        if scopes and target.scope not in scopes:
            raise UsageError(
                f"{text}: {name} can't be set in scope {target.scope}",
                hint=f"it is there in scope {', '.join(sorted(scopes))}",
            ) from None
    if not isinstance(error, OutOfBoundsError) or error.name != "nice":
        return
    if error.value >= -20 and not may_have_nice(int(error.value)):
        raise UnavailableError(
            f"{text}: only root may lower nice so far; without privilege: expected {error.bounds}",
            hint="run as root, or raise RLIMIT_NICE",
        ) from None
