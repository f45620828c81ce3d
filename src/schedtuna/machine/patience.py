"""Has something had its time, on a machine that may have to share its CPUs?"""

from __future__ import annotations

import time
from collections.abc import Callable

_BUSY_HOST = 4  # times longer than asked for, where the machine waits for a CPU


class Patience:
    """A time limit that a machine which gets little of a CPU may exceed.

    Args:
        within_s: The limit in seconds, from now on.
        cpu_s: CPU time that the machine has used so far, where others compete with it for a real CPU,
            as in a guest: until it has had the limit of that, it may take up to four times as long.
    """

    def __init__(self, within_s: float, cpu_s: Callable[[], float] | None = None) -> None:
        self._within_s = within_s
        self._cpu_s = cpu_s or time.monotonic
        self._began, self._cpu_began = time.monotonic(), self._cpu_s()

    def passed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def ended(self) -> bool:
        """Whether it has had its time."""
        passed_s, cpu_s = self.passed_s(), self._cpu_s() - self._cpu_began
        return passed_s > _BUSY_HOST * self._within_s or min(passed_s, cpu_s) > self._within_s
