"""`schedtuna variability`: how much a command varies from run to run, here and beside another machine."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import (
    FleetOptions,
    FolderOptions,
    PlaceOptions,
    WorkloadOptions,
    parse_positive_duration,
    termination_interrupts,
)
from schedtuna.cli.options import (
    MOST_RUNS,
    JsonOption,
    MaxStealOption,
    OptionalCommandArgument,
    TimeOption,
)
from schedtuna.cli.output import print_json, print_remark, require_writable
from schedtuna.errors import UsageError, naming
from schedtuna.printable import number, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedtuna.backend.base import Trial
    from schedtuna.experiment.campaign import Campaign
    from schedtuna.experiment.runtable import Sample

app = typer.Typer(add_completion=False)

SUFFIXES = (".png", ".svg", ".pdf")
DESCRIPTIVE = (
    "Descriptive only: the two samples were not interleaved, so heat, neighbours, clocks or the hour "
    "may explain any difference. Only `schedtuna compare` on one machine supports a claim."
)


@dataclass(frozen=True)
class TableOptions:
    """What is written, and shown beside."""

    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write the table there, too.", show_default=False),
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE.png", help="Draw every run and the quartiles.", show_default=False
        ),
    ] = None
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="OTHER.csv",
            help="Show another machine's runs.csv (or table) beside this one's.",
            show_default=False,
        ),
    ] = None
    as_json: JsonOption = False


@app.command()
@bundled
def variability(
    *,
    folder: FolderOptions,
    output: TableOptions,
    run: WorkloadOptions,
    where: PlaceOptions,
    fleet: FleetOptions,
    command: OptionalCommandArgument = None,
    runs: Annotated[int, typer.Option("-n", "--runs", min=1, max=MOST_RUNS, help="How many runs.")] = 50,
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler", "-S", help="What to run under: `default`, a file, or NAME:param=value,..."
        ),
    ] = "default",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="NAME[:min|max][=SOURCE]",
            help="A metric to describe beside those of every run; SOURCE is regex:PATTERN, json:PATH, "
            "csv:COLUMN or field:NAME. Repeatable.",
            show_default=False,
        ),
    ] = None,
    time: TimeOption = None,
    max_steal: MaxStealOption = 1.0,
) -> None:
    """Run COMMAND again and again and describe how every metric varies.

    The results folder gets runs.csv (one row per run, for another machine's --against) and summary.csv.
    """
    from schedtuna.experiment.campaign import Question, open_campaign
    from schedtuna.experiment.runtable import Sample, read_sample
    from schedtuna.workload.metrics import format_metric, parse_metric
    from schedtuna.workload.spec import RunSpec

    require_writable(output.csv, option="--csv")
    require_writable(output.plot, option="--plot", suffixes=SUFFIXES)
    time_limit_s = None if time is None else parse_positive_duration(time, option="--time")
    place = where.ready_place().fitting(run.named)
    if place.is_several:
        raise UsageError(
            "this describes one machine: how several differ would pass for how one varies",
            hint="name one of them, and show it beside another one's runs with --against",
        )
    workload = run.workload(command, place)
    folder.require_consent(workload.argv)
    chosen = place.scheduler(scheduler)
    spec = RunSpec(
        workload=workload,
        metrics=tuple(parse_metric(text, workload) for text in run.metrics(metric, place)),
        limits={"steal_fraction": max_steal},
        seed=folder.fixed_seed(),
    )
    there = None if output.against is None else read_sample(output.against)
    identity = {"scheduler": chosen.label(), "metrics": " ".join(map(format_metric, spec.metrics))}
    asked = Question("variability", [(place, chosen)], identity)
    with (
        termination_interrupts(),
        open_campaign(
            asked,
            spec,
            results=folder.results,
            resume=folder.resume,
            open_place=fleet.open_place([place]),
        ) as campaign,
    ):
        nr_told = len(campaign.warnings)
        trials, interrupted = _run(campaign, runs, time_limit_s)
        here = Sample.of(trials, host=place.named(platform.node()), nr_cpus=place.online_cpus())
        unwritten, files = None, {}
        try:
            files = _write(campaign, trials, here, there, output)
        except OSError as error:
            unwritten = campaign.unwritten(error)
        for warning in campaign.warnings[nr_told:]:
            print_remark("warning", warning, file=sys.stderr)
        if output.as_json:
            print_json(_summary(campaign, trials, here, there, files))
        else:
            _print(trials, here, there, files)
        if unwritten:
            raise unwritten
    if interrupted:
        raise typer.Exit(130)


def _run(campaign: Campaign, runs: int, time_limit_s: float | None) -> tuple[Sequence[Trial], bool]:
    """Return the trials, and whether Ctrl-C ended them early."""
    from schedtuna.cli.progress import RunProgress
    from schedtuna.experiment.triallog import TrialRecord
    from schedtuna.experiment.variability import PHASE, run_variability

    with RunProgress("variability", runs) as progress:
        campaign.introduce(progress.say)

        def show(record: TrialRecord) -> None:
            note = record.trial.reason or f"{number(record.trial.duration_s, digits=3)} s"
            progress.update(record.index + 1, runs, note=note)

        try:
            trials = run_variability(
                campaign.spec,
                campaign.sides[0],
                runs=runs,
                log=campaign.log,
                time_limit_s=time_limit_s,
                on_event=show,
            )
        except KeyboardInterrupt:
            done = [record.trial for record in campaign.log.records(PHASE)]
            progress.say(f"interrupted after {len(done)} of {runs} runs; {campaign.how_to_continue}")
            if not done:
                raise typer.Exit(130) from None
            return done, True
    return trials, False


def _write(
    campaign: Campaign,
    trials: Sequence[Trial],
    here: Sample,
    there: Sample | None,
    output: TableOptions,
) -> dict[str, str]:
    """Write the files of the results folder, and those that were asked for; return their paths."""
    from schedtuna.experiment.runtable import write_summary, write_tables

    files = {what: str(path) for what, path in write_tables(campaign.folder, trials, here).items()}
    if output.csv is not None:
        with naming(output.csv):
            write_summary(output.csv, here)
    plot = output.plot
    if plot is not None:
        from schedtuna.files import write_output
        from schedtuna.report.figures import drawn
        from schedtuna.report.spread import draw_spread

        with naming(plot):
            write_output(plot, drawn(draw_spread(trials, here, there), plot.suffix))
        files["plot"] = str(plot)
    return files


def _print(trials: Sequence[Trial], here: Sample, there: Sample | None, files: dict[str, str]) -> None:
    from schedtuna.backend.base import Validity

    failed = sum(trial.validity is not Validity.OK for trial in trials)
    print(f"{printable(here.host)}: {len(trials)} runs, {failed} failed, {here.nr_cpus} CPUs online\n")
    print(_table(here))
    if there is not None:
        print(f"\nbeside {printable(there.host)} ({there.nr_cpus} CPUs)\n")
        print(_beside(here, there))
        print(f"\n{DESCRIPTIVE}")
    print("\n" + "\n".join(f"{name}: {path}" for name, path in files.items()))


def _table(sample: Sample) -> str:
    from schedtuna.cli.table import table

    headings = ["metric", "runs", "mean", "per core", "sd", "CV %", "min", "q1", "median", "q3", "max"]
    rows = []
    for s in sample.spreads:
        means, places = (s.mean, s.per_core_mean, s.sd), (s.minimum, s.q1, s.median, s.q3, s.maximum)
        cells = [number(value, s.metric) for value in (*means, *places)]
        rows.append([s.metric, str(s.runs), *cells[:3], number(100 * s.cv), *cells[3:]])
    return table(headings, rows)


def _beside(here: Sample, there: Sample) -> str:
    from schedtuna.cli.table import table

    others = {spread.metric: spread for spread in there.spreads}
    rows = []
    for s in here.spreads:
        other = others.get(s.metric)
        if other is None:
            continue
        ratio = s.median / other.median if other.median else None
        per_core = s.per_core_mean / other.per_core_mean if other.per_core_mean else None
        medians = [number(value, s.metric) for value in (s.median, other.median)]
        rows.append([s.metric, *medians, *map(number, (ratio, per_core, 100 * s.cv, 100 * other.cv))])
    headings = ["metric", "median here", "there", "here/there", "per core", "CV % here", "there"]
    return table(headings, rows) if rows else "the two have no metric in common"


def _summary(
    campaign: Campaign, trials: Sequence[Trial], here: Sample, there: Sample | None, files: dict[str, str]
) -> dict[str, Any]:
    from schedtuna.backend.base import Validity

    def described(sample: Sample) -> dict[str, Any]:
        rows = [spread.as_row() for spread in sample.spreads]
        metrics = {str(row.pop("metric")): row for row in rows}
        return {"host": sample.host, "cpus": sample.nr_cpus, "metrics": metrics}

    failed = sum(trial.validity is not Validity.OK for trial in trials)
    return {
        "study": str(campaign.folder),
        "seed": campaign.spec.seed,
        "runs": {"ok": len(trials) - failed, "failed": failed},
        **described(here),
        "against": None if there is None else {**described(there), "note": DESCRIPTIVE},
        "files": files,
    }
