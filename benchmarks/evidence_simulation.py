"""Noise to test the evidence against: simulated families, faults, and resampled real runs.

A study's runs are costs in run order; what differs between arms is multiplied in afterwards.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schedtuna.evidence.design import MAX_BLOCKS, Arm, plan_block
from schedtuna.evidence.sequential import Sequential
from schedtuna.evidence.verdict import Block, Result
from schedtuna.workload.spec import Direction

FloatArray = NDArray[np.float64]

REAL_RUNS = Path(__file__).parent / "data" / "real_runs.csv"
OUTLIER_RATE, OUTLIER_FACTOR = 0.02, (1.5, 3.5)
STRETCH = (9, 36)  # real runs are resampled in successive stretches of this many runs


@dataclass(frozen=True)
class Noise:
    """A family of noise.

    Attributes:
        cv: Coefficient of variation of the lognormal part.
        outlier_rate: Share of runs that take 1.5 to 3.5 times as long.
        correlation: Of successive runs (AR(1)).
        linear: Logarithm of the drift over a full study.
        wave: Amplitude, on the log scale, of a drift with three periods in a full study.
        real: Whether to resample recorded runs instead.
    """

    cv: float = 0.05
    outlier_rate: float = 0.0
    correlation: float = 0.0
    linear: float = 0.0
    wave: float = 0.0
    real: bool = False

    def draw(self, rng: np.random.Generator, runs: int) -> FloatArray:
        """Costs of successive runs of one and the same thing."""
        if self.real:
            return _resampled(rng, runs)
        deviates = rng.standard_normal(runs)
        if self.correlation:
            fresh = math.sqrt(1 - self.correlation**2)
            for k in range(1, runs):
                deviates[k] = self.correlation * deviates[k - 1] + fresh * deviates[k]
        time = np.arange(runs) / runs
        drift = self.linear * time
        drift = drift + self.wave * np.sin(2 * np.pi * (3 * time + rng.random()))
        costs = np.exp(math.sqrt(math.log1p(self.cv**2)) * deviates + drift)
        slow = rng.random(runs) < self.outlier_rate
        return np.asarray(np.where(slow, costs * rng.uniform(*OUTLIER_FACTOR, runs), costs))


NULL_FAMILIES = {
    "lognormal, CV 2%": Noise(cv=0.02),
    "lognormal, CV 5%": Noise(cv=0.05),
    "lognormal, CV 10%": Noise(cv=0.10),
    "lognormal, CV 20%": Noise(cv=0.20),
    "CV 5%, 2% outliers": Noise(outlier_rate=OUTLIER_RATE),
    "CV 5%, outliers, AR(1) 0.5": Noise(outlier_rate=OUTLIER_RATE, correlation=0.5),
    "CV 5%, outliers, linear drift 20%": Noise(outlier_rate=OUTLIER_RATE, linear=0.2),
    "CV 5%, outliers, sinusoidal drift 10%": Noise(outlier_rate=OUTLIER_RATE, wave=0.1),
    "resampled real runs": Noise(real=True),
}


@functools.cache
def real_runs() -> tuple[FloatArray, ...]:
    """The recorded runs, one array per workload, in the order they ran."""
    series: dict[str, list[float]] = {}
    with REAL_RUNS.open(newline="") as file:
        for row in csv.DictReader(file):
            series.setdefault(row["workload"], []).append(float(row["seconds"]))
    return tuple(np.array(values) for values in series.values())


def _resampled(rng: np.random.Generator, runs: int) -> FloatArray:
    """Successive stretches of one workload's recorded runs, so that correlation survives."""
    series = real_runs()[rng.integers(len(real_runs()))]
    pieces: list[FloatArray] = []
    while sum(map(len, pieces)) < runs:
        length = int(rng.integers(*STRETCH))
        start = int(rng.integers(len(series) - length))
        pieces.append(series[start : start + length])
    return np.concatenate(pieces)[:runs]


@dataclass(frozen=True)
class Fault:
    """What a design that ignores it falls for.

    Attributes:
        residue: Factor on the run that follows a candidate's.
        first: Factor on the first run of every block.
        warming: Factor per run within a block.
    """

    residue: float = 1.0
    first: float = 1.0
    warming: float = 1.0


@dataclass(frozen=True)
class Runs:
    """One simulated study, complete.

    Attributes:
        orders: The arms of every block.
        costs: Shape (blocks, 3), in run order, effect and faults included.
    """

    orders: tuple[tuple[Arm, ...], ...]
    costs: FloatArray

    def blocks(self) -> list[Block]:
        """What the evidence gets to see."""
        return [
            Block(order, dict(zip(order, row, strict=True)))
            for order, row in zip(self.orders, self.costs.tolist(), strict=True)
        ]


def draw_runs(
    rng: np.random.Generator,
    noise: Noise,
    effect: float = 1.0,
    *,
    fault: Fault | None = None,
    alter: Callable[[np.random.Generator, FloatArray], FloatArray] | None = None,
    blocks: int = MAX_BLOCKS,
) -> Runs:
    """Simulate a study.

    Args:
        rng: Source of everything random.
        noise: The family.
        effect: Factor on the candidate's runs.
        fault: What goes wrong with the design.
        alter: Changes the candidate's costs further, such as outliers of its own.
        blocks: Size of the study.
    """
    orders = tuple(plan_block(rng).order for _ in range(blocks))
    costs = noise.draw(rng, 3 * blocks)
    mine = np.array([arm is Arm.B for order in orders for arm in order])
    costs[mine] *= effect
    if alter:
        costs[mine] = alter(rng, costs[mine])
    if fault:
        costs[1:][mine[:-1]] *= fault.residue
        costs[::3] *= fault.first
        costs *= fault.warming ** (np.arange(len(costs)) % 3)
    return Runs(orders, costs.reshape(blocks, 3))


def run_study(runs: Runs) -> Result:
    """Judge a study as it would have been: looks in turn, stopping where it may."""
    study = Sequential(Direction.MIN, max_blocks=len(runs.orders))
    for block in runs.blocks():
        if study.should_stop():
            break
        study.add(block)
    return study.result()


def upper_bound(count: int, total: int) -> float:
    """Clopper and Pearson's one-sided upper 95% bound of a rate."""
    from scipy.special import betaincinv

    return 1.0 if count == total else float(betaincinv(count + 1, total - count, 0.95))


def lower_bound(count: int, total: int) -> float:
    """Clopper and Pearson's one-sided lower 95% bound of a rate."""
    return 1 - upper_bound(total - count, total)
