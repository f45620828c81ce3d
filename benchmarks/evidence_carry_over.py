"""Which rule for carry-over costs least power, and saves most false verdicts?

A candidate that leaves something behind for the next run biases the comparison. A rule says what to
take off the runs after a candidate's; a verdict has to hold with that taken off, too. Every rule
sees the same studies: horizons of 4 to 27 blocks (12 to 81 runs), one look at 2.5% per side,
lognormal noise with 2% of outliers, true effects of 0 to -30%, residues of 0 to 30% both ways.
False is `improved` where nothing improves, and `worse` where nothing gets worse, by ranks alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evidence_batch import Batch, FloatArray
from evidence_simulation import OUTLIER_RATE, Noise, upper_bound
from schedtuna.evidence import carry_over
from schedtuna.evidence.blocks import Block
from schedtuna.evidence.design import ALPHA_PER_SIDE, Arm, Look
from schedtuna.evidence.verdict import DELTA, BlockAnalysis, Verdict
from schedtuna.workload.spec import Direction

HORIZONS = (4, 5, 6, 9, 13, 27)
NOISES = {f"CV {cv:.0%}": Noise(cv=cv, outlier_rate=OUTLIER_RATE) for cv in (0.02, 0.05, 0.10, 0.20)}
NOISES["CV 5%, AR(1) 0.5"] = Noise(outlier_rate=OUTLIER_RATE, correlation=0.5)
EFFECTS = (1.0, 0.98, 0.95, 0.90, 0.70)
RESIDUES = (1.0, 1.01, 1.03, 1.10, 1.30, 0.99, 0.97, 0.90, 0.70)
COMPARED = 20  # studies per noise and horizon that the package judges, too
SIDES = {"improved": 1.0, "worse": -1.0}


@dataclass(frozen=True)
class Seen:
    """What the check says of every study of a cell.

    Attributes:
        blocks: Size of the studies.
        p: P-value of nothing left behind.
        residue: Its estimate.
        error: The estimate's standard error.
        effect: The candidate's estimated shift.
    """

    blocks: int
    p: FloatArray
    residue: FloatArray
    error: FloatArray
    effect: FloatArray

    def where(self, condition: Any) -> FloatArray:
        """The estimate where a condition holds, else nothing."""
        return np.where(condition, self.residue, 0.0)

    def at_most(self, limit: FloatArray) -> FloatArray:
        """The estimate, as far as it is plausible."""
        return np.asarray(np.clip(self.residue, -limit, limit))

    def moved(self, shift: float) -> Seen:
        """The same studies with a true effect added."""
        return replace(self, effect=self.effect + shift)

    def some(self, one: NDArray[np.bool_]) -> Seen:
        """Only some studies."""
        return Seen(self.blocks, self.p[one], self.residue[one], self.error[one], self.effect[one])

    @property
    def few(self) -> bool:
        """Whether there are too few blocks to tell."""
        return self.blocks < carry_over.SURE_BLOCKS


def chosen(seen: Seen, _: float) -> FloatArray:
    """The package's rule."""
    plausible = np.maximum(carry_over.PLAUSIBLE_SHARE * np.abs(seen.effect), carry_over.PLAUSIBLE_LEAST)
    bounded = seen.at_most(plausible) if seen.few else np.zeros_like(plausible)
    return np.where(seen.p < carry_over.DOUBT, seen.residue, bounded)


def interval_end(seen: Seen, side: float) -> FloatArray:
    """The end of the residue's 80% interval that flatters the verdict, at most the effect's size."""
    end = np.clip(side * seen.residue + 1.2816 * seen.error, 0, np.abs(seen.effect))
    return np.asarray(side * end)


def shrunken(seen: Seen, _: float) -> FloatArray:
    """The estimate, shrunken towards nothing as James and Stein do."""
    variance = seen.error**2
    return np.asarray(seen.residue * np.maximum(0, 1 - variance / np.maximum(seen.residue**2, 1e-12)))


