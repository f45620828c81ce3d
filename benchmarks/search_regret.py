"""How many runs do samplers need for the same confirmed result, and what do they claim falsely?

Our default sampler against Optuna's default (TPE, the best single run is taken, as its users do),
our random search and PPO, on surfaces whose optimum is known. Every run counts, repeats included.
Each nominated assignment is then confirmed on fresh interleaved runs: what is confirmed is
deployed, else the default stays. Confirmed regret is how far the deployed assignment is from the
optimum. On flat surfaces, where nothing can be gained, every claim is false.

    python benchmarks/search_regret.py --quick
    nice -n 10 python benchmarks/search_regret.py --replicates 2 > search_regret.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from schedtuna.evidence.design import MAX_BLOCKS, Arm, plan_campaign
from schedtuna.evidence.sequential import Sequential
from schedtuna.evidence.verdict import Block, Verdict
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue
from schedtuna.tune.samplers.base import Observation
from schedtuna.tune.samplers.registry import DEFAULT_SAMPLER, make_sampler
from schedtuna.workload.spec import Direction
from search_surfaces import KINDS, Surface, make_surface

PEER = "optuna-default"
DIMENSIONS, CVS = (3, 6, 10, 15), (0.02, 0.05, 0.10, 0.20)
BUDGETS = (50, 100, 200)
MARKS = (12, 18, 25, 35, 50, 71, 100, 141, 200)  # where the two curves are read
CLAIM = 0.03  # a gain that a user would report
BASELINE_RUNS = 3
DRAWS = 2000  # of the bootstrap
CENSORED = 2.0  # not reached within the longest search: counted as if it took twice as long


@dataclass(frozen=True)
class Cell:
    """One surface at one noise level: what every sampler is given once."""

    surface: Surface
    kind: str
    nr_parameters: int
    cv: float
    seed: int

    def rng(self, *purpose: int) -> np.random.Generator:
        """Draws that no other cell and no other purpose shares."""
        kind = (*KINDS, "flat").index(self.kind)
        return np.random.default_rng([self.seed, kind, self.nr_parameters, round(1000 * self.cv), *purpose])


NOISE, SAMPLER, CONFIRMATION = range(3)  # purposes


@dataclass(frozen=True)
class Nomination:
    """What a search nominates after so many runs, and the gain that its own numbers claim."""

    values: dict[str, ParameterValue]
    claimed_gain: float


def main() -> None:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=("development", "final"), default="final")
    parser.add_argument("--replicates", type=int, default=2, help="surfaces per kind, dimension and CV")
    parser.add_argument("--quick", action="store_true", help="one small cell, in under a minute")
    parser.add_argument("--samplers", default=f"{DEFAULT_SAMPLER},{PEER},random,ppo")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = options.samplers.split(",")
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    cells = _cells(options.family, options.replicates, options.seed, quick=options.quick)
    for done, cell in enumerate(cells):
        for name in names:
            rows += _study(name, cell)
        print(f"{done + 1}/{len(cells)} {time.perf_counter() - started:.0f} s", file=sys.stderr)
    report = {
        "benchmark": "search_regret",
        "family": options.family,
        "optuna": optuna.__version__,
        "surfaces": len(cells),
        "seconds": round(time.perf_counter() - started),
        "regret_percent": {name: _regrets(rows, name) for name in names},
        "false_claims": {name: _false_claims(rows, name) for name in names},
    }
    if DEFAULT_SAMPLER in names and PEER in names:
        report["runs_saved"] = _runs_saved(rows)
    print(json.dumps(report, indent=2))


# -------------------------------------------------------------------- searching


def _cells(family: str, replicates: int, seed: int, *, quick: bool) -> list[Cell]:
    kinds = ("interacting", "flat") if quick else (*KINDS, "flat")
    grid = [(6, 0.05)] if quick else [(d, cv) for d in DIMENSIONS for cv in CVS]
    return [
        Cell(make_surface(family, kind, d, seed + r), kind, d, cv, seed + r)
        for r in range(1 if quick else replicates)
        for d, cv in grid
        for kind in kinds
    ]


def _study(name: str, cell: Cell) -> list[dict[str, Any]]:
    """One row per mark: what was nominated there, whether it is confirmed, and what it is worth."""
    if name == PEER:
        nominated = _optuna(cell)
    elif name == DEFAULT_SAMPLER:
        nominated = _sampler(name, cell, MARKS)
    else:  # the last part of their budget is a race, so each budget is a search of its own
        nominated = {runs: n for budget in BUDGETS for runs, n in _sampler(name, cell, (budget,)).items()}
    default_regret = cell.surface.regret(cell.surface.space.default())
    rows = []
    for runs, nomination in nominated.items():
        confirmed = _confirm(cell, nomination.values, cell.rng(CONFIRMATION, runs, *name.encode()))
        regret = cell.surface.regret(nomination.values)
        rows.append(
            {
                "sampler": name,
                "kind": cell.kind,
                "nr_parameters": cell.nr_parameters,
                "cv": cell.cv,
                "runs": runs,
                "nominated": 100 * np.expm1(regret),
                "deployed": 100 * np.expm1(regret if confirmed else default_regret),
                "claimed": nomination.claimed_gain > CLAIM if name == PEER else confirmed,
            }
        )
    return rows


def _sampler(name: str, cell: Cell, marks: tuple[int, ...]) -> dict[int, Nomination]:
    """Drive one of our samplers as a study does: baseline runs of the default first."""
    noise, space = cell.rng(NOISE), cell.surface.space
    sampler = make_sampler(name, space, budget=max(marks), rng=cell.rng(SAMPLER))
    found: dict[int, Nomination] = {}
    for run in range(1, max(marks) + 1):
        values = space.default() if run <= BASELINE_RUNS else sampler.ask()
        sampler.tell(Observation(values, cell.surface.run(values, cell.cv, noise)))
        if run in marks:
            chosen = sampler.recommend()
            costs = [o.cost for o in sampler.history if o.values == chosen and o.cost is not None]
            found[run] = Nomination(chosen, -float(np.mean(costs)) if costs else 0.0)
    return found


def _optuna(cell: Cell) -> dict[int, Nomination]:
    """Optuna with its defaults: the default configuration enqueued, the best single run taken."""
    noise, space = cell.rng(NOISE), cell.surface.space
    seed = int(cell.rng(SAMPLER).integers(2**31))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(space.default())
    tried: list[tuple[float, dict[str, ParameterValue]]] = []
    found: dict[int, Nomination] = {}
    for run in range(1, max(MARKS) + 1):
        trial = study.ask()
        values = space.default()
        for spec in space.specs:  # define by run: inactive parameters are not suggested
            if space.is_active(spec.name, values):
                values[spec.name] = _suggest(trial, spec)
        cost = cell.surface.run(values, cell.cv, noise)
        study.tell(trial, cost)
        tried.append((cost, values))
        if run in MARKS:
            best = min(tried, key=lambda row: row[0])
            found[run] = Nomination(best[1], tried[0][0] - best[0])
    return found


def _suggest(trial: optuna.Trial, spec: ParameterSpec) -> ParameterValue:
    low, high = spec.min_value, spec.max_value
    if spec.type is ParameterType.BOOLEAN:
        return bool(trial.suggest_categorical(spec.name, [False, True]))
    if spec.type is ParameterType.CATEGORICAL:
        return str(trial.suggest_categorical(spec.name, spec.choices))
    assert low is not None and high is not None  # numbers have bounds
    if spec.type is ParameterType.INTEGER:
        return trial.suggest_int(spec.name, int(low), int(high), log=spec.log)
    return trial.suggest_float(spec.name, low, high, log=spec.log)


def _confirm(cell: Cell, values: dict[str, ParameterValue], rng: np.random.Generator) -> bool:
    """Whether fresh interleaved runs, judged as a study judges them, say that it is better."""
    default = cell.surface.space.default()
    if values == default:
        return False
    study = Sequential(Direction.MIN, max_blocks=MAX_BLOCKS)
    for plan in plan_campaign(rng, MAX_BLOCKS):
        if study.should_stop():
            break
        measured: dict[Arm, float | None] = {}
        for arm in plan.order:
            ran = values if arm is Arm.B else default
            measured[arm] = float(np.exp(cell.surface.run(ran, cell.cv, rng)))
        study.add(Block(plan.order, measured))
    return study.result().verdict is Verdict.IMPROVED


# -------------------------------------------------------------------- reporting


def _pick(rows: list[dict[str, Any]], column: str, **where: Any) -> np.ndarray:
    return np.array([row[column] for row in rows if all(row[k] == v for k, v in where.items())], dtype=float)


def _regrets(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Mean regret in percent by budget: of what was nominated, and of what was confirmed."""
    kept = [row for row in rows if row["kind"] != "flat"]
    return {
        str(runs): {
            "nominated": round(float(_pick(kept, "nominated", sampler=name, runs=runs).mean()), 2),
            "confirmed": round(float(_pick(kept, "deployed", sampler=name, runs=runs).mean()), 2),
            "confirmed_by_cv": {
                f"{cv:g}": round(float(_pick(kept, "deployed", sampler=name, runs=runs, cv=cv).mean()), 2)
                for cv in sorted({row["cv"] for row in kept})
            },
        }
        for runs in BUDGETS
    }


