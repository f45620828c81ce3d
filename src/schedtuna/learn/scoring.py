"""How good are scores? Metrics of each run apart, and their mean with an interval over runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from schedtuna.learn.problem import Flags, Floats, Ints, LearningRows

LEVEL = 0.95
_LEAST_P = 1e-6


@dataclass(frozen=True)
class GroupedMetric:
    """A metric's mean over runs.

    Attributes:
        name: See METRICS.
        mean: Over the runs in which it is defined; None: there is none.
        low, high: Its interval of 95%, by Student's t over the runs' values, cut where values end; None: of
            one run there is none.
        nr_groups: In how many it is defined.
    """

    name: str
    mean: float | None
    low: float | None
    high: float | None
    nr_groups: int


@dataclass(frozen=True)
class MetricRow:
    """What a metric is.

    Attributes:
        help: What it is, for people.
        higher_is_better: Which way is up.
        of: Its value for rows and their scores and probabilities; None: undefined.
        kinds: For which kinds of problems.
        most: The greatest value there is; the least is 0.
    """

    help: str
    higher_is_better: bool
    of: Callable[[LearningRows, Floats, Floats], float | None]
    kinds: frozenset[str]
    most: float = 1.0


def auc(rows: LearningRows, score: Floats, _p: Floats) -> float | None:
    """The area under the ROC curve: how often a true row scores higher than a false one, ties half."""
    truth, weight = rows.truth, rows.weight
    return area_under_curve(truth, score, weight)


def area_under_curve(truth: Flags, score: Floats, weight: Floats) -> float | None:
    """The same of arrays; None: one side has no weight."""
    order = np.argsort(score, kind="stable")
    _, tied = np.unique(score[order], return_inverse=True)
    positive = np.bincount(tied, weight[order] * truth[order])
    negative = np.bincount(tied, weight[order] * ~truth[order])
    all_positive, all_negative = positive.sum(), negative.sum()
    if not all_positive > 0 or not all_negative > 0:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (all_positive * all_negative))


def accuracy(rows: LearningRows, score: Floats, _p: Floats) -> float | None:
    """The share of rows whose score's sign is right."""
    return _mean((score > 0) == rows.truth, rows.weight)


def log_loss(rows: LearningRows, _score: Floats, p: Floats) -> float | None:
    """The mean of -log2 of the probability of what was so, in bits."""
    p = np.clip(p, _LEAST_P, 1 - _LEAST_P)
    return _mean(-np.log2(np.where(rows.truth, p, 1 - p)), rows.weight)


def octaves_off(rows: LearningRows, score: Floats, _p: Floats) -> float | None:
    """The mean of how many octaves a prediction is off: 1 is twice or half as long."""
    return _mean(np.abs(score - rows.target), rows.weight)


def within_double(rows: LearningRows, score: Floats, _p: Floats) -> float | None:
    """The share of predictions between half and twice what was."""
    return _mean(np.abs(score - rows.target) <= 1, rows.weight)


def chosen_first(rows: LearningRows, score: Floats, _p: Floats) -> float | None:
    """The share of choices whose greatest score is of who was chosen; ties count by their share."""
    hit, _ = _hits(rows, score)
    return float(hit.mean()) if len(hit) else None


def chance(rows: LearningRows, _score: Floats, _p: Floats) -> float | None:
    """What a guess among all candidates would reach."""
    _, sizes = _hits(rows, np.zeros(len(rows)))
    return float((1 / sizes).mean()) if len(sizes) else None


def _hits(rows: LearningRows, score: Floats) -> tuple[Floats, Ints]:
    return hits_of_choices(rows.choice, rows.truth, score)


def hits_of_choices(choice: Ints, truth: Flags, score: Floats) -> tuple[Floats, Ints]:
    """Return of each choice how right the greatest score is, ties by their share; and its candidates' number.

    Args:
        choice: Of each row, whose candidate it is.
        truth: Of each row, whether it was chosen.
        score: Of each row.
    """
    numbers = np.unique(choice, return_inverse=True)[1]
    sizes = np.bincount(numbers)
    best = np.full(len(sizes), -np.inf)
    np.maximum.at(best, numbers, score)
    is_best = score == best[numbers]
    nr_best = np.bincount(numbers, is_best)
    right = np.bincount(numbers, is_best & truth)
    return right / np.maximum(nr_best, 1), sizes


def _mean(values: np.ndarray, weight: Floats) -> float | None:
    total = weight.sum()
    return float(values @ weight / total) if total > 0 else None


