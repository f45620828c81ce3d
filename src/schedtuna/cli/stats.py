"""`schedtuna stats`: what the tasks of a trace did, and how long they waited."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import parse_duration
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import number, table
from schedtuna.cli.trace_table import columns_of, duration, figures_table, spell
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from schedtuna.trace.trace import Trace

app = typer.Typer(add_completion=False)

_ROWS = 20


class Grouping(StrEnum):
    """What the rows of the table are."""

    TASK = "task"
    COMM = "comm"
    CGROUP = "cgroup"
    LABEL = "label"
    CPU = "cpu"


@app.command()
def stats(  # noqa: PLR0917 - typer's options are a function's parameters
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A trace. With --windows: default is this machine, live.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[Grouping, typer.Option("--by", help="What the rows are.")] = Grouping.COMM,
    start: Annotated[
        float, typer.Option("--from", metavar="SECONDS", min=0, help="Where to begin, in the trace's time.")
    ] = 0.0,
    end: Annotated[
        float | None, typer.Option("--to", metavar="SECONDS", help="Where to end.", show_default=False)
    ] = None,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=1, help="How many rows to show.")] = _ROWS,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Label tasks by this file.", show_default=False),
    ] = None,
    allow_lost: Annotated[
        bool, typer.Option("--allow-lost", help="Accept a trace that lost events: its figures are off.")
    ] = False,
    windows: Annotated[
        str | None,
        typer.Option(
            "--windows",
            metavar="5s",
            help="Instead: each sampled metric's average, change, percent change and total per window.",
            show_default=False,
        ),
    ] = None,
    discard: Annotated[
        str, typer.Option("--discard", metavar="2s", help="Leave out the beginning of each window.")
    ] = "0s",
    interval: Annotated[
        str | None,
        typer.Option(
            "--interval",
            metavar="1s",
            help="Live: time between two samples. Default: a fifth of a window, at most 1s.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option("--for", metavar="30s", help="Live: end after this time.", show_default=False),
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="With --windows: print CSV, a row per window and metric.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; with --windows, one per window.")
    ] = False,
) -> None:
    """Show CPU time, waiting and latencies per name, task, cgroup, label or CPU; or metrics per window."""
    if windows is None:
        if (
            folder is None
            or as_csv
            or interval is not None
            or duration is not None
            or parse_duration(discard)
        ):
            what = (
                "name a trace, or say" if folder is None else "--csv, --discard, --interval and --for go with"
            )
            raise UsageError(f"{what} --windows", hint="schedtuna stats --windows 5s --for 30s")
        window = None if start == 0 and end is None else (start, end if end is not None else float("inf"))
        _show(folder, by, window, rows, labels, allow_lost=allow_lost, as_json=as_json)
        return
    from schedtuna.cli.stats_windows import Asked, Form, show_windows

    if start or end is not None or labels is not None or by is not Grouping.COMM or rows != _ROWS:
        raise UsageError("--by, --from, --to, --rows and --labels do not go with --windows")
    if as_csv and as_json:
        raise UsageError("--csv and --json are mutually exclusive")
    form = Form.CSV if as_csv else Form.JSON if as_json else Form.TEXT
    show_windows(folder, Asked.read(windows, discard, interval, duration), form)


def _show(
    folder: Path,
    by: Grouping,
    window: tuple[float, float] | None,
    rows: int,
    labels: Path | None,
    *,
    allow_lost: bool,
    as_json: bool,
) -> None:
    """Show the figures of a trace, of all tasks together and per group."""
    from schedtuna.trace import overview
    from schedtuna.trace.labels import read_labels
    from schedtuna.trace.store import open_trace

    trace = open_trace(folder)
    is_counted = trace.manifest.get("mode") == "aggregate"
    if not is_counted and not trace.has_events and trace.sample_frames:
        if window:
            raise UsageError("--from and --to need scheduler events, and the trace has only samples")
        _show_samples(trace, as_json=as_json)
        return
    if labels is not None:
        trace.label(read_labels(labels))
    source = overview.measured(trace, window_s=window, allow_lost=allow_lost)
    grouped, overall = source.by(by.value), source.overall()
    if as_json:
        facts = overview.facts(source)
        print_json({**facts, "by": by.value, "overall": overall, "groups": grouped.dicts()})
        return
    print(overview.headline(source))
    for remark in overview.remarks(source):
        print(remark)
    _print_overall(overall)
    print(figures_table(grouped, columns_of(source, by.value), by.value, rows))


def _print_overall(figures: dict[str, Any]) -> None:
    for heading, name in (
        ("wakeup latency", "wakeup_latency"),
        ("preempt delay", "preempt_delay"),
        ("first-run delay", "first_run_delay"),
        ("turnaround", "turnaround"),
    ):
        known = [q for q in ("p50", "p99", "p999", "max") if f"{name}_{q}_ns" in figures] or ["mean"]
        if figures.get(f"{name}_count"):
            spelled = [f"{q} {duration(figures[f'{name}_{q}_ns'])}" for q in known]
            print(f"{heading}: {', '.join(spelled)}  ({figures[f'{name}_count']:,})")
    if figures.get("fairness_cv") is not None:
        print(f"fairness_cv: {figures['fairness_cv']:.3f}")
    print()


def _show_samples(trace: Trace, *, as_json: bool) -> None:
    """Show a trace that has only samples: the mean, minimum and maximum of each."""
    from schedtuna.trace.samples import extremes

    result = {kind: extremes(frame) for kind, frame in trace.sample_frames.items()}
    if as_json:
        facts = {"nr_lost": trace.nr_lost, "sample_times": trace.sample_times, "notes": trace.sample_notes}
        print_json({"samples": result} | facts)
        return
    for note in trace.sample_notes:
        print_remark("note", note)
    if trace.is_incomplete:
        print(f"{trace.nr_lost:,} exits of tasks were lost: they are in no figure.\n")
    for kind, figures in result.items():
        if kind == "exit":
            _print_exits(trace.sample_frames[kind])
            continue
        print(f"{kind}: {trace.sample_frames[kind].height:,} samples")
        lines = [[name, *(number(value, name) for value in row.values())] for name, row in figures.items()]
        print(table(["", "mean", "min", "max"], lines), end="\n\n")


# Heading -> (column of the samples of exits, how to spell its sum or, for the life, its mean).
_EXIT_COLUMNS = {
    "CPU": ("cpu_time_ns", "time"),
    "waited, quota": ("schedstat_run_delay_ns", "time"),  # for a CPU or a quota: the kernel tells both as one
    "IO": ("io_delay_ns", "time"),
    "volunt.": ("nr_voluntary_switches", "count"),
    "invol.": ("nr_involuntary_switches", "count"),
    "mean life": ("life_ns", "time"),
}


def _print_exits(frame: pl.DataFrame) -> None:
    """Show what tasks that exited used in all their lives, by name."""
    from schedtuna.trace.samples import exits_by_name

    lines = [
        [
            row["comm"],
            spell(row["count"], "count"),
            *(spell(row.get(column), how) for column, how in _EXIT_COLUMNS.values()),
        ]
        for row in exits_by_name(frame, tuple(column for column, _ in _EXIT_COLUMNS.values()))
    ]
    print(f"exit: {frame.height:,} threads ended, each counted over its whole life")
    print(table(["", "exits", *_EXIT_COLUMNS], lines), end="\n\n")
