"""How often is an improvement claimed where there is none, where equal seeds are equal runs, and where not?

Without noise the default again is the default: in blocks of three it would count as a second control that
it is not. `triples` are these blocks, judged by permutations; `pairs` are judged by the signs of their
differences. Nothing differs in any study but by chance, so every claim is false. Requirement: where
pairs are used, at most 3.5% false `improved`, 95% upper bound.

The differences over seeds are made up, or those of the simulated machine: of loads under `fair` with a
shorter slice and without, each with a sign drawn at random.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from evidence_simulation import NULL_FAMILIES, FloatArray, draw_runs, upper_bound
from schedtuna.evidence import DELTA
from schedtuna.evidence.design import (
    ALPHA_PER_SIDE,
    MAX_RUNS,
    Arm,
    Design,
    Look,
    looks_for,
    plan_block,
)
from schedtuna.evidence.verdict import Block, Verdict, analysis_of
from schedtuna.workload.spec import Direction, RunSpec

SPREAD = 0.3  # of the seeds, which both sides share
LOADS = ("poisson:load=0.8", "interactive", "bursts:load=0.8", "heavy-tail:load=0.6")
NR_SEEDS = 60
NOISE = ("lognormal, CV 5%", "CV 5%, outliers, AR(1) 0.5")
MOST_FALSE = 0.035
Draw = Callable[[np.random.Generator, int], FloatArray]
Make = Callable[[np.random.Generator, Design], list[Block]]


def normal(cv: float) -> Draw:
    """Differences of a spread."""
    return lambda rng, nr: rng.normal(0, cv, nr)


def heavy(rng: np.random.Generator, nr: int) -> FloatArray:
    """Differences few of which are far from none."""
    return np.asarray(0.03 * rng.standard_t(2, nr))


def often_none(rng: np.random.Generator, nr: int) -> FloatArray:
    """Differences half of which are zero: nothing came out otherwise."""
    return np.asarray(rng.normal(0, 0.05, nr) * (rng.random(nr) < 0.5))


def simulated(load: str) -> Draw:
    """Differences of the simulated machine, over seeds, signs drawn at random."""
    from schedtuna.backend.places.simulated import METRIC, Simulated

    machine = Simulated.of(cpus=2)
    workload, _ = machine.named_workload(load)
    sides = [machine.scheduler(text) for text in ("default", "fair:base_slice_us=500")]
    with machine.open(RunSpec(workload=workload)) as backend:
        values = [
            [backend.run(workload, side, seed=seed).metrics[METRIC] for side in sides]
            for seed in range(NR_SEEDS)
        ]
    sizes = np.diff(np.log(values), axis=1).ravel()
    return lambda rng, nr: rng.choice(sizes, nr) * rng.choice((-1.0, 1.0), nr)


def exact_blocks(rng: np.random.Generator, design: Design, *, draw: Draw) -> list[Block]:
    """A study where seeds fix runs: the default again is the default."""
    nr = MAX_RUNS // design.runs_per_block
    defaults, factors = rng.lognormal(0, SPREAD, nr), np.exp(draw(rng, nr))
    return [
        Block(
            plan_block(rng, design).order,
            {arm: default * factor if arm is Arm.B else default for arm in design.arms},
        )
        for default, factor in zip(defaults.tolist(), factors.tolist(), strict=True)
    ]


def noisy_blocks(rng: np.random.Generator, design: Design, *, family: str) -> list[Block]:
    """A study on a machine with noise; pairs have its first default."""
    blocks = draw_runs(rng, NULL_FAMILIES[family]).blocks()
    if design is Design.TRIPLES:
        return blocks
    return [Block(design.arms, {arm: block.values[arm] for arm in design.arms}) for block in blocks]


def verdict_of(blocks: list[Block], design: Design) -> tuple[Verdict, int]:
    """The verdict of a study, and its runs: looks in turn, stopping where it may, with every safeguard."""
    looks = looks_for(len(blocks), design=design)
    for look in looks:
        analysis = analysis_of(blocks[: look.blocks], Direction.MIN, look, DELTA)
        if analysis.ends_study(settle_worse=False):
            break
    return analysis.verdict, look.blocks * design.runs_per_block


def is_claimed(blocks: list[Block]) -> bool:
    """Whether the test alone, once and at its level, calls the candidate better."""
    look = Look(len(blocks), ALPHA_PER_SIDE)
    return analysis_of(blocks, Direction.MIN, look, DELTA).none.lower <= look.p_bound


def cell(make: Make, design: Design, studies: int, seed: list[int]) -> dict[str, Any]:
    """Judge many studies of a kind; the test alone on four times as many."""
    rng = np.random.default_rng(seed)
    found = [verdict_of(make(rng, design), design) for _ in range(studies)]
    false = sum(verdict is Verdict.IMPROVED for verdict, _ in found)
    alone = sum(is_claimed(make(rng, design)) for _ in range(4 * studies))
    return {
        "false_improved": false / studies,
        "false_improved_upper_bound": round(upper_bound(false, studies), 4),
        "false_by_the_test_alone": alone / (4 * studies),
        "runs_mean": round(sum(runs for _, runs in found) / studies, 1),
    }


def main() -> None:
    """Run all families under both designs and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=2000, help="per cell")
    parser.add_argument("--quick", action="store_true", help="40 studies per cell: a smoke test")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    studies = 40 if options.quick else options.studies
    started = time.perf_counter()
    families: dict[str, Draw] = {
        "differences of 2%": normal(0.02),
        "of 10%": normal(0.10),
        "heavy tails": heavy,
        "half are none": often_none,
        **{load: simulated(load) for load in LOADS},
    }
    kinds: dict[str, dict[str, Make]] = {
        "exact": {name: partial(exact_blocks, draw=draw) for name, draw in families.items()},
        "noisy": {name: partial(noisy_blocks, family=name) for name in NOISE},
    }
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for number, (kind, name) in enumerate((kind, name) for kind, of in kinds.items() for name in of):
        for design in Design:
            made = cell(kinds[kind][name], design, studies, [options.seed, number])
            cells.setdefault(kind, {}).setdefault(name, {})[str(design)] = made
            print(f"{kind}, {name}, {design}: {made}", file=sys.stderr, flush=True)
    worst = max(of[str(Design.PAIRS)]["false_improved_upper_bound"] for of in cells["exact"].values())
    report = {
        "benchmark": "evidence_model",
        "studies_per_cell": studies,
        **cells,
        "pairs_false_improved_upper_bound_worst": worst,
        "meets_requirements": worst <= MOST_FALSE or options.quick,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
