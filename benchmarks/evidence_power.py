"""How often is a real effect found, and with how many runs?

Requirement: at least 90% power for a 5% effect at CV 5% within 81 runs, the A/A arm included, with
2% outliers. `fixed_t` is a two-sample t-test at 5% on the same 81 runs without any interim look:
what an honest textbook analysis gets. `planning_constant` fits the blocks that 90% power takes
(schedtuna.evidence.design.PLANNING_CONSTANT).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from typing import Any

import numpy as np

from evidence_simulation import (
    OUTLIER_FACTOR,
    OUTLIER_RATE,
    FloatArray,
    Noise,
    Runs,
    draw_runs,
    lower_bound,
    run_study,
)
from schedtuna.evidence.design import MAX_BLOCKS, Arm
from schedtuna.evidence.verdict import Verdict

EFFECTS = (0.98, 0.95, 0.90)
CVS = (0.02, 0.05, 0.10, 0.20)
NOISES = {f"CV {cv:.0%}": Noise(cv=cv, outlier_rate=OUTLIER_RATE) for cv in CVS}
NOISES["CV 5%, AR(1) 0.5"] = Noise(outlier_rate=OUTLIER_RATE, correlation=0.5)
NOISES["CV 5%, linear drift 20%"] = Noise(outlier_rate=OUTLIER_RATE, linear=0.2)
NOISES["resampled real runs"] = Noise(real=True)
TARGET = "CV 5%"
PLANNED_HORIZONS = (14, 20, 28, 40)
MORE_OUTLIERS = 0.06


def fixed_t(runs: Runs) -> bool:
    """A two-sample t-test on the logarithms of all runs, once."""
    from scipy.special import stdtrit

    mine = np.array([arm is Arm.B for order in runs.orders for arm in order])
    logs = np.log(runs.costs.ravel())
    ours, theirs = logs[mine], logs[~mine]
    pooled = (ours.var(ddof=1) * (len(ours) - 1) + theirs.var(ddof=1) * (len(theirs) - 1)) / (len(logs) - 2)
    error = math.sqrt(pooled * (1 / len(ours) + 1 / len(theirs)))
    return bool(ours.mean() - theirs.mean() < -stdtrit(len(logs) - 2, 0.975) * error)


def cell(noise: Noise, effect: float, studies: int, seed: int, blocks: int = MAX_BLOCKS) -> dict[str, Any]:
    """Power, runs and interval of one noise and effect."""
    rng = np.random.default_rng([seed, round(1000 * effect), blocks])
    found, textbook, nr_runs = 0, 0, 0
    half_widths = []
    for _ in range(studies):
        runs = draw_runs(rng, noise, effect, blocks=blocks)
        result = run_study(runs)
        found += result.verdict is Verdict.IMPROVED
        textbook += fixed_t(runs)
        nr_runs += 3 * result.blocks
        half_widths.append((result.effect.ci95[1] - result.effect.ci95[0]) / 2)
    return {
        "power": found / studies,
        "power_lower_bound": round(lower_bound(found, studies), 4),
        "runs_mean": round(nr_runs / studies, 1),
        "half_width_median": round(float(np.median(half_widths)), 4),
        "fixed_t_power": textbook / studies,
    }


def planning_constant(studies: int, seed: int) -> float:
    """Fit blocks = constant * variance / shift^2 at 90% power, over several horizons."""
    from scipy.special import ndtri

    constants = []
    for blocks in PLANNED_HORIZONS:
        # The effect that a first guess of the constant gives 90% power; then correct by the power.
        shift = math.sqrt(26 * math.log1p(0.05**2) / blocks)
        power = cell(NOISES[TARGET], math.exp(-shift), studies, seed, blocks)["power"]
        power = min(max(power, 1 / studies), 1 - 1 / studies)
        z_alpha, z_wanted, z_got = 1.96, ndtri(0.9), ndtri(power)
        constants.append(26 * ((z_alpha + z_wanted) / (z_alpha + z_got)) ** 2)
    return float(np.mean(constants))


def guarded(effect: float, studies: int, seed: int) -> dict[str, float]:
    """A candidate whose typical run is faster, but which has 6 points more outliers."""
    rng = np.random.default_rng([seed, round(1000 * effect), 99])

    def more_outliers(rng: np.random.Generator, costs: FloatArray) -> FloatArray:
        slow = rng.random(len(costs)) < MORE_OUTLIERS
        return np.where(slow, costs * rng.uniform(*OUTLIER_FACTOR, len(costs)), costs)

    results = [run_study(draw_runs(rng, NOISES[TARGET], effect, alter=more_outliers)) for _ in range(studies)]
    return {
        "improved": sum(result.verdict is Verdict.IMPROVED for result in results) / studies,
        "blocked": sum(result.guard.blocked for result in results) / studies,
        "runs_mean": round(3 * sum(result.blocks for result in results) / studies, 1),
    }


def main() -> None:
    """Run all cells and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=2000, help="of the target cell; others get half")
    parser.add_argument("--quick", action="store_true", help="40 studies of the target cell")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    studies = 40 if options.quick else options.studies
    started = time.perf_counter()
    target = cell(NOISES[TARGET], 0.95, studies, options.seed)
    report: dict[str, Any] = {"benchmark": "evidence_power", "studies": studies, "target": target}
    if not options.quick:
        table = {}
        for name, noise in NOISES.items():
            for effect in EFFECTS:
                table[f"{name}, effect {effect}"] = cell(noise, effect, studies // 2, options.seed)
            print(f"{name}: done", file=sys.stderr)
        report["table"] = table
        report["planning_constant"] = round(planning_constant(studies // 2, options.seed), 1)
        report["six_points_more_outliers"] = {
            str(effect): guarded(effect, studies // 2, options.seed) for effect in (0.95, 0.90)
        }
    report["seconds"] = round(time.perf_counter() - started, 1)
    report["meets_requirements"] = target["power"] >= 0.90
    print(json.dumps(report))


if __name__ == "__main__":
    main()
