"""Does a machine for sched_ext schedulers keep the contract? Checks that every `Machine` here passes.

from schedtuna.scheduler.conformance import check_machine

check_machine(MyMachine())  # raises ConformanceError and says what was expected
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

from schedtuna.errors import ConformanceError
from schedtuna.scheduler.scx import Machine

WITHIN_S = 20.0
_POLL_S = 0.02


def check_machine(machine: Machine) -> None:
    """Run all checks. They start and end programs, and load no scheduler.

    Raises:
        ConformanceError: The first check that failed, and how.
    """
    for check in CHECKS:
        check(machine)


def files_are_read(machine: Machine) -> None:
    """A file's text is read, and one that is not there is None."""
    _expect(bool(machine.read("/proc/uptime")), "/proc/uptime is not read")
    for path in ("/proc/no-such-file", "/proc/uptime/below"):
        _expect(machine.read(path) is None, f"{path}, which is not there, is read")


def programs_end_with_their_code(machine: Machine) -> None:
    """A program runs in the background; its exit code and both its outputs are kept."""
    pid = machine.spawn(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"])
    code = _ended(machine, pid)
    _expect(code == 3, f"a program that exits with code 3 has the status {code}")
    _expect(machine.status(pid) == 3, "its status is gone once it was asked for")
    log = machine.log(pid)
    _expect("out" in log and "err" in log, f"its outputs are lost: {log!r}")


def programs_are_ended(machine: Machine) -> None:
    """A running program has no status; a signal ends it, and a second one is harmless."""
    pid = machine.spawn(["/bin/sh", "-c", "echo ready; exec sleep 1000"])
    _expect(machine.status(pid) is None, "a program that runs has ended")
    _until(lambda: "ready" in machine.log(pid), "what a running program prints is not seen")
    machine.signal(pid, signal.SIGKILL)
    code = _ended(machine, pid)
    _expect(code == -signal.SIGKILL, f"a program that was killed has the status {code}")
    machine.signal(pid, signal.SIGKILL)


def programs_may_answer_signals(machine: Machine) -> None:
    """SIGINT reaches a program, although it runs in the background."""
    pid = machine.spawn(_TRAPPED)
    _until(lambda: "ready" in machine.log(pid), "what a running program prints is not seen")
    machine.signal(pid, signal.SIGINT)
    code = _ended(machine, pid)
    _expect(code == 5, f"a program that exits with code 5 at SIGINT has the status {code}")


_TRAPPED: Sequence[str] = (
    "/bin/sh",
    "-c",
    "trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done",
)
CHECKS: tuple[Callable[[Machine], None], ...] = (
    files_are_read,
    programs_end_with_their_code,
    programs_are_ended,
    programs_may_answer_signals,
)


def _ended(machine: Machine, pid: int) -> int | None:
    _until(lambda: machine.status(pid) is not None, "a program does not end")
    return machine.status(pid)


def _until(done: Callable[[], bool], broken: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not done():
        _expect(time.monotonic() < deadline, broken)
        time.sleep(_POLL_S)


def _expect(kept: bool, broken: str) -> None:
    if not kept:
        raise ConformanceError(broken)
