"""Makes the two models that come with the package, and says what they are worth.

    python benchmarks/shipped_models.py default --write
    python benchmarks/shipped_models.py migration --write

Without --write it trains them anew and tells whether they are those that come along. `default`: which tasks
deserve a CPU first, one tree over what a task did before, trained on bursts of members of all families of
simulated loads. `migration`: does a task go to the other group of CPUs, a logistic regression of four numbers
on the signs of what randomised migrations gained in simulated futures (migration_rows.py), each weighted by
how much; with a penalty for migrations, and weights that have to be of the sign that theory wants, or none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from migration_rows import MigrationRow, rows_of_runs
from schedtuna.files import write_bytes
from schedtuna.learn.building import build_dataset
from schedtuna.learn.decision_value import LOADS, decision_values
from schedtuna.learn.judging import judged
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.net_fits import fit_linear
from schedtuna.learn.problem import PARTS, LearningProblem, LearningRows
from schedtuna.learn.sources import RunSource
from schedtuna.learn.training_run import TrainingOptions, train_models
from schedtuna.model.file import dump_model
from schedtuna.model.migration import INPUTS, LABELS
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.rows import checked
from schedtuna.model.shipped import SHIPPED, shipped_path
from schedtuna.sim import simulate
from schedtuna.sim.model_scheduler import ModelScheduler
from schedtuna.sim.task_past import WAKING_FEATURES
from schedtuna.workload.families import FAMILIES

MEMBERS, LOAD_LEVELS, SECONDS = range(5), (0.6, 0.9), 1.5
NOT_LOOKED_AT = (
    "policy",
    "task_weight",
    "asked_slice_ns",
    "is_kthread",
    "nice",
)  # the same in all these loads
RUNS, SEEDS = 160, range(10)
MOST_GAIN_NS = 3_000_000  # beyond which a gain or loss counts no more
MIGRATION = {"ridge": 1e-2, "penalty": 0.2, "monotone": [1, -1, 1, -1]}
MIGRATION_INPUTS = ("nr_idle_cpus", "nr_busy_cpus", "src_load_permille", "dst_load_permille")
# cpu, idle and busy CPUs, loads of source and destination; and whether to migrate.
SCENARIOS = (((4, 2, 6, 0.9, 0.2), True), ((2, 4, 4, 0.5, 0.5), False), ((1, 7, 1, 0.1, 0.1), False))
COST_US = 35.0  # a migration to another LLC, in the simulated machine


def burst_runs() -> Iterator[RunSource]:
    """Simulate members of all families under the kernel's own scheduler."""
    for family in FAMILIES:
        for member in MEMBERS:
            for load in LOAD_LEVELS:
                name = f"{family}:member={member},load={load}"
                trace = simulate(name, "fair", cpus=4, seed=100 + member, duration_s=SECONDS)
                yield RunSource.of(trace, name)


def default_model() -> tuple[DecisionModel, dict[str, Any]]:
    """Train who comes first, and let it schedule loads that none of its rows is from."""
    dataset = build_dataset(list(burst_runs()), BuildOptions(task="burst", split="run", most_rows=300_000))
    features = [name for name in WAKING_FEATURES if name not in NOT_LOOKED_AT]
    options = TrainingOptions(
        models=("tree", "running_median", "last_value"), features=features, most_inputs=5
    )
    (outcome,) = train_models(dataset, options)
    fitted = outcome.best.fitted
    assert fitted is not None
    model = checked(
        replace(fitted.model, name="default", rows=None, made_by=f"{fitted.model.made_by}, simulated")
    )
    worth = decision_values({"default": ModelScheduler(model)}, loads=LOADS)
    metrics = {one.name: {name: asdict(m) for name, m in one.metrics.items()} for one in outcome.outcomes}
    return model, {
        "threshold_ns": outcome.problem.threshold_ns,
        "metrics": metrics,
        "worth": [asdict(v) for v in worth],
    }


def migration_problem(rows: list[MigrationRow], parts: dict[str, np.ndarray]) -> LearningProblem:
    """Make a problem of the signs of gains; where nothing was gained or lost nothing is learnt."""
    inputs = tuple(ModelInput(name, INPUTS[name]) for name in MIGRATION_INPUTS)
    values = np.array(
        [[r.nr_idle, r.nr_busy, round(1000 * r.src_load), round(1000 * r.dst_load)] for r in rows], np.int64
    )
    gain, run = np.array([r.gain_ns for r in rows]), np.array([r.run for r in rows], np.int64)
    bins = np.stack([one.bins.quantise(values[:, i]) for i, one in enumerate(inputs)], axis=1)
    weight = np.minimum(np.abs(gain), MOST_GAIN_NS) / MOST_GAIN_NS
    none = np.full(len(rows), -1, np.int64)
    whole = LearningRows(bins, (gain > 0).astype(float), gain > 0, gain, weight, run, none)
    some = {name: whole.where(np.isin(run, parts[name]) & (gain != 0)) for name in PARTS}
    return LearningProblem("migrate", "class", inputs, LABELS, 0, some, ())


