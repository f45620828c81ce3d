"""How many runs do samplers need for the same confirmed result, and what do they claim falsely?

Our default sampler against Optuna's default (TPE, the best single run is taken, as its users do),
our random search and PPO, on surfaces whose optimum is known. Every run of a search counts, repeats
and the default's included. Each nominated assignment is then confirmed on fresh interleaved runs,
for all samplers alike: what is confirmed is deployed, else the default stays. Confirmed regret is
how far the deployed assignment is from the optimum, in the mean over several such confirmations.
On flat surfaces, where nothing can be gained, every claim is false.

    python benchmarks/search_regret.py --quick
    OMP_NUM_THREADS=1 python benchmarks/search_regret.py --rows rows.jsonl > search_regret.json

The second takes about ten minutes of one core per replicate. It appends what is done to
the rows, replicate by replicate; the same command continues a run that was stopped, and
`--summarise` reports what a stopped one has.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from schedtuna.evidence.design import MAX_BLOCKS, Arm, plan_campaign
from schedtuna.evidence.sequential import Sequential
from schedtuna.evidence.verdict import Block, Verdict
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.registry import DEFAULT_SAMPLER, make_sampler
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue
from schedtuna.workload.spec import Direction
from search_summary import BUDGETS, MARKS, PEER, summary
from search_surfaces import KINDS, Surface, make_surface

DIMENSIONS, CVS = (3, 6, 10, 15), (0.02, 0.05, 0.10, 0.20)
CLAIM = 0.03  # a gain that a user would report
BASELINE_RUNS = 3
NR_CONFIRMATIONS = 4  # per nominated assignment; more only makes the curves smoother


@dataclass(frozen=True)
class Cell:
    """One surface at one noise level: what every sampler is given once."""

    surface: Surface
    kind: str
    nr_parameters: int
    cv: float
    seed: int
    confirmed: dict[tuple[ParameterValue, ...], float] = field(default_factory=dict)

    def rng(self, *purpose: int) -> np.random.Generator:
        """Draws that no other cell and no other purpose shares."""
        kind = (*KINDS, "flat").index(self.kind)
        return np.random.default_rng([self.seed, kind, self.nr_parameters, round(1000 * self.cv), *purpose])

    @property
    def place(self) -> dict[str, Any]:
        """Its place in the design."""
        return {"seed": self.seed, "nr_parameters": self.nr_parameters, "cv": self.cv, "kind": self.kind}


NOISE, SAMPLER, CONFIRMATION = range(3)  # purposes


@dataclass(frozen=True)
class Nomination:
    """What a search nominates after so many runs, and the gain that its own numbers show."""

    values: dict[str, ParameterValue]
    seen_gain: float


def main() -> None:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=("development", "final"), default="final")
    parser.add_argument("--replicates", type=int, default=2, help="surfaces per kind, dimension and CV")
    parser.add_argument("--quick", action="store_true", help="one small cell, in under a minute")
    parser.add_argument("--samplers", default=f"{DEFAULT_SAMPLER},{PEER},random,ppo")
    parser.add_argument("--seed", type=int, default=0, help="of the first replicate; the next ones count up")
    parser.add_argument("--rows", type=Path, help="JSON lines: continue what is there, append what is done")
    parser.add_argument("--summarise", action="store_true", help="only report what the rows have")
    options = parser.parse_args()
    if options.summarise and not options.rows:
        parser.error("--summarise reports --rows FILE: name it")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = options.samplers.split(",")
    design = {"family": options.family, "optuna": optuna.__version__}
    rows = [row for row in _read(options.rows) if design.items() <= row.items()]
    started = time.perf_counter()
    if not options.summarise:
        done = {_key(row) for row in rows}
        cells = _cells(options.family, options.replicates, options.seed, quick=options.quick)
        for row in _studies(cells, names, done):
            rows.append(design | row)
            _append(options.rows, rows[-1])
    report = {
        "benchmark": "search_regret",
        **design,
        "seconds": round(time.perf_counter() - started),
        **summary([row for row in rows if row["sampler"] in names], DEFAULT_SAMPLER),
    }
    print(json.dumps(report, indent=2))


# ------------------------------------------------------------------------- rows


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("seed", "nr_parameters", "cv", "kind", "sampler"))


def _studies(cells: list[Cell], names: list[str], done: set[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Yield one row per search that is not done yet."""
    started = time.perf_counter()
    for nr, cell in enumerate(cells):
        for name in names:
            if _key(cell.place | {"sampler": name}) not in done:
                yield {**cell.place, "sampler": name, "marks": _study(name, cell)}
        print(f"{nr + 1}/{len(cells)} {time.perf_counter() - started:.0f} s", file=sys.stderr)


