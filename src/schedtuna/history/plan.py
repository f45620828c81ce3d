"""What a study is asked to do: the plan that its folder holds before the first run. Only data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.backend.places.field import AnyPlace
from schedtuna.backend.places.registry import HOST, make_place
from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import StudyError, UsageError, naming
from schedtuna.evidence import DELTA
from schedtuna.evidence.design import RUNS_PER_BLOCK, least_budget, minimum_blocks, split_budget
from schedtuna.experiment.triallog import LOG_NAME
from schedtuna.files import make_folder, write_text
from schedtuna.files.versions import StoredFormat
from schedtuna.history.defaults import BASELINE_RUNS, BUDGET, SAVE_FREQUENCY
from schedtuna.printable import exact, number
from schedtuna.samplers.registry import DEFAULT_SAMPLER
from schedtuna.scheduler.parse import BEST_NAME
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterValue
from schedtuna.workload.spec import MetricSpec, RunSpec, StoredText

PLAN_NAME = "study.json"
DECIDING_FILES = (PLAN_NAME, LOG_NAME, BEST_NAME)  # what they say is run
BAKE_OFF = "all"
_LEAST_BUDGET = minimum_blocks() * RUNS_PER_BLOCK + 1


def _from_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """A place was this machine's and a guest's fields in one, and a scheduler named a guest's kernel."""
    changed = dict(content)
    if isinstance(place := content.get("place"), dict):
        kind = place.get("backend", "host")
        fields = ("kernel", "cpus") if kind == "vm" else ("scope", "pid", "pid_is", "cgroup")
        changed["place"] = {"kind": kind, **{name: place[name] for name in fields if name in place}}
    if isinstance(scheduler := content.get("scheduler"), dict):
        changed["scheduler"] = {name: value for name, value in scheduler.items() if name != "kernel"}
    return changed


STORED = StoredFormat(StudyError, {1: _from_version_1})


class PastRun(BaseModel):
    """A run of an earlier study, on that study's scale of costs.

    Attributes:
        study: Name of its folder.
        values: What differed from the default.
        cost: What it cost there; None where it failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    study: str
    values: dict[str, ParameterValue]
    cost: float | None


def _digest(runs: Sequence[PastRun]) -> str:
    text = json.dumps([run.model_dump(mode="json") for run in runs])
    return f"{len(runs)} runs, {hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Screen(BaseModel):
    """What a model said of settings before the first run.

    Attributes:
        load: What it simulated: a trace's folder, a file or a family's member.
        figures: What it looked at, by the metric that each stands for.
        parameters: Those of which it knows what they do.
        nr_settings: How many settings it tried.
        runs: What they cost there, the best first; as many as steer the search.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    load: str
    figures: dict[str, str]
    parameters: tuple[str, ...]
    nr_settings: int
    runs: tuple[PastRun, ...]


