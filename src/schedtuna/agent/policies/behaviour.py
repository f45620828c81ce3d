"""How does a thread behave: interactive, batch, or neither? By what it did, never by its name. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from schedtuna.agent.contract import SensedTasks


class Behaviour(IntEnum):
    """What a thread is like, as far as an interval tells."""

    OTHER = 0
    INTERACTIVE = 1
    BATCH = 2

    @property
    def word(self) -> str:
        """Its name in tables."""
        return self.name.lower()


@dataclass(frozen=True)
class BehaviourLimits:
    """Where one ends and the other begins; a data file says what each is.

    Attributes:
        interactive_wakeups_per_s: At least.
        interactive_burst_ms: CPU time per wakeup, at most.
        interactive_cpu_percent: Of one CPU, at most.
        batch_demand_percent: Of one CPU, running or waiting to run, at least.
        batch_burst_ms: At least.
        waiting_ms_per_s, waiting_us_per_wakeup: A thread has to wait that waits so long a second, and each
            time that it wakes up, on average.
    """

    interactive_wakeups_per_s: float = 4.0
    interactive_burst_ms: float = 5.0
    interactive_cpu_percent: float = 40.0
    batch_demand_percent: float = 60.0
    batch_burst_ms: float = 20.0
    waiting_ms_per_s: float = 1.0
    waiting_us_per_wakeup: float = 100.0


@dataclass(frozen=True)
class BehaviourRates:
    """What threads did per second, in the order of the rows; NaN where it is not known.

    Attributes:
        cpu_percent, wait_percent: Of one CPU.
        wakeups_per_s: Each follows a voluntary switch.
        burst_ms: CPU time per wakeup; without any, the time that it ran or could have run.
    """

    cpu_percent: npt.NDArray[np.float64]
    wait_percent: npt.NDArray[np.float64]
    wakeups_per_s: npt.NDArray[np.float64]
    burst_ms: npt.NDArray[np.float64]

    def of(self, row: int) -> dict[str, float]:
        """Return one thread's, by name."""
        return {name: round(float(values[row]), 3) for name, values in vars(self).items()}


def rates(tasks: SensedTasks) -> BehaviourRates:
    """Return what threads did per second of the time that they were watched."""
    seconds = np.where(tasks["observed_ns"] > 0, tasks["observed_ns"] / 1e9, np.nan)
    wakeups = tasks["nr_voluntary"].astype(np.float64)
    cpu_ms = tasks["cpu_time_ns"] / 1e6
    return BehaviourRates(
        cpu_percent=cpu_ms / 10 / seconds,
        wait_percent=tasks["run_delay_ns"] / 1e7 / seconds,
        wakeups_per_s=wakeups / seconds,
        burst_ms=np.where(wakeups > 0, cpu_ms / np.maximum(wakeups, 1), cpu_ms + tasks["run_delay_ns"] / 1e6),
    )


def behaviours(found: BehaviourRates, limits: BehaviourLimits) -> npt.NDArray[np.uint8]:
    """Return a `Behaviour` for each thread; what is not known is `OTHER`."""
    demand = found.cpu_percent + found.wait_percent
    batch = (demand >= limits.batch_demand_percent) & (found.burst_ms >= limits.batch_burst_ms)
    interactive = (
        (found.wakeups_per_s >= limits.interactive_wakeups_per_s)
        & (found.burst_ms <= limits.interactive_burst_ms)
        & (found.cpu_percent <= limits.interactive_cpu_percent)
    )
    result = np.where(batch, Behaviour.BATCH, np.where(interactive, Behaviour.INTERACTIVE, Behaviour.OTHER))
    return result.astype(np.uint8)
