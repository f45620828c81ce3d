"""How long do tasks stand still while schedulers are swapped? One that only sleeps, per CPU, knows.

Each sleeps a millisecond over and over, pinned to its CPU, and remembers how late it woke at most. What
a machine does anyway is told apart by the same probe without a swap.
"""

from __future__ import annotations

import signal
import sys
import time
from types import TracebackType
from typing import Self

from schedtuna.scheduler.scx import Machine

# Prints the longest lateness in seconds since the last signal, at every SIGUSR1. Argument: the CPU.
_PROBE = """
import os, signal, sys, time
worst = 0.0
def tell(*_):
    global worst
    print(worst, flush=True)
    worst = 0.0
signal.signal(signal.SIGUSR1, tell)
os.sched_setaffinity(0, {int(sys.argv[1])})
print("ready", flush=True)
while True:
    before = time.monotonic()
    time.sleep(0.001)
    worst = max(worst, time.monotonic() - before - 0.001)
"""
_READY_WITHIN_S = 60.0
_POLL_S = 0.02


class StallError(RuntimeError):
    """A probe did not start, or died."""


class StallProbe:
    """Sleepers on some CPUs of a machine.

    Args:
        machine: Where they sleep.
        cpus: Where one is pinned each.
        python: The machine's Python.
    """

    def __init__(self, machine: Machine, cpus: list[int], python: str = sys.executable) -> None:
        self._machine = machine
        self._pids = [machine.spawn([python, "-I", "-S", "-c", _PROBE, str(cpu)]) for cpu in cpus]
        self._nr_told = 0
        try:
            self._await_lines(1)
            self.longest_s()  # start-up is no stall
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def longest_s(self) -> float:
        """The longest that any of them was late, in seconds, since this was asked last.

        Raises:
            StallError: One died.
        """
        for pid in self._pids:
            self._machine.signal(pid, signal.SIGUSR1)
        self._nr_told += 1
        told = self._await_lines(1 + self._nr_told)
        return max(float(lines[-1]) for lines in told)

    def close(self) -> None:
        """End them."""
        for pid in self._pids:
            self._machine.signal(pid, signal.SIGKILL)
        for pid in self._pids:
            while self._machine.status(pid) is None:
                time.sleep(_POLL_S)

    def _await_lines(self, number: int) -> list[list[str]]:
        deadline = time.monotonic() + _READY_WITHIN_S
        while True:
            logs = [self._machine.log(pid) for pid in self._pids]
            whole = [log[: log.rfind("\n") + 1].splitlines() for log in logs]
            if all(len(lines) >= number for lines in whole):
                return whole
            if time.monotonic() > deadline or any(
                self._machine.status(pid) is not None for pid in self._pids
            ):
                raise StallError(f"a probe for stalls does not answer: {logs}")
            time.sleep(_POLL_S)