_TOLD = frozenset({"number", "class"})
_NUMBER, _CHOICE = frozenset({"number"}), frozenset({"choice"})
METRICS: Mapping[str, MetricRow] = {
    "auc": MetricRow("a true row scores higher than a false one", True, auc, _TOLD),
    "accuracy": MetricRow("share of rows whose decision is right", True, accuracy, _TOLD),
    "log_loss_bits": MetricRow("bits of surprise, after calibration", False, log_loss, _TOLD, np.inf),
    "octaves_off": MetricRow(
        "mean error of the logarithm; 1: twice or half", False, octaves_off, _NUMBER, np.inf
    ),
    "within_double": MetricRow("share between half and twice of what was", True, within_double, _NUMBER),
    "chosen_first": MetricRow("share of choices that are foretold", True, chosen_first, _CHOICE),
    "chance": MetricRow("what guessing among the candidates reaches", True, chance, _CHOICE),
}
MAIN = {"number": "octaves_off", "class": "auc", "choice": "chosen_first"}


def grouped_metrics(kind: str, rows: LearningRows, score: Floats, p: Floats) -> dict[str, GroupedMetric]:
    """Return every metric of a kind of problem, over the runs of the rows.

    Args:
        kind: `number`, `class` or `choice`.
        rows: What is judged by.
        score: float64 [rows].
        p: float64 [rows]: the calibrated probability that the score is to be above 0.
    """
    each: dict[str, list[float]] = {name: [] for name, row in METRICS.items() if kind in row.kinds}
    for group in np.unique(rows.group):
        which = rows.group == group
        some = rows.where(which)
        for name, values in each.items():
            value = METRICS[name].of(some, score[which], p[which])
            if value is not None and np.isfinite(value):
                values.append(value)
    return {name: over_groups(name, values) for name, values in each.items()}


def over_groups(name: str, values: list[float]) -> GroupedMetric:
    """Return the mean of runs' values, and Student's interval with one degree of freedom less than runs."""
    from scipy import stats

    n = len(values)
    if not n:
        return GroupedMetric(name, None, None, None, 0)
    mean = float(np.mean(values))
    if n < 2:
        return GroupedMetric(name, mean, None, None, n)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    row = METRICS[name]
    return GroupedMetric(name, mean, max(mean - half, 0.0), min(mean + half, row.most), n)


@dataclass(frozen=True)
class Calibration:
    """A score's probability: 1 / (1 + exp(-(slope * score + offset))) (Platt, 1999).

    Attributes:
        slope: At least 0: what scores higher is never less probable.
        offset: Where the score is 0.
        abstain_below: Rows whose probability is not this far from 1/2 are better left to another rule:
            without them the error on the validation rows is half of what it is. None: there is no margin.
        nr_abstained: Share of the validation rows that this leaves undecided.
    """

    slope: float
    offset: float
    abstain_below: float | None
    nr_abstained: float

    def probability(self, score: Floats) -> Floats:
        """Return the probability that a row is true, float64 [rows]."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * score + self.offset, -40, 40))))


def calibrate(rows: LearningRows, score: Floats) -> Calibration:
    """Fit it to the validation rows."""
    from scipy import optimize

    weight = rows.weight / rows.weight.sum()
    spread = max(float(np.std(score)), 1e-12)

    def loss(at: np.ndarray) -> float:
        margin = np.exp(at[0]) / spread * score + at[1]
        each = np.logaddexp(0, margin) - rows.truth * margin
        return float(weight @ each + 1e-6 * (at @ at))

    found = optimize.minimize(loss, np.zeros(2), method="Nelder-Mead", options={"maxiter": 400})
    slope, offset = float(np.exp(np.clip(found.x[0], -30, 30)) / spread), float(found.x[1])
    plain = Calibration(slope, offset, None, 0.0)
    below, share = _abstain(rows, plain.probability(score))
    return Calibration(slope, offset, below, share)


def _abstain(rows: LearningRows, p: Floats) -> tuple[float | None, float]:
    wrong = ((p > 0.5) != rows.truth) * rows.weight
    order = np.argsort(-np.abs(p - 0.5), kind="stable")
    weight = np.cumsum(rows.weight[order])
    error = np.cumsum(wrong[order]) / np.maximum(weight, 1e-300)
    if not error[-1] > 0:
        return 0.0, 0.0
    fits = np.flatnonzero(error <= error[-1] / 2)
    if not len(fits) or fits[-1] + 1 < len(order) / 20:
        return None, 0.0
    last = int(fits[-1])
    return float(np.abs(p - 0.5)[order[last]]), float(1 - weight[last] / weight[-1])


def reliability(rows: LearningRows, p: Floats, nr_bins: int = 10) -> list[tuple[float, float, int]]:
    """Return, for each tenth of the probabilities: their mean, the share that was true, and how many rows."""
    order = np.argsort(p, kind="stable")
    return [
        (float(p[some].mean()), float(rows.truth[some].mean()), len(some))
        for some in np.array_split(order, nr_bins)
        if len(some)
    ]


def confusion(rows: LearningRows, score: Floats) -> list[list[int]]:
    """Return how many rows there are, [truth][decision]."""
    decided = score > 0
    return [[int(((rows.truth == t) & (decided == d)).sum()) for d in (False, True)] for t in (False, True)]
