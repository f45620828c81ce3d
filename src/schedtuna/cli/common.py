"""What becomes of the options that several commands take: durations, workloads, targets, schedulers."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from schedtuna.cli.output import print_remark
from schedtuna.errors import (
    OutOfBoundsError,
    SpaceError,
    UnavailableError,
    UnknownParameterError,
    UsageError,
)
from schedtuna.knobs.base import Scope, Target

if TYPE_CHECKING:
    from schedtuna.backend.vm import GuestChoice
    from schedtuna.scheduler.spec import SchedulerConfig
    from schedtuna.workload.spec import Workload

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 365 * 86400.0
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ms|s|m|h|d)?")


def parse_duration(text: str) -> float:
    """Return the seconds that a text such as ``90``, ``1.5h`` or ``1m30s`` means.

    Raises:
        UsageError: It means no duration.
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{text!r} is not a duration", hint="write seconds, or 500ms, 90s, 5m, 1.5h, 1m30s")
    seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if seconds > _LONGEST_S:
        raise UsageError(f"{text}: expected less than a year")
    return seconds


def parse_positive_duration(text: str, *, option: str) -> float:
    """Return the seconds of an option's value, which must be more than none.

    Raises:
        UsageError: It means no duration, or none at all.
    """
    seconds = parse_duration(text)
    if seconds <= 0:
        raise UsageError(f"{option} {text}: expected more than 0 seconds")
    return seconds


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end a command like Ctrl-C does: knobs reverted, results kept."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listed(option: Sequence[str] | None) -> list[str]:
    """Return a repeatable option's values."""
    return list(option or ())


def make_workload(
    command: Sequence[str],
    *,
    shell: bool = False,
    user: str | None = None,
    timeout: str = "5m",
    warmup: int = 0,
    washout: str = "0s",
    parser: str = "",
    works_here: bool = False,
) -> Workload:
    """Return the workload that the options describe.

    Raises:
        UsageError: There is no command, or a duration is none.
    """
    from schedtuna.workload.spec import Workload

    if not command:
        raise UsageError(
            "no command to run", hint="put it after `--`: schedtuna ... -- stress-ng --cpu 1 -t 2"
        )
    return Workload(
        argv=tuple(command),
        shell=shell,
        user=user,
        timeout_s=parse_positive_duration(timeout, option="--timeout"),
        warmup_runs=warmup,
        washout_s=parse_duration(washout),
        parser=parser,
        works_here=works_here,
    )


def require_process(pid: int | None) -> None:
    """Refuse a process that is not there; None names none.

    Raises:
        UsageError: There is no such process.
    """
    if pid is not None and not Path(f"/proc/{pid}").is_dir():
        raise UsageError(f"there is no process {pid}", hint="find it with pgrep")


def make_target(scope: Scope | None, pid: int | None, cgroup: Path | None) -> Target:
    """Return what the scope options name; `--pid` and `--cgroup` imply their scope.

    Raises:
        UsageError: They contradict each other, or there is no such process or control group.
    """
    implied = [Scope.PID] * (pid is not None) + [Scope.CGROUP] * (cgroup is not None)
    if len(implied) == 2 or (scope is not None and implied not in ([], [scope])):
        raise UsageError("--scope, --pid and --cgroup contradict each other", hint="give one of them")
    chosen = scope or (implied[0] if implied else Scope.TREE)
    return Target(chosen, pid=pid, cgroup=cgroup)


def ready_place(
    scope: Scope | None,
    pid: int | None,
    cgroup: Path | None,
    *,
    backend: str,
    kernel: str | None,
    cpus: int | None,
) -> tuple[Target, GuestChoice | None]:
    """Return what the options name, once this machine's settings can be read as the default's.

    A guest has a kernel and settings of its own, so what others do to this machine's does not matter there.

    Raises:
        UsageError: They contradict each other, or there is no such process or control group.
        TargetBusyError: Another run is turning its knobs.
        StaleChangesError: What a killed run has left can't be put back.
    """
    from schedtuna.knobs.claims import require_free
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.undo import put_back_stale

    target = make_target(scope, pid, cgroup)
    guest = make_guest(backend, kernel, cpus, target)
    if guest is None:
        require_free(target)
    for remark in put_back_stale(Journal()):
        print_remark("note", remark, file=sys.stderr)
    return target, guest


def make_guest(backend: str, kernel: str | None, cpus: int | None, target: Target) -> GuestChoice | None:
    """Return which guest the options name; None for this machine.

    Raises:
        UsageError: They contradict each other.
    """
    from schedtuna.backend.vm import GuestChoice

    if backend == "host":
        for option, value in (("--kernel", kernel), ("--cpus", cpus)):
            if value is not None:
                raise UsageError(f"{option} needs --backend vm")
        return None
    if target.scope is not Scope.TREE:
        raise UsageError(f"--backend vm runs the command alone, not scope {target.scope}")
    return GuestChoice(kernel) if cpus is None else GuestChoice(kernel, cpus)


def find_guest_scheduler(text: str) -> SchedulerConfig:
    """Return the scheduler that a text means in a guest.

    Raises:
        UsageError: There is none, or no such parameter or value.
        UnavailableError: It is not installed.
    """
    from schedtuna.backend.vm import guest_scheduler
    from schedtuna.scheduler.parse import parse_scheduler

    return parse_scheduler(text, guest_scheduler)


def find_scheduler(text: str, target: Target) -> SchedulerConfig:
    """Return the scheduler that a text means, with the knobs that the target has.

    Raises:
        UsageError: There is none, no such parameter or value, or none in the target's scope.
        UnavailableError: It sets a knob that can't be turned here, or as only root may.
    """
    from schedtuna.scheduler.fair import NAME
    from schedtuna.scheduler.lookup import lookup
    from schedtuna.scheduler.parse import parse_scheduler

    found = []

    def look_up(name: str) -> SchedulerConfig:
        found.append(lookup(name, target))
        return found[-1]

    try:
        return parse_scheduler(text, look_up)
    except SpaceError as error:
        if found and found[-1].name == NAME:
            _explain(text, error, target)
        raise


def _explain(text: str, error: SpaceError, target: Target) -> None:
    """Raise a better error where the machine, not the text, is why a value was refused."""
    from schedtuna.knobs.registry import all_knobs
    from schedtuna.knobs.task_attributes import may_have_nice
    from schedtuna.scheduler.fair import unavailable

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
