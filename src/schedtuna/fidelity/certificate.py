"""What a campaign has found, judged by the rules: cells, controls, differences, and one verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schedtuna import __version__
from schedtuna.errors import ConfigFileError
from schedtuna.fidelity import judge, rules
from schedtuna.fidelity.changes import BASE, CHANGES
from schedtuna.fidelity.envelope import default_certificate
from schedtuna.fidelity.judge import Agreement, Cell, CellOutcome, ChangeEffect
from schedtuna.fidelity.loads import LOADS, Load
from schedtuna.fidelity.machine_file import default_path
from schedtuna.fidelity.measure import RunFigures
from schedtuna.files import make_folder, write_text
from schedtuna.files.versions import StoredFormat

STORED = StoredFormat(ConfigFileError, key="format_version")
FILE_NAME, MACHINE_NAME = "certificate.json", "machine.json"
Runs = Sequence[RunFigures]


class ControlResult(BaseModel):
    """What became of a model that is wrong on purpose.

    Attributes:
        name: Of `rules.CONTROLS`.
        loads: Where it was tried.
        fails: Whether it does, as it must.
        reason: Why it fails, or how it passes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    loads: list[str]
    fails: bool
    reason: str


class Certificate(BaseModel):
    """Whether the simulated machine is like this one.

    Attributes:
        format_version: Of this format.
        schedtuna_version: The program that wrote it.
        created_at: Unix time in seconds.
        is_quick: Whether too few runs were made on purpose: it then can't certify.
        is_certified: The verdict.
        reason: In a sentence.
        envelope: For which machine; see `envelope.Envelope`.
        costs: Constants of the simulated machine.
        fitted: Which of them were fitted.
        parameters: All of `fair`; switches are 0 or 1.
        cells: All of them.
        controls: All of them.
        differences: All of them.
        agreement: Of the differences.
        nr_runs: Real runs of each load.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    format_version: int = STORED.newest
    schedtuna_version: str = __version__
    created_at: float = Field(default_factory=time.time)
    is_quick: bool
    is_certified: bool
    reason: str
    envelope: dict[str, Any]
    costs: dict[str, int]
    fitted: list[str]
    parameters: dict[str, int]
    cells: list[Cell]
    controls: list[ControlResult]
    differences: list[ChangeEffect]
    agreement: Agreement
    nr_runs: dict[str, int]


def write_certificate(certificate: Certificate, path: Path) -> None:
    """Write it, whole or not at all."""
    write_text(path, certificate.model_dump_json(indent=1) + "\n")


def publish(folder: Path) -> None:
    """Make a campaign's certificate and machine those that commands look for."""
    make_folder(default_path().parent)
    for name, path in ((FILE_NAME, default_certificate()), (MACHINE_NAME, default_path())):
        write_text(path, (folder / name).read_text())


def compared_metrics(load: Load, real: Runs) -> list[str]:
    """Return the metrics of a load, in the table's order; shares for each of its tasks."""
    found: list[str] = []
    for name in rules.METRICS:
        if name == "share":
            found += sorted(key for key in real[0].figures if load.shares and key.startswith("share:"))
        elif all(name in run.figures for run in real):
            found.append(name)
    return found


def values(runs: Runs, metric: str) -> list[float]:
    """Return a metric of all runs that have it."""
    return [run.figures[metric] for run in runs if metric in run.figures]


def disturbance(runs: Runs) -> str:
    """Say why real runs are not to be judged by; empty: they are."""
    stolen = max(run.steal for run in runs)
    if stolen > rules.MOST_STEAL:
        return f"{stolen:.1%} of the CPUs' time was stolen from a run, three times in a row"
    taken = sum(run.interruptions.share for run in runs) / len(runs)
    if taken > rules.MOST_INTERRUPTED:
        return f"tasks of others took {taken:.1%} of the CPUs' time"
    return ""


def judge_load(name: str, real: Runs, model: Runs, controls: Mapping[str, Runs] | None = None) -> list[Cell]:
    """Return the cells of a load.

    Args:
        name: Of `loads.LOADS`.
        real: Its real runs.
        model: Its simulated ones.
        controls: Runs of models that are wrong on purpose, by name, with which metrics should move; None:
            all metrics count.
    """
    load = LOADS[name]
    cells = []
    for metric in compared_metrics(load, real):
        tolerance = rules.tolerance_of(metric, load.where)
        seen = values(model, metric) or [0.0]
        insensitive = ""
        if controls is not None:
            tried = [c for c in rules.METRICS[metric.partition(":")[0]].reacts_to if c in controls]
            if not any(judge.moves(seen, values(controls[c], metric) or [0.0], tolerance) for c in tried):
                insensitive = f"would not notice {', '.join(tried) or 'anything that was tried'}"
        cells.append(
            judge.judge_cell(
                name,
                metric,
                values(real, metric),
                seen,
                tolerance,
                disturbed=disturbance(real),
                insensitive=insensitive,
            )
        )
    return cells


def controls_of(load: Load) -> list[str]:
    """Return the controls that matter for a load."""
    return [name for name, control in rules.CONTROLS.items() if control.needs in load.traits]


def judge_controls(
    cells: Sequence[Cell], real: Mapping[str, Runs], controlled: Mapping[str, Mapping[str, Runs]]
) -> list[ControlResult]:
    """Say of each control whether it fails, on the metrics that count, where it matters.

    Args:
        cells: Of the model itself: they say which metrics count.
        real: Load -> real runs.
        controlled: Load -> control -> its runs.
    """
    counted = {(cell.load, cell.metric) for cell in cells if cell.outcome is not CellOutcome.INSENSITIVE}
    results = []
    for name, control in rules.CONTROLS.items():
        loads = [load for load in real if control.needs in LOADS[load].traits and name in controlled[load]]
        if not loads:
            continue
        found = [
            cell
            for load in loads
            for cell in judge_load(load, real[load], controlled[load][name])
            if (load, cell.metric) in counted
        ]
        agrees, reason = judge.cells_agree(found)
        judged = [cell for cell in found if cell.outcome is not CellOutcome.TOO_NOISY]
        if not judged:
            reason = "nothing that it should fail on can be judged"
        results.append(
            ControlResult(name=name, loads=loads, fails=bool(judged) and not agrees, reason=reason)
        )
    return results


def judge_changes(real: Mapping[str, Runs], model: Mapping[str, Runs]) -> list[ChangeEffect]:
    """Return what each change does on both sides.

    Args:
        real: Change, or BASE -> runs.
        model: Likewise.
    """
    return [
        judge.log_ratio(
            name,
            change.metric,
            (values(real[BASE], change.metric), values(real[name], change.metric)),
            (values(model[BASE], change.metric), values(model[name], change.metric)),
        )
        for name, change in CHANGES.items()
        if name in real and name in model
    ]


def verdict(
    cells: Sequence[Cell], controls: Sequence[ControlResult], agreement: Agreement, *, fewest: int
) -> tuple[bool, str]:
    """Return whether the model is certified, and why not.

    Args:
        cells: All.
        controls: All.
        agreement: Of the differences.
        fewest: Real runs of the load that has fewest.
    """
    agree, reason = judge.cells_agree(cells)
    passing = [control.name for control in controls if not control.fails]
    problems = [] if agree else [reason]
    if passing:
        problems.append(f"models that are wrong on purpose do not fail: {', '.join(passing)}")
    if not agreement.agrees:
        problems.append(f"differences: {agreement.reason}")
    if fewest < rules.FEWEST_RUNS:
        problems.append(f"{fewest} real runs of a load, of {rules.FEWEST_RUNS} that it takes")
    return not problems, "; ".join(problems) or reason
