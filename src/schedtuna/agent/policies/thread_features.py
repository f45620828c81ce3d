"""What can a model be told of a thread, by what an interval tells? Named as in `features.table`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.agent.contract import SensedTasks

Column = Callable[[SensedTasks], npt.NDArray[Any]]


@dataclass(frozen=True)
class ThreadFeature:
    """How an input is computed from an interval.

    Attributes:
        compute: Its integers, one per thread.
        stands_in: What it stands in for, where the model's own definition needs single bursts; empty: it is
            the same.
    """

    compute: Column
    stands_in: str = ""


def _burst_ns(tasks: SensedTasks) -> npt.NDArray[Any]:
    """Of who did not sleep in the interval: what it has had in it, or its life's mean where that is more."""
    mean_ns = tasks["cpu_time_ns"] // np.maximum(tasks["nr_voluntary"], 1)
    of_life_ns = tasks["total_cpu_time_ns"] // np.maximum(tasks["total_nr_voluntary"], 1)
    return np.asarray(np.where(tasks["nr_voluntary"] > 0, mean_ns, np.maximum(mean_ns, of_life_ns)))


def _sleep_ns(tasks: SensedTasks) -> npt.NDArray[Any]:
    """Of who did not sleep in the interval how long it slept before is unknown: the interval is taken.

    What is left of it beside running and waiting is none: a wait is counted when it has ended.
    """
    observed_ns = tasks["observed_ns"].astype(np.int64)
    awake_ns = (tasks["cpu_time_ns"] + tasks["run_delay_ns"]).astype(np.int64)
    nr_sleeps = tasks["nr_voluntary"].astype(np.int64)
    mean_ns = np.maximum(observed_ns - awake_ns, 0) // np.maximum(nr_sleeps, 1)
    return np.asarray(np.where(nr_sleeps > 0, mean_ns, observed_ns))


def _wait_ns(tasks: SensedTasks) -> npt.NDArray[Any]:
    switches = tasks["nr_voluntary"] + tasks["nr_involuntary"]
    return np.asarray(tasks["run_delay_ns"] // np.maximum(switches, 1))


_MEAN_BURST = ThreadFeature(_burst_ns, "single bursts: the mean of the interval's is taken")
_MEAN_SLEEP = ThreadFeature(
    _sleep_ns, "single sleeps: the mean of the interval's is taken, the interval where there was none"
)
_MEAN_WAIT = ThreadFeature(_wait_ns, "single waits: the mean of the interval's is taken")
_BURSTS = (
    *("burst_ns", "burst_2_ns", "burst_3_ns", "burst_4_ns"),
    *("burst_median_ns", "burst_average_ns", "burst_most_ns"),
)
THREAD_FEATURES: dict[str, ThreadFeature] = {
    "nice": ThreadFeature(lambda tasks: tasks["nice"]),
    "policy": ThreadFeature(lambda tasks: tasks["policy"]),
    "task_weight": ThreadFeature(lambda tasks: np.where(tasks["weight"] > 0, tasks["weight"], 1024)),
    "asked_slice_ns": ThreadFeature(lambda tasks: tasks["slice_ns"]),
    "is_kthread": ThreadFeature(lambda tasks: tasks["is_kernel_thread"]),
    "is_leader": ThreadFeature(lambda tasks: tasks["tid"] == tasks["tgid"]),
    "cpu_time_ns": ThreadFeature(lambda tasks: tasks["total_cpu_time_ns"]),
    "cpu_permille": ThreadFeature(
        lambda tasks: 1000 * tasks["cpu_time_ns"] // np.maximum(tasks["observed_ns"], 1)
    ),
    "burst_mean_ns": _MEAN_BURST,
    **dict.fromkeys(_BURSTS, _MEAN_BURST),
    "nr_known_bursts": ThreadFeature(
        lambda tasks: np.minimum(tasks["total_nr_voluntary"], 8), "bursts: the switches are counted"
    ),
    **dict.fromkeys(("sleep_ns", "sleep_2_ns", "sleep_mean_ns"), _MEAN_SLEEP),
    **dict.fromkeys(("wakeup_latency_ns", "preempt_delay_ns", "waited_ns"), _MEAN_WAIT),
    "nr_preempted": ThreadFeature(
        lambda tasks: tasks["nr_involuntary"] // np.maximum(tasks["nr_voluntary"], 1),
        "single bursts: the mean of the interval's is taken",
    ),
}