RULES: dict[str, Callable[[Seen, float], FloatArray]] = {
    "never": lambda seen, _: np.zeros_like(seen.p),
    "p < .01": lambda seen, _: seen.where(seen.p < 0.01),
    "p < .1": lambda seen, _: seen.where(seen.p < 0.1),
    "p < .3": lambda seen, _: seen.where(seen.p < 0.3),
    "p < .1 or few blocks": lambda seen, _: seen.where((seen.p < 0.1) | seen.few),
    "always": lambda seen, _: seen.residue,
    "always, at most the effect": lambda seen, _: seen.at_most(np.abs(seen.effect)),
    "interval, at most the effect": interval_end,
    "shrunken": shrunken,
    "chosen": chosen,
}


def draw(rng: np.random.Generator, noise: Noise, studies: int, blocks: int) -> Batch:
    """Studies without an effect or a residue."""
    runs = 3 * blocks
    deviates = rng.standard_normal((studies, runs))
    for k in range(1, runs if noise.correlation else 0):
        fresh = math.sqrt(1 - noise.correlation**2)
        deviates[:, k] = noise.correlation * deviates[:, k - 1] + fresh * deviates[:, k]
    costs = math.sqrt(math.log1p(noise.cv**2)) * deviates
    slow = rng.random((studies, runs)) < noise.outlier_rate
    costs += np.where(slow, np.log(rng.uniform(1.5, 3.5, (studies, runs))), 0)
    return Batch(costs.reshape(studies, blocks, 3), rng.integers(0, 3, (studies, blocks)))


def look(batch: Batch) -> Seen:
    """What the check says without an effect; an effect only moves the estimate of it."""
    effect = batch.estimate(np.zeros(len(batch.costs)))
    p, residue = batch.residue(effect)
    return Seen(batch.costs.shape[1], p, residue, batch.error(effect), effect)


def claims(batch: Batch, seen: Seen, effect: float) -> dict[str, dict[str, float]]:
    """Shares of `improved` and `worse` by rule."""
    shift, studies = math.log(effect), len(batch.costs)
    lower, upper = batch.test(shift, np.zeros(studies))
    said = {"improved": lower <= ALPHA_PER_SIDE, "worse": upper <= ALPHA_PER_SIDE}
    seen = seen.moved(shift)
    shares: dict[str, dict[str, float]] = {rule: {} for rule in RULES}
    for side, sign in SIDES.items():
        if not said[side].any():
            for share in shares.values():
                share[side] = 0.0
            continue
        mine = batch.some(said[side])
        for rule, take_off in RULES.items():
            residue = take_off(seen, sign)[said[side]]
            held = residue == 0
            if not held.all():
                held |= mine.test(shift, residue)[side == "worse"] <= ALPHA_PER_SIDE
            shares[rule][side] = round(int(held.sum()) / studies, 4)
    return shares


def package_differs(batch: Batch, seen: Seen, effect: float) -> int:
    """How many of the first studies the package judges otherwise than the chosen rule here."""
    differ = 0
    for k in range(min(COMPARED, len(batch.costs))):
        costs = batch.costs[k] + math.log(effect) * batch.mine[k]
        blocks = []
        for row, position in zip(costs.tolist(), batch.candidate[k].tolist(), strict=True):
            order = [Arm.A, Arm.A2]
            order.insert(position, Arm.B)
            blocks.append(Block(tuple(order), dict(zip(order, np.exp(row).tolist(), strict=True))))
        typical = BlockAnalysis(blocks, Direction.MIN, Look(len(blocks), ALPHA_PER_SIDE), DELTA).typical
        one = np.zeros(len(batch.costs), dtype=bool)
        one[k] = True
        here = claims(batch.some(one), seen.some(one), effect)["chosen"]
        theirs = {side: float(typical is Verdict(side)) for side in SIDES}
        differ += here != theirs
    return differ


