"""How often is an improvement claimed where there is none, and do the intervals cover?

Nothing differs between the arms of a null study, so every claim is false. The same runs are given
to the usual shortcuts. Requirements: at most 5% false `improved`, 95% upper bound at most 6.5%;
coverage's 95% lower bound at least 94%; median half-width at most 5% at CV 5%.

Relabelling resampled real runs leaves the test valid by construction, whatever the runs are: that
family shows the noise's effect on power and on the shortcuts; evidence_faults.py breaks the design.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np

from evidence_simulation import NULL_FAMILIES, Runs, draw_runs, lower_bound, run_study, upper_bound
from schedtuna.evidence.design import Arm
from schedtuna.evidence.verdict import Result, Verdict

EFFECTS = (0.90, 0.95, 1.05)
COVERAGE_FAMILIES = (
    "lognormal, CV 5%",
    "CV 5%, 2% outliers",
    "CV 5%, outliers, AR(1) 0.5",
    "resampled real runs",
)
NR_SEARCHED = 40


def best_of_single_runs(runs: Runs, least_gain: float) -> bool:
    """One baseline run, then one run of each of 40 candidates: keep the best."""
    costs = runs.costs.ravel()
    return bool(costs[1 : 1 + NR_SEARCHED].min() < costs[0] * (1 - least_gain))


def beats_sigma(runs: Runs, baselines: int, sigmas: float, candidates: int) -> bool:
    """The best of some candidates' single runs is some sigmas below a few baseline runs.

    A single baseline run has no sigma: then the true one is granted, 5% of it.
    """
    costs = runs.costs.ravel()
    base = costs[:baselines]
    sigma = base.std(ddof=1) if baselines > 1 else 0.05 * base[0]
    return bool(costs[baselines : baselines + candidates].min() < base.mean() - sigmas * sigma)


def peeking_t_test(runs: Runs) -> bool:
    """A paired t-test (5%, two-sided) after every pair from the fifth on; stop when it pleases."""
    from scipy.special import stdtrit

    logs = np.log(runs.costs)
    pairs = np.array(
        [
            row[order.index(Arm.B)] - row[order.index(Arm.A)]
            for order, row in zip(runs.orders, logs, strict=True)
        ]
    )
    counts = np.arange(5, len(pairs) + 1)
    for n in counts:
        seen = pairs[:n]
        if seen.mean() < -stdtrit(n - 1, 0.975) * seen.std(ddof=1) / np.sqrt(n):
            return True
    return False


SHORTCUTS = {
    "best of 40 single runs, any gain": lambda runs: best_of_single_runs(runs, 0.0),
    "best of 40 single runs, gain over 5%": lambda runs: best_of_single_runs(runs, 0.05),
    "one run beats 1 baseline run by 2 true sigma": lambda runs: beats_sigma(runs, 1, 2, 1),
    "one run beats 3 baseline runs by 2 sigma": lambda runs: beats_sigma(runs, 3, 2, 1),
    "best of 10 beats 3 baseline runs by 2 sigma": lambda runs: beats_sigma(runs, 3, 2, 10),
    "paired t-test, peeking at every pair": peeking_t_test,
}


def covers(result: Result, ratio: float) -> bool:
    """Whether the interval holds the true ratio."""
    return result.effect.ci95[0] <= ratio <= result.effect.ci95[1]


def study_family(name: str, effect: float, studies: int, seed: int) -> dict[str, Any]:
    """Simulate one family under one effect."""
    rng = np.random.default_rng([seed, list(NULL_FAMILIES).index(name), round(1000 * effect)])
    claims = dict.fromkeys(SHORTCUTS, 0)
    verdicts = dict.fromkeys(Verdict, 0)
    covered, runs_made = 0, 0
    widths = []
    for _ in range(studies):
        runs = draw_runs(rng, NULL_FAMILIES[name], effect)
        result = run_study(runs)
        verdicts[result.verdict] += 1
        covered += covers(result, effect)
        widths.append((result.effect.ci95[1] - result.effect.ci95[0]) / 2)
        runs_made += 3 * result.blocks
        if effect == 1:
            for shortcut, claim in SHORTCUTS.items():
                claims[shortcut] += claim(runs)
    report: dict[str, Any] = {
        "verdicts": {str(verdict): count / studies for verdict, count in verdicts.items()},
        "coverage": covered / studies,
        "coverage_lower_bound": round(lower_bound(covered, studies), 4),
        "half_width_median": round(float(np.median(widths)), 4),
        "runs_mean": round(runs_made / studies, 1),
    }
    if effect == 1:
        false = verdicts[Verdict.IMPROVED]
        report["false_improved"] = false / studies
        report["false_improved_upper_bound"] = round(upper_bound(false, studies), 4)
        report["shortcuts_false_claims"] = {name: count / studies for name, count in claims.items()}
    return report


def main() -> None:
    """Run all families and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=2000, help="per null family; a quarter per effect")
    parser.add_argument("--quick", action="store_true", help="40 studies per family: a smoke test")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    studies = 40 if options.quick else options.studies
    effect_studies = max(40, studies // 4)
    started = time.perf_counter()
    null, effects = {}, {}
    for name in NULL_FAMILIES:
        null[name] = study_family(name, 1.0, studies, options.seed)
        print(f"null, {name}: {null[name]['false_improved']:.2%} false", file=sys.stderr)
    for name in COVERAGE_FAMILIES:
        for effect in EFFECTS:
            effects[f"{name}, effect {effect}"] = study_family(name, effect, effect_studies, options.seed)
    cells = [*null.values(), *effects.values()]
    shortcuts = {
        shortcut: max(cell["shortcuts_false_claims"][shortcut] for cell in null.values())
        for shortcut in SHORTCUTS
    }
    report = {
        "benchmark": "evidence_null",
        "studies_per_null_cell": studies,
        "studies_per_effect_cell": effect_studies,
        "false_improved_worst": max(cell["false_improved"] for cell in null.values()),
        "false_improved_upper_bound_worst": max(cell["false_improved_upper_bound"] for cell in null.values()),
        "coverage_lower_bound_worst": min(cell["coverage_lower_bound"] for cell in cells),
        "half_width_median_at_cv_5": null["CV 5%, 2% outliers"]["half_width_median"],
        "shortcuts_false_claims_worst": shortcuts,
        "null": null,
        "effects": effects,
        "seconds": round(time.perf_counter() - started, 1),
    }
    report["meets_requirements"] = (
        report["false_improved_upper_bound_worst"] <= 0.065
        and (report["coverage_lower_bound_worst"] >= 0.94 or options.quick)
        and report["half_width_median_at_cv_5"] <= 0.05
    )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
