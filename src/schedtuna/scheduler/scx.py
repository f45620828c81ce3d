"""Is our sched_ext scheduler in charge? Starts one, watches it, and gives the machine back.

What the kernel says in /sys/kernel/sched_ext decides, not what the process says. The decisions are
pure; a `Machine` reads files and starts and signals programs, on this host or in a guest.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from types import TracebackType
from typing import Protocol, Self

from schedtuna.errors import SchedtunaError, UnavailableError
from schedtuna.kernel.kfuncs import REMEDY, is_refusal
from schedtuna.knobs.scheduler_process import WAY_OUT, is_named, is_of
from schedtuna.machine.patience import Patience
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.objects import is_object
from schedtuna.scheduler.spec import SchedulerConfig

SYSFS = "/sys/kernel/sched_ext"
DISABLED, ENABLED = "disabled", "enabled"
START_WITHIN_S = 60.0  # a large scheduler is verified for 15 s and more on a slow machine
_STOP_WITHIN_S = 20.0
_KILL_WITHIN_S = 20.0
_POLL_S = 0.05
_LINKED_WITHIN_S = 1.0
_LOG_LINES = 20
_DUMP_BYTES = 16_384  # of a dump that lists every task, what is kept
_DUMP_HEADING = "DEBUG DUMP"  # tools/sched_ext/include/scx/user_exit_info.h
_EXIT = re.compile(r"^EXIT: (.+)$", re.MULTILINE)
_EVENT = re.compile(r"^SCX_EV_(\w+) (-?\d+)$", re.MULTILINE)


class SchedulerError(SchedtunaError):
    """A sched_ext scheduler did not start.

    Args:
        message: What happened.
        log: What its program printed.
        hint: What to do next.

    Attributes:
        reason: What happened, and what to do next, without the log.
    """

    def __init__(self, message: str, *, log: str = "", hint: str | None = None) -> None:
        super().__init__(f"{message}; it printed:\n{log}" if log else message, hint=hint)
        self.log = log
        self.reason = f"{message}; {hint}" if hint else message


class StuckSchedulerError(SchedulerError):
    """A sched_ext scheduler did not go: the machine is still under it."""


class Machine(Protocol):
    """Where schedulers run."""

    def read(self, path: str) -> str | None:
        """The text of a file; None where there is none."""
        ...

    def spawn(self, argv: Sequence[str]) -> int:
        """Start a program in the background; returns its pid."""
        ...

    def status(self, pid: int) -> int | None:
        """Its exit code, minus the signal that ended it, or None while it runs."""
        ...

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a program that `spawn` started, if it still runs."""
        ...

    def log(self, pid: int) -> str:
        """What it has printed."""
        ...


# ---- what the kernel says ------------------------------------------------------------------------


@dataclass(frozen=True)
class ScxState:
    """What /sys/kernel/sched_ext says.

    Attributes:
        state: ``disabled``, ``enabling``, ``enabled``, ``disabling``.
        ops: Name of the scheduler that is in charge; empty: none is.
        enable_seq: How many schedulers were ever enabled since boot.
        nr_rejected: Tasks that were refused a policy by a scheduler since boot.
        switch_all: Whether it schedules all normal tasks, not just those that ask for it.
    """

    state: str
    ops: str
    enable_seq: int
    nr_rejected: int
    switch_all: bool = True


def read_state(machine: Machine) -> ScxState:
    """Read the state.

    Raises:
        UnavailableError: The kernel has no sched_ext.
    """
    state = machine.read(f"{SYSFS}/state")
    if state is None:
        raise UnavailableError(
            "this kernel has no sched_ext (CONFIG_SCHED_CLASS_EXT)",
            hint="try it in a guest that has: `schedtuna lab start trial`, then the same with `--in trial`",
        )
    return ScxState(
        state=state.strip(),
        ops=(machine.read(f"{SYSFS}/root/ops") or "").strip(),
        enable_seq=int(machine.read(f"{SYSFS}/enable_seq") or 0),
        nr_rejected=int(machine.read(f"{SYSFS}/nr_rejected") or 0),
        switch_all=(machine.read(f"{SYSFS}/switch_all") or "1").strip() != "0",
    )


def read_events(machine: Machine) -> dict[str, int]:
    """Return the kernel's counters of what went past the scheduler in charge, such as ``bypass_activate``.

    Empty where no scheduler is in charge, or the kernel (before 6.14) counts nothing.
    """
    text = machine.read(f"{SYSFS}/root/events") or ""
    return {name.lower(): int(number) for name, number in _EVENT.findall(text)}