def _read(path: Path | None) -> list[dict[str, Any]]:
    """Return the rows of earlier runs; a last line that was cut off is not one."""
    if path is None or not path.exists():
        return []
    whole, _, _ = path.read_text().rpartition("\n")
    path.write_text(f"{whole}\n" if whole else "")
    return [json.loads(line) for line in whole.splitlines()]


def _append(path: Path | None, row: dict[str, Any]) -> None:
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


# -------------------------------------------------------------------- searching


def _cells(family: str, replicates: int, seed: int, *, quick: bool) -> list[Cell]:
    kinds = ("interacting", "flat") if quick else (*KINDS, "flat")
    grid = [(3, 0.05)] if quick else [(d, cv) for d in DIMENSIONS for cv in CVS]
    return [
        Cell(make_surface(family, kind, d, seed + r), kind, d, cv, seed + r)
        for r in range(1 if quick else replicates)
        for d, cv in grid
        for kind in kinds
    ]


def _study(name: str, cell: Cell) -> list[dict[str, Any]]:
    """One entry per mark: what was nominated there, how often it is confirmed, and what it is worth."""
    if name == PEER:
        nominated = _optuna(cell)
    elif name == DEFAULT_SAMPLER:
        nominated = _sampler(name, cell, MARKS)
    else:  # the last part of their budget is a race, so each budget is a search of its own
        nominated = {runs: n for budget in BUDGETS for runs, n in _sampler(name, cell, (budget,)).items()}
    stays = 100 * np.expm1(cell.surface.regret(cell.surface.space.default()))
    rows = []
    for runs, nomination in nominated.items():
        confirmed = _confirmed(cell, nomination.values)
        regret = 100 * np.expm1(cell.surface.regret(nomination.values))
        rows.append(
            {
                "runs": runs,
                "nominated": round(float(regret), 4),
                "deployed": round(float(confirmed * regret + (1 - confirmed) * stays), 4),
                "confirmed": confirmed,
                "seen": nomination.seen_gain > CLAIM,
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
            found[run] = Nomination(
                chosen, _mean_cost(sampler.history, space.default()) - _mean_cost(sampler.history, chosen)
            )
    return found


def _mean_cost(history: list[Observation], values: dict[str, ParameterValue]) -> float:
    return float(np.mean([o.cost for o in history if o.values == values and o.cost is not None]))


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


def _confirmed(cell: Cell, values: dict[str, ParameterValue]) -> float:
    """How often fresh interleaved runs say that it is better; one answer per cell and assignment."""
    space = cell.surface.space
    if values == space.default():
        return 0.0
    key = space.key(values)
    if key not in cell.confirmed:
        rng = cell.rng(CONFIRMATION, *(round(1e6 * u) for u in space.to_unit(values)))
        cell.confirmed[key] = float(np.mean([_confirm(cell, values, rng) for _ in range(NR_CONFIRMATIONS)]))
    return cell.confirmed[key]


def _confirm(cell: Cell, values: dict[str, ParameterValue], rng: np.random.Generator) -> bool:
    """Whether one campaign, judged as a study judges it, says that it is better."""
    default = cell.surface.space.default()
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


if __name__ == "__main__":
    main()
