"""What do the rows of the benchmark of screening say? A row per load and replicate: costs by arm and runs."""

from __future__ import annotations

from typing import Any

import numpy as np

MARKS = (6, 8, 11, 15, 20, 27, 36, 48, 64)
SHARES = (0.8, 0.9, 0.95)  # of the gain that the search without a model comes to in the end
DRAWS = 1000  # of the bootstrap
CENSORED = 2.0  # not reached within the longest search: as if it took twice as long

Row = dict[str, Any]


def summary(rows: list[Row], marks: tuple[int, ...] = MARKS) -> dict[str, Any]:
    """Per load and over all: runs without a model over runs with it, to the same mean confirmed cost."""
    loads = list(dict.fromkeys(row["load"] for row in rows))
    others = [arm for arm in rows[0]["costs"] if arm != "without"]
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {"loads": {}, "times_fewer_runs": {}}
    tables = {load: _table([row for row in rows if row["load"] == load], others, marks) for load in loads}
    for load, table in tables.items():
        means = table.mean(axis=2)
        found["loads"][load] = {
            "replicates": table.shape[2],
            "cost_percent": {
                arm: {
                    str(mark): round(100 * float(np.expm1(value)), 1)
                    for mark, value in zip(marks, row, strict=True)
                }
                for arm, row in zip(("without", *others), means, strict=True)
            },
            "times_fewer_runs": {
                arm: round(times(means[0], means[1 + k], marks), 2) for k, arm in enumerate(others)
            },
        }
    for k, arm in enumerate(others):
        draws = [
            np.mean([np.log(_drawn(table, k, marks, rng)) for table in tables.values()]) for _ in range(DRAWS)
        ]
        each = [found["loads"][load]["times_fewer_runs"][arm] for load in loads]
        found["times_fewer_runs"][arm] = {
            "geometric_mean": round(float(np.exp(np.mean(np.log(each)))), 2),
            "ci95": [round(float(bound), 2) for bound in np.exp(np.percentile(draws, [2.5, 97.5]))],
            "loads_with_1.5": sum(one >= 1.5 for one in each),
            "least": min(each),
        }
    return found


def _table(rows: list[Row], others: list[str], marks: tuple[int, ...]) -> np.ndarray:
    """Arm, mark, replicate."""
    return np.array(
        [[[row["costs"][arm][str(mark)] for row in rows] for mark in marks] for arm in ("without", *others)]
    )


def _drawn(table: np.ndarray, arm: int, marks: tuple[int, ...], rng: np.random.Generator) -> float:
    drawn = rng.integers(table.shape[2], size=max(table.shape[2] - 1, 1))
    means = table[:, :, drawn].mean(axis=2)
    return times(means[0], means[1 + arm], marks)


def times(without: np.ndarray, other: np.ndarray, marks: tuple[int, ...] = MARKS) -> float:
    """Runs without over runs with, to the same mean costs: geometric mean over those."""
    without, other = np.minimum.accumulate(without), np.minimum.accumulate(other)
    targets = [share * without[-1] for share in SHARES]
    return float(
        np.exp(np.mean([np.log(_runs(without, each, marks) / _runs(other, each, marks)) for each in targets]))
    )


def _runs(curve: np.ndarray, target: float, marks: tuple[int, ...]) -> float:
    """After how many runs a falling curve is there; between two marks in proportion, by ratio."""
    reached = np.flatnonzero(curve <= target)
    if not reached.size:
        return CENSORED * marks[-1]
    index = int(reached[0])
    if index == 0:
        return float(marks[0])
    high, low = curve[index - 1], curve[index]
    share = (high - target) / (high - low) if high > low else 1.0
    return float(np.exp(np.log(marks[index - 1]) + share * np.log(marks[index] / marks[index - 1])))
