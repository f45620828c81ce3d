"""What do counted statistics amount to: the columns of `trace.metrics`, and `sched.*` metrics?

Percentiles come from histograms, so they are off by up to 13%; counts, sums and means are exact.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from schedtuna.trace.aggregates.groups import GroupArray, fold
from schedtuna.trace.aggregates.histogram import percentile_ns
from schedtuna.trace.aggregates.layout import TIME_SLICES, Blocked, Delay, Migration
from schedtuna.trace.aggregates.metrics import SCHED_METRICS
from schedtuna.trace.fairness import Fairness
from schedtuna.trace.metrics import QUANTILES

Columns = dict[str, float]

_DELAYS = {
    "wakeup_latency": Delay.WAKEUP,
    "preempt_delay": Delay.PREEMPT,
    "first_run_delay": Delay.FIRST_RUN,
}


def columns(group: np.void) -> Columns:
    """Return the figures of one group, by the names of `trace.metrics`; NaN where there are none."""
    delays, blocked = group["delay_ns"], group["blocked_ns"]
    result: Columns = {
        "nr_tasks": int(group["nr_tasks"]),
        "cpu_time_ns": int(group["run_ns"]),
        "run_delay_ns": int(delays[: Delay.THROTTLED].sum()),
        "schedstat_run_delay_ns": int(group["schedstat_run_delay_ns"]),
        "throttled_ns": int(delays[Delay.THROTTLED]),
        "sleeping_ns": int(blocked[Blocked.SLEEP]),
        "blocked_ns": int(blocked[Blocked.WAIT]),
        "io_ns": int(blocked[Blocked.IO]),
        "nr_switches": int(group["nr_runs"]),
        "nr_wakeups": int(group["nr_delays"][Delay.WAKEUP]),
        "nr_voluntary": int(group["nr_voluntary"]),
        "nr_involuntary": int(group["nr_involuntary"]),
        "nr_migrations": int(group["nr_migrations"].sum()),
        "nr_migrations_cross_llc": int(group["nr_migrations"][Migration.CROSS_LLC :].sum()),
        "nr_migrations_cross_node": int(group["nr_migrations"][Migration.CROSS_NODE]),
        "nr_began_before": int(group["nr_tasks"]) - int(group["nr_born"]),
        "nr_alive_after": int(group["nr_tasks"]) - int(group["nr_exited"]),
        "waiting_ns": int(group["waiting_ns"]),
    }
    for name, delay in _DELAYS.items():
        histogram, most = group["histograms"][delay], float(group["delay_max_ns"][delay])
        result |= _distribution(name, histogram, int(group["nr_delays"][delay]), float(delays[delay]), most)
    slices = group["histograms"][TIME_SLICES]
    result |= _distribution("slice", slices, int(slices.sum()), float(group["run_ns"]), math.inf)
    count = int(group["nr_turnarounds"])
    result["turnaround_count"] = count
    result["turnaround_mean_ns"] = _ratio(float(group["turnaround_ns"]), count)
    return result


def _distribution(
    name: str, histogram: npt.NDArray[np.integer], count: int, total_ns: float, max_ns: float
) -> Columns:
    result: Columns = {f"{name}_count": count, f"{name}_mean_ns": _ratio(total_ns, count)}
    for label, share in QUANTILES.items():
        result[f"{name}_{label}_ns"] = percentile_ns(histogram, 100 * share, max_ns=max_ns)
    result[f"{name}_max_ns"] = percentile_ns(histogram, 100, max_ns=max_ns)
    return result


def _ratio(total: float, count: int) -> float:
    return total / count if count else math.nan


def fairness_cv(tasks: GroupArray, nr_cpus: int, window_ns: int) -> float:
    """Return the coefficient of variation, over tasks, of CPU time received / entitled.

    What a task asked for is the time that it was runnable; the CPUs' time is shared by weight, but
    nobody is entitled to more than it asked for. (`trace.fairness` does this at every moment; here
    the window is one moment, so short overloads within it do not show.)

    Args:
        tasks: One group per task; one of several stands for as many that are alike.
        nr_cpus: CPUs that they share.
        window_ns: How long these statistics were counted.
    """
    count = np.maximum(tasks["nr_tasks"].astype(np.int64), 1)
    received = tasks["run_ns"].astype(np.float64)
    asked = received + tasks["delay_ns"][:, : Delay.THROTTLED].sum(axis=1) + tasks["waiting_ns"]
    weight = np.divide(
        tasks["weighted_ns"], tasks["observed_ns"], out=np.ones(len(tasks)), where=tasks["observed_ns"] > 0
    )
    entitled = entitled_ns(asked, weight * count, float(nr_cpus) * window_ns)
    group = np.repeat(np.arange(len(tasks), dtype=np.int32), count)
    return Fairness(group, (entitled / count)[group], (received / count)[group]).cv()


def entitled_ns(
    asked_ns: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], capacity_ns: float
) -> npt.NDArray[np.float64]:
    """Share CPU time by weight, nobody more than asked for (weighted max-min fairness)."""
    order = np.argsort(asked_ns / np.maximum(weight, 1e-9))
    entitled = np.zeros(len(asked_ns))
    rest, rest_weight = capacity_ns, float(weight.sum())
    for task in order:
        share = rest * weight[task] / rest_weight if rest_weight > 0 else 0.0
        entitled[task] = min(asked_ns[task], share)
        rest -= entitled[task]
        rest_weight -= weight[task]
    return entitled


def sched_metrics(tasks: GroupArray, nr_cpus: int, window_ns: int) -> dict[str, float]:
    """Return the `sched.*` metrics of some tasks together; those that have no value are left out.

    Args:
        tasks: One group per task.
        nr_cpus: CPUs that they share.
        window_ns: How long they were counted.
    """
    if not len(tasks):
        return {}
    figures = columns(fold(tasks, [])[0])
    figures["fairness_cv"] = fairness_cv(tasks, nr_cpus, window_ns)
    values = {name: row.value(figures) for name, row in SCHED_METRICS.items()}
    return {name: value for name, value in values.items() if not math.isnan(value)}
