"""`schedtuna trace`: export a trace to other tools, or describe how two differ."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark, writing
from schedtuna.cli.table import number, spelled_size, table
from schedtuna.cli.trace_table import spell
from schedtuna.errors import TraceError, UsageError

if TYPE_CHECKING:
    from schedtuna.trace.analysis import Analysis

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Export a trace, or compare two.")

_SHOWN = (
    "nr_tasks", "cpu_time_ns", "run_delay_ns", "nr_switches", "nr_wakeups", "nr_involuntary", "nr_migrations",
    "wakeup_latency_mean_ns", "wakeup_latency_p50_ns", "wakeup_latency_p99_ns", "wakeup_latency_max_ns",
    "preempt_delay_p99_ns", "first_run_delay_mean_ns", "turnaround_mean_ns", "slice_mean_ns", "burst_mean_ns",
    "fairness_cv",
)  # fmt: skip


@app.command()
def export(  # noqa: PLR0917 - typer's options are a function's parameters
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A trace.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where it goes.", show_default=False)
    ],
    perfetto: Annotated[
        bool, typer.Option("--perfetto", help="For https://ui.perfetto.dev: timeline, states, wakeups.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="A table as CSV.")] = False,
    arrow: Annotated[bool, typer.Option("--arrow", help="A table as an Arrow file.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Everything as JSON lines.")] = False,
    table_name: Annotated[
        str,
        typer.Option(
            "--table",
            metavar="NAME",
            help="Which one: events, intervals, unknown, tasks, attributes, groups, system, ...",
        ),
    ] = "events",
    allow_lost: Annotated[
        bool, typer.Option("--allow-lost", help="Accept intervals of a trace that lost events.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Write a trace in another tool's format."""
    from schedtuna.trace.formats import json_lines, tables
    from schedtuna.trace.formats import perfetto as perfetto_format
    from schedtuna.trace.store import open_trace
    from schedtuna.trace.trace import tell_losses

    if perfetto + csv + arrow + jsonl != 1:
        raise UsageError("choose one of --perfetto, --csv, --arrow and --jsonl")
    trace = open_trace(folder)
    if (csv or arrow) and table_name == "intervals" and not allow_lost:
        trace.require_complete()  # they can't carry what may be wrong with them
    if perfetto and trace.sample_times == "made up":
        raise TraceError(
            f"{folder}: the times of its samples are made up: they make no timeline",
            hint="--csv has the samples in their order; record them with times",
        )
    for note in trace.sample_notes:
        print_remark("note", note, file=sys.stderr)
    with writing(output, force=force) as file:
        if csv or arrow:
            frame = tables.table(trace, table_name)
            (tables.write_csv if csv else tables.write_arrow)(frame, file)
        else:
            (perfetto_format if perfetto else json_lines).write(trace, file)
    if trace.is_incomplete:
        place = "--table unknown says" if csv or arrow else "the file says"
        print(f"warning: {tell_losses(trace.losses)}; {place} where", file=sys.stderr)
    print(f"{output}: {spelled_size(output.stat().st_size)}")


@app.command()
def diff(  # noqa: PLR0917 - typer's options are a function's parameters
    before: Annotated[Path, typer.Argument(metavar="A", help="A trace.", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another.", show_default=False)],
    figure: Annotated[
        str, typer.Option("--figure", metavar="NAME", help="The figure to compare per name.")
    ] = "wakeup_latency_p99_ns",
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=0, help="How many names to show.")] = 10,
    allow_lost: Annotated[bool, typer.Option("--allow-lost", help="Accept traces that lost events.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Describe how two traces differ. One trace each proves nothing: `schedtuna compare` does."""
    from schedtuna.trace.difference import differences, group_differences
    from schedtuna.trace.metrics import cost

    ours, theirs = (_analysis(folder, allow_lost=allow_lost) for folder in (before, after))
    overall = differences(ours, theirs)
    known = list(ours.overall())
    if figure not in known:
        raise UsageError(f"there is no figure {figure!r}", hint=f"one of {', '.join(known)}")
    by_comm = group_differences(ours, theirs, "comm", figure)
    notes = _notes(ours, theirs)
    relative = cost(theirs.overall(), ours.overall())
    if as_json:
        print_json(
            {
                "notes": notes,
                "cost": None if math.isnan(relative) else relative,
                "overall": [vars(row) | {"ratio": row.ratio} for row in overall],
                "figure": figure,
                "by_comm": [
                    {"comm": row.figure, "before": row.before, "after": row.after, "ratio": row.ratio}
                    for row in by_comm
                ],
            }
        )
        return
    for note in notes:
        print(note)
    shown = [row for row in overall if row.figure.removesuffix("_per_s") in _SHOWN]
    lines = [
        [row.figure, _spell(row.figure, row.before), _spell(row.figure, row.after), _ratio(row.ratio)]
        for row in shown
    ]
    lines.append(["cost L (A: 3)", "", "" if math.isnan(relative) else number(relative, digits=3), ""])
    print(table(["", "A", "B", "B/A"], lines))
    if rows:
        print(f"\n{figure} by name:")
        lines = [
            [row.figure, _spell(figure, row.before), _spell(figure, row.after), _ratio(row.ratio)]
            for row in by_comm[:rows]
        ]
        print(table(["", "A", "B", "B/A"], lines))
    print("\nThis describes two runs. Whether the difference is real: schedtuna compare.")


def _analysis(folder: Path, *, allow_lost: bool) -> Analysis:
    """Measure a trace; what is wrong with it is told with its name."""
    from schedtuna.trace.analysis import Analysis
    from schedtuna.trace.store import open_trace

    trace = open_trace(folder)
    try:
        return Analysis(trace, allow_lost=allow_lost)
    except TraceError as error:
        raise type(error)(f"{folder}: {error}", hint=error.hint) from error


def _notes(ours: Analysis, theirs: Analysis) -> list[str]:
    """Return what makes the traces hard to compare."""
    from schedtuna.trace.doubts import warnings

    before, after = ours.trace, theirs.trace
    notes = [
        f"{name} does not tell time under a quota from waiting: a CPU went idle {one.nr_held_back:,} times"
        " though the task that left it could run."
        for name, one in (("A", ours), ("B", theirs))
        if one.nr_held_back
    ]
    notes += [
        f"{name} is {trace.state}."
        for name, trace in (("A", before), ("B", after))
        if trace.state != "complete"
    ]
    notes += [f"{name}: {one}" for name, side in (("A", ours), ("B", theirs)) for one in warnings(side)]
    if before.manifest.get("nr_cpus") != after.manifest.get("nr_cpus"):
        notes.append("The machines have different numbers of CPUs, or one is not known.")
    if before.manifest.get("mode") != after.manifest.get("mode"):
        notes.append("The traces were made in different ways (recorded, imported, simulated).")
    return notes


def _spell(figure: str, value: float | None) -> str:
    if "_ns" in figure:
        return spell(value, "time")
    return number(value, figure)


def _ratio(value: float | None) -> str:
    return number(value, digits=3)
