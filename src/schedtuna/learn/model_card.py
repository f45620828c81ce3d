"""What is written of a training: the models, a card that says what they are, and all figures as a table."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import schedtuna
from schedtuna import __version__, files
from schedtuna.errors import UnavailableError, UsageError
from schedtuna.learn.dataset_form import Dataset
from schedtuna.learn.decision_value import DecisionValue
from schedtuna.learn.judging import ModelOutcome
from schedtuna.learn.problem import LearningProblem
from schedtuna.learn.scoring import METRICS, confusion, reliability
from schedtuna.learn.training_run import ProblemOutcome, TrainingOptions
from schedtuna.model.core import BinArray
from schedtuna.model.file import dump_model
from schedtuna.model.model import DecisionModel
from schedtuna.printable import printable

CARD, RESULTS, PAGE = "card.json", "results.csv", "report.html"
CARD_VERSION = 1
MODEL_SUFFIX = ".safetensors"
_CODE = ("learn", "model", "features")  # what decides what a model is
_REFERENCE_BINS = 16
_TIMED_ROWS, _TRIES = 4096, 5


@dataclass(frozen=True)
class TrainingFiles:
    """What was written.

    Attributes:
        folder: Where.
        models: The model's file of each algorithm and problem.
        card: What the card says.
    """

    folder: Path
    models: Mapping[str, Path]
    card: Mapping[str, Any]


def prepare_training_folder(folder: Path, *, force: bool = False) -> None:
    """Make a folder for a training: before all the work.

    Raises:
        UsageError: There is something already.
        UntrustedError: Somebody else could write there.
        OSError: It can't be made.
    """
    files.make_folder(folder)
    there = {path.name for path in folder.iterdir()}
    ours = {CARD, RESULTS, PAGE} | {name for name in there if name.endswith(MODEL_SUFFIX)}
    if there - ours or (there and CARD not in there):
        raise UsageError(f"{folder} holds something else than a training", hint="choose another folder")
    if there and not force:
        raise UsageError(f"{folder} holds a training already", hint="choose another folder, or --force")


def write_models(folder: Path, found: Sequence[ProblemOutcome]) -> dict[str, Path]:
    """Write the models of a training into a folder that is ready, and return each one's file by its name.

    Raises:
        OSError: They can't be written.
    """
    for path in folder.iterdir():
        if path.suffix == MODEL_SUFFIX:  # of a training that is replaced
            files.remove(path)
    models = {}
    for outcome in found:
        for one in outcome.outcomes:
            if one.fitted is not None:
                name = model_name(one.name, outcome.problem, several=len(found) > 1)
                models[name] = folder / f"{name}{MODEL_SUFFIX}"
                files.write_bytes(models[name], dump_model(one.fitted.model))
    return models


def write_training(
    folder: Path,
    dataset: Dataset,
    found: Sequence[ProblemOutcome],
    options: TrainingOptions,
    worth: Sequence[DecisionValue] = (),
) -> TrainingFiles:
    """Write models, card and results into a folder that is ready.

    Args:
        folder: Where.
        dataset: What was learnt from.
        found: What was learnt.
        options: How.
        worth: What models are worth as schedulers, where that was asked.

    Raises:
        OSError: They can't be written.
    """
    models = write_models(folder, found)
    card = make_card(dataset, found, options) | {"worth": [asdict(one) for one in worth]}
    files.write_text(folder / RESULTS, results_csv(found))
    files.write_text(folder / CARD, json.dumps(card, indent=1, allow_nan=False) + "\n")
    return TrainingFiles(folder, models, card)


def model_name(algorithm: str, problem: LearningProblem, *, several: bool) -> str:
    """Return what a model's file is called: its algorithm, and of several classes the one that it tells."""
    if not several:
        return algorithm
    return f"{algorithm}.{re.sub(r'[^A-Za-z0-9_-]+', '_', problem.labels[1])[:60]}"


