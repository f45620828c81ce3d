"""`schedtuna variability`: how much does a command vary from run to run, here and on other machines?"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import (
    FleetOptions,
    FolderOptions,
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
from schedtuna.cli.places import EachPlaceOptions
from schedtuna.errors import UsageError, naming
from schedtuna.printable import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedtuna.backend.base import Trial
    from schedtuna.backend.places.base import Place
    from schedtuna.cli.variability_tables import Described
    from schedtuna.experiment.campaign import Campaign
    from schedtuna.workload.spec import Workload

app = typer.Typer(add_completion=False)

SUFFIXES = (".png", ".svg", ".pdf")


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
    where: EachPlaceOptions,
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

    On several places (`--backend` or `--kernel` again, or URLs with commas) it makes rounds of one run on
    each, and says how they differ, too. The results folder gets runs.csv (one row per run, for another
    machine's --against), and summary.csv.
    """
    from schedtuna.cli.variability_tables import Described
    from schedtuna.experiment.campaign import Question, open_campaign
    from schedtuna.experiment.runtable import Sample, read_sample
    from schedtuna.workload.metrics import format_metric, parse_metric
    from schedtuna.workload.spec import RunSpec

    require_writable(output.csv, option="--csv")
    require_writable(output.plot, option="--plot", suffixes=SUFFIXES)
    time_limit_s = None if time is None else parse_positive_duration(time, option="--time")
    places = [place.fitting(run.named) for place in where.ready_places()]
    if output.against is not None and len(places) > 1:
        raise UsageError(
            f"--against shows one machine beside another one's runs, and these are {len(places)}",
            hint="the first of them is what the others are held against",
        )
    workload = _workload_of_each(places, run, command)
    folder.require_consent(workload.argv)
    chosen = [place.scheduler(scheduler) for place in places]
    spec = RunSpec(
        workload=workload,
        metrics=tuple(parse_metric(text, workload) for text in run.metrics(metric, places[0])),
        limits={"steal_fraction": max_steal},
        seed=folder.fixed_seed(),
    )
    there = None if output.against is None else read_sample(output.against)
    identity = {"scheduler": chosen[0].label(), "metrics": " ".join(map(format_metric, spec.metrics))}
    asked = Question("variability", list(zip(places, chosen, strict=True)), identity)
    with (
        termination_interrupts(),
        open_campaign(
            asked,
            spec,
            results=folder.results,
            resume=folder.resume,
            open_place=fleet.open_place(places),
        ) as campaign,
    ):
        nr_told = len(campaign.warnings)
        names = _names(places)
        trials, interrupted = _run(campaign, names, runs, time_limit_s)
        found = Described(
            [
                (Sample.of(trials[name], host=name, nr_cpus=place.online_cpus()), trials[name])
                for name, place in zip(names, places, strict=True)
            ],
            there,
        )
        unwritten, files = None, {}
        try:
            files = _write(campaign, found, output)
        except OSError as error:
            unwritten = campaign.unwritten(error)
        for warning in campaign.warnings[nr_told:]:
            print_remark("warning", warning, file=sys.stderr)
        if output.as_json:
            told = {"study": str(campaign.folder), "seed": campaign.spec.seed, **found.summary()}
            print_json({**told, "files": files})
        else:
            found.show()
            print("\n" + "\n".join(f"{name}: {path}" for name, path in files.items()))
        if unwritten:
            raise unwritten
    if interrupted:
        raise typer.Exit(130)


def _workload_of_each(
    places: Sequence[Place], run: WorkloadOptions, command: Sequence[str] | None
) -> Workload:
    """Return what runs on all of them.

    Raises:
        UsageError: It would be another command on some.
    """
    found, *others = [run.workload(command, place) for place in places]
    if any(other != found for other in others):
        raise UsageError(
            f"{run.named} is another command on some of {', '.join(place.label for place in places)}",
            hint="give the command itself, after `--`: what differed would have two causes",
        )
    return found


def _names(places: Sequence[Place]) -> list[str]:
    """What the machines are called; those of one name also by what else tells them apart."""
    names = [place.named(platform.node()) for place in places]
    return [
        name if names.count(name) == 1 else f"{name} ({place.label})"
        for name, place in zip(names, places, strict=True)
    ]


def _run(
    campaign: Campaign, names: Sequence[str], runs: int, time_limit_s: float | None
) -> tuple[dict[str, Sequence[Trial]], bool]:
    """Return the trials of each machine, and whether Ctrl-C ended them early."""
    from schedtuna.cli.progress import RunProgress
    from schedtuna.experiment.triallog import TrialRecord
    from schedtuna.experiment.variability import made_on_each, run_on_each

    # One machine has no name in the log: what names it is another one in logs of older versions.
    logged = names if len(names) > 1 else [""]
    total = runs * len(names)
    with RunProgress("variability", total) as progress:
        campaign.introduce(progress.say)

        def show(record: TrialRecord) -> None:
            note = record.trial.reason or f"{number(record.trial.duration_s, digits=3)} s"
            progress.update(record.index + 1, total, note=note)

        is_interrupted = False
        try:
            trials = run_on_each(
                campaign.spec,
                dict(zip(logged, campaign.sides, strict=True)),
                runs=runs,
                log=campaign.log,
                time_limit_s=time_limit_s,
                on_event=show,
            )
        except KeyboardInterrupt:
            is_interrupted = True
            trials = made_on_each(campaign.spec, logged, campaign.log)
            done = sum(map(len, trials.values()))
            progress.say(f"interrupted after {done} of {total} runs; {campaign.how_to_continue}")
            if not all(trials.values()):
                raise typer.Exit(130) from None
    return dict(zip(names, trials.values(), strict=True)), is_interrupted


def _write(campaign: Campaign, found: Described, output: TableOptions) -> dict[str, str]:
    """Write the files of the results folder, and those that were asked for; return their paths."""
    from schedtuna.experiment.runtable import write_summary, write_tables

    tables = write_tables(campaign.folder, found.described, found.differences)
    files = {what: str(path) for what, path in tables.items()}
    if output.csv is not None:
        with naming(output.csv):
            write_summary(output.csv, [sample for sample, _ in found.described])
    plot = output.plot
    if plot is not None:
        from schedtuna.files import write_output
        from schedtuna.report.figures import drawn
        from schedtuna.report.spread import draw_spread

        with naming(plot):
            write_output(plot, drawn(draw_spread(found.described, found.there), plot.suffix))
        files["plot"] = str(plot)
    return files
