"""What a study leaves in its folder: the files that people and programs read afterwards."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from schedtuna.errors import StudyError
from schedtuna.experiment.triallog import TrialRecord
from schedtuna.files import write_text
from schedtuna.files.versions import StoredFormat
from schedtuna.history.outcome import SearchOutcome, StudyResult, cost_of
from schedtuna.scheduler.definition import definition
from schedtuna.scheduler.parse import BEST_NAME
from schedtuna.scheduler.parse import STORED as PARAMETERS
from schedtuna.scheduler.registry import is_own

REPORT_NAME = "report.html"
PLOTS_NAME = "performance_plots.png"
RESULT_NAME = "result.json"
STORED = StoredFormat(StudyError)


def summary(result: StudyResult) -> dict[str, Any]:
    """Return the one object that `tune --json` prints last."""
    comparison = result.comparison
    nr_search = result.nr_search_runs
    return {
        "study": str(result.folder),
        "workload": result.plan.workload.title,
        "scheduler": result.plan.scheduler.name,
        "sampler": result.plan.sampler,
        "place": result.plan.place.model_dump(mode="json"),
        **comparison.summary(),
        "trials": nr_search + comparison.nr_runs,
        "best": result.best,
        "candidate": result.candidate,
        "confirm": result.confirmation or None,
        "runs": {"search": nr_search, "confirmation": comparison.nr_runs},
        "samplers": [_found(outcome) for outcome in result.searches],
        "report": str(result.folder / REPORT_NAME),
    }


def write_results(result: StudyResult) -> None:
    """Write every result file of a study but the report; each is replaced whole."""
    folder = result.folder
    _write_json(folder / RESULT_NAME, {STORED.key: STORED.newest, **summary(result)})
    _write_json(folder / BEST_NAME, best_parameters(result))
    _write_json(folder / "baseline_results.json", [_row(result, record) for record in result.baseline])
    episodes = [
        {"sampler": outcome.sampler, **_row(result, record), **training}
        for outcome in result.searches
        for record, training in zip(outcome.records, outcome.training, strict=True)
    ]
    _write_json(folder / "episode_results.json", episodes)
    _write_csv(folder / "episode_results.csv", [_flat(row) for row in episodes])


def best_parameters(result: StudyResult) -> dict[str, Any]:
    """Return what `schedtuna apply` and `compare` read: the scheduler, and the proven values.

    Without a proven gain, `parameters` is empty: the default. Of a scheduler that is somebody's own, the
    whole definition is in it.
    """
    scheduler = result.plan.scheduler
    return {
        PARAMETERS.key: PARAMETERS.newest,
        "scheduler": definition(scheduler) if is_own(scheduler.name) else scheduler.name,
        "parameters": result.best or {},
        "verdict": result.comparison.told_verdict,
        "command": list(result.plan.workload.argv),
        **({"confirm": result.confirmation} if result.comparison.is_model else {}),
    }


def _found(outcome: SearchOutcome) -> dict[str, Any]:
    return {
        "sampler": outcome.sampler,
        "runs": len(outcome.records),
        "candidate": outcome.candidate,
        "found_after": outcome.found_after,
        "recommends_default": outcome.recommends_default,
        "playoff_costs": list(outcome.playoff),
    }


def _row(result: StudyResult, record: TrialRecord) -> dict[str, Any]:
    trial = record.trial
    cost = cost_of(record, result.objective)
    return {
        "episode": record.index + 1,
        "validity": str(trial.validity),
        "reason": trial.reason,
        "reward": None if cost is None else -cost,
        "parameters": result.plan.scheduler.space.validate_assignment(trial.values),
        "metrics": trial.metrics,
        "covariates": trial.covariates,
        "seed": trial.seed,
        "started_at": trial.started_at,
        "duration_s": trial.duration_s,
    }


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Spread the nested objects of a row over columns."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            flat[key] = value
    return flat


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