def horizon(blocks: int, noises: dict[str, Noise], studies: int, seed: int) -> dict[str, Any]:
    """All cells of one horizon, and the package's decisions on some of its studies."""
    cells, alarms, differ, compared = {}, {}, 0, 0
    for number, (name, noise) in enumerate(noises.items()):
        rng = np.random.default_rng([seed, blocks, number])
        for residue in RESIDUES:
            batch = draw(rng, noise, studies, blocks)
            batch.costs = batch.costs + math.log(residue) * batch.after
            seen = look(batch)
            key = f"{name}, residue {residue}"
            alarms[key] = {
                f"p < {level}": round(float((seen.p < level).mean()), 4)
                for level in (carry_over.ALARM, carry_over.DOUBT)
            }
            for effect in EFFECTS:
                cells[f"{key}, effect {effect}"] = claims(batch, seen, effect)
            if residue in {1.0, 1.03}:
                differ += package_differs(batch, seen, 0.9)
                compared += min(COMPARED, studies)
    return {"cells": cells, "alarms": alarms, "compared": compared, "differ": differ}


def summary(cells: dict[str, dict[str, dict[str, float]]], studies: int) -> dict[str, dict[str, Any]]:
    """What every rule costs and saves at one horizon."""
    noises = sorted({key.split(", residue")[0] for key in cells})

    def rates(rule: str, side: str, residues: tuple[float, ...], effects: tuple[float, ...]) -> list[float]:
        return [
            cells[f"{noise}, residue {residue}, effect {effect}"][rule][side]
            for noise in noises
            for residue in residues
            for effect in effects
        ]

    table = {}
    for rule in RULES:
        none = {side: max(rates(rule, side, (1.0,), (1.0,))) for side in SIDES}
        small = rates(rule, "improved", (1.03,), (1.0,)) + rates(rule, "worse", (0.97,), (1.0,))
        table[rule] = {
            "false_improved": none["improved"],
            "false_improved_upper_bound": round(upper_bound(round(none["improved"] * studies), studies), 4),
            "false_worse": none["worse"],
            "residue_3_false_mean": round(float(np.mean(small)), 4),
            "residue_3_false_worst": max(small),
            "any_residue_false_improved_worst": max(rates(rule, "improved", RESIDUES, (1.0,))),
            "any_residue_false_worse_worst": max(rates(rule, "worse", RESIDUES, EFFECTS)),
            "power": {
                f"{noise}, effect {effect}": cells[f"{noise}, residue 1.0, effect {effect}"][rule]["improved"]
                for noise in noises
                for effect in EFFECTS[1:]
            },
        }
    return table


def telling(studies: int, seed: int) -> dict[str, float]:
    """How often as many blocks as `blocks_to_tell` asks for raise an alarm: it says nine in ten."""
    found = {}
    for cv, residue in ((0.02, 1.03), (0.05, 1.05), (0.05, 1.10), (0.05, 0.90), (0.10, 1.20)):
        blocks = carry_over.blocks_to_tell(cv, abs(math.log(residue)))
        rng = np.random.default_rng([seed, blocks, round(100 * residue)])
        batch = draw(rng, Noise(cv=cv, outlier_rate=OUTLIER_RATE), studies, blocks)
        batch.costs = batch.costs + math.log(residue) * batch.after
        alarms = float((look(batch).p < carry_over.ALARM).mean())
        found[f"CV {cv:.0%}, residue {residue}, {blocks} blocks"] = round(alarms, 4)
    return found


def main() -> None:
    """Run all horizons and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=2000, help="per cell")
    parser.add_argument("--quick", action="store_true", help="100 studies per cell, two horizons, one noise")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    studies = 100 if options.quick else options.studies
    noises = {"CV 5%": NOISES["CV 5%"]} if options.quick else NOISES
    started = time.perf_counter()
    found = {}
    for blocks in (4, 9) if options.quick else HORIZONS:
        found[blocks] = horizon(blocks, noises, studies, options.seed)
        print(f"{blocks} blocks: done", file=sys.stderr)
    report = {
        "benchmark": "evidence_carry_over",
        "studies_per_cell": studies,
        "rules": {blocks: summary(cells["cells"], studies) for blocks, cells in found.items()},
        "package_compared": sum(cells["compared"] for cells in found.values()),
        "package_differs": sum(cells["differ"] for cells in found.values()),
        "alarms": {blocks: cells["alarms"] for blocks, cells in found.items()},
        "telling": telling(studies // 4, options.seed),
        "cells": {blocks: cells["cells"] for blocks, cells in found.items()},
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
