"""The parts of a page that show a comparison: effect, runs, what to know, what it can't say."""

from __future__ import annotations

from collections.abc import Sequence

from schedtuna.backend.base import Validity
from schedtuna.evidence.design import Arm, Design
from schedtuna.experiment.comparison import Comparison, tell_effect
from schedtuna.experiment.triallog import TrialRecord
from schedtuna.printable import number
from schedtuna.report import figures
from schedtuna.report.page import Section, Table
from schedtuna.space import spell_assignment
from schedtuna.workload.spec import Direction

LIMITS = (
    (
        "The interval is for the typical run of this very command. Other loads, other inputs and other "
        "neighbours on the machine may answer differently."
    ),
    "Only these runs enter the verdict: they were made after the candidate was chosen.",
)

_ARMS = {Arm.A: "default", Arm.A2: "default again", Arm.B: "candidate"}
_BLOCKS = {
    Design.TRIPLES: "Each block holds the default, the default again and the candidate, in random order and "
    "with the same seed.",
    Design.PAIRS: "Each block holds the default and the candidate, with the same seed. There is no noise: "
    "the default again would be the same run.",
}
_SECOND_ROW = {
    Design.TRIPLES: "what noise alone looks like here",
    Design.PAIRS: "equal seeds are equal runs here, and the interval is over seeds",
}


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the numbers that stand under the verdict."""
    result = comparison.result
    if result.design is Design.PAIRS:
        noise = [("spread of the effect over seeds (CV)", f"{result.noise_cv:.1%}")]
    else:
        noise = [
            ("default against itself (A/A)", tell_effect(result.aa)),
            ("noise of single runs (CV)", f"{result.noise_cv:.1%}"),
        ]
    return [
        ("effect on " + comparison.metric, tell_effect(result.effect)),
        *noise,
        ("confirmation", f"{result.pairs} pairs, {comparison.nr_runs} runs"),
    ]


def sections(comparison: Comparison) -> list[Section]:
    """Return the sections of a page that show a comparison."""
    unit = comparison.metric
    arms = arm_values(comparison)
    shown = [_effect(comparison)]
    if len(comparison.metrics) == 1:
        with figures.styled():
            figure = figures.new_figure(8, 2.9)
            figures.draw_blocks(figure.subplots(), arms, unit=unit)
        shown.append(
            Section(
                "The runs behind it",
                text=[_BLOCKS[comparison.result.design]],
                svg=figures.to_svg(figure),
                table=runs_table(comparison.records, [spec.name for spec in comparison.metrics]),
            )
        )
    if comparison.requirements:
        shown.append(Section("Requirements", table=_requirements(comparison)))
    shown.append(Section("What to know, and what this can't say", notes=[*comparison.notes, *LIMITS]))
    return shown


def _effect(comparison: Comparison) -> Section:
    result = comparison.result
    with figures.styled():
        figure = figures.new_figure(8, 2.2)
        figures.draw_effect(
            figure.subplots(),
            effect=(result.effect.ratio, *result.effect.ci95),
            aa=(result.aa.ratio, *result.aa.ci95),
            delta=result.delta,
            lower_is_better=comparison.direction is Direction.MIN,
        )
    text = [
        (
            f"Typical run of {comparison.candidate} against {comparison.default_name}, with 95% intervals. "
            f"The second row compares the default with itself: {_SECOND_ROW[result.design]}."
        )
    ]
    return Section("The effect", text=text, svg=figures.to_svg(figure))


def arm_values(comparison: Comparison) -> dict[str, list[float | None]]:
    """Return the primary metric's values per arm, in block order; None: failed."""
    names = {arm: _ARMS[arm] for arm in comparison.result.design.arms}
    values: dict[str, list[float | None]] = {name: [] for name in names.values()}
    for record in comparison.records:
        metrics = record.trial.metrics if record.trial.validity is Validity.OK else {}
        values[names[Arm(str(record.arm))]].append(metrics.get(comparison.metrics[0].name))
    return values


def runs_table(records: Sequence[TrialRecord], metrics: Sequence[str]) -> Table:
    """Return every run as a row, folded away."""
    rows = [
        [
            str(record.index + 1),
            record.arm or "",
            spell_assignment(record.trial.values) or "default",
            *(_cell(record.trial.metrics.get(name), name) for name in metrics),
            "" if steal is None else f"{steal:.1%}",
            str(record.trial.validity),
            record.trial.reason,
        ]
        for record in records
        for steal in [record.trial.covariates.get("steal_fraction")]
    ]
    headings = ["run", "side", "settings", *metrics, "steal", "validity", "reason"]
    return Table(headings, rows, folded=f"all {len(rows)} runs")


def _cell(value: float | None, name: str) -> str:
    return "" if value is None else number(value, name, digits=6)


def _requirements(comparison: Comparison) -> Table:
    rows = []
    for judged in comparison.requirements:
        rule = judged.requirement
        typical, low, high = (
            number(value, rule.metric, digits=6) for value in (judged.estimate, *judged.interval)
        )
        rows.append(
            [
                f"{rule.metric} {rule.operator} {rule.bound:.15g}",
                str(judged.outcome).replace("_", " "),
                f"{typical} [{low}, {high}]",
            ]
        )
    return Table(["requirement", "judged by its interval", "typical run of the candidate"], rows)
