"""`schedtuna suite`: the workloads that come with Schedtuna, run or recorded as the machine is."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import parse_positive_duration, termination_interrupts
from schedtuna.cli.options import AggregateOption, JsonOption, ProcfsOption, SeedOption
from schedtuna.cli.output import print_json
from schedtuna.cli.places import WhereOptions
from schedtuna.errors import SchedtunaError, UsageError, WorkloadError, naming

if TYPE_CHECKING:
    from schedtuna.backend.base import Backend
    from schedtuna.record.suite import SuiteSet
    from schedtuna.workload.suite import SuiteWorkload

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Workloads that come with Schedtuna.")

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="Which workloads; default: all.", show_default=False),
]


@app.command("list")
def list_workloads(as_json: JsonOption = False) -> None:
    """Show the workloads, what each favours, and missing tools."""
    from schedtuna.workload.metrics import format_metric
    from schedtuna.workload.suite import DEFAULT, suite

    entries = suite().values()
    if as_json:
        print_json(
            {
                "default": DEFAULT,
                "workloads": [
                    {
                        "name": entry.name,
                        "description": entry.description,
                        "favours": entry.favours,
                        "command": list(entry.workload.argv),
                        "shell": entry.workload.shell,
                        "metric": format_metric(entry.metric),
                        "missing": list(entry.missing),
                        "packages": list(entry.packages),
                    }
                    for entry in entries
                ],
            }
        )
        return
    from schedtuna.cli.table import wrapped

    for entry in entries:
        lacking = f"  (missing: {', '.join(entry.packages)})" if entry.missing else ""
        print(f"{entry.name:20} {format_metric(entry.metric)}{lacking}")
        print(wrapped(entry.description, indent=21))
        print(wrapped(f"favours: {entry.favours}", indent=21))


@app.command()
@bundled
def run(
    names: NamesArgument = None,
    *,
    where: WhereOptions,
    repeat: Annotated[
        int, typer.Option("-n", "--runs", "--repeat", metavar="N", min=1, help="Runs of each.")
    ] = 1,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run workloads as the machine is, and show what each measured. Run N has the seed SEED + N."""
    from schedtuna.cli.progress import RunProgress
    from schedtuna.experiment.campaign import choose_seed
    from schedtuna.workload.spec import RunSpec
    from schedtuna.workload.suite import suite, suite_workload

    place = where.place()
    nr_cpus = place.nr_cpus()
    entries = [suite_workload(name, nr_cpus) for name in names] if names else list(suite(nr_cpus).values())
    for entry in entries:
        entry.require_tools()
    first_seed = choose_seed(seed)
    runs: list[dict[str, Any]] = []
    total = repeat * len(entries)
    with (
        termination_interrupts(),
        place.open(RunSpec(workload=entries[0].workload)) as backend,
        RunProgress("suite", total) as progress,
    ):
        for number in range(repeat):  # one after the other, so that a slow minute hits all alike
            for entry in entries:
                progress.update(len(runs), total, note=entry.name)
                runs.append(_run_once(entry, first_seed + number, backend))
    if as_json:
        print_json({"seed": first_seed, "repeat": repeat, "runs": runs})
        return
    for entry in entries:
        _print_results(entry, [of["metrics"] for of in runs if of["workload"] == entry.name])


