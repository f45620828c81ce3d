"""What did past studies run, and what did each run cost? Read back without touching them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from schedtuna.backend.base import Validity
from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError, SpaceError, StudyError, UsageError, nearest
from schedtuna.evidence.result import Verdict, read_verdict_word
from schedtuna.experiment.triallog import TrialRecord, read_trials
from schedtuna.history.objective import Objective
from schedtuna.history.outcome import BASELINE, SEARCH
from schedtuna.history.plan import PLAN_NAME, StudyPlan
from schedtuna.history.results import RESULT_NAME, STORED
from schedtuna.samplers.observation import Observation
from schedtuna.space import ParameterSpace, ParameterValue
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.spec import MetricSpec


@dataclass(frozen=True)
class PastStudy:
    """One study's folder, read back.

    Attributes:
        folder: Where it is.
        plan: What was asked.
        records: Every run, in order.
    """

    folder: Path
    plan: StudyPlan
    records: tuple[TrialRecord, ...]

    @property
    def episodes(self) -> list[TrialRecord]:
        """The runs of the search."""
        return [record for record in self.records if record.phase.startswith(SEARCH)]

    @property
    def verdict(self) -> Verdict | None:
        """What its confirmation said; None where it did not get there."""
        try:
            path = self.folder / RESULT_NAME
            return read_verdict_word(STORED.upgrade(parse_json(path.read_bytes()), path)["verdict"])[0]
        except (OSError, ValueError, KeyError, StudyError):
            return None

    def objective(self, metrics: Sequence[MetricSpec] = ()) -> Objective:
        """Return the scale of its costs: its own, or that of other metrics that it logged.

        Raises:
            UsageError: A metric that its runs don't have.
            StudyError: It has no run of the default to compare with.
        """
        chosen = tuple(metrics) or self.plan.metrics
        worked = [r.trial.metrics for r in self.records if r.trial.validity is Validity.OK]
        for spec in chosen:
            known = {name for values in worked for name in values}
            if known and spec.name not in known:
                raise UsageError(
                    f"the runs in {self.folder} have no metric {spec.name!r}: {nearest(spec.name, known)}"
                )
        baseline = [
            record.trial.metrics
            for record in self.records
            if record.phase == BASELINE and record.trial.validity is Validity.OK
        ]
        complete = [values for values in baseline if all(spec.name in values for spec in chosen)]
        rules = () if metrics else self.plan.requirements
        return Objective.from_baseline(chosen, complete, rules)

    def first(self, max_episodes: int | None) -> list[TrialRecord]:
        """Return all runs, but of the search only the oldest ones."""
        if max_episodes is None:
            return list(self.records)
        dropped = {(record.phase, record.index) for record in self.episodes[max_episodes:]}
        return [record for record in self.records if (record.phase, record.index) not in dropped]

    def observe(self, records: Iterable[TrialRecord], objective: Objective) -> list[Observation]:
        """Return what runs cost; those that lack one of the objective's metrics are left out."""
        return [seen for record in records for seen in self._observed(record, objective)]

    def _observed(self, record: TrialRecord, objective: Objective) -> list[Observation]:
        trial = record.trial
        needed = {*objective.references, *(rule.metric for rule in objective.requirements)}
        if trial.validity is Validity.OK and not needed <= trial.metrics.keys():
            return []
        cost = objective.cost(trial.metrics) if trial.validity is Validity.OK else None
        values = self.plan.scheduler.space.validate_assignment(trial.values)
        return [Observation(values, cost, trial.duration_s)]


def read_study(folder: Path) -> PastStudy:
    """Read one study.

    Raises:
        StudyError: It is none, it is damaged, or a newer version wrote it.
    """
    plan = StudyPlan.read(folder)
    _, records = read_trials(folder)
    study = PastStudy(folder, plan, tuple(records))
    try:
        for record in records:
            plan.scheduler.space.validate_assignment(record.trial.values)
            wrong = {name: value for name, value in record.trial.metrics.items() if not math.isfinite(value)}
            if wrong and record.trial.validity is Validity.OK:
                raise StudyError(f"{folder} contradicts itself: a run that worked has {wrong}")
    except SpaceError as error:
        raise StudyError(f"{folder} contradicts itself: a run lies outside of its space: {error}") from None
    return study


def find_studies(
    places: Sequence[Path], patterns: Sequence[str] = ()
) -> tuple[list[PastStudy], dict[Path, str]]:
    """Read every study in some folders.

    Args:
        places: Studies themselves, or folders that hold them.
        patterns: Shell patterns; a study's folder name must match one of them.

    Returns:
        The studies, by name, and why the other ones can't be used.

    Raises:
        UsageError: A place is not a folder.
        StudyError: None of them can be used.
    """
    folders: list[Path] = []
    for place in places:
        if not place.is_dir():
            raise UsageError(f"{place} is not a folder", hint="name a results folder of `schedtuna tune`")
        inside = [place] if (place / PLAN_NAME).exists() else _studies_in(place)
        folders += [path for path in inside if path not in folders]
    chosen = [path for path in folders if _matches(path.resolve().name, patterns)]
    found: list[PastStudy] = []
    unusable: dict[Path, str] = {}
    for folder in chosen:
        try:
            found.append(read_study(folder))
        except SchedtunaError as error:
            unusable[folder] = str(error)
    if not found:
        raise StudyError(_nothing(places, patterns, folders, unusable))
    return found, unusable


def _studies_in(place: Path) -> list[Path]:
    return sorted(path.parent for path in place.glob(f"*/{PLAN_NAME}"))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Does a folder's name fit? Folders of earlier versions have `-` where their name had `_`."""
    old = name.replace("_", "-")
    return not patterns or any(
        fnmatchcase(name, pattern) or fnmatchcase(old, pattern.replace("_", "-")) for pattern in patterns
    )


def _nothing(
    places: Sequence[Path], patterns: Sequence[str], folders: list[Path], unusable: dict[Path, str]
) -> str:
    where = ", ".join(map(str, places))
    if unusable:
        return "\n".join([f"no study in {where} can be used:", *unusable.values()])
    if folders:
        names = ", ".join(path.name for path in folders[:5])
        return f"no study in {where} is called {' or '.join(patterns)}; there are: {names}"
    return f"there is no study in {where}"


def parse_metrics(texts: Sequence[str], study: PastStudy) -> tuple[MetricSpec, ...]:
    """Return the metrics that texts such as ``p99_us:min`` name among what a study logged.

    Raises:
        UsageError: Malformed, or it would have to be read from output, which no log keeps.
    """
    logged = {name for record in study.records for name in record.trial.metrics}
    workload = study.plan.workload
    if workload.parser not in PARSERS:  # what a study of others names is not imported to read it
        workload = workload.model_copy(update={"parser": ""})
    specs = tuple(parse_metric(text, workload, known=logged) for text in texts)
    for text, spec in zip(texts, specs, strict=True):
        if spec.source.kind != "auto":
            raise UsageError(
                f"{text!r} is read from a run's output, which is not kept",
                hint="name a metric that the runs have, such as wall_time_s:min",
            )
    return specs


def adapt(
    values: dict[str, ParameterValue], source: ParameterSpace, target: ParameterSpace
) -> dict[str, ParameterValue] | None:
    """Carry an assignment to another space; None where it means something that the other can't say.

    A parameter that only one of the two has must be at its default.
    """
    moved: dict[str, Any] = {}
    for name, value in source.changed(values).items():
        if name not in target:
            return None
        moved[name] = value
    try:
        return target.validate_assignment(moved)
    except SpaceError:
        return None
