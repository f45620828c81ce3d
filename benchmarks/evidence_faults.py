"""What does a broken design do to the verdict, and is it noticed?

Injected: a candidate that leaves something behind for the next run (carry-over), a first run of
every block that is slower, a machine that warms up within blocks. The first biases the comparison
and must be caught; the other two only cost precision, because the orders are random.
`without_carry_over_rule` is what the ranks alone would have said at the same look.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np

from evidence_simulation import OUTLIER_RATE, Fault, Noise, draw_runs, run_study, upper_bound
from schedtuna.evidence.verdict import Result, Verdict

NOISES = {
    "CV 2%": Noise(cv=0.02, outlier_rate=OUTLIER_RATE),
    "CV 5%": Noise(cv=0.05, outlier_rate=OUTLIER_RATE),
    "CV 5%, AR(1) 0.5": Noise(cv=0.05, outlier_rate=OUTLIER_RATE, correlation=0.5),
}
FAULTS = {
    "none": Fault(),
    "residue +3% after the candidate": Fault(residue=1.03),
    "residue +6% after the candidate": Fault(residue=1.06),
    "residue -3% after the candidate": Fault(residue=0.97),
    "first run of a block +10%": Fault(first=1.10),
    "+2% per run within a block": Fault(warming=1.02),
}
EFFECTS = (1.0, 0.95)


def claims_by_ranks(result: Result) -> bool:
    """Whether the ranks claim a difference, with no other safeguard."""
    return min(result.p_improved, result.p_worse) <= result.p_bound


def cell(noise: Noise, fault: Fault, effect: float, studies: int, seed: int) -> dict[str, float]:
    """Verdicts and alarms of one noise and fault."""
    rng = np.random.default_rng([seed, round(1000 * effect)])
    results = [run_study(draw_runs(rng, noise, effect, fault=fault)) for _ in range(studies)]

    def rate(count: int) -> float:
        return round(count / studies, 4)

    return {
        "improved": rate(sum(result.verdict is Verdict.IMPROVED for result in results)),
        "worse": rate(sum(result.verdict is Verdict.WORSE for result in results)),
        "without_carry_over_rule": rate(sum(map(claims_by_ranks, results))),
        "carry_over_alarm": rate(sum(result.carry_over.alarm for result in results)),
        "carry_over_suspected": rate(sum(result.carry_over.suspected for result in results)),
        "position_alarm": rate(sum(result.position.alarm for result in results)),
        "aa_alarm": rate(sum(result.aa.alarm for result in results)),
        "runs_mean": round(3 * sum(result.blocks for result in results) / studies, 1),
    }


def main() -> None:
    """Run all cells and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1000, help="per cell")
    parser.add_argument("--quick", action="store_true", help="20 studies per cell of one noise")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    studies = 20 if options.quick else options.studies
    started = time.perf_counter()
    cells: dict[str, Any] = {}
    for name in ("CV 5%",) if options.quick else NOISES:
        for fault_name, fault in FAULTS.items():
            for effect in (1.0,) if options.quick else EFFECTS:
                key = f"{name}, {fault_name}, effect {effect}"
                cells[key] = cell(NOISES[name], fault, effect, studies, options.seed)
        print(f"{name}: done", file=sys.stderr)
    null = {key: figures for key, figures in cells.items() if key.endswith("effect 1.0")}
    worst = {claim: max(figures[claim] for figures in null.values()) for claim in ("improved", "worse")}
    sound = [figures for key, figures in null.items() if ", none," in key]
    alarms = ("carry_over_alarm", "position_alarm", "aa_alarm")
    report = {
        "benchmark": "evidence_faults",
        "studies_per_cell": studies,
        "false_claims_worst": worst,
        "false_claims_worst_upper_bound": {
            claim: round(upper_bound(round(rate * studies), studies), 4) for claim, rate in worst.items()
        },
        "false_alarms_worst": {alarm: max(figures[alarm] for figures in sound) for alarm in alarms},
        "cells": cells,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
