"""`schedtuna sim replay`: what if a recording had run under another scheduler?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.options import JsonOption, MachineOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.sim_options import CostOption, ForceOption, TopologyOption, constants_of
from schedtuna.cli.table import described, table, wrapped
from schedtuna.cli.trace_table import spell
from schedtuna.errors import SimulationError, naming
from schedtuna.printable import percent_change

if TYPE_CHECKING:
    from schedtuna.fidelity.crossed import MeasuredChange
    from schedtuna.sim.replay import Replay, ReplayedFigure

_ROWS = 10


def replay(  # noqa: PLR0917 - typer's options are a function's parameters
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="A trace: its folder.", show_default=False)],
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            metavar="NAME[:PARAMETER=VALUE,...]",
            help="Under which one: of `sim list`, or module:Class of your own.",
            show_default=False,
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="NAME[:...]",
            help="Which one it is from. Default: as the trace says, else fair.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="A figure of `stats --json`, such as wakeup_latency_p99. Repeatable.",
            show_default=False,
        ),
    ] = None,
    comm: Annotated[
        str | None,
        typer.Option(
            "--comm",
            metavar="PATTERN",
            help="Figures of the tasks of that name, such as 'nginx*'. Default: of all.",
            show_default=False,
        ),
    ] = None,
    loop: Annotated[
        Literal["auto", "open", "closed"],
        typer.Option(
            "--loop",
            help="Why tasks wake up: at the times at which they did (open); so long after they went to "
            "sleep, or when who woke them comes to it (closed); auto: by what each did.",
        ),
    ] = "auto",
    cpus: Annotated[
        int | None,
        typer.Option(
            "--cpus", metavar="N", help="CPUs, of one cache. Default: the trace's.", show_default=False
        ),
    ] = None,
    topology: TopologyOption = None,
    cost: CostOption = None,
    machine: MachineOption = None,
    real: Annotated[
        Path | None,
        typer.Option(
            "--real",
            metavar="TRACE",
            help="The same load, recorded under the other one: how far off is the replay? It is kept, and "
            "told with later answers about this change.",
            show_default=False,
        ),
    ] = None,
    allow_lost: Annotated[
        bool, typer.Option("--allow-lost", help="Accept a trace that lost events.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write the replay as a trace.", show_default=False
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Replay a trace under another scheduler in the model.

    Beside it stands how far the model is off this trace under its own scheduler. A figure that gets better in
    an open loop and worse in a closed one has no answer (exit code 1).
    """
    from schedtuna.sim.recorded import RecordedLoad
    from schedtuna.sim.replay import METRICS
    from schedtuna.sim.replay import replay as replayed

    with termination_interrupts(), naming(trace):
        load = RecordedLoad(trace, loop=loop, allow_lost=allow_lost)
        found = replayed(
            load,
            scheduler,
            against=against,
            metrics=metric or METRICS,
            comm=comm,
            cpus=cpus,
            topology=topology,
            costs=constants_of(machine, cost, of_recording=True),
            output=output,
            force=force,
        )
        across = _across(found, real, metric or METRICS, comm)
    if as_json:
        print_json(_json(found, across))
    else:
        _show(found, across)
        if output is not None:
            print(wrapped(f"The replay is in {output}: schedtuna stats, plot and trace read it."))
    contradicted = [each.metric for each in found.answers if each.is_contradicted]
    if contradicted:
        raise SimulationError(
            f"no answer for {', '.join(contradicted)}: it changes to the other side if tasks wake up "
            "for another reason",
            hint="say why they do (--loop open or closed shows each), or compare on the machine",
        )


def _certified(found: Replay) -> tuple[bool, str]:
    """Return whether the certificate covers both schedulers, and why."""
    from schedtuna.fidelity.envelope import certification

    schedulers = (found.against, found.scheduler)
    each = [certification(str(found.shape), one, found.costs) for one in schedulers]
    told = min(each, key=lambda one: one.is_certified)
    return told.is_certified, told.text


