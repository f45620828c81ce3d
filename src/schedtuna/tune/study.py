"""A study: search a scheduler's parameters on noisy runs, then confirm the winner on fresh ones.

The search only nominates. Its runs never enter the claim, which `experiment.compare` makes from
interleaved runs of the default and the one nominated assignment. Every run is in the trial log
before the next one starts, so a study that was interrupted anywhere continues where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.backend.base import Backend, Trial, Validity
from schedtuna.errors import StudyError, UsageError
from schedtuna.evidence.design import split_budget
from schedtuna.experiment.compare import Comparison, compare
from schedtuna.experiment.triallog import TrialLog, TrialRecord
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterValue
from schedtuna.tune.objective import Objective
from schedtuna.tune.samplers.base import Observation, Sampler
from schedtuna.tune.samplers.registry import make_sampler
from schedtuna.workload.spec import MetricSpec, Requirement, Workload

PLAN_NAME = "study.json"
BASELINE, SEARCH, CONFIRMATION = "baseline", "search", "confirmation"
FORMAT_VERSION = 1


class StudyPlan(BaseModel):
    """Everything that decides what a study runs; written to its folder before the first run.

    Attributes:
        scheduler: What is tuned; its `values` are the default.
        workload: What is run.
        metrics: What is optimised; the first one is primary.
        requirements: Bounds that the winner must keep.
        sampler: Name of the sampler.
        sampler_options: Its options (`learning_rate`, ...).
        budget: Runs in all: baseline, search and confirmation.
        time_limit_s: Seconds in all; the budget follows from the baseline's durations.
        baseline_runs: Runs of the default before the search, which set its scale.
        save_frequency: Search runs between two checkpoints of a sampler that learns.
        delta: Smallest gain that matters, as a fraction.
        seed: Of every random choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = FORMAT_VERSION
    scheduler: SchedulerConfig
    workload: Workload
    metrics: tuple[MetricSpec, ...] = Field(min_length=1)
    requirements: tuple[Requirement, ...] = ()
    sampler: str = "tpe"
    sampler_options: dict[str, Any] = {}
    budget: int = Field(default=100, gt=0)
    time_limit_s: float | None = Field(default=None, gt=0)
    baseline_runs: int = Field(default=3, ge=1)
    save_frequency: int = Field(default=25, ge=1)
    delta: float = Field(default=0.03, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    def identity(self) -> dict[str, str]:
        """What the trials depend on beside workload, seed and machine; another one is refused."""
        return {
            "scheduler": self.scheduler.name,
            "space": self.scheduler.space.stable_hash(),
            "metrics": json.dumps([spec.model_dump(mode="json") for spec in self.metrics]),
            "requirements": json.dumps([rule.model_dump(mode="json") for rule in self.requirements]),
            "sampler": f"{self.sampler} {json.dumps(self.sampler_options, sort_keys=True)}",
        }

    def write(self, folder: Path) -> None:
        """Write the plan to a study's folder, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / f".{PLAN_NAME}.tmp"
        staged.write_text(self.model_dump_json(indent=2) + "\n")
        staged.replace(folder / PLAN_NAME)

    @classmethod
    def read(cls, folder: Path) -> StudyPlan:
        """Read the plan of an earlier study.

        Raises:
            StudyError: There is no plan, it is damaged, or another version wrote it.
        """
        path = folder / PLAN_NAME
        try:
            content = json.loads(path.read_text())
            version = content.get("version")
        except (OSError, ValueError, AttributeError) as error:
            raise StudyError(
                f"{folder} holds no study: {path.name}: {error}",
                hint="name a folder that `schedtuna tune` wrote",
            ) from None
        if version != FORMAT_VERSION:
            raise StudyError(
                f"{path} has version {version!r}, and this program writes version {FORMAT_VERSION}",
                hint="continue it with the program that started it, or start anew in another folder",
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise StudyError(f"{path} is damaged: {place}: {first['msg']}") from None


@dataclass(frozen=True)
class SearchProgress:
    """Where the search stands after a run.

    Attributes:
        done: Runs of baseline and search so far.
        total: Runs of baseline and search in all.
        record: The run that ended.
        cost: What it cost; None where it failed.
        best_cost: The lowest cost of a single run so far, which is no claim.
        noise_cv: Coefficient of variation of the default's runs.
    """

    done: int
    total: int
    record: TrialRecord
    cost: float | None
    best_cost: float | None
    noise_cv: float | None


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        plan: What was asked.
        folder: Where everything is.
        objective: The scale of the costs.
        baseline: The default's runs before the search.
        search: The search's runs, in order.
        training: The sampler's own numbers after each search run of this session.
        candidate: The nominated assignment: what differs from the default.
        comparison: The confirmation on fresh runs, with the verdict.
    """

    plan: StudyPlan
    folder: Path
    objective: Objective
    baseline: Sequence[TrialRecord]
    search: Sequence[TrialRecord]
    training: Sequence[dict[str, float]]
    candidate: dict[str, ParameterValue]
    comparison: Comparison

    @property
    def best(self) -> dict[str, ParameterValue] | None:
        """The assignment to apply; None where no gain was proven."""
        return self.candidate if self.comparison.verdict == "improved" else None


class Study:
    """Runs a plan, or continues it where its log ends.

    Args:
        plan: What to do.
        backend: Where trials run.
        log: Where they are kept; its folder is the study's.
        on_event: Told about every run: a `SearchProgress`, or an event of `experiment.compare`.
    """

    def __init__(
        self,
        plan: StudyPlan,
        backend: Backend,
        log: TrialLog,
        *,
        on_event: Callable[[Any], None] = lambda _event: None,
    ) -> None:
        self.plan = plan
        self.backend = backend
        self.log = log
        self.on_event = on_event
        self._training: list[dict[str, float]] = []

    def run(self) -> StudyResult:
        """Search, nominate, confirm.

        Raises:
            StudyError: The folder can't be used, the default never succeeds, or no candidate does.
            KeyboardInterrupt: Interrupted before the confirmation; the log has every finished run.
        """
        started = monotonic()
        spent_s = sum(record.trial.duration_s for record in self.log.records())
        baseline = [self._baseline(index) for index in range(self.plan.baseline_runs)]
        objective = self._objective(baseline)
        nr_search, nr_confirmation = self._split(baseline)
        sampler = self._search(objective, baseline, nr_search - len(baseline))
        candidate = self._nominate(sampler)
        limit_s = self.plan.time_limit_s
        left_s = None if limit_s is None else max(1.0, limit_s - spent_s - (monotonic() - started))
        comparison = compare(
            self.backend,
            self.plan.workload,
            self.plan.scheduler,
            self.plan.scheduler.with_values(candidate),
            metrics=self.plan.metrics,
            requirements=self.plan.requirements,
            budget=nr_confirmation,
            delta=self.plan.delta,
            seed=self.plan.seed,
            log=self.log,
            phase=CONFIRMATION,
            time_limit_s=left_s,
            on_event=self.on_event,
        )
        return StudyResult(
            plan=self.plan,
            folder=self.log.folder,
            objective=objective,
            baseline=baseline,
            search=self.log.records(SEARCH),
            training=self._training,
            candidate=candidate,
            comparison=comparison,
        )

    def _trial(self, phase: str, index: int, values: dict[str, ParameterValue]) -> TrialRecord:
        """Run one trial, or return the one that an earlier session ran."""
        record = self.log.find(phase, index)
        if record is None:
            seed = int(np.random.SeedSequence([self.plan.seed, index, len(phase)]).generate_state(1)[0])
            trial = self.backend.run(self.plan.workload, self.plan.scheduler.with_values(values), seed=seed)
            record = TrialRecord(phase=phase, index=index, trial=trial)
            self.log.append(record)
        return record

    def _baseline(self, index: int) -> TrialRecord:
        record = self._trial(BASELINE, index, {})
        self.on_event(SearchProgress(index + 1, self.plan.baseline_runs, record, 0.0, None, None))
        return record

    def _objective(self, baseline: Sequence[TrialRecord]) -> Objective:
        good = [record.trial.metrics for record in baseline if record.trial.validity is Validity.OK]
        if not good:
            last = baseline[-1].trial
            raise StudyError(
                f"the default failed in each of {len(baseline)} runs: {last.reason}\n"
                f"{last.output_tail}".rstrip(),
                hint="make the command succeed by hand first",
            )
        return Objective.from_baseline(self.plan.metrics, good, self.plan.requirements)

    def _split(self, baseline: Sequence[TrialRecord]) -> tuple[int, int]:
        """Return how many runs search (with the baseline) and confirmation get."""
        budget = self.plan.budget
        if self.plan.time_limit_s is not None:
            run_s = median(record.trial.duration_s for record in baseline)
            budget = int(self.plan.time_limit_s / max(run_s, 1e-3))
        nr_search, nr_confirmation = split_budget(budget)
        if nr_search <= self.plan.baseline_runs:
            raise UsageError(
                f"a budget of {budget} runs leaves none to search with after "
                f"{self.plan.baseline_runs} baseline and {nr_confirmation} confirmation runs",
                hint="give a larger --budget or --time, or use `schedtuna compare` for one candidate",
            )
        return nr_search, nr_confirmation

    def _search(self, objective: Objective, baseline: Sequence[TrialRecord], runs: int) -> Sampler:
        space = self.plan.scheduler.space
        sampler = make_sampler(
            self.plan.sampler,
            space,
            budget=runs,
            rng=np.random.default_rng([self.plan.seed, 2]),
            **self.plan.sampler_options,
        )
        costs = [self._tell(sampler, objective, record.trial) for record in baseline]
        noise_cv = _spread([cost for cost in costs if cost is not None])
        best: float | None = None
        for index in range(runs):
            earlier = self.log.find(SEARCH, index)
            values = space.validate_assignment(earlier.trial.values) if earlier else sampler.ask()
            record = self._trial(SEARCH, index, values)
            cost = self._tell(sampler, objective, record.trial)
            self._training.append(sampler.training_metrics())
            if (index + 1) % self.plan.save_frequency == 0:
                sampler.save(self.log.folder / f"checkpoint_episode_{index + 1}.pt")
            best = min((c for c in (best, cost) if c is not None), default=None)
            total = len(baseline) + runs
            self.on_event(SearchProgress(len(baseline) + index + 1, total, record, cost, best, noise_cv))
        return sampler

    def _tell(self, sampler: Sampler, objective: Objective, trial: Trial) -> float | None:
        cost = objective.cost(trial.metrics) if trial.validity is Validity.OK else None
        values = self.plan.scheduler.space.validate_assignment(trial.values)
        sampler.tell(Observation(values, cost, trial.duration_s))
        return cost

    def _nominate(self, sampler: Sampler) -> dict[str, ParameterValue]:
        """Return what to confirm: the sampler's choice, else the best of what is not the default."""
        space = self.plan.scheduler.space
        chosen = space.changed(sampler.recommend())
        return chosen or space.changed(best_alternative(sampler.history, space.default()))


def best_alternative(
    history: Sequence[Observation], default: dict[str, ParameterValue]
) -> dict[str, ParameterValue]:
    """Return the assignment other than the default with the lowest median cost.

    A sampler that finds nothing better than the default recommends the default. The study confirms
    the runner-up all the same: "there is nothing to gain" is a claim too, and needs fresh runs.

    Raises:
        StudyError: Every other assignment failed.
    """
    costs: dict[str, list[float]] = {}
    assignments: dict[str, dict[str, ParameterValue]] = {}
    for observation in history:
        if observation.cost is not None and observation.values != default:
            key = json.dumps(observation.values, sort_keys=True)
            costs.setdefault(key, []).append(observation.cost)
            assignments[key] = observation.values
    if not costs:
        raise StudyError(
            "every setting other than the default failed or timed out, so there is nothing to confirm",
            hint="see experiment.log for the reasons; a longer --timeout may help",
        )
    return assignments[min(costs, key=lambda key: median(costs[key]))]


def _spread(costs: Sequence[float]) -> float | None:
    """Standard deviation of log costs: about the coefficient of variation."""
    return float(np.std(costs, ddof=1)) if len(costs) > 1 else None