# ---- decisions -----------------------------------------------------------------------------------


class Startup(StrEnum):
    """Where a start stands."""

    WAITING = "waiting"
    READY = "ready"
    FAILED = "failed"


def startup(before: ScxState, now: ScxState, exit_code: int | None, *, is_own: bool) -> tuple[Startup, str]:
    """Judge a start.

    Args:
        before: The state just before the program was started.
        now: The state now.
        exit_code: The program's; None while it runs.
        is_own: Whether the scheduler that is in charge now, if any, is the program's.

    Returns:
        Where it stands, and why where it failed.
    """
    if exit_code is not None:
        return Startup.FAILED, f"it {ending(exit_code)} before it was enabled"
    if now.state != ENABLED or not now.ops:
        return Startup.WAITING, ""
    if not is_own:
        return Startup.FAILED, f"another scheduler, {now.ops}, is in charge"
    if now.enable_seq == before.enable_seq:  # the kernel counts just after it says `enabled`
        return Startup.WAITING, ""
    if now.enable_seq != before.enable_seq + 1:
        return Startup.FAILED, f"{now.enable_seq - before.enable_seq} schedulers were enabled meanwhile"
    return Startup.READY, ""


def ejection(started: ScxState, now: ScxState, exit_code: int | None) -> str:
    """Return why a scheduler that was ready is not in charge any more, or was not all the time.

    Args:
        started: The state when it was ready.
        now: The state now.
        exit_code: Its program's; None while it runs.

    Returns:
        The reason; empty if it has been in charge all the time.
    """
    reasons = []
    if now.state != ENABLED:
        reasons.append(f"sched_ext is {now.state}")
    elif now.ops != started.ops:
        reasons.append(f"{now.ops} is in charge instead")
    if now.enable_seq != started.enable_seq:
        reasons.append(f"a scheduler was enabled {now.enable_seq - started.enable_seq} more times")
    if exit_code is not None:
        reasons.append(f"its program {ending(exit_code)}")
    if now.nr_rejected != started.nr_rejected:
        reasons.append(f"{now.nr_rejected - started.nr_rejected} tasks were rejected")
    return ", ".join(reasons)


def exit_reason(log: str) -> str:
    """Return what the kernel gave as the reason, as the loader printed it: ``runnable task stall (...)``.

    Empty where it printed none, or just left by itself.
    """
    found = _EXIT.findall(log)
    return found[-1].strip() if found and "unregistered from user space" not in found[-1] else ""