def _across(
    found: Replay, real: Path | None, metrics: Sequence[str], comm: str | None
) -> Mapping[str, MeasuredChange]:
    """Return how far replays were off across this change, by figure, as far as it was measured."""
    from schedtuna.fidelity.crossed import Crossing, measured, remember
    from schedtuna.sim.replay import cross_errors
    from schedtuna.sim.schedulers import scheduler_text
    from schedtuna.trace.store import open_trace

    change, topology = " -> ".join(_labels(found.against, found.scheduler)), str(found.shape)
    if real is not None:
        other = scheduler_text(str(found.scheduler["name"]), found.scheduler["parameters"])
        errors = cross_errors(
            found.load, open_trace(real), other, metrics, comm=comm, topology=topology, costs=found.costs
        )
        remember(Crossing(change=change, topology=topology, errors=errors))
    return measured(change, topology)


def _json(found: Replay, across: Mapping[str, MeasuredChange]) -> dict[str, Any]:
    is_certified, why = _certified(found)
    return {
        "is_certified": is_certified,
        "certificate": why,
        "against": found.against,
        "scheduler": found.scheduler,
        "topology": str(found.shape),
        "loop": found.load.loop,
        "answers": [
            {
                **vars(each),
                "error": each.error,
                "is_contradicted": each.is_contradicted,
                "cross_error": across[each.metric].error if each.metric in across else None,
            }
            for each in found.answers
        ],
        "decisions": [vars(each) for each in found.decisions],
        "notes": found.load.notes,
    }


def _share(change: float | None) -> str:
    return "-" if change is None else percent_change(1 + change)


def _show(found: Replay, across: Mapping[str, MeasuredChange]) -> None:
    before, after = _labels(found.against, found.scheduler)
    seconds = found.load.duration_ns / 1e9
    nr_cpus = found.shape.nr_cpus
    print(
        wrapped(
            f"{seconds:.3f} s of {len(found.load.names):,} tasks, replayed on {nr_cpus} "
            f"CPU{'s' if nr_cpus > 1 else ''} under {before} and under {after}"
        ),
        end="\n\n",
    )
    headings = ["", "recorded", f"{before} (model)", "off by", f"{after} (model)", "change", "open", "closed"]
    print(table(headings, [_row(each) for each in found.answers]), end="\n\n")
    print(wrapped(_told_across(found, across)), end="\n\n")
    decisions = sorted(found.decisions, key=lambda each: -each.nr_wakeups)
    if decisions:
        rows = [
            [
                f"{each.task} ({each.tid})",
                f"{each.nr_wakeups:,}",
                f"{each.nr_by_tasks:,}",
                each.loop,
                f"{each.rule}: {each.why}",
            ]
            for each in decisions[:_ROWS]
        ]
        print(described(["task", "wakeups", "by tasks", "loop", "because"], rows))
        if len(decisions) > _ROWS:
            print(f"({len(decisions) - _ROWS:,} more; --json has them)")
        print()
    for note in found.load.notes:
        print_remark("note", note)
    print(wrapped(f"This is a model, and {_certified(found)[1]}. Compare on the machine what it proposes."))


def _told_across(found: Replay, across: Mapping[str, MeasuredChange]) -> str:
    told = [
        f"{each.metric.removesuffix('_ns')} {across[each.metric].error:+.1%} ({across[each.metric].nr_runs})"
        for each in found.answers
        if each.metric in across
    ]
    if told:
        return f"Off by, where this change was recorded on both sides (recordings): {', '.join(told)}."
    return (
        "How far replays are off across this change is not measured: --real TRACE, the same load recorded "
        "under it, tells."
    )


def _labels(*schedulers: Mapping[str, Any]) -> list[str]:
    """Return their names, with the values in which two of one name differ."""
    if len({each["name"] for each in schedulers}) > 1:
        return [str(each["name"]) for each in schedulers]
    first, second = (each["parameters"] for each in schedulers)
    differ = [name for name in first if first[name] != second[name]]
    values = [[f"{name}={each['parameters'][name]}" for name in differ] for each in schedulers]
    return [
        ":".join(filter(None, (each["name"], ",".join(told))))
        for each, told in zip(schedulers, values, strict=True)
    ]


def _row(each: ReplayedFigure) -> list[str]:
    how = "time" if each.metric.endswith("_ns") else "count" if each.metric.startswith("nr_") else "number"
    return [
        each.metric.removesuffix("_ns"),
        spell(each.recorded, how),
        spell(each.model, how),
        _share(each.error),
        spell(each.other, how),
        "no answer" if each.is_contradicted else _share(each.changes[next(iter(each.changes))]),
        _share(each.changes["open"]),
        _share(each.changes["closed"]),
    ]
