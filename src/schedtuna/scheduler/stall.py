"""How long do tasks stand still while schedulers are swapped? One that only sleeps, per CPU, knows.

Each sleeps a millisecond over and over, pinned to its CPU, and remembers how late it woke at most. What
a machine does anyway is told apart by the same probe without a swap.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from schedtuna.scheduler.helper import Helper
from schedtuna.scheduler.scx import Machine

# Prints the longest lateness in seconds since the last signal, at every SIGUSR1. Argument: the CPU.
_PROBE = """
import os, signal, sys, time
asked = False
def note(*_):  # what a task stood still until just now is only known when its sleep has ended
    global asked
    asked = True
signal.signal(signal.SIGUSR1, note)
os.sched_setaffinity(0, {int(sys.argv[1])})
print("ready", flush=True)
worst = 0.0
while True:
    before = time.monotonic()
    time.sleep(0.001)
    worst = max(worst, time.monotonic() - before - 0.001)
    if asked:
        asked = False
        print(worst, flush=True)
        worst = 0.0
"""
_READY_WITHIN_S = 180.0  # an emulated guest beside compilers took over 60 s


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
        self._sleepers = [Helper(machine, [python, "-I", "-S", "-c", _PROBE, str(cpu)]) for cpu in cpus]
        self._nr_lines = 1
        try:
            self._last_lines()
            self.longest_s()  # start-up is not a stall
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
        for sleeper in self._sleepers:
            sleeper.ask()
        self._nr_lines += 1
        return max(map(float, self._last_lines()))

    def close(self) -> None:
        """End them."""
        for sleeper in self._sleepers:
            sleeper.close()

    def _last_lines(self) -> list[str]:
        for sleeper in self._sleepers:
            if not sleeper.await_lines(self._nr_lines, _READY_WITHIN_S):
                raise StallError(f"a probe for stalls does not answer: {sleeper.lines()}")
        return [sleeper.lines()[-1] for sleeper in self._sleepers]