def exit_dump(log: str) -> str:
    """Return what a scheduler printed last: the kernel's dump and reason where there is one.

    Of a long dump the beginning, which has the reason and the backtrace, and the end are kept.
    """
    at = log.rfind(_DUMP_HEADING)
    if at < 0:
        return "\n".join(log.splitlines()[-_LOG_LINES:])
    dump = log[at:].strip()
    if len(dump) <= _DUMP_BYTES:
        return dump
    head, tail = dump[: _DUMP_BYTES * 3 // 4], dump[-_DUMP_BYTES // 4 :]
    left_out = len(dump) - len(head) - len(tail)
    return f"{head}\n[... {left_out} characters left out ...]\n{tail}"


def version_change(seen: Mapping[str, str], name: str, ops: str) -> str:
    """Say whether a scheduler is another version than it was: its ops name has the version in it.

    Args:
        seen: The ops names of earlier runs, by the scheduler's name.
        name: The scheduler's name.
        ops: Its ops name now.

    Returns:
        The change; empty where there is none.
    """
    before = seen.get(name, ops)
    return "" if before == ops else f"{name} is {ops} now; earlier runs were under {before}"


def ending(exit_code: int) -> str:
    """Spell how a program ended."""
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"exited with code {exit_code}"


# ---- the process ---------------------------------------------------------------------------------


class ScxProcess:
    """A scheduler that is in charge of a machine, until it is closed.

    A context manager: leaving it, however, stops the scheduler and waits until the kernel's own is
    back.

    Args:
        machine: Where it runs.
        scheduler: Which one, and its values.
        program: Path of its program on that machine.
        within_s: How long it may take until it is in charge.
        cpu_s: CPU time that the machine has used, where others compete with it for a real CPU, as in
            a guest: where it gets little, it may take up to four times as long.
        argv: Its command line, where that is known; default: what follows from the values.

    Attributes:
        machine: Where it runs.
        started: The state when it was in charge.
        is_object: Whether Schedtuna's own loader keeps it in charge.

    Raises:
        UnavailableError: The kernel has no sched_ext, or another scheduler is in charge.
        SchedulerError: It exits, hangs, or another one is enabled; its log is in the message.
    """

    def __init__(
        self,
        machine: Machine,
        scheduler: SchedulerConfig,
        program: str,
        *,
        within_s: float = START_WITHIN_S,
        cpu_s: Callable[[], float] | None = None,
        argv: Sequence[str] = (),
    ) -> None:
        before = read_state(machine)
        if before.state != DISABLED:
            raise UnavailableError(
                f"sched_ext is {before.state} with {before.ops or 'another scheduler'}",
                hint="stop that one first; it is left alone",
            )
        self.machine = machine
        self._name = scheduler.name
        self.is_object = is_object(scheduler.binary_path)
        self._program = PurePath(program).name
        self._ops = ""  # what its scheduler is called in the kernel, once that was seen
        self.pid = machine.spawn(argv or [program, *command_line(scheduler)])
        try:
            self.started = self._await(before, Patience(within_s, cpu_s))
            self._events = read_events(machine)
        except BaseException:
            self.close()
            raise

    @classmethod
    def found(cls, machine: Machine, name: str, program: str, pid: int) -> Self:
        """Return one that was started before, by the machine's same `spawn`, and runs."""
        process = cls.__new__(cls)
        process.machine, process.pid = machine, pid
        process._name, process._program = name, PurePath(program).name
        process.started, process._events = read_state(machine), {}
        process._ops = ""
        process.is_object = False
        process.in_charge(process.started)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def in_charge(self, now: ScxState) -> bool:
        """Whether its scheduler is in charge, whatever that is called."""
        if is_of(now.ops, self._program, self.pid, self.machine.read):
            self._ops = now.ops
        return bool(now.ops) and now.ops == self._ops

    def ejected(self) -> str:
        """Return why it is not in charge any more; empty while it is."""
        return ejection(self.started, read_state(self.machine), self.machine.status(self.pid))

    def log(self) -> str:
        """The last lines that it printed: after an ejection, the kernel's dump."""
        return exit_dump(self.machine.log(self.pid))

    def events(self) -> dict[str, int]:
        """What went past it since it was in charge, by the kernel's counters."""
        now = read_events(self.machine)
        return {name: number - self._events.get(name, 0) for name, number in now.items()}

    def close(self) -> None:
        """Stop it, and wait until the kernel's own scheduler is back.

        Raises:
            StuckSchedulerError: sched_ext does not become disabled.
        """
        self.in_charge(read_state(self.machine))
        for number, within_s in ((signal.SIGINT, _STOP_WITHIN_S), (signal.SIGKILL, _KILL_WITHIN_S)):
            self.machine.signal(self.pid, number)
            if self._gone(within_s):
                return
        state = read_state(self.machine)
        raise StuckSchedulerError(
            f"{self._name} did not stop: sched_ext is {state.state} with {state.ops}",
            hint=WAY_OUT,
        )

    def _is_own(self, now: ScxState) -> bool:
        """The same at a start: the kernel says `enabled` just before the program has its link."""
        deadline = time.monotonic() + _LINKED_WITHIN_S
        while now.ops and not self.in_charge(now):
            if time.monotonic() > deadline or self.machine.status(self.pid) is not None:
                return False
            time.sleep(_POLL_S)
        return bool(now.ops)

    def _await(self, before: ScxState, patience: Patience) -> ScxState:
        while True:
            now = read_state(self.machine)
            stage, reason = startup(before, now, self.machine.status(self.pid), is_own=self._is_own(now))
            if stage is Startup.READY:
                return now
            if stage is Startup.WAITING and patience.ended():
                stage, reason = Startup.FAILED, f"it was not enabled within {patience.passed_s():.0f} s"
            if stage is Startup.FAILED:
                raise SchedulerError(
                    f"{self._name} did not start: {reason}",
                    log=self.log(),
                    hint=REMEDY if is_refusal(self.machine.log(self.pid)) else None,
                )
            time.sleep(_POLL_S)

    def _gone(self, within_s: float) -> bool:
        """Wait until the program has ended and no scheduler, or another's, is in charge."""
        deadline = time.monotonic() + within_s
        while True:
            if self.machine.status(self.pid) is not None:
                now = read_state(self.machine)
                others = now.ops != self._ops and not is_named(now.ops, self._program)
                if now.state == DISABLED or (now.state == ENABLED and others):
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