def _false_claims(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """How many of the studies where nothing could be gained claimed a gain."""
    flat = [row for row in rows if row["kind"] == "flat" and row["runs"] in BUDGETS]
    claimed = _pick(flat, "claimed", sampler=name)
    return {"percent": round(100 * float(claimed.mean()), 1), "studies": len(claimed)}


def _runs_saved(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Runs that Optuna's default takes over runs that ours takes, for the same mean confirmed regret.

    Per dimension and CV the two mean curves are made monotone and read at each budget; the
    geometric mean is over those cells, its interval by resampling the surfaces.
    """
    kept = [row for row in rows if row["kind"] != "flat"]
    groups = sorted({(row["nr_parameters"], row["cv"]) for row in kept})
    tables = []  # per group: sampler, surface, mark
    for nr_parameters, cv in groups:
        where = {"nr_parameters": nr_parameters, "cv": cv}
        tables.append(
            np.array(
                [
                    [_pick(kept, "deployed", sampler=name, runs=runs, **where) for runs in MARKS]
                    for name in (DEFAULT_SAMPLER, PEER)
                ]
            )
        )
    rng = np.random.default_rng(0)
    saved: dict[str, Any] = {}
    for budget in BUDGETS:
        point = np.exp(np.mean([np.log(_ratio(t.mean(axis=2), budget)) for t in tables]))
        draws = [
            np.exp(
                np.mean(
                    [
                        np.log(
                            _ratio(t[:, :, rng.integers(t.shape[2], size=t.shape[2])].mean(axis=2), budget)
                        )
                        for t in tables
                    ]
                )
            )
            for _ in range(DRAWS)
        ]
        low, high = np.percentile(draws, [2.5, 97.5])
        saved[str(budget)] = {
            "times_fewer_runs": round(float(point), 2),
            "ci95": [round(float(low), 2), round(float(high), 2)],
        }
    return saved


def _ratio(curves: np.ndarray, budget: int) -> float:
    """`budget` over the runs after which our curve is as low as Optuna's is at the budget."""
    ours, peers = np.minimum.accumulate(curves, axis=1)
    target = peers[MARKS.index(budget)]
    reached = np.flatnonzero(ours <= target)
    if not reached.size:
        return budget / (CENSORED * MARKS[-1])
    index = int(reached[0])
    if index == 0:
        return budget / MARKS[0]
    high, low = ours[index - 1], ours[index]
    share = (high - target) / (high - low) if high > low else 1.0
    runs = np.exp(np.log(MARKS[index - 1]) + share * np.log(MARKS[index] / MARKS[index - 1]))
    return float(budget / runs)


if __name__ == "__main__":
    main()