class StudyPlan(RunSpec):
    """Everything that decides what a study runs; written to its folder before the first run.

    Attributes:
        scheduler: What is tuned; its `values` are the default.
        place: Where, and what is tuned there.
        metrics: What is optimised; the first one is primary.
        sampler: Name of the sampler, or ``module:Class``; `all` for a bake-off of all that are installed.
        sampler_options: Its options (`learning_rate`, ...).
        budget: Runs in all: baseline, search and confirmation.
        episodes: Runs of the search alone, in place of a budget; the confirmation comes on top.
        time_limit_s: Seconds in all; the budget follows from the baseline's durations.
        baseline_runs: Runs of the default before the search, which set its scale.
        save_frequency: Search runs between two checkpoints of a sampler that learns.
        delta: Smallest gain that matters, as a fraction.
        confirmation_runs: Runs of the confirmation, where a time limit left room for fewer; known once
            the search has ended.
        name: What its folder is called; empty: by scheduler, sampler and runs.
        warm_start: Runs of earlier studies, which steer the search and never enter the claim.
        screen: What a model said of settings, which does no more either.
    """

    version: int = STORED.newest
    scheduler: SchedulerConfig
    place: AnyPlace = Field(default_factory=lambda: make_place(HOST, {}))
    metrics: tuple[MetricSpec, ...] = Field(min_length=1)
    sampler: str = DEFAULT_SAMPLER
    sampler_options: dict[str, Any] = Field(default={})
    budget: int = Field(default=BUDGET, gt=0)
    episodes: int | None = Field(default=None, gt=0)
    time_limit_s: float | None = Field(default=None, gt=0)
    baseline_runs: int = Field(default=BASELINE_RUNS, ge=1)
    save_frequency: int = Field(default=SAVE_FREQUENCY, ge=1)
    delta: float = Field(default=DELTA, gt=0, lt=1)
    confirmation_runs: int | None = Field(default=None, gt=0)
    name: StoredText = ""
    warm_start: tuple[PastRun, ...] = ()
    screen: Screen | None = None

    def identity(self) -> dict[str, str]:
        """What the trials depend on beside workload, seed and machine; another one is refused."""
        identity = {
            "scheduler": self.scheduler.name,
            "space": self.scheduler.space.stable_hash(),
            "metrics": json.dumps([spec.model_dump(mode="json") for spec in self.metrics]),
            "requirements": json.dumps([rule.model_dump(mode="json") for rule in self.requirements]),
            "sampler": f"{self.sampler} {json.dumps(self.sampler_options, sort_keys=True)}",
        }
        if self.warm_start:
            identity["warm start"] = _digest(self.warm_start)
        if self.screen:
            identity["screen"] = _digest(self.screen.runs)
        return identity

    @property
    def folder_names(self) -> tuple[str, ...]:
        """What the results folder's name is made of: its own, or scheduler, sampler, runs of the search."""
        if self.name:
            return (self.name,)
        limit_s = self.time_limit_s
        runs = f"{self.split(0.0)[0]}ep" if limit_s is None else f"{exact(limit_s)}s"
        return self.scheduler.name, self.sampler, runs

    @property
    def told_budget(self) -> str:
        """What the runs are for; the folder's name counts those of the search, which are its episodes."""
        if self.time_limit_s is not None:
            return f"runs: as many as fit into {exact(self.time_limit_s)} s, search and confirmation"
        nr_search, nr_confirmation = self.split(0.0)
        total = self.baseline_runs + nr_search + nr_confirmation
        return (
            f"runs: {total} at most: {self.baseline_runs} of the default first, {nr_search} to search "
            f"(episodes), {nr_confirmation} to confirm"
        )

    def split(self, run_s: float) -> tuple[int, int]:
        """Return how many runs the search and the confirmation get, after the baseline.

        Args:
            run_s: How long one run takes, for a time limit.

        Raises:
            UsageError: Nothing is left to search with.
        """
        if self.episodes is not None:
            return self.episodes, split_budget(least_budget(self.episodes + self.baseline_runs))[1]
        budget = self.budget if self.time_limit_s is None else int(self.time_limit_s / max(run_s, 1e-3))
        what = f"a budget of {budget} runs" + (
            "" if self.time_limit_s is None else f" (of {number(run_s, digits=2)} s each)"
        )
        if budget < _LEAST_BUDGET or split_budget(budget)[0] <= self.baseline_runs:
            raise UsageError(
                f"{what} leaves none to search with, after {self.baseline_runs} baseline runs and "
                f"{minimum_blocks() * RUNS_PER_BLOCK} or more to confirm",
                hint="give a larger --budget or --time, or use `schedtuna compare` for one candidate",
            )
        nr_search, nr_confirmation = split_budget(budget)
        return nr_search - self.baseline_runs, nr_confirmation

    def write(self, folder: Path) -> None:
        """Write the plan to a study's folder, whole or not at all."""
        with naming(folder):
            make_folder(folder)
            write_text(folder / PLAN_NAME, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> StudyPlan:
        """Read the plan of an earlier study.

        Raises:
            StudyError: There is no plan, it is damaged, or a newer version wrote it.
        """
        path = folder / PLAN_NAME
        if not path.is_file():
            raise StudyError(
                f"{folder} holds no study: there is no {path}",
                hint="name a folder that `schedtuna tune` wrote",
            )
        try:
            content = parse_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StudyError(
                f"{folder} holds no study: {path.name}: {error}",
                hint="name a folder that `schedtuna tune` wrote",
            ) from None
        try:
            return cls.model_validate(STORED.upgrade(content, path))
        except ValidationError as error:
            raise StudyError(f"{path} is damaged: {first_fault(error)}") from None
