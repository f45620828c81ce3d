"""`schedtuna suite`: the workloads that come with Schedtuna, and one run of them as the machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import JsonOption, SeedOption
from schedtuna.cli.output import print_json
from schedtuna.errors import WorkloadError

if TYPE_CHECKING:
    from schedtuna.workload.suite import SuiteWorkload

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Workloads that come with Schedtuna.")


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
    for entry in entries:
        lacking = f"  (missing: {', '.join(entry.packages)})" if entry.missing else ""
        print(f"{entry.name:20} {format_metric(entry.metric)}{lacking}")
        print(f"{'':20} {entry.description}")
        print(f"{'':20} favours: {entry.favours}")


@app.command()
def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Which workloads; default: all.", show_default=False),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Runs of each.")] = 1,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run workloads as the machine is, and show what each measured. Run N has the seed SEED + N."""
    from schedtuna.cli.progress import RunProgress
    from schedtuna.experiment.campaign import choose_seed
    from schedtuna.workload.suite import suite, suite_workload

    entries = [suite_workload(name) for name in names] if names else list(suite().values())
    for entry in entries:
        entry.require_tools()
    first_seed = choose_seed(seed)
    runs: list[dict[str, Any]] = []
    total = repeat * len(entries)
    with RunProgress("suite", total) as progress:
        for number in range(repeat):  # one after the other, so that a slow minute hits all alike
            for entry in entries:
                progress.update(len(runs), total, note=entry.name)
                runs.append(_run_once(entry, first_seed + number))
    if as_json:
        print_json({"seed": first_seed, "repeat": repeat, "runs": runs})
        return
    for entry in entries:
        _print_results(entry, [of["metrics"] for of in runs if of["workload"] == entry.name])


def _run_once(entry: SuiteWorkload, seed: int) -> dict[str, Any]:
    from schedtuna.workload.command import run as run_command
    from schedtuna.workload.metrics import read_metrics

    raw = run_command(entry.workload, seed)
    if raw.failure:
        raise WorkloadError(f"{entry.name}: {raw.failure}; its last lines of output:\n{raw.tail()}")
    return {
        "workload": entry.name,
        "seed": seed,
        "metric": entry.metric.name,
        "direction": entry.metric.direction,
        "metrics": read_metrics(entry.workload, [entry.metric], raw),
        "covariates": raw.covariates,
    }


def _print_results(entry: SuiteWorkload, metrics: list[dict[str, float]]) -> None:
    import statistics

    print(f"{entry.name}: {entry.description}")
    shared = [name for name in metrics[0] if "." not in name and all(name in of for of in metrics)]
    for name in dict.fromkeys([entry.metric.name, *shared]):
        values = [of[name] for of in metrics]
        mark = "*" if name == entry.metric.name else " "
        spread = f"  {min(values):.6g} to {max(values):.6g}" if len(values) > 1 else ""
        print(f"  {mark} {name:24} {statistics.median(values):12.6g}{spread}")
