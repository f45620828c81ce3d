"""What is a window worth? L: turnaround, first run and fairness, each over the default scheduler's.

Windows cut tasks that have not exited, and most loads have none that do. So tasks are counted by their
*jobs*: a job begins when its task wakes up or is born, or can run when the window begins, and ends when it
sleeps or exits. By Little's law the mean time of a job is the integral of the number of them, divided by
how many there were: unfinished ones count, and a window in which nothing exits has a value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from schedtuna.errors import UsageError, nearest
from schedtuna.trace.fairness import TaskClass, measured_fairness
from schedtuna.trace.intervals import Intervals
from schedtuna.trace.metrics import clip, measure
from schedtuna.trace.states import RUNNABLE, TaskState

MOST = 10.0  # a ratio counts for no more: a starved window is bad, not infinitely bad


@dataclass(frozen=True)
class LossTerm:
    """A row of the table.

    Attributes:
        name: As in the weights.
        floor: Added to both sides of the ratio, so that it exists where the default's is 0.
        unit: Of the value and the floor.
        help: What it is, for people.
    """

    name: str
    floor: float
    unit: str
    help: str


LOSS_TERMS = (
    LossTerm(
        "turnaround",
        1_000,
        "ns",
        "mean time from a wakeup or birth to the sleep or exit: the integral of the number of tasks that run"
        " or wait for a CPU, per job",
    ),
    LossTerm(
        "first_run",
        10_000,
        "ns",
        "mean time from a wakeup or birth to the first run: the integral of the number of tasks that have not"
        " run since, per job",
    ),
    LossTerm(
        "fairness",
        0.05,
        "",
        "`fairness_cv`: the spread of CPU time received over entitled; where fewer than two tasks asked for"
        " some, 0",
    ),
)
# Beside them: what each change of the scheduler costs.
SWITCHING = LossTerm(
    "switching", 0, "", "each change of the scheduler costs its share of the step: swap_ns / step"
)
WEIGHTS = {**{term.name: 1.0 for term in LOSS_TERMS}, SWITCHING.name: 1.0}


def complete_weights(weights: Mapping[str, float] | None) -> dict[str, float]:
    """Return all weights of L.

    Args:
        weights: Those that are not 0; None: 1 each.

    Raises:
        UsageError: There is no such term, a weight is negative or infinite, or none of L's is positive.
    """
    if weights is None:
        return dict(WEIGHTS)
    for name, weight in weights.items():
        if name not in WEIGHTS:
            raise UsageError(f"L has no term {name!r}: {nearest(name, WEIGHTS)}")
        if not (math.isfinite(weight) and weight >= 0):
            raise UsageError(f"weight {name}={weight}: expected a number from 0 on")
    complete = dict.fromkeys(WEIGHTS, 0.0) | {name: float(weight) for name, weight in weights.items()}
    if not any(complete[term.name] for term in LOSS_TERMS):
        raise UsageError(f"L needs a weight for one of {', '.join(term.name for term in LOSS_TERMS)}")
    return complete


def window_figures(
    found: Intervals, start_ns: int, end_ns: int, *, nr_cpus: int, weights: Mapping[int, int]
) -> dict[str, float]:
    """Return the terms of L of a window, by name.

    Args:
        found: Task states, at least of the window; those of a task in time order.
        start_ns: When it begins.
        end_ns: When it ends.
        nr_cpus: Of the machine.
        weights: The kernel's weight of each thread id.
    """
    inside = clip(found, start_ns, end_ns)
    lasts = inside.duration_ns
    could_run = np.isin(inside.state, (TaskState.RUNNING, *RUNNABLE))
    has_not_run = np.isin(inside.state, (TaskState.RUNNABLE_WOKEN, TaskState.RUNNABLE_NEW))
    nr_jobs = max(int((has_not_run | (could_run & inside.began_before)).sum()), 1)
    tids = dict(zip(inside.task.tolist(), inside.tid.tolist(), strict=True))
    classes = {task: TaskClass(weights[tid]) for task, tid in tids.items() if tid in weights}
    cv = measured_fairness(measure(inside), classes, nr_cpus).cv() if len(inside) else 0.0
    return {
        "turnaround": float(lasts[could_run].sum()) / nr_jobs,
        "first_run": float(lasts[has_not_run].sum()) / nr_jobs,
        "fairness": 0.0 if math.isnan(cv) else cv,
    }


def loss(figures: Mapping[str, float], default: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return L of a window: the sum of weights for the default itself.

    Args:
        figures: Of the window.
        default: Of the same window under the default scheduler.
        weights: As `complete_weights` returns them.
    """
    return sum(
        weights[term.name] * min((figures[term.name] + term.floor) / (default[term.name] + term.floor), MOST)
        for term in LOSS_TERMS
    )
