"""What do past studies say together? Statistics, best combinations, other rewards, pre-training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from schedtuna.errors import SchedtunaError, UsageError
from schedtuna.files import Folder
from schedtuna.history.objective import Objective
from schedtuna.history.studies import PastStudy, parse_metrics
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.racing import Candidate, rank
from schedtuna.samplers.registry import learners, make_sampler, sampler_class
from schedtuna.space import ParameterSpace
from schedtuna.workload.metrics import format_metric


@dataclass(frozen=True)
class ScoredStudy:
    """A past study, and what its runs cost on one scale: log ratios to its own default.

    Attributes:
        study: The study.
        objective: The scale.
        search: Its search's runs, oldest first.
        every: These, and the baseline, playoff and confirmation.
    """

    study: PastStudy
    objective: Objective
    search: tuple[Observation, ...]
    every: tuple[Observation, ...]

    @property
    def space(self) -> ParameterSpace:
        """The space that it searched."""
        return self.study.plan.scheduler.space

    @property
    def goal(self) -> str:
        """What was optimised, for people."""
        return ", ".join(f"{spec.name}:{spec.direction}" for spec in self.objective.metrics)

    @property
    def question(self) -> tuple[str, str, str, str]:
        """What must be equal where runs of several studies are pooled."""
        plan = self.study.plan
        metrics = " ".join(format_metric(spec) for spec in self.objective.metrics)
        return plan.scheduler.name, self.space.stable_hash(), " ".join(plan.workload.argv), metrics


def score(
    studies: Iterable[PastStudy], *, metrics: Sequence[str] = (), max_episodes: int | None = None
) -> tuple[list[ScoredStudy], dict[Path, str]]:
    """Put the runs of studies on the scale of their own default.

    Args:
        studies: What was found.
        metrics: Other metrics than those that each was asked for, such as ``p99_us:min*2``.
        max_episodes: Take only this many runs of each search, the oldest.

    Returns:
        Those that have the metrics and a baseline, and why the others can't be used.

    Raises:
        UsageError: None of them can be used.
    """
    scored: list[ScoredStudy] = []
    unusable: dict[Path, str] = {}
    for study in studies:
        try:
            objective = study.objective(parse_metrics(metrics, study))
        except SchedtunaError as error:
            unusable[study.folder] = str(error)
            continue
        search = study.observe(study.episodes[:max_episodes], objective)
        every = study.observe(study.first(max_episodes), objective)
        scored.append(ScoredStudy(study, objective, tuple(search), tuple(every)))
    if not scored:
        raise UsageError("no study can be used:\n" + "\n".join(dict.fromkeys(unusable.values())))
    return scored, unusable


def pooled(studies: Sequence[ScoredStudy]) -> list[list[ScoredStudy]]:
    """Group studies that asked the same question, in order."""
    groups: dict[tuple[str, ...], list[ScoredStudy]] = {}
    for study in studies:
        groups.setdefault(study.question, []).append(study)
    return list(groups.values())


def _told_apart(space: ParameterSpace, other: ParameterSpace) -> str:
    """Its parameters; where another space has the same ones, what is otherwise about them."""
    theirs = {spec.name: spec.model_dump() for spec in other.parameters()}
    if list(theirs) != list(space.names):
        return ", ".join(space.names)
    return ", ".join(
        f"{spec.name} {field.removesuffix('_value')} {value}"
        for spec in space.parameters()
        for field, value in spec.model_dump().items()
        if value != theirs[spec.name][field]
    )


def one_space(studies: Sequence[ScoredStudy]) -> tuple[ParameterSpace, list[Observation], list[str]]:
    """Pool the runs of studies that searched one space, and say what else differs between them.

    Raises:
        UsageError: They searched several.
    """
    spaces = {scored.space.stable_hash(): scored for scored in studies}
    if len(spaces) > 1:
        first, second, *_ = (scored.space for scored in spaces.values())
        examples = "; ".join(
            f"{scored.study.folder}: {scored.study.plan.scheduler.name} with "
            + _told_apart(scored.space, first if scored.space != first else second)
            for scored in spaces.values()
        )
        raise UsageError(f"the studies searched different spaces: {examples}", hint="name those of one space")
    notes = []
    if len({scored.question for scored in studies}) > 1:
        notes.append("the studies ran different commands or metrics; what is said holds on their average")
    return studies[0].space, [run for scored in studies for run in scored.every], notes


# ---- statistics ---------------------------------------------------------------------------------


def statistics(scored: ScoredStudy) -> dict[str, Any]:
    """Describe one study's search; a run's reward is minus its cost."""
    plan = scored.study.plan
    rewards = [-run.cost for run in scored.search if run.cost is not None]
    return {
        "study": str(scored.study.folder),
        "scheduler": plan.scheduler.name,
        "sampler": plan.sampler,
        "workload": plan.workload.title,
        "command": list(plan.workload.argv),
        "metrics": [format_metric(spec) for spec in scored.objective.metrics],
        "default": dict(scored.objective.references),
        "episodes": len(scored.search),
        "success_rate": len(rewards) / len(scored.search) if scored.search else None,
        "distinct": len({scored.space.key(run.values) for run in scored.search}),
        "reward": describe(rewards),
        "noise_sd": _noise(scored),
        "verdict": scored.study.verdict,
    }


def rescored_statistics(
    studies: Sequence[ScoredStudy], *, max_episodes: int | None = None
) -> list[dict[str, Any]]:
    """Describe the searches of studies that are scored by other metrics than their own.

    Beside `statistics`, each has its `agreement` with the study's own reward.

    Args:
        studies: As they are scored now.
        max_episodes: As of `score`.
    """
    own, _ = score([one.study for one in studies], max_episodes=max_episodes)
    return [
        {**statistics(one), "rank_correlation_with_own_reward": agreement(before, one)}
        for before, one in zip(own, studies, strict=True)
    ]


def describe(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean, sd, minimum, median and maximum; None where there are too few values."""
    return {
        "mean": fmean(values) if values else None,
        "sd": stdev(values) if len(values) > 1 else None,
        "min": min(values, default=None),
        "median": median(values) if values else None,
        "max": max(values, default=None),
    }


