"""`schedtuna sim`: what a load would do on another machine, under another scheduler."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import parse_positive_duration, termination_interrupts
from schedtuna.cli.options import JsonOption, MachineOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.sim_fidelity import calibrate, certification_of, fidelity
from schedtuna.cli.sim_options import CostOption, ForceOption, SettingsOption, TopologyOption, constants_of
from schedtuna.cli.sim_picks import verify_picks
from schedtuna.cli.sim_replay import replay
from schedtuna.cli.sim_settings import settings
from schedtuna.cli.sim_why import why
from schedtuna.cli.table import described, wrapped
from schedtuna.cli.trace_table import Columns, figures_table
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.sim.simulation import Simulation
    from schedtuna.trace.analysis import Analysis

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Simulate a load on a machine of CPUs.")
app.command("calibrate")(calibrate)
app.command("fidelity")(fidelity)
app.command("verify-picks")(verify_picks)
app.command()(replay)
app.command()(settings)
app.command()(why)

_NAMED = 12  # functions, at most
_WORTH_TELLING_BYTES = 50_000_000
_COLUMNS: Columns = {
    "tasks": ("nr_tasks", "count"),
    "CPU": ("cpu_time_ns", "time"),
    "waited": ("run_delay_ns", "time"),
    "switches": ("nr_switches", "count"),
    "wakeups": ("nr_wakeups", "count"),
    "latency p50": ("wakeup_latency_p50_ns", "time"),
    "p99": ("wakeup_latency_p99_ns", "time"),
}


@app.command()
def run(  # noqa: PLR0917 - typer's options are a function's parameters
    workload: Annotated[
        str,
        typer.Argument(
            metavar="WORKLOAD",
            help="A file of rt-app's JSON, a TRACE, or a name such as `poisson:load=0.7`: see `sim list`.",
            show_default=False,
        ),
    ],
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            metavar="NAME[:PARAMETER=VALUE,...]",
            help="One of `sim list`, model:FILE of `train`, FILE.bpf.o or a loader's program of a sched_ext "
            "scheduler, or module:Class of your own in Python.",
        ),
    ] = "fair",
    cpus: Annotated[
        int | None,
        typer.Option("--cpus", metavar="N", help="CPUs, of one cache. Default: 8.", show_default=False),
    ] = None,
    topology: TopologyOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="What the load draws.")] = 1,
    noise_seed: Annotated[
        int | None,
        typer.Option(
            "--noise-seed",
            min=0,
            help="What interrupts and kernel threads draw. Default: --seed.",
            show_default=False,
        ),
    ] = None,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="10s", help="End after this simulated time, if it has not.", show_default=False
        ),
    ] = None,
    cost: CostOption = None,
    machine: MachineOption = None,
    settings_file: SettingsOption = None,
    swap: Annotated[
        list[str] | None,
        typer.Option(
            "--swap",
            metavar="TIME:SCHEDULER",
            help="Let another scheduler take over after that time, such as 2s:rr. Repeatable.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write a trace.", show_default=False),
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Compress the trace to a tenth, which takes a while.")
    ] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Simulate a load, and show what its tasks did.

    For each name of tasks: how much CPU time, how often switched in and woken up, and how long they waited.
    """
    from schedtuna.sim.traced import simulate
    from schedtuna.trace.analysis import Analysis

    if compact and output is None:
        raise UsageError("--compact is of a trace that is written", hint="say where: -o DIR")
    swaps = [_swap_of(text) for text in swap or []]
    with termination_interrupts():
        trace = simulate(
            workload,
            scheduler,
            cpus=cpus,
            topology=topology,
            seed=seed,
            noise_seed=noise_seed,
            duration_s=None if for_ is None else parse_positive_duration(for_, option="--for"),
            costs=constants_of(machine, cost),
            swaps=swaps,
            trace=output,
            force=force,
            compact=compact,
            on_start=_tell_memory,
            coverage=True,
            settings=settings_file,
        )
    source = Analysis(trace)
    certified = certification_of(trace.manifest["simulation"])
    for at_s, name in sorted(swaps, key=lambda each: each[0])[len(trace.manifest["simulation"]["swaps"]) :]:
        told = f"{name} was to take over after {at_s:g} s: the load had ended before"
        print_remark("warning", told, file=sys.stderr)
    if as_json:
        print_json(
            {
                "simulation": _without_text(trace.manifest["simulation"]),
                "is_certified": certified.is_certified,
                "certification": certified.text,
                "seconds": source.seconds,
                "nr_cpus": source.nr_cpus,
                "trace": None if output is None else str(output),
                "overall": source.overall(),
                "groups": source.by("comm").dicts(),
            }
        )
        return
    _print_result(source, trace.manifest["simulation"])
    _tell_object(trace.manifest["simulation"])
    print(wrapped(f"This is a model, {certified.text}; compare on the machine what it proposes."))
    if output is not None:
        print(wrapped(f"The trace is in {output}: schedtuna stats, plot and trace read it."))


def _swap_of(text: str) -> tuple[float, str]:
    """Return the time and the scheduler of ``TIME:SCHEDULER``."""
    time, _, scheduler = text.partition(":")
    if not scheduler:
        raise UsageError(f"--swap {text}: expected TIME:SCHEDULER", hint="such as --swap 2s:rr:slice_us=3000")
    return parse_positive_duration(time, option="--swap"), scheduler


