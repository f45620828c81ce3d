"""The report of a study: what was found, how to use it, and how it was found."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedtuna.backend.base import Validity
from schedtuna.experiment.triallog import TrialRecord
from schedtuna.files import write_bytes
from schedtuna.history.outcome import StudyResult
from schedtuna.history.plan import StudyPlan
from schedtuna.printable import percent_change
from schedtuna.report import comparison as compared
from schedtuna.report import figures
from schedtuna.report.page import Command, Page, Section, Table
from schedtuna.samplers.registry import learners
from schedtuna.space import ParameterValue, spell_assignment
from schedtuna.tune.bakeoff import playoff_cost
from schedtuna.tune.commands import against_kernel_line, apply_line, check_line, scheduler_line
from schedtuna.workload.spec import Direction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 2


def study_page(result: StudyResult, manifest: Mapping[str, Any]) -> Page:
    """Return the page of a study.

    Args:
        result: What the study found.
        manifest: Facts about the machine, for the table at the end.
    """
    plan, comparison = result.plan, result.comparison
    nr_search = result.nr_search_runs
    better = "lower is better" if comparison.direction is Direction.MIN else "higher is better"
    return Page(
        title=f"{plan.workload.title} · {plan.scheduler.name} · {comparison.metric} ({better})",
        tone=comparison.verdict,
        verdict=comparison.sentence(),
        facts=[*compared.facts(comparison), ("search", f"{nr_search} runs, sampler {plan.sampler}")],
        sections=[
            _use(result),
            *compared.sections(comparison),
            _search(result),
            *_bake_off(result),
            _parameters(result),
            Section("The machine", table=_manifest(manifest)),
        ],
        footer=f"seed {plan.seed} · {result.folder}",
    )


def _use(result: StudyResult) -> Section:
    plan, best = result.plan, result.best
    folder = str(result.folder.resolve())  # the page may be read, and its lines be run, anywhere
    if result.comparison.is_model:
        text = "This is so in a model, which no machine has confirmed: there is nothing to apply yet."
        again = Command("look again in the model, with other seeds", check_line(plan, result.candidate))
        confirm = Command("confirm it on a machine; COMMAND is what the load stands for", result.confirmation)
        commands = [confirm, again, *_against_kernel(result)]
        return Section("What to do with it", text=[text], commands=commands)
    again = Command("check it again, after a reboot", check_line(plan, result.candidate))
    if best is None:
        return Section(
            "What to do with it",
            text=[
                (
                    "Nothing was proven to be better than the default, so there is nothing to apply: the "
                    "default stays. The best candidate that the search found is shown below."
                )
            ],
            commands=[again, *_against_kernel(result)],
        )
    text, commands = _of_elsewhere(plan, best, folder) if plan.place.caveat else _of_host(plan, folder)
    settings = f"Settings: {spell_assignment(best)}."
    return Section("Use it", text=[settings, text], commands=[*commands, again, *_against_kernel(result)])


def _against_kernel(result: StudyResult) -> list[Command]:
    line = against_kernel_line(result.plan, result.candidate)
    return [Command("compare it with the kernel's own scheduling", line)] if line else []


def _of_elsewhere(plan: StudyPlan, best: dict[str, ParameterValue], folder: str) -> tuple[str, list[Command]]:
    """A sched_ext scheduler is for a whole machine, and for one whose kernel can load it."""
    text = (
        f"They were proven {plan.place.caveat}: check them there, too. "
        "They can be applied where the kernel has sched_ext and the scheduler is installed."
    )
    return text, [
        Command("run the command while the scheduler is in charge", apply_line(folder, plan)),
        Command("keep it across reboots", shlex.join(["schedtuna", "apply", folder, "--system"])),
        Command("without schedtuna, as root; Ctrl-C ends it", scheduler_line(plan, best)),
    ]


def _of_host(plan: StudyPlan, folder: str) -> tuple[str, list[Command]]:
    if plan.place.is_service:
        apply = shlex.join(["schedtuna", "apply", folder])
        text = (
            f"They were proven for the running service ({' '.join(plan.place.options())}), and are put back "
            "now. To keep them, start the service with them; COMMAND is what its unit runs."
        )
        return text, [
            Command("start the service under them", f"{apply} -- COMMAND"),
            Command("make them a systemd drop-in", f"{apply} --print-unit -- COMMAND"),
        ]
    text = (
        "They hold for this command and what it starts, and end with it. Whatever else was changed "
        "is undone when the command ends; after a crash, `schedtuna undo` does it."
    )
    return text, [
        Command("run the command under them", apply_line(folder, plan)),
        Command("make them a systemd drop-in", apply_line(folder, plan, "--print-unit")),
        Command("undo, should anything be left", "schedtuna undo"),
    ]


def _search(result: StudyResult) -> Section:
    figure = search_figure(result)
    return Section(
        "How it was searched",
        text=[
            (
                "Single runs are noisy, so the best of them is not a result: the search only chose what the "
                "confirmation then ran afresh."
            )
        ],
        svg=figures.to_svg(figure),
        table=compared.runs_table(
            [*result.baseline, *_records(result)], [spec.name for spec in result.plan.metrics]
        ),
    )


def _bake_off(result: StudyResult) -> list[Section]:
    """Who found what after how many runs; nothing for a single sampler."""
    if len(result.searches) < 2:
        return []
    ranked = sorted(result.searches, key=lambda outcome: playoff_cost(outcome.playoff))
    rows = [
        [
            outcome.sampler,
            spell_assignment(outcome.candidate) if outcome.candidate else "nothing that it tried worked",
            f"{outcome.found_after} of {len(outcome.records)}" if outcome.candidate else "",
            percent_change(math.exp(playoff_cost(outcome.playoff))) if outcome.candidate else "",
            "yes" if outcome.candidate and outcome.recommends_default else "",
        ]
        for outcome in ranked
    ]
    learned = [outcome for outcome in ranked if outcome.sampler in learners()]
    text = [
        (
            "Every sampler had the same number of runs. Its candidate then ran afresh beside the others', "
            "three times; that decides who is confirmed, but three runs do not prove the order below."
        )
    ]
    if learned and learned[0] is not ranked[0]:
        text.append(
            f"Reinforcement learning did not help here: its best, {learned[0].sampler}, came in "
            f"{ranked.index(learned[0]) + 1} of {len(ranked)}; {ranked[0].sampler} was first."
        )
    headings = [
        "sampler",
        "its candidate",
        "first tried in run",
        "median cost in the playoff",
        "kept the default",
    ]
    return [Section("Who found what", text=text, table=Table(headings, rows))]


def _parameters(result: StudyResult) -> Section:
    return Section(
        "Parameter by parameter",
        text=[
            (
                "Every search run, by the setting of one parameter at a time. The full line is the "
                "candidate's setting, the broken one the default; bars are medians."
            )
        ],
        svg=figures.to_svg(parameters_figure(result)),
    )


def search_figure(result: StudyResult) -> Figure:
    """Draw the search runs over time, in the primary metric."""
    spec = result.plan.metrics[0]
    with figures.styled():
        figure = figures.new_figure(8, 2.9)
        figures.draw_search(
            figure.subplots(),
            _values(result),
            result.objective.references[spec.name],
            unit=spec.name,
            lower=spec.direction is Direction.MIN,
        )
    return figure


def parameters_figure(result: StudyResult) -> Figure:
    """Draw what each parameter's settings gave."""
    space = result.plan.scheduler.space
    chosen = space.validate_assignment(result.candidate)
    tried = [space.validate_assignment(record.trial.values) for record in _records(result)]
    rows = -(-len(space) // COLUMNS)
    with figures.styled():
        figure = figures.new_figure(8, 2.1 * rows)
        grid = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).ravel()
        for axes, spec in zip(grid, space.parameters(), strict=False):
            settings = [values[spec.name] for values in tried]
            figures.draw_parameter(axes, spec, settings, _values(result), chosen[spec.name])
        for axes in grid[len(space) :]:
            axes.remove()
        figure.supylabel(result.plan.metrics[0].name, fontsize="medium")
    return figure


