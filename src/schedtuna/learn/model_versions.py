"""The versions of a model that is updated: which were there, and what made and judged them?

Beside MODEL.safetensors lies MODEL.versions/: each version's file, and versions.json. In charge is what
MODEL.safetensors is; a version that the gate kept out is there, too, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from schedtuna import __version__, files
from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import ModelError
from schedtuna.files.versions import StoredFormat
from schedtuna.learn.dataset_form import Dataset
from schedtuna.learn.model_card import CARD, reference_of
from schedtuna.learn.problem import LearningProblem
from schedtuna.learn.updating import UpdateOutcome
from schedtuna.model.file import dump_model, read_model
from schedtuna.model.model import DecisionModel

INDEX = "versions.json"
STORED = StoredFormat(ModelError)
_MOST_BYTES = 16 << 20


class TrainedVersion(BaseModel):
    """A version that an update made.

    Attributes:
        version: Of the model.
        replaced: The version that was in charge.
        outcome: Whether it came in charge, or was kept aside.
        why: What the gate said.
        made_at: When.
        made_by: How.
        metric: What judged.
        before, after: It, of the old and of this version, in each run that judged.
        rows_sha256: Of the dataset.
        runs_sha256: Of its runs, which judge no later version.
        threshold_ns: Of bursts: what it calls short; else 0.
        reference: How its training rows lie in each input's bins, to tell rows that lie otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(max_length=64)
    replaced: str = Field(max_length=64)
    outcome: Literal["in charge", "kept aside"]
    why: str
    made_at: str
    made_by: str
    metric: str
    before: list[float]
    after: list[float]
    rows_sha256: str
    runs_sha256: list[str]
    threshold_ns: int = Field(ge=0)
    reference: list[dict[str, JsonValue]]


class TrainedVersions(BaseModel):
    """What `versions.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["schedtuna-model-versions"] = "schedtuna-model-versions"
    version: int = STORED.newest
    schedtuna_version: str = __version__
    versions: list[TrainedVersion] = []

    def seen(self, card: Mapping[str, Any]) -> frozenset[str]:
        """Runs that made or judged a version: of updates, and of the training that the card is of."""
        runs = [run for one in self.versions for run in one.runs_sha256]
        return frozenset([*runs, *card.get("dataset", {}).get("runs_sha256", ())])


def folder_of(model: Path) -> Path:
    """Return where the versions of a model's file are kept."""
    return model.with_name(f"{model.stem}.versions")


def read_versions(model: Path) -> TrainedVersions:
    """Return the versions of a model's file; of one that was never updated there are none.

    Raises:
        ModelError: What is there is damaged.
        OSError: It can't be read.
    """
    path = folder_of(model) / INDEX
    if not path.exists():
        return TrainedVersions()
    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(f"{path} is larger than {_MOST_BYTES >> 20} MiB")
    try:
        return TrainedVersions.model_validate(STORED.upgrade(parse_json(path.read_bytes()), path))
    except ValidationError as error:
        raise ModelError(f"{path} is damaged: {first_fault(error)}") from error
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}") from error


def card_of(model: Path) -> Mapping[str, Any]:
    """Return the card of the training that a model's file lies beside, or nothing where there is none.

    Raises:
        ModelError: It is damaged.
    """
    path = model.with_name(CARD)
    if not path.exists() or path.stat().st_size > _MOST_BYTES:
        return {}
    try:
        card = parse_json(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    return card if isinstance(card, dict) and card.get("format") == "schedtuna-model-card" else {}


def told_of_old(
    model: DecisionModel, versions: TrainedVersions, card: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return what is known of the model in charge: its `threshold_ns` and `reference`, or nothing."""
    for one in reversed(versions.versions):
        if one.version == model.version:
            return {"threshold_ns": one.threshold_ns, "reference": one.reference}
    for problem in card.get("problems", ()):
        if any(one.get("model_version") == model.version for one in problem.get("models", ())):
            return {name: problem[name] for name in ("threshold_ns", "reference")}
    return {}


def drift(reference: list[dict[str, Any]], problem: LearningProblem) -> dict[str, float]:
    """Return each input's population stability index: how otherwise the new training rows lie in its bins.

    Below 0.1 little has changed, above 0.25 much has (Siddiqi, Credit Risk Scorecards, 2006).
    """
    found = {}
    for one in reference:
        if one["name"] not in problem.names:
            continue
        column = problem.train.bins[:, problem.names.index(one["name"])]
        place = np.searchsorted(one["up_to"], column)
        counts = np.bincount(place, minlength=len(one["up_to"]) + 1)
        new = np.maximum(counts / len(column), 1e-4)
        old = np.maximum([*one["shares"], 0.0], 1e-4)
        found[one["name"]] = float(((new - old) * np.log(new / old)).sum())
    return found


def keep_version(
    path: Path, dataset: Dataset, found: UpdateOutcome, versions: TrainedVersions
) -> TrainedVersion:
    """Keep both versions and what was found, and put the new one in charge where the gate lets it.

    The index is written before the model's file: who stops between finds the old one in charge still.

    Raises:
        UntrustedError: Somebody else could write there.
        OSError: They can't be written.
    """
    folder = folder_of(path)
    files.make_folder(folder)
    for model in (found.old, found.chosen.model):
        there = folder / f"{model.version}{path.suffix}"
        if not there.exists() or read_model(there).version != model.version:
            files.write_bytes(there, dump_model(model))
    made = TrainedVersion(
        version=found.chosen.model.version,
        replaced=found.old.version,
        outcome="in charge" if found.verdict.passed else "kept aside",
        why=found.verdict.why,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        made_by=found.chosen.model.made_by,
        metric=found.metric,
        before=list(found.before),
        after=list(found.after),
        rows_sha256=dataset.card.rows_sha256,
        runs_sha256=list(found.runs),
        threshold_ns=found.problem.threshold_ns,
        reference=reference_of(found.problem),
    )
    index = versions.model_copy(update={"versions": [*versions.versions, made]})
    files.write_text(folder / INDEX, json.dumps(index.model_dump(), indent=1, allow_nan=False) + "\n")
    if found.verdict.passed:
        files.write_bytes(path, dump_model(found.chosen.model))
    return made
