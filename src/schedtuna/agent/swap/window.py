"""What was a window of a running machine like, and what was it worth? Pure.

The terms of L and the features are those of `schedtuna/Swap-v0`, from what the agent senses. By Little's law
the integral of the number of tasks that run or wait is the sum of what ran and what waited; a job begins
with a wakeup, a birth, or with the window, for who can run then. Two things are coarser than in the simulated
machine: fairness is the mean of the intervals' own, and of the threads in state D only those are seen that
wait for IO.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schedtuna.agent.contract import Sensed
from schedtuna.features.told import TOLD
from schedtuna.features.windows import WindowValues, windows

# What this machine's samples do not have under the name, and what stands for it.
STANDS_FOR = {"nr_active_threads": "run_queue_length", "nr_blocked_threads": "nr_io_blocked_threads"}
_OF_TASKS = {"voluntary_switches_per_s": "nr_voluntary", "involuntary_switches_per_s": "nr_involuntary"}
# A class of loads, by what schedulers change least: how busy the CPUs are, and how often tasks sleep.
_BUSY_PERCENT = (10.0, 40.0, 70.0, 90.0)
_SLEEPS_PER_S = (30.0, 120.0, 480.0, 1920.0, 7680.0)


@dataclass(frozen=True)
class SwapWindow:
    """A window in which one scheduler was in charge.

    Attributes:
        start_ns, end_ns: On CLOCK_MONOTONIC, behind what was discarded.
        figures: The terms of L, by name; empty: they are not known.
        features: Of `TOLD`, by name.
        load_class: Which loads it is compared with; empty: unknown.
        unknown: Why there are no figures; empty: there are.
    """

    start_ns: int
    end_ns: int
    figures: Mapping[str, float]
    features: Mapping[str, WindowValues]
    load_class: str
    unknown: str = ""

    @property
    def averages(self) -> dict[str, float]:
        """Each feature's average, as far as it is known."""
        return {name: one.average for name, one in self.features.items() if one.average is not None}


def swap_window(intervals: Sequence[Sensed], before: Sensed, *, nr_cpus: int) -> SwapWindow:
    """Sum intervals up to a window.

    Args:
        intervals: One at least, one behind the other.
        before: The interval before the first.
        nr_cpus: Of the machine.
    """
    start_ns, end_ns = intervals[0].start_ns, intervals[-1].end_ns
    samples = [(one.end_ns, _metrics(one)) for one in intervals]
    (found,) = windows(samples, TOLD, length_s=(end_ns - start_ns) / 1e9, begin_ns=start_ns)
    try:
        figures, unknown = _figures(intervals, before, nr_cpus), ""
    except KeyError as error:
        figures, unknown = {}, f"{error.args[0]} was not measured"
    averages = {name: one.average for name, one in found.features.items()}
    return SwapWindow(start_ns, end_ns, figures, found.features, load_class(averages, nr_cpus), unknown)


def load_class(averages: Mapping[str, float | None], nr_cpus: int) -> str:
    """Return the class of a load, for people, too; empty where it is not known."""
    busy, sleeps = (averages.get(name) for name in ("cpu_percent", "voluntary_switches_per_s"))
    if busy is None or sleeps is None:
        return ""
    return f"CPUs {_band(busy, _BUSY_PERCENT)}% busy, {_band(sleeps / nr_cpus, _SLEEPS_PER_S)} sleeps/s each"


def _band(value: float, edges: Sequence[float]) -> str:
    place = bisect_right(edges, value)
    if place == len(edges):
        return f"{edges[-1]:g}+"
    return f"{edges[place - 1] if place else 0:g}-{edges[place]:g}"


def _metrics(sensed: Sensed) -> dict[str, float]:
    """What samples of the table's names say of an interval, as far as it is known."""
    metrics = dict(sensed.machine)
    for name, stands in STANDS_FOR.items():
        if name not in metrics and stands in metrics:
            metrics[name] = metrics[stands]
    seconds = max(sensed.seconds, 1e-9)
    return metrics | {name: float(sensed.tasks[column].sum()) / seconds for name, column in _OF_TASKS.items()}


def _figures(intervals: Sequence[Sensed], before: Sensed, nr_cpus: int) -> dict[str, float]:
    jobs, could_run_ns, first_ns = before.machine["run_queue_length"], 0.0, 0.0
    for one in intervals:
        wakeups = one.kernel["wakeups_per_s"] * one.seconds
        births = one.machine["forks_per_s"] * one.seconds
        jobs += wakeups + births
        ran_ns = one.machine["cpu_percent"] / 100 * nr_cpus * one.seconds * 1e9
        could_run_ns += ran_ns + one.kernel["run_delay_ms_per_s"] * 1e6 * one.seconds
        first_ns += 1e3 * (
            wakeups * _mean(one, "wakeup_latency_mean_us", wakeups)
            + births * _mean(one, "first_run_delay_mean_us", births)
        )
    fairness = [one.kernel["fairness_cv"] for one in intervals if "fairness_cv" in one.kernel]
    return {
        "turnaround": could_run_ns / max(jobs, 1.0),
        "first_run": first_ns / max(jobs, 1.0),
        "fairness": statistics.fmean(fairness) if fairness else 0.0,
    }


def _mean(sensed: Sensed, name: str, count: float) -> float:
    """A mean of an interval's events; where there were none there is none, and it counts for nothing.

    Births are counted by the machine, their delays by the kernel's program: of the few that have no delay yet
    the interval says nothing.
    """
    if count < 1 or (name.startswith("first_run") and name not in sensed.kernel):
        return 0.0
    value = sensed.kernel[name]
    return value if math.isfinite(value) else 0.0