def _tell_memory(simulation: Simulation) -> None:
    from schedtuna.sim.simulation import memory_bytes

    nr_tasks = simulation.load.nr_tasks
    needed = memory_bytes(nr_tasks)
    if needed > _WORTH_TELLING_BYTES:
        told = f"{nr_tasks:,} tasks: up to {needed / 1e6:,.0f} MB of memory, and 32 bytes an event"
        print_remark("note", told, file=sys.stderr)


def _tell_object(simulation: dict[str, Any]) -> None:
    """Say of a sched_ext object whose kernel it is translated for, and how much of it ran."""
    scheduler = simulation["scheduler"]
    if (translated := scheduler.get("object")) is None:
        return
    told = f"{translated['name']}: the object's own code, for the kernel {translated['kernel']}"
    told += ", interpreted" if translated["interpreted"] else ""
    executed = simulation.get("executed", {})
    ran, count = (sum(row[i] for row in executed.values()) for i in (0, 1))
    if count:
        told += f"; {ran} of its {count} instructions ({ran / count:.0%}) ran"
        if idle := [name for name, (each, _) in executed.items() if not each]:
            more = f" and {len(idle) - _NAMED} more (--json)" if len(idle) > _NAMED else ""
            told += f", none of {', '.join(idle[:_NAMED])}{more}"
    told += f"; {_told_settings(translated['settings'])}"
    if scheduler["object"]["never_called"]:
        told += f"; the model never calls {', '.join(scheduler['object']['never_called'])}"
    print_remark("note", f"{told}. The kernel around it is modelled: docs/sched-ext-in-simulator.md")


def _told_settings(settings: dict[str, Any] | None) -> str:
    """Say which values the object began with."""
    if settings is None:
        return "its own initial values, not a loader's (`schedtuna sim settings` reads those)"
    told = (
        f"what {' '.join([settings['program'], *settings['arguments']])} prepares on {settings['topology']}"
    )
    if settings["unread"]:
        told += f", but for the maps {', '.join(settings['unread'])}, which can't be read"
    return told


def _without_text(simulation: dict[str, Any]) -> dict[str, Any]:
    workload = {name: fact for name, fact in simulation["workload"].items() if name != "text"}
    return simulation | {"workload": workload}


def _print_result(source: Analysis, simulation: dict[str, Any]) -> None:
    totals, scheduler = simulation["totals"], simulation["scheduler"]["name"]
    total_ns = max(source.seconds * 1e9 * source.nr_cpus, 1)
    busy, overhead = 1 - totals["idle_ns"] / total_ns, totals["overhead_ns"] / total_ns
    shape = f"{source.nr_cpus} CPU{'s' if source.nr_cpus > 1 else ''} ({simulation['topology']})"
    # Of tasks, as the table's rows are: the totals also count switches to idle and forks.
    overall = source.overall()
    counts = [f"{overall[f'nr_{name}']:,} {name}" for name in ("switches", "wakeups", "migrations")]
    then = [f"{each['scheduler']['name']} after {each['at_ns'] / 1e9:g} s" for each in simulation["swaps"]]
    print(wrapped(f"{source.seconds:.3f} s under {', then '.join([scheduler, *then])} on {shape}"))
    print(", ".join(counts))
    print(wrapped(f"CPUs busy {busy:.1%} of the time, {overhead:.2%} in switches and interrupts"), end="\n\n")
    grouped = source.by("comm")
    print(figures_table(grouped, _COLUMNS, "name", len(grouped.names)), end="\n\n")


@app.command("list")
def list_all(as_json: JsonOption = False) -> None:
    """Show schedulers, families of loads, and constants."""
    from schedtuna.cli.schedulers import print_parameters
    from schedtuna.sim.native import cost_table, left_out_table
    from schedtuna.sim.objects import found_objects
    from schedtuna.sim.schedulers import native_schedulers
    from schedtuna.workload.families import FAMILIES
    from schedtuna.workload.suite import own_names, suite_workload

    schedulers = native_schedulers()
    if as_json:
        print_json(
            {
                "schedulers": [config.model_dump(mode="json") for config in schedulers.values()],
                "families": {name: family.help for name, family in FAMILIES.items()},
                "suite": own_names(),
                "costs": [
                    dict(zip(("name", "default", "unit", "source", "is_fitted"), row, strict=True))
                    for row in cost_table()
                ],
                "left_out_of_fair": dict(left_out_table()),
                "objects": {name: str(path) for name, path in sorted(found_objects().items())},
            }
        )
        return
    for config in schedulers.values():
        print(wrapped(f"{config.name}: {config.description}"))
        print_parameters(config)
    if objects := [[name, str(path)] for name, path in sorted(found_objects().items())]:
        print(described(["sched_ext scheduler", "whose object is run"], objects), end="\n\n")
    rows = [[name, family.help] for name, family in FAMILIES.items()]
    rows += [[name, f"of the suite: {suite_workload(name).description}"] for name in own_names()]
    print(described(["family", "what it is"], rows), end="\n\n")
    constants = [
        [name, str(initial), unit, "yes" if is_fitted else "no", source]
        for name, initial, unit, source, is_fitted in cost_table()
    ]
    print(described(["constant", "default", "unit", "fitted", "from"], constants), end="\n\n")
    print(described(["left out of fair", "what that means"], [list(row) for row in left_out_table()]))
