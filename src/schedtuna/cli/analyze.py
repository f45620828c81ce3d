"""`schedtuna analyze`: which parameters matter, by the runs of past studies."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.common import listed
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark, require_writable, writing
from schedtuna.printable import percent_change, printable

if TYPE_CHECKING:
    from schedtuna.history.importance import Curve, ImportanceAnalysis

app = typer.Typer(add_completion=False)

SUFFIXES = (".png", ".svg", ".pdf")


@app.command()
def analyze(  # noqa: PLR0917 - typer's options are a function's parameters
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Studies, or folders of studies.", show_default=False),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="NAME[:min|max][*WEIGHT]",
            help="Score the runs by this metric, which they logged, instead of their own. Repeatable.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE.png", help="Draw the result; .png, .svg or .pdf.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of what is drawn at random.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the plot if it exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell which parameters matter, alone and together, over the whole space that was searched.

    A functional ANOVA of a model of all runs (search, baseline and confirmation): intervals from runs
    drawn anew, and a permutation test per parameter. Where a search did not go, the model guesses.
    """
    from schedtuna.history.importance import analyse_studies
    from schedtuna.history.replay import score
    from schedtuna.history.studies import find_studies

    require_writable(plot, option="--plot", suffixes=SUFFIXES)
    studies, unusable = find_studies(folders)
    scored, unscored = score(studies, metrics=listed(metric))
    skipped = {str(folder): reason for folder, reason in {**unusable, **unscored}.items()}
    for reason in skipped.values():
        print_remark("skipped", reason, file=sys.stderr)
    analysis = analyse_studies(scored, seed=seed)
    if plot is not None:
        from schedtuna.report.figures import drawn
        from schedtuna.report.importance import importance_figure

        with writing(plot, force=force) as file:
            file.write(drawn(importance_figure(analysis.found, analysis.space), plot.suffix))
    if as_json:
        drawn_to = None if plot is None else str(plot)
        print_json({**analysis.to_dict(), "skipped": skipped, "plot": drawn_to})
        return
    names = ", ".join(one.study.folder.resolve().name for one in scored)
    of = f"{analysis.found.nr_runs} runs of {analysis.found.nr_settings} settings"
    print(printable(f"{of}, {analysis.goal}: {names}"))
    _print(analysis.found)
    if analysis.found.nr_clipped:
        print_remark(
            "note",
            f"{analysis.found.nr_clipped} of {analysis.found.nr_runs} runs cost far more than the rest, "
            f"and count as {_percent(analysis.found.clipped_at)} over the default",
        )
    for note in analysis.notes:
        print_remark("note", note)
    if plot is not None:
        print(f"plot: {shlex.quote(str(plot))}")


def _print(analysis: ImportanceAnalysis) -> None:
    from schedtuna.cli.table import table

    print(
        f"settings change the expected cost by {_percent(analysis.effect_sd)} (sd over the space), "
        f"noise of single runs: {_percent(analysis.noise_sd)}"
    )
    print(f"the model predicts {max(analysis.explained, 0.0):.0%} of how unseen settings differ\n")
    rows: list[list[str]] = [
        [
            row.name,
            "yes" if row.matters else "not shown",
            f"{row.p:.3f}",
            *_share(row.total, row.total_95),
            *_share(row.main, row.main_95),
            *_best(row.curve),
        ]
        for row in analysis.parameters
    ]
    headings = [
        "parameter",
        "matters",
        "p (Holm)",
        "total",
        "95%",
        "alone",
        "95%",
        "best alone",
        "cost there",
    ]
    print(table(headings, rows))
    together = [row for row in analysis.interactions if row.part >= 0.05]
    if together:
        pairs = [[" x ".join(row.names), *_share(row.part, row.part_95)] for row in together]
        print("\n" + table(["together, beyond each alone", "share", "95%"], pairs))
    if analysis.unvaried:
        print(printable(f"never varied, so unknown: {', '.join(analysis.unvaried)}"))
    if not any(row.matters for row in analysis.parameters):
        print("\nno parameter was shown to matter: the shares above may be noise")


def _share(part: float, interval: tuple[float, float]) -> list[str]:
    return [f"{part:.0%}", f"{interval[0]:.0%} to {interval[1]:.0%}"]


def _best(curve: Curve) -> list[str]:
    from schedtuna.space import spell_value

    place = min(range(len(curve.changes)), key=lambda at: curve.changes[at])
    return [spell_value(curve.settings[place]), percent_change(math.exp(curve.changes[place]))]


def _percent(log_ratio: float) -> str:
    return f"{100 * math.expm1(log_ratio):.1f}%"
