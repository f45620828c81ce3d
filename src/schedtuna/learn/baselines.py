"""What do plain rules foretell, which nobody has to train? A model that is no better is not worth deploying.

Of bursts, rules look at the bursts of the same task before; of candidates, at a column of the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from schedtuna.learn.dataset_form import Dataset
from schedtuna.learn.problem import Floats, Ints

_WINDOW = 9  # bursts of a running median
_SMOOTHING = 0.5  # of the exponential average, as in textbooks
_MOST_OCTAVE = 64
_NEVER_NS = 2.0**62  # later than any deadline


@dataclass(frozen=True)
class BaselineRow:
    """A rule.

    Attributes:
        help: What it does.
        kind: For which kind of problems.
        needs: Which columns of the dataset it reads; none: labels before.
        score: Of the whole dataset, and which rows are for training. number: each row's logarithm (to base 2)
            as it is foretold, NaN where there is no burst before; choice: greatest of who is foretold.
    """

    help: str
    kind: str
    needs: tuple[str, ...]
    score: Callable[[Dataset, np.ndarray], Floats]


def burst_histories(dataset: Dataset) -> list[Ints]:
    """Return the rows of each task of each run, in the order of time."""
    group, task, time = (dataset.column(name).astype(np.int64) for name in ("group", "task", "time_ns"))
    order = np.lexsort((time, task, group))
    ends = np.flatnonzero((np.diff(group[order]) != 0) | (np.diff(task[order]) != 0)) + 1
    return [np.asarray(rows, np.int64) for rows in np.split(order, ends)]


def _octaves(dataset: Dataset) -> Floats:
    return np.log2(np.maximum(dataset.labels(), 1))


def _last_value(dataset: Dataset, _train: np.ndarray) -> Floats:
    return _by_task(dataset, lambda past: np.concatenate([[np.nan], past[:-1]]))


def _running_median(dataset: Dataset, _train: np.ndarray) -> Floats:
    def of(past: Floats) -> Floats:
        found = np.full(len(past), np.nan)
        for i in range(1, len(past)):
            found[i] = np.median(past[max(0, i - _WINDOW) : i])
        return found

    return _by_task(dataset, of)


def _exponential_average(dataset: Dataset, _train: np.ndarray) -> Floats:
    def of(past: Floats) -> Floats:
        found, ns = np.full(len(past), np.nan), 0.0
        for i, value in enumerate(np.exp2(past)):
            if i:
                found[i] = np.log2(max(ns, 1.0))
            ns = float(value) if i == 0 else _SMOOTHING * float(value) + (1 - _SMOOTHING) * ns
        return found

    return _by_task(dataset, of)


def _frequency(dataset: Dataset, _train: np.ndarray) -> Floats:
    """The middle of the quarter octave that most bursts of the task lay in so far."""

    def of(past: Floats) -> Floats:
        found, seen = np.full(len(past), np.nan), np.zeros(4 * _MOST_OCTAVE)
        for i, value in enumerate(past):
            if i:
                found[i] = (seen.argmax() + 0.5) / 4
            seen[min(int(4 * value), len(seen) - 1)] += 1
        return found

    return _by_task(dataset, of)


def _markov(dataset: Dataset, train: np.ndarray) -> Floats:
    """What followed, on average, the quarter octave of the burst before, in the training rows."""
    last, octaves = _last_value(dataset, train), _octaves(dataset)
    state = np.clip(np.nan_to_num(4 * last), 0, 4 * _MOST_OCTAVE - 1).astype(int)
    learnt = train & ~np.isnan(last)
    count = np.bincount(state[learnt], minlength=4 * _MOST_OCTAVE)
    total = np.bincount(state[learnt], octaves[learnt], minlength=4 * _MOST_OCTAVE)
    following = np.where(count > 0, total / np.maximum(count, 1), np.arange(4 * _MOST_OCTAVE) / 4)
    return np.where(np.isnan(last), np.nan, following[state])


def _by_task(dataset: Dataset, of: Callable[[Floats], Floats]) -> Floats:
    octaves, found = _octaves(dataset), np.full(len(dataset), np.nan)
    for rows in burst_histories(dataset):
        found[rows] = of(octaves[rows])
    return found


def _column(name: str, sign: int) -> Callable[[Dataset, np.ndarray], Floats]:
    def of(dataset: Dataset, _train: np.ndarray) -> Floats:
        return sign * dataset.rows[name].to_numpy().astype(float)

    return of


def _first_deadline(dataset: Dataset, _train: np.ndarray) -> Floats:
    deadline, eligible = (dataset.rows[name].to_numpy() for name in ("deadline_ns", "is_eligible"))
    score: Floats = np.where(eligible == 1, 0.0, -_NEVER_NS) - deadline
    return score


BASELINES: Mapping[str, BaselineRow] = {
    "last_value": BaselineRow("the burst before", "number", (), _last_value),
    "running_median": BaselineRow(f"the median of the {_WINDOW} before", "number", (), _running_median),
    "exponential_average": BaselineRow(
        f"half the burst before, half the average before it (weight {_SMOOTHING})",
        "number",
        (),
        _exponential_average,
    ),
    "frequency": BaselineRow("what was most frequent of the task", "number", (), _frequency),
    "markov": BaselineRow("what followed such a burst in the training rows", "number", (), _markov),
    "waited_longest": BaselineRow("who waited longest", "choice", ("waited_ns",), _column("waited_ns", 1)),
    "shortest_last_burst": BaselineRow(
        "whose burst before was shortest", "choice", ("burst_ns",), _column("burst_ns", -1)
    ),
    "smallest_deadline": BaselineRow(
        "whose virtual deadline is first, of the eligible (the kernel's own rule)",
        "choice",
        ("deadline_ns", "is_eligible"),
        _first_deadline,
    ),
}


def has_columns(dataset: Dataset, row: BaselineRow) -> bool:
    """Whether a dataset has what a rule reads."""
    return set(row.needs) <= set(dataset.rows.columns)
