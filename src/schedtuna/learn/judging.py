"""How did a model or a plain rule do on the rows that nobody has seen?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schedtuna.learn.baselines import BASELINES, has_columns
from schedtuna.learn.dataset_form import Dataset
from schedtuna.learn.fitted import FittedModel
from schedtuna.learn.problem import Flags, Floats, LearningProblem, LearningRows, usable_rows
from schedtuna.learn.scoring import (
    Calibration,
    GroupedMetric,
    area_under_curve,
    calibrate,
    grouped_metrics,
    log_loss,
)

MAJORITY = "majority"


@dataclass(frozen=True)
class RoundingCost:
    """What a model lost when its numbers became integers, on the test rows.

    Attributes:
        decisions_changed: Share of the rows.
        auc_change: The canonical model's AUC less the library's; None: undefined.
        log_loss_change: Likewise, in bits, both with the same calibration.
    """

    decisions_changed: float
    auc_change: float | None
    log_loss_change: float | None


@dataclass(frozen=True)
class ModelOutcome:
    """How one algorithm or plain rule did.

    Attributes:
        name: Its name.
        metrics: On the test rows, over runs.
        nr_rows: Rows that were judged.
        fitted: The model; None: a plain rule.
        calibration: From the validation rows; None: a rule whose scores have none.
        rounding: What its integers cost; None: a plain rule.
        score, probability: Of the test rows.
    """

    name: str
    metrics: Mapping[str, GroupedMetric]
    nr_rows: int
    fitted: FittedModel | None
    calibration: Calibration | None
    rounding: RoundingCost | None
    score: Floats
    probability: Floats


def judged(problem: LearningProblem, fitted: FittedModel) -> ModelOutcome:
    """Return how a model does on the test rows, as it is deployed, and what its rounding cost."""
    calibration = calibrate(problem.validation, fitted.score(problem.validation.bins))
    test = problem.test
    score = fitted.score(test.bins)
    p = calibration.probability(score)
    return ModelOutcome(
        fitted.algorithm,
        grouped_metrics(problem.kind, test, score, p),
        len(test),
        fitted,
        calibration,
        _rounding(test, fitted.exact(test.bins), score, calibration),
        score,
        p,
    )


def _rounding(rows: LearningRows, exact: Floats, score: Floats, calibration: Calibration) -> RoundingCost:
    before, after = (area_under_curve(rows.truth, one, rows.weight) for one in (exact, score))
    losses = [log_loss(rows, one, calibration.probability(one)) for one in (exact, score)]
    return RoundingCost(
        float(((exact > 0) != (score > 0)).mean()),
        None if before is None or after is None else after - before,
        None if losses[0] is None or losses[1] is None else losses[1] - losses[0],
    )


def judged_rules(
    dataset: Dataset, problem: LearningProblem, models: Sequence[str]
) -> tuple[list[ModelOutcome], dict[str, str]]:
    """Return how plain rules do, those that were asked for or all, and why others can't be judged."""
    found, why = [], {}
    if problem.kind == "class" and (not models or MAJORITY in models):
        found.append(_majority(problem))
    split = dataset.column("split")
    for name, row in BASELINES.items():
        if row.kind != problem.kind or (models and name not in models):
            continue
        if not has_columns(dataset, row):
            why[name] = f"the dataset has no column {' or '.join(row.needs)}"
            continue
        score = row.score(dataset, split == "train")
        found.append(_rule(name, problem, score, _kept(dataset)))
    return found, why


def _kept(dataset: Dataset) -> dict[str, Flags]:
    """Which rows of the dataset are each part's, in order: the problem's, before any was left out."""
    keep, split = usable_rows(dataset)[0], dataset.column("split")
    return {name: keep & (split == name) for name in ("validation", "test")}


def _rule(name: str, problem: LearningProblem, raw: Floats, kept: dict[str, Flags]) -> ModelOutcome:
    parts = {}
    for part, which in kept.items():
        rows, score = problem.parts[part], raw[which]
        if problem.kind == "number":
            score = np.log2(problem.threshold_ns) - score
        told = ~np.isnan(score)
        parts[part] = (rows.where(told), score[told])
    calibration = calibrate(*parts["validation"]) if len(parts["validation"][0]) else None
    rows, score = parts["test"]
    p = np.full(len(rows), 0.5) if calibration is None else calibration.probability(score)
    metrics = grouped_metrics(problem.kind, rows, score, p)
    return ModelOutcome(name, metrics, len(rows), None, calibration, None, score, p)


def _majority(problem: LearningProblem) -> ModelOutcome:
    """Always what most training rows are."""
    share = float(np.average(problem.train.truth, weights=problem.train.weight))
    rows = problem.test
    score, p = np.full(len(rows), share - 0.5), np.full(len(rows), share)
    metrics = grouped_metrics(problem.kind, rows, score, p)
    return ModelOutcome(MAJORITY, metrics, len(rows), None, None, None, score, p)
