"""A small program on a scheduler's machine that says something once it is ready, and at every SIGUSR1.

What it says is lines in its log: a machine has no other way to hear of a program.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedtuna.scheduler.scx import Machine

_POLL_S = 0.05


class Helper:
    """The program, which runs until it is closed.

    Args:
        machine: Where it runs.
        argv: Its command line.
    """

    def __init__(self, machine: Machine, argv: Sequence[str]) -> None:
        self._machine = machine
        self._pid = machine.spawn(argv)

    def ask(self) -> None:
        """Let it say something more."""
        self._machine.signal(self._pid, signal.SIGUSR1)

    def lines(self) -> list[str]:
        """What it has said, in whole lines."""
        log = self._machine.log(self._pid)
        return log[: log.rfind("\n") + 1].splitlines()

    def await_lines(self, number: int, within_s: float) -> bool:
        """Wait until it has said so many lines; False where it ended before, or takes too long."""
        deadline = time.monotonic() + within_s
        while len(self.lines()) < number:
            if self._machine.status(self._pid) is not None or time.monotonic() > deadline:
                return len(self.lines()) >= number
            time.sleep(_POLL_S)
        return True

    def close(self) -> None:
        """End it."""
        self._machine.signal(self._pid, signal.SIGKILL)
        while self._machine.status(self._pid) is None:
            time.sleep(_POLL_S)