def _noise(scored: ScoredStudy) -> float | None:
    """Standard deviation of the default's costs: what a difference of single runs must beat."""
    default = scored.space.default()
    costs = [run.cost for run in scored.every if run.values == default and run.cost is not None]
    return stdev(costs) if len(costs) > 1 else None


def agreement(before: ScoredStudy, after: ScoredStudy) -> float | None:
    """Rank correlation (Spearman) of a search's rewards under two objectives; None where undefined."""
    from scipy.stats import spearmanr

    records = before.study.episodes[: len(before.search)]
    pairs = [
        (one[0].cost, other[0].cost)
        for record in records
        for one in [before.study.observe([record], before.objective)]
        for other in [after.study.observe([record], after.objective)]
        if one and other and one[0].cost is not None
    ]
    columns = list(zip(*pairs, strict=True))
    if len(pairs) < 3 or any(len(set(column)) == 1 for column in columns):
        return None
    return float(spearmanr(*columns).statistic)


# ---- the best combinations ----------------------------------------------------------------------


def combinations(studies: Sequence[ScoredStudy], nr_combinations: int) -> list[dict[str, Any]]:
    """Return what looks best for each question that the studies asked: see `best_combinations`."""
    return [
        {
            "scheduler": group[0].study.plan.scheduler.name,
            "workload": group[0].study.plan.workload.title,
            "command": list(group[0].study.plan.workload.argv),
            "metrics": group[0].goal,
            "studies": [str(one.study.folder) for one in group],
            "best": best_combinations(group, nr_combinations),
        }
        for group in pooled(studies)
    ]


def best_combinations(group: Sequence[ScoredStudy], nr_combinations: int) -> list[dict[str, Any]]:
    """Return what looks best over all runs of studies with one question.

    Means are shrunken towards the mean of all settings, the more so the fewer runs they have, so a
    lucky single run does not lead. They are still a search's numbers: no claim.
    """
    space = group[0].space
    runs = [run for scored in group for run in scored.every]
    default = space.default()
    return [
        {"parameters": space.changed(found.values), "default": found.values == default, **_row(found)}
        for found in rank(space, runs)
        if found.eligible
    ][:nr_combinations]


def _row(found: Candidate) -> dict[str, Any]:
    low, high = found.mean - 1.96 * found.sd, found.mean + 1.96 * found.sd
    return {
        "runs": found.nr_runs,
        "failed": found.nr_failures,
        "reward": -found.mean,
        "change": math.expm1(found.mean),
        "change_95": [math.expm1(low), math.expm1(high)],
    }


# ---- pre-training -------------------------------------------------------------------------------


def pretrain_agent(
    group: Sequence[ScoredStudy],
    path: Path,
    *,
    algorithm: str,
    epochs: int,
    seed: int,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a learner on the search runs of studies of one space, and write its checkpoint.

    Args:
        group: The studies; their workloads may differ, their space may not.
        path: The checkpoint to write.
        algorithm: A sampler that learns.
        epochs: Passes over the runs.
        seed: Of the learner's start.
        options: Of the sampler.

    Raises:
        UsageError: A sampler that does not learn, or studies of several spaces.
        MissingExtraError: The sampler's packages are not installed.
    """
    kind = sampler_class(algorithm)
    if "pretrained" not in kind.options():
        raise UsageError(
            f"sampler {algorithm} has no network to train", hint=f"choose one of {', '.join(learners())}"
        )
    space, _, _ = one_space(group)
    runs = [run for scored in group for run in scored.search]
    if not runs:
        raise UsageError("the studies have no search runs to train on")
    rng = np.random.default_rng([seed, 5])
    sampler = make_sampler(algorithm, space, budget=len(runs), rng=rng, **(options or {}))
    sampler.pretrain(runs, epochs=epochs)
    Folder(path.parent, create=True, own=False).close()
    sampler.save(path)
    return {
        "checkpoint": str(path),
        "algorithm": algorithm,
        "runs": len(runs),
        "epochs": epochs,
        "training": sampler.training_metrics(),
    }
