"""Which `sched.*` metrics are there? One row each; `summary.sched_metrics()` has their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SCHED_PREFIX = "sched."
NEEDS = "CAP_BPF and CAP_PERFMON"


@dataclass(frozen=True)
class SchedMetric:
    """A metric that is counted in the kernel while a workload runs.

    Attributes:
        name: As users write it, with its unit where it has one.
        direction: Which way is better for most.
        description: What it is.
        column: Of `summary.columns()`: nanoseconds where `unit` is ``us``.
        unit: ``us``, or empty for counts and ratios.
    """

    name: str
    direction: Literal["min", "max"]
    description: str
    column: str
    unit: Literal["us", ""] = "us"

    def value(self, columns: Mapping[str, float]) -> float:
        """Return its value, in its unit; NaN where there is none."""
        return columns[self.column] / 1000 if self.unit else columns[self.column]


_STATISTICS = {
    "mean": "mean",
    "p50": "median",
    "p90": "90th percentile",
    "p99": "99th percentile",
    "p999": "99.9th percentile",
    "max": "largest",
}
_DELAYS = {
    "wakeup_latency": "time from a wakeup to running",
    "preempt_delay": "time from being preempted to running again",
    "first_run_delay": "time from fork to running",
}
_ROWS = (
    *(
        SchedMetric(f"sched.{delay}_{statistic}_us", "min", f"{label} {what}", f"{delay}_{statistic}_ns")
        for delay, what in _DELAYS.items()
        for statistic, label in _STATISTICS.items()
    ),
    SchedMetric(
        "sched.turnaround_mean_us",
        "min",
        "mean time from fork to exit, of tasks that did both",
        "turnaround_mean_ns",
    ),
    SchedMetric("sched.slice_mean_us", "max", "mean time on a CPU at a stretch", "slice_mean_ns"),
    SchedMetric(
        "sched.run_delay_total_us",
        "min",
        "all waiting on a runqueue, without what a quota held back",
        "run_delay_ns",
    ),
    SchedMetric("sched.throttled_total_us", "min", "held back by a CPU quota", "throttled_ns"),
    SchedMetric("sched.cpu_time_total_us", "min", "CPU time", "cpu_time_ns"),
    SchedMetric("sched.io_wait_total_us", "min", "blocked for IO", "io_ns"),
    SchedMetric("sched.switches", "min", "times switched in", "nr_switches", ""),
    SchedMetric("sched.wakeups", "min", "wakeups", "nr_wakeups", ""),
    SchedMetric("sched.preemptions", "min", "switches out while runnable", "nr_involuntary", ""),
    SchedMetric("sched.migrations", "min", "moves to another CPU", "nr_migrations", ""),
    SchedMetric(
        "sched.migrations_cross_llc",
        "min",
        "moves to another last-level cache",
        "nr_migrations_cross_llc",
        "",
    ),
    SchedMetric(
        "sched.fairness_cv", "min", "unevenness of CPU time received over entitled", "fairness_cv", ""
    ),
)
SCHED_METRICS: dict[str, SchedMetric] = {row.name: row for row in _ROWS}
