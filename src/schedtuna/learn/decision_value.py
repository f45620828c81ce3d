"""What is a model worth when it decides? It schedules simulated loads; so do rules, on the same arrivals.

A score that is right more often is worth nothing if nothing waits less. Turnaround is, by Little's law, the
integral of the number of tasks that run or wait for a CPU: unfinished work counts as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.errors import UsageError
from schedtuna.sim.schedulers import SchedulerSource
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis

BASE = "fair"
RULES = (BASE, "las", "srtf")  # srtf knows how long each burst will be: nobody does better on one CPU
LOADS = tuple(
    f"{family}:load=0.9,member=7"
    for family in ("poisson", "heavy-tail", "bursts", "interactive", "fork-join")
)
SEEDS = (1, 2, 3)
SECONDS, CPUS = 2.0, 2
_CONFIDENCE = 0.95
_LEAST_NS = 1_000.0  # a latency below it is noise of the constants


@dataclass(frozen=True)
class DecisionValue:
    """What a scheduler comes to.

    Attributes:
        scheduler: Its name.
        turnaround, latency: Turnaround, and wakeup latency at the 99th percentile, over the kernel's own
            scheduler's: geometric means over loads and seeds.
        turnaround_bounds, latency_bounds: Their intervals of 95%, by Student's t over the loads' logarithms.
        regret: Turnaround over that of srtf, less 1.
        by_load: Turnaround of each load.
    """

    scheduler: str
    turnaround: float
    turnaround_bounds: tuple[float, float]
    latency: float
    latency_bounds: tuple[float, float]
    regret: float
    by_load: dict[str, float]


def decision_values(
    schedulers: dict[str, SchedulerSource],
    *,
    loads: Sequence[str] = LOADS,
    seeds: Sequence[int] = SEEDS,
    cpus: int = CPUS,
    seconds: float = SECONDS,
    tell: Callable[[str], None] = lambda _text: None,
) -> list[DecisionValue]:
    """Let schedulers, and the rules that they are held against, run the same loads.

    Args:
        schedulers: Name to what `simulate` takes: `model:FILE` of a trained model.
        loads: As `sim run` takes them; at least two.
        seeds: Of arrivals.
        cpus: Of the machine.
        seconds: Simulated, for each run.
        tell: Is told what runs.

    Raises:
        UsageError: There are fewer than two loads, or one is none.
        ModelError: A model is no scheduler.
    """
    if len(loads) < 2 or not seeds:
        raise UsageError("what a model is worth is told over two loads at least, and one seed")
    everybody: dict[str, SchedulerSource] = {**{rule: rule for rule in RULES}, **schedulers}
    costs: dict[str, np.ndarray] = {}
    for name, source in everybody.items():
        tell(f"simulating {name}")
        costs[name] = np.array(
            [[_costs(load, source, seed, cpus, seconds) for seed in seeds] for load in loads]
        )
    return [_value(name, costs, loads) for name in everybody]


def _costs(load: str, source: SchedulerSource, seed: int, cpus: int, seconds: float) -> tuple[float, float]:
    """Turnaround, and latency at the 99th percentile, in nanoseconds."""
    overall = Analysis(simulate(load, source, cpus=cpus, seed=seed, duration_s=seconds)).overall()
    latency = overall["wakeup_latency_p99_ns"] or _LEAST_NS
    return float(overall["cpu_time_ns"] + overall["run_delay_ns"]), max(float(latency), _LEAST_NS)


def _value(name: str, costs: dict[str, np.ndarray], loads: Sequence[str]) -> DecisionValue:
    ratios = np.log(costs[name] / costs[BASE]).mean(axis=1)  # [loads, 2]: seeds of one load are no replicates
    found = [_with_bounds(ratios[:, column]) for column in (0, 1)]
    best = float(np.log(costs[name] / costs["srtf"])[:, :, 0].mean())
    return DecisionValue(
        name,
        found[0][0],
        found[0][1],
        found[1][0],
        found[1][1],
        float(np.exp(best) - 1),
        {load: float(np.exp(ratio)) for load, ratio in zip(loads, ratios[:, 0], strict=True)},
    )


def _with_bounds(logarithms: np.ndarray) -> tuple[float, tuple[float, float]]:
    from scipy import stats

    n, mean = len(logarithms), float(logarithms.mean())
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1) * logarithms.std(ddof=1) / np.sqrt(n))
    return float(np.exp(mean)), (float(np.exp(mean - half)), float(np.exp(mean + half)))
