"""Which runs of earlier studies may steer a new one? They say what to try early, and enter no claim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schedtuna.errors import SchedtunaError, UsageError
from schedtuna.history.plan import PastRun
from schedtuna.history.studies import PastStudy, adapt, find_studies
from schedtuna.machine.compare import Severity, compare_manifests
from schedtuna.machine.manifest import FILE_NAME, Manifest, build_manifest, load_manifest
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpace
from schedtuna.workload.identity import environment
from schedtuna.workload.spec import MetricSpec, Workload


def past_runs(
    folders: Sequence[Path], scheduler: SchedulerConfig, workload: Workload, metrics: Sequence[MetricSpec]
) -> tuple[tuple[PastRun, ...], list[str]]:
    """Return the search runs of earlier studies of one scheduler, and what to know of them.

    Costs are log ratios to each study's own default, so another machine's speed does not matter;
    what else differs is told.

    Args:
        folders: Studies, or folders that hold some.
        scheduler: What is going to be tuned.
        workload: What is going to run.
        metrics: What is going to be optimised; the earlier runs must have them.

    Raises:
        UsageError: A study of another scheduler, or one without the metrics.
        StudyError: A folder that can't be used.
    """
    if not folders:
        return (), []
    studies, unusable = find_studies(folders)
    notes = [f"not used for the warm start: {reason}" for reason in unusable.values()]
    here = build_manifest(
        workload.argv, None, folder=workload.folder, search_path=environment(workload).get("PATH")
    )
    runs: list[PastRun] = []
    for study in studies:
        if study.plan.scheduler.name != scheduler.name:
            raise UsageError(
                f"{study.folder} tuned {study.plan.scheduler.name}, not {scheduler.name}",
                hint="start from studies of the same scheduler",
            )
        kept = _runs_of(study, scheduler.space, metrics)
        runs += kept
        notes.append(f"warm start from {len(kept)} of {len(study.episodes)} runs in {study.folder}")
        notes += _differences(study.folder, here)
    return tuple(runs), notes


def _runs_of(study: PastStudy, space: ParameterSpace, metrics: Sequence[MetricSpec]) -> list[PastRun]:
    """Its search runs that the new space can express."""
    source = study.plan.scheduler.space
    observed = study.observe(study.episodes, study.objective(metrics))
    adapted = [(adapt(run.values, source, space), run.cost) for run in observed]
    name = study.folder.resolve().name
    return [
        PastRun(study=name, values=space.changed(values), cost=cost)
        for values, cost in adapted
        if values is not None
    ]


def _differences(folder: Path, here: Manifest) -> list[str]:
    try:
        found = compare_manifests(load_manifest(folder / FILE_NAME), here)
    except SchedtunaError as error:
        return [f"{folder}: where it ran is not known: {error}"]
    fields = [difference.field for difference in found if difference.severity is Severity.BLOCKS]
    if not fields:
        return []
    return [f"{folder} ran elsewhere ({', '.join(fields)} differ): it steers the search only"]
