"""What do the rows of the search benchmark say?

A row is one search: its place in the design (seed, number of parameters, CV, kind), its sampler and,
per mark, what it would have nominated there. Samplers are compared on the surfaces that all of them
finished, so the rows of a run that was stopped are compared fairly too.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

PEER = "optuna-default"
BUDGETS = (50, 100, 200)
MARKS = (12, 18, 25, 35, 50, 71, 100, 141, 200)  # where the two curves are read
DRAWS = 2000  # of the bootstrap
CENSORED = 2.0  # not reached within the longest search: counted as if it took twice as long

Row = dict[str, Any]
PLACE = ("seed", "nr_parameters", "cv", "kind")


def summary(rows: list[Row], ours: str) -> dict[str, Any]:
    """Everything that the table in docs/tuning.md states."""
    names = list(dict.fromkeys(row["sampler"] for row in rows))
    finished = Counter(_place(row) for row in rows)
    kept = [row for row in rows if finished[_place(row)] == len(names)]
    sloped = [row for row in kept if row["kind"] != "flat"]
    flat = [row for row in kept if row["kind"] == "flat"]
    report: dict[str, Any] = {
        "surfaces": len({_place(row) for row in sloped}),
        "flat_surfaces": len({_place(row) for row in flat}),
        "regret_percent": {name: _regrets(sloped, name) for name in names},
        "false_claims_percent": {name: _false_claims(flat, name) for name in names},
    }
    if {ours, PEER} <= set(names):
        report["runs_saved"] = _runs_saved(sloped, ours)
    return report


def _place(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in PLACE)


def _pick(rows: list[Row], column: str, runs: int, **where: Any) -> np.ndarray:
    """A column at a mark, one number per search, in the order of the surfaces."""
    chosen = sorted((row for row in rows if all(row[k] == v for k, v in where.items())), key=_place)
    return np.array([m[column] for row in chosen for m in row["marks"] if m["runs"] == runs], dtype=float)


def _mean(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 2) if values.size else None


def _regrets(rows: list[Row], name: str) -> dict[str, Any]:
    """Mean regret in percent by budget: of what was nominated, and of what was confirmed."""
    cvs = sorted({row["cv"] for row in rows})
    return {
        str(runs): {
            "nominated": _mean(_pick(rows, "nominated", runs, sampler=name)),
            "confirmed": _mean(_pick(rows, "deployed", runs, sampler=name)),
            "confirmed_by_cv": {
                f"{cv:g}": _mean(_pick(rows, "deployed", runs, sampler=name, cv=cv)) for cv in cvs
            },
        }
        for runs in BUDGETS
    }


def _false_claims(rows: list[Row], name: str) -> dict[str, Any]:
    """How many searches where nothing could be gained show a gain, and how many are confirmed."""
    columns = {"by_its_own_runs": "seen", "confirmed": "confirmed"}
    found: dict[str, Any] = {}
    for title, column in columns.items():
        values = np.concatenate([_pick(rows, column, runs, sampler=name) for runs in BUDGETS])
        found[title] = _mean(100 * values)
        found["searches"] = len(values)
    return found


def _runs_saved(rows: list[Row], ours: str) -> dict[str, Any]:
    """Runs that Optuna's default takes over runs that ours takes, for the same mean confirmed regret.

    Per number of parameters and CV the two mean curves are made monotone, and Optuna's is read at
    each budget. The geometric mean is over those groups; its interval comes from resampling the
    surfaces in each (one less than there are, which makes the variance of a mean unbiased: Rao & Wu
    1988, "Resampling inference with complex survey data").
    """
    tables = []  # per group: sampler, mark, surface
    for nr_parameters, cv in sorted({(row["nr_parameters"], row["cv"]) for row in rows}):
        where = {"nr_parameters": nr_parameters, "cv": cv}
        curves = [
            [_pick(rows, "deployed", runs, sampler=name, **where) for runs in MARKS] for name in (ours, PEER)
        ]
        tables.append(np.array(curves))
    rng = np.random.default_rng(0)
    saved: dict[str, Any] = {}
    for budget in BUDGETS:
        ratios = np.array([_ratio(table.mean(axis=2), budget) for table in tables])
        draws = [
            np.mean([np.log(_ratio(_resampled(table, rng), budget)) for table in tables])
            for _ in range(DRAWS)
        ]
        saved[str(budget)] = {
            "times_fewer_runs": round(float(np.exp(np.log(ratios).mean())), 2),
            "ci95": [round(float(bound), 2) for bound in np.exp(np.percentile(draws, [2.5, 97.5]))],
            "groups": len(ratios),
            "groups_where_optuna_was_never_reached": int(np.sum(ratios <= budget / MARKS[-1] / CENSORED)),
        }
    return saved


def _resampled(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    nr_surfaces = table.shape[2]
    drawn = rng.integers(nr_surfaces, size=max(nr_surfaces - 1, 1))
    return np.asarray(table[:, :, drawn].mean(axis=2))


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
