"""What does the method say of a real machine's noise, when nothing differs?

Runs campaigns of identical commands, interleaved and judged exactly as a comparison is: every
verdict `improved` or `worse` is false. With --record it stores single runs instead, for
evidence_null.py to resample.

    python benchmarks/evidence_aa_real.py --campaigns 20
    python benchmarks/evidence_aa_real.py --record benchmarks/data/real_runs.csv --runs 400
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from schedtuna.evidence.design import MAX_BLOCKS, Arm, plan_campaign
from schedtuna.evidence.sequential import Sequential
from schedtuna.evidence.verdict import Block
from schedtuna.workload.spec import Direction

# Short, fixed amounts of work: wakeups through pipes, plain arithmetic, switches between two tasks.
COMMANDS = {
    "hackbench": ("hackbench", "-g", "2", "-l", "100"),
    "stress-ng-cpu": ("stress-ng", "--quiet", "--cpu", "1", "--cpu-method", "int64", "--cpu-ops", "500"),
    "stress-ng-switch": ("stress-ng", "--quiet", "--switch", "1", "--switch-ops", "50000"),
}


def seconds(command: tuple[str, ...]) -> float | None:
    """Wall time of one run; None where it fails."""
    started = time.perf_counter()
    finished = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started if finished.returncode == 0 else None


def campaign(command: tuple[str, ...], rng: np.random.Generator, max_blocks: int) -> Sequential:
    """One study of a command against itself."""
    study = Sequential(Direction.MIN, max_blocks=max_blocks)
    for plan in plan_campaign(rng, max_blocks):
        if study.should_stop():
            break
        measured: dict[Arm, float | None] = {arm: seconds(command) for arm in plan.order}
        study.add(Block(plan.order, measured))
    return study


def record(path: Path, runs: int, names: list[str]) -> None:
    """Store single runs of every workload, in order, the workloads taking turns by the hundred."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["workload", "index", "seconds"])
        for start in range(0, runs, 100):
            for name in names:
                for index in range(start, min(start + 100, runs)):
                    writer.writerow([name, index, f"{seconds(COMMANDS[name]):.6f}"])
                file.flush()


def main() -> None:
    """Run the campaigns and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--campaigns", type=int, default=20, help="per workload")
    parser.add_argument("--quick", action="store_true", help="one short campaign of one workload")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="store single runs in this file instead")
    parser.add_argument("--runs", type=int, default=400, help="runs to record, per workload")
    options = parser.parse_args()
    names = [name for name, command in COMMANDS.items() if shutil.which(command[0])]
    if not names:
        sys.exit("neither hackbench nor stress-ng is installed")
    if options.record:
        record(options.record, options.runs, names)
        return
    rng = np.random.default_rng(options.seed)
    report = {}
    for name in names[:1] if options.quick else names:
        results = []
        for _ in range(1 if options.quick else options.campaigns):
            results.append(campaign(COMMANDS[name], rng, 6 if options.quick else MAX_BLOCKS).result())
            print(f"{name}: {results[-1].verdict} after {results[-1].blocks} blocks", file=sys.stderr)
        verdicts = Counter(str(result.verdict) for result in results)
        report[name] = {
            "campaigns": len(results),
            "verdicts": dict(verdicts),
            "false_claims": verdicts["improved"] + verdicts["worse"],
            "noise_cv_median": round(float(np.median([result.noise_cv for result in results])), 4),
            "half_width_median": round(
                float(np.median([(r.effect.ci95[1] - r.effect.ci95[0]) / 2 for r in results])), 4
            ),
            "runs_mean": round(3 * float(np.mean([result.blocks for result in results])), 1),
            "alarms": {
                "aa": sum(result.aa.alarm for result in results),
                "carry_over": sum(result.carry_over.alarm for result in results),
                "position": sum(result.position.alarm for result in results),
            },
        }
    print(json.dumps({"benchmark": "evidence_aa_real", "workloads": report}))


if __name__ == "__main__":
    main()