@app.command()
def record(  # noqa: PLR0917 - typer's options are a function's parameters
    names: NamesArgument = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where the set goes. Default: traces_<time>."),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option("-n", "--runs", "--repeat", metavar="N", min=1, help="Traces of each. Default: 1."),
    ] = None,
    seed: SeedOption = None,
    aggregate: AggregateOption = False,
    procfs: ProcfsOption = False,
    everything: Annotated[
        bool, typer.Option("--everything", help="Record all tasks, not only the workload's.")
    ] = False,
    interval: Annotated[
        str | None,
        typer.Option(
            "--interval", metavar="TIME", help="Time between two samples of the system. Default: 250ms."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="DIR", help="Record what this set still lacks.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Record workloads into a set of traces, labelled by workload. Trace N has the seed SEED + N."""
    from schedtuna.record import suite as sets
    from schedtuna.record.recorder import Mode

    if aggregate and procfs:
        raise UsageError("--aggregate and --procfs are mutually exclusive")
    if resume is not None:
        if names or output or repeat or seed is not None or aggregate or procfs or everything or interval:
            raise UsageError(
                "--resume continues a set with the options that it was begun with: it takes no others"
            )
        folder, wanted = resume, sets.read_set(resume)
    else:
        wanted = _new_set(
            names or [],
            repeat=repeat or 1,
            seed=seed,
            mode=Mode.AGGREGATE if aggregate else Mode.PROCFS if procfs else Mode.STREAM,
            everything=everything or procfs,
            interval_s=parse_positive_duration(interval or "250ms", option="--interval"),
        )
        folder = output or Path(time.strftime("traces_%Y%m%d-%H%M%S"))
        with naming(folder):
            sets.create_set(folder, wanted)
    with termination_interrupts():
        try:
            nr_recorded = _record_missing(folder, wanted)
        except (SchedtunaError, KeyboardInterrupt) as error:
            if resume is not None or not isinstance(error, SchedtunaError) or not sets.discard_empty(folder):
                print(f"note: schedtuna suite record --resume {folder} continues from here", file=sys.stderr)
            raise
    rows = sets.read_index(folder)
    if as_json:
        print_json({"folder": str(folder), "seed": wanted.seed, "nr_recorded": nr_recorded, "traces": rows})
        return
    _print_traces(folder, rows)


def _new_set(names: list[str], *, seed: int | None, **wanted: Any) -> SuiteSet:
    from schedtuna.experiment.campaign import choose_seed
    from schedtuna.record.suite import SuiteSet
    from schedtuna.workload.suite import suite, suite_workload

    chosen = dict.fromkeys(names) or suite()
    for name in chosen:
        suite_workload(name).require_tools()
    return SuiteSet(workloads=tuple(chosen), seed=choose_seed(seed), **wanted)


def _record_missing(folder: Path, wanted: SuiteSet) -> int:
    """Record what a set lacks; return how many traces that was."""
    from schedtuna.cli.progress import RunProgress
    from schedtuna.record import suite as sets

    with sets.writing_set(folder):
        missing, total = sets.missing_runs(folder, wanted), len(wanted.runs())
        with RunProgress("suite", total) as progress:
            for done, run in enumerate(missing, start=total - len(missing)):
                progress.update(done, total, note=run[0])
                row = sets.record_run(folder, wanted, run)
                if row["nr_lost"]:
                    progress.say(f"warning: {row['nr_lost']:,} records of {row['trace']} were lost")
    return len(missing)


def _print_traces(folder: Path, rows: list[dict[str, Any]]) -> None:
    from schedtuna.cli.table import number, table

    lines = [
        [
            row["trace"],
            row["metric"],
            number(row["value"], row["metric"], digits=6),
            f"{row['nr_events'] or 0:,}",
            f"{row['nr_lost'] or 0:,}",
            f"{row['bytes'] / 1e6:.2f}",
        ]
        for row in rows
    ]
    print(table(["trace", "metric", "value", "events", "lost", "MB"], lines))
    print(f"{len(rows)} traces in {folder}; traces.jsonl lists them")
    print("metrics were measured while recording: compare settings with `schedtuna compare`", file=sys.stderr)


def _run_once(entry: SuiteWorkload, seed: int, backend: Backend) -> dict[str, Any]:
    from schedtuna.scheduler.spec import SchedulerConfig

    trial = backend.run(entry.workload, SchedulerConfig(name="default"), seed=seed)
    if trial.reason or entry.metric.name not in trial.metrics:
        reason = trial.reason or f"it printed no {entry.metric.name}"
        raise WorkloadError(f"{entry.name}: {reason}; its last lines of output:\n{trial.output_tail}")
    return {
        "workload": entry.name,
        "seed": seed,
        "metric": entry.metric.name,
        "direction": entry.metric.direction,
        "metrics": trial.metrics,
        "covariates": trial.covariates,
    }


def _print_results(entry: SuiteWorkload, metrics: list[dict[str, float]]) -> None:
    import statistics

    from schedtuna.cli.table import number

    print(f"{entry.name}: {entry.description}")
    shared = [name for name in metrics[0] if "." not in name and all(name in of for of in metrics)]
    for name in dict.fromkeys([entry.metric.name, *shared]):
        values = [of[name] for of in metrics]
        mark = "*" if name == entry.metric.name else " "
        low, typical, high = (
            number(one, name, digits=6) for one in (min(values), statistics.median(values), max(values))
        )
        spread = f"  {low} to {high}" if len(values) > 1 else ""
        print(f"  {mark} {name:24} {typical:>12}{spread}")