def results_csv(found: Sequence[ProblemOutcome]) -> str:
    """Return every metric as a line of CSV."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["tells", "model", "metric", "mean", "low95", "high95", "runs", "rows"])
    for outcome in found:
        for one in (*outcome.outcomes, outcome.control):
            for metric in one.metrics.values():
                bounds = ["" if x is None else f"{x:.6g}" for x in (metric.mean, metric.low, metric.high)]
                told = printable(outcome.problem.labels[1])
                lines.writerow([told, one.name, metric.name, *bounds, metric.nr_groups, one.nr_rows])
    return text.getvalue()


def make_card(dataset: Dataset, found: Sequence[ProblemOutcome], options: TrainingOptions) -> dict[str, Any]:
    """Return what is to be known of the models: where they are from, what they reach, where they end."""
    card = dataset.card
    return {
        "format": "schedtuna-model-card",
        "version": CARD_VERSION,
        "schedtuna_version": __version__,
        "code_sha256": code_sha256(),
        "libraries": _libraries(),
        "dataset": {
            "task": card.task,
            "rows_sha256": card.rows_sha256,
            "runs_sha256": [run.sha256 for run in card.runs],
            "families": sorted({run.family for run in card.runs}),
            "hosts": sorted({run.host for run in card.runs}),
            "split": card.split,
            "label": card.label,
            "notes": card.notes,
        },
        "options": asdict(options),
        "problems": [_problem_card(outcome, several=len(found) > 1) for outcome in found],
    }


def _problem_card(outcome: ProblemOutcome, *, several: bool) -> dict[str, Any]:
    problem = outcome.problem
    return {
        "labels": problem.labels,
        "threshold_ns": problem.threshold_ns,
        "rows": {name: len(rows) for name, rows in problem.parts.items()},
        "runs": {name: len(np.unique(rows.group)) for name, rows in problem.parts.items()},
        "inputs": [{"name": one.name, **asdict(one.bins)} for one in problem.inputs],
        "reference": reference_of(problem),
        "models": [
            _outcome_card(one, problem, model_name(one.name, problem, several=several))
            for one in outcome.outcomes
        ],
        "control": {name: asdict(metric) for name, metric in outcome.control.metrics.items()},
        "learning_curve": [{"rows": n, "value": value} for n, value in outcome.learning_curve],
        "left_out": dict(outcome.left_out),
        "notes": list(outcome.notes),
    }


def _outcome_card(one: ModelOutcome, problem: LearningProblem, name: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": one.name,
        "is_rule": one.fitted is None,
        "rows": one.nr_rows,
        "metrics": {metric.name: asdict(metric) for metric in one.metrics.values()},
        "calibration": asdict(one.calibration) if one.calibration else None,
    }
    rows = problem.test
    if problem.kind != "choice" and len(one.score) == len(rows):
        told["confusion"] = confusion(rows, one.score)
        told["reliability"] = reliability(rows, one.probability)
    if one.fitted is not None and one.rounding is not None:
        model = one.fitted.model
        told |= {
            "file": f"{name}{MODEL_SUFFIX}",
            "model_version": model.version,
            "family": model.core.family,
            "logit_per_score": one.fitted.unit,
            "settings": dict(one.fitted.settings),
            "rounding": asdict(one.rounding),
            "gains": dict(one.fitted.gains),
            "curve": dict(one.fitted.curve),
            "native_ns_per_row": _native_ns(one.fitted.model, rows.bins),
        }
    return told


def _native_ns(model: DecisionModel, bins: BinArray) -> float | None:
    """How long the native runtime takes for a row of many, here and now: the best of some tries."""
    try:
        from schedtuna.model.runtime import ModelRuntime
    except UnavailableError:
        return None
    runtime = ModelRuntime(model)
    rows = np.resize(bins, (_TIMED_ROWS, bins.shape[1]))
    taken = []
    for _ in range(_TRIES):
        begin = time.perf_counter_ns()
        runtime.logits(rows)
        taken.append((time.perf_counter_ns() - begin) / len(rows))
    return min(taken)


def reference_of(problem: LearningProblem) -> list[dict[str, Any]]:
    """How the training rows lie in each input's bins, to tell later rows that lie otherwise.

    Bins up to each of `up_to` hold `shares` of the rows.
    """
    told = []
    for index, one in enumerate(problem.inputs):
        column = np.sort(problem.train.bins[:, index])
        cuts = np.unique(column[np.linspace(0, len(column) - 1, _REFERENCE_BINS + 1).astype(int)[1:]])
        below = np.searchsorted(column, cuts, side="right") / len(column)
        told.append(
            {
                "name": one.name,
                "up_to": cuts.tolist(),
                "shares": np.diff(below, prepend=0.0).round(6).tolist(),
            }
        )
    return told


def code_sha256() -> str:
    """Return the hash of all sources that decide what a model is."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    root = Path(schedtuna.__file__).parent
    for package in _CODE:
        yield from sorted((root / package).glob("*.py"))


def _libraries() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("numpy", "scipy", "lightgbm", "xgboost-cpu", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def best_first(outcome: ProblemOutcome, metric: str) -> list[ModelOutcome]:
    """Return models and rules by a metric, the best first; those without it last."""
    sign = -1 if METRICS[metric].higher_is_better else 1

    def key(one: ModelOutcome) -> float:
        mean = one.metrics[metric].mean
        return float("inf") if mean is None else sign * mean

    return sorted(outcome.outcomes, key=key)