def write_plots(result: StudyResult, path: Path) -> None:
    """Write the study's figures as one picture."""
    comparison, spec = result.comparison, result.plan.metrics[0]
    with figures.styled():
        figure = figures.new_figure(9, 9)
        effect, runs, search = figure.subplots(3, 1)
        figures.draw_effect(
            effect,
            effect=(comparison.result.effect.ratio, *comparison.result.effect.ci95),
            aa=(comparison.result.aa.ratio, *comparison.result.aa.ci95),
            delta=comparison.result.delta,
            lower_is_better=comparison.direction is Direction.MIN,
        )
        figures.draw_blocks(runs, compared.arm_values(comparison), unit=spec.name)
        figures.draw_search(
            search,
            _values(result),
            result.objective.references[spec.name],
            unit=spec.name,
            lower=spec.direction is Direction.MIN,
        )
    write_bytes(path, figures.drawn(figure, path.suffix))


def _values(result: StudyResult) -> list[float | None]:
    name = result.plan.metrics[0].name
    return [
        record.trial.metrics.get(name) if record.trial.validity is Validity.OK else None
        for record in _records(result)
    ]


def _records(result: StudyResult) -> list[TrialRecord]:
    return [record for outcome in result.searches for record in outcome.records]


def _manifest(manifest: Mapping[str, Any]) -> Table:
    return Table(["fact", "value"], list(_flattened(manifest)), folded="what this machine was")


def _flattened(content: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            rows += _flattened(value, f"{prefix}{key}.")
        elif value not in (None, "", [], {}):
            rows.append((f"{prefix}{key}", str(value)))
    return rows