def migration_model(
    seed: int, rows: list[MigrationRow]
) -> tuple[DecisionModel, LearningProblem, dict[str, Any]]:
    """Train on some of the runs, drawn by the seed; the others end it and judge it."""
    order = np.random.default_rng([seed, 3]).permutation(RUNS)
    cuts = {"train": order[: RUNS * 6 // 10], "validation": order[RUNS * 6 // 10 : RUNS * 8 // 10]}
    problem = migration_problem(rows, cuts | {"test": order[RUNS * 8 // 10 :]})
    fitted = fit_linear(problem, MIGRATION, seed)
    told = f"logistic regression on the signs of what {len(problem.train):,} simulated migrations gained"
    model = checked(replace(fitted.model, name="migration", rows=None, made_by=told))
    metrics = {name: asdict(m) for name, m in judged(problem, fitted).metrics.items()}
    return model, problem, {"metrics": metrics, "gain_ns_per_decision": gains(model, problem)}


def gains(model: DecisionModel, problem: LearningProblem) -> dict[str, float]:
    """What each rule gains per decision on the test rows, over never migrating."""
    train, test = problem.train, problem.test
    loads = [(rows.bins[:, 2].astype(int) - rows.bins[:, 3].astype(int)) / 10 for rows in (train, test)]
    levels = np.arange(-10, 11) / 10
    level = float(levels[np.argmax([train.label[loads[0] > at].sum() for at in levels])])
    benefit_us = loads[1] * 1000  # of a task of weight 1024, in a millisecond
    decided = {
        "model": model.decide(test.bins) == 1,
        f"src - dst > {level:g}": loads[1] > level,
        "benefit > cost": benefit_us > COST_US,
        "always": np.ones(len(test), bool),
        "knowing the future": test.label > 0,
    }
    return {name: float(np.where(moves, test.label, 0).mean()) for name, moves in decided.items()}


def holds(model: DecisionModel) -> list[bool]:
    """Whether each scenario comes out as it should."""
    found = []
    for (_, idle, busy, source, destination), migrates in SCENARIOS:
        values = [[idle, busy, round(1000 * source), round(1000 * destination)]]
        found.append(bool(model.decide(model.quantise(values))[0]) == migrates)
    return found


def tendencies(model: DecisionModel, nr_cpus: int = 8) -> dict[str, Any]:
    """Partial dependence and ordered pairs, on a grid of idle CPUs and loads: 2,601 points of 8 CPUs."""
    idle = np.arange(nr_cpus + 1)
    load = np.round(np.linspace(0, 1000, 17)).astype(int)
    grid = np.array([[i, nr_cpus - i, s, d] for i in idle for s in load for d in load], np.int64)
    logits = (
        model.core.logits(model.quantise(grid))[:, 0].reshape(len(idle), len(load), len(load)).astype(float)
    )
    decided = (logits > 0).astype(float)
    signs = {"idle": (0, 1), "src_load": (1, 1), "dst_load": (2, -1)}
    found: dict[str, Any] = {"points": len(grid)}
    for name, (axis, sign) in signs.items():
        others = tuple(i for i in range(3) if i != axis)
        steps = sign * np.diff(decided.mean(axis=others))
        pairs = sign * np.diff(logits, axis=axis)
        found[name] = {
            "worst_step_points": float(-100 * min(steps.min(), 0)),
            "ordered": float((pairs >= 0).mean()),
        }
    return found


def migration() -> tuple[DecisionModel, dict[str, Any]]:
    """Train with every seed; the first one's model is the one that comes along."""
    rows = list(rows_of_runs(range(RUNS)))
    models = [migration_model(seed, rows) for seed in SEEDS]
    judgements = [(holds(model), tendencies(model)) for model, _, _ in models]
    passed = [all(right) and _tends(tended) for right, tended in judgements]
    return models[0][0], {
        "rows": len(rows),
        "seeds_that_pass": sum(passed),
        "seeds": len(passed),
        "first": models[0][2],
        "scenarios": [right for right, _ in judgements],
        "tendencies": judgements[0][1],
        "gain_ns_per_decision": _mean([told["gain_ns_per_decision"] for _, _, told in models]),
    }


def _tends(tended: dict[str, Any]) -> bool:
    rows = [row for row in tended.values() if isinstance(row, dict)]
    return all(row["worst_step_points"] <= 1 and row["ordered"] >= 0.95 for row in rows)


def _mean(each: list[dict[str, float]]) -> dict[str, float]:
    """Of what all seeds have; the threshold's name has its level, which differs."""
    told: dict[str, list[float]] = {}
    for row in each:
        for name, value in row.items():
            told.setdefault("src - dst > t" if name.startswith("src") else name, []).append(value)
    return {name: float(np.mean(values)) for name, values in told.items()}


def main() -> None:
    """Make a model, and write it or compare it with the one that comes along."""
    parser = argparse.ArgumentParser(description="Makes the models that come with the package.")
    parser.add_argument("model", choices=sorted(SHIPPED))
    parser.add_argument("--write", action="store_true", help="replace the one in the source tree")
    given = parser.parse_args()
    model, told = default_model() if given.model == "default" else migration()
    content = dump_model(model)
    if given.write:
        write_bytes(shipped_path(given.model), content)
    else:
        told["is_the_one_that_comes_along"] = shipped_path(given.model).read_bytes() == content
    print(json.dumps({"benchmark": f"shipped_models {given.model}", "version": model.version, **told}))


if __name__ == "__main__":
    main()
