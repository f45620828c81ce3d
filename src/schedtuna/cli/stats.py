"""`schedtuna stats`: what the tasks of a trace did, and how long they waited."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import table
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from schedtuna.trace.analysis import Analysis, Rows
    from schedtuna.trace.trace import Trace

app = typer.Typer(add_completion=False)


class Grouping(StrEnum):
    """What the rows of the table are."""

    TASK = "task"
    COMM = "comm"
    CGROUP = "cgroup"
    LABEL = "label"
    CPU = "cpu"


# Heading -> (column, how to spell it).
TASK_COLUMNS = {
    "tasks": ("nr_tasks", "count"),
    "CPU": ("cpu_time_ns", "time"),
    "waited": ("run_delay_ns", "time"),
    "wakeups": ("nr_wakeups", "count"),
    "latency p50": ("wakeup_latency_p50_ns", "time"),
    "p99": ("wakeup_latency_p99_ns", "time"),
    "max": ("wakeup_latency_max_ns", "time"),
    "preempted p99": ("preempt_delay_p99_ns", "time"),
    "slice": ("slice_mean_ns", "time"),
    "invol.": ("nr_involuntary", "count"),
    "migr.": ("nr_migrations", "count"),
}
_UNKNOWN_COLUMN = {"unknown": ("unknown_ns", "time")}  # where some of the CPUs' time is unknown
_CPU_COLUMNS = {
    "busy": ("busy_percent", "percent"),
    "unknown": ("unknown_percent", "percent"),
    "CPU": ("cpu_time_ns", "time"),
    "runqueue": ("runqueue_length_mean", "number"),
    "slices": ("slice_count", "count"),
    "slice": ("slice_mean_ns", "time"),
    "latency p50": ("wakeup_latency_p50_ns", "time"),
    "p99": ("wakeup_latency_p99_ns", "time"),
    "max": ("wakeup_latency_max_ns", "time"),
}


@app.command()
def stats(  # noqa: PLR0917 - typer's options are a function's parameters
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A trace.", show_default=False)],
    by: Annotated[Grouping, typer.Option("--by", help="What the rows are.")] = Grouping.COMM,
    start: Annotated[
        float, typer.Option("--from", metavar="SECONDS", min=0, help="Where to begin, in the trace's time.")
    ] = 0.0,
    end: Annotated[
        float | None, typer.Option("--to", metavar="SECONDS", help="Where to end.", show_default=False)
    ] = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows to show.")] = 20,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Label tasks by this file.", show_default=False),
    ] = None,
    allow_lost: Annotated[
        bool, typer.Option("--allow-lost", help="Accept a trace that lost events: its figures are off.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show CPU time, waiting and latencies per name, task, cgroup, label or CPU."""
    from schedtuna.trace.analysis import Analysis
    from schedtuna.trace.labels import read_labels
    from schedtuna.trace.store import open_trace

    trace = open_trace(folder)
    if trace.manifest.get("mode") == "aggregate":
        if not allow_lost:
            trace.require_complete()
        _show_counted(trace, by, rows, as_json=as_json)
        return
    if not trace.has_events and trace.sample_frames:
        if start or end is not None:
            raise UsageError("--from and --to need scheduler events, and the trace has only samples")
        _show_samples(trace, as_json=as_json)
        return
    if labels is not None:
        trace.label(read_labels(labels))
    window = None if start == 0 and end is None else (start, end if end is not None else float("inf"))
    analysis = Analysis(trace, window_s=window, allow_lost=allow_lost)
    grouped = analysis.by(by.value)
    if as_json:
        print_json(
            {**_facts(analysis), "by": by.value, "overall": analysis.overall(), "groups": grouped.dicts()}
        )
        return
    _print_summary(analysis)
    columns = _CPU_COLUMNS if by == Grouping.CPU else task_columns(analysis)
    print(_table(grouped, columns, by.value, rows))


def task_columns(analysis: Analysis) -> dict[str, tuple[str, str]]:
    """Return the columns of tables of tasks: with unknown time where the CPUs have any worth telling."""
    from schedtuna.trace.doubts import WORTH_TELLING

    return TASK_COLUMNS | (_UNKNOWN_COLUMN if analysis.unknown_share >= WORTH_TELLING else {})


def _facts(analysis: Analysis) -> dict[str, Any]:
    from schedtuna.trace.doubts import unknown, warnings

    trace = analysis.trace
    return {
        "state": trace.state,
        "clock": trace.clock,
        "seconds": analysis.seconds,
        "nr_events": analysis.nr_events,
        "nr_lost": trace.nr_lost,
        "unknown": unknown(analysis),
        "warnings": warnings(analysis),
        "nr_held_back": analysis.nr_held_back,
        "nr_cpus": analysis.nr_cpus,
        "wakeup_event": analysis.wakeup.name if analysis.wakeup else None,
    }


def _print_summary(analysis: Analysis) -> None:
    facts, figures = _facts(analysis), analysis.overall()
    print(
        f"{facts['seconds']:.3f} s, {facts['nr_events']:,} events, {figures['nr_tasks']:,} tasks"
        f" ({figures['nr_began_before']:,} from before, {figures['nr_alive_after']:,} still alive),"
        f" {facts['nr_cpus']} CPUs"
    )
    if facts["state"] == "cut":
        print(
            "The trace was cut short: its recorder was killed, or its disk was full. "
            "What came before is here."
        )
    if facts["state"] == "recording":
        print("The trace is still being recorded; this is what is there so far.")
    for warning in facts["warnings"]:
        print(warning)
    if facts["nr_held_back"]:
        print(
            f"{facts['nr_held_back']:,} times a CPU went idle though the task that left it could run: a quota"
            " (or a sched_ext scheduler) held it back. That time is in the waits below."
        )
    if facts["wakeup_event"] == "WAKING":
        print("Latencies begin at sched_waking: the trace has no sched_wakeup.")
    elif facts["wakeup_event"] is None:
        print("The trace has no wakeups: there are no wakeup latencies.")
    for heading, name in (
        ("wakeup latency", "wakeup_latency"),
        ("preempt delay", "preempt_delay"),
        ("first-run delay", "first_run_delay"),
        ("turnaround", "turnaround"),
    ):
        if figures[f"{name}_count"]:
            spelled = [f"{q} {duration(figures[f'{name}_{q}_ns'])}" for q in ("p50", "p99", "p999", "max")]
            print(f"{heading}: {', '.join(spelled)}  ({figures[f'{name}_count']:,})")
    if figures["fairness_cv"] is not None:
        print(f"fairness_cv: {figures['fairness_cv']:.3f}")
    print()


def _table(grouped: Rows, columns: dict[str, tuple[str, str]], heading: str, nr_rows: int) -> str:
    lines = [
        [name, *(spell(grouped.columns[column][k], how) for column, how in columns.values())]
        for k, name in enumerate(grouped.names[:nr_rows])
    ]
    text = table([heading, *columns], lines)
    hidden = len(grouped.names) - nr_rows
    return text if hidden <= 0 else f"{text}\n({hidden:,} more; --rows shows them)"


def spell(value: float | None, how: str) -> str:
    """Return a figure as people read it."""
    if value is None or math.isnan(value):
        return "-"
    if how == "time":
        return duration(float(value))
    if how == "percent":
        return f"{value:.1f}%"
    return f"{int(value):,}" if how == "count" else f"{value:.2f}"


def duration(nanoseconds: float | None) -> str:
    """Return a duration in the unit in which it has one to three digits before the point.

    >>> duration(1_500)
    '1.5us'
    """
    if nanoseconds is None or math.isnan(nanoseconds):
        return "-"
    for unit, factor in (("ns", 1.0), ("us", 1e3), ("ms", 1e6)):
        if abs(nanoseconds) < 999.5 * factor:
            return f"{nanoseconds / factor:.3g}{unit}"
    return f"{nanoseconds / 1e9:.4g}s"


def _show_counted(trace: Trace, by: Grouping, nr_rows: int, *, as_json: bool) -> None:
    """Show a trace that has no events but statistics that were counted in the kernel."""
    import numpy as np

    from schedtuna.trace.aggregates import groups, stored, summary
    from schedtuna.trace.analysis import Rows
    from schedtuna.trace.tasks import clean_name

    keys = {Grouping.COMM: ["comm"], Grouping.TASK: ["tid", "comm"], Grouping.CGROUP: ["cgroup_id"]}
    if by not in keys:
        raise UsageError(
            f"this trace was counted (--aggregate), not streamed: it can't be shown by {by.value}",
            hint=f"--by {', '.join(keys)}",
        )
    counted = stored.groups_of_rows(trace.samples(stored.KIND).iter_rows(named=True))
    folded = groups.fold(counted, keys[by])
    figures = [summary.columns(group) for group in folded]
    order = np.argsort([-row["cpu_time_ns"] for row in figures])
    names = []
    for group in folded:
        name = clean_name(bytes(group["comm"]))
        if by == Grouping.TASK:
            name = f"{name}:{group['tid']}"
        elif by == Grouping.CGROUP:
            name = clean_name(trace.cgroups.get(int(group["cgroup_id"]), str(group["cgroup_id"])))
        names.append(name)
    columns = {
        name: np.array([row[name] for row in figures])[order] for name in (figures[0] if figures else ())
    }
    grouped = Rows([names[k] for k in order], columns)
    if as_json:
        overall = summary.columns(groups.fold(counted, [])[0]) if len(counted) else {}
        plain = {name: None if math.isnan(value) else value for name, value in overall.items()}
        print_json({"nr_lost": trace.nr_lost, "by": by.value, "overall": plain, "groups": grouped.dicts()})
        return
    nr_tasks = int(counted["nr_tasks"].sum())
    print(f"counted in the kernel; {nr_tasks:,} tasks; percentiles are off by up to 13%")
    if trace.is_incomplete:
        print(f"{trace.nr_lost:,} first runs or exits of tasks were not counted: the figures are off.")
    print()
    print(_table(grouped, TASK_COLUMNS, by.value, nr_rows))


def _show_samples(trace: Trace, *, as_json: bool) -> None:
    """Show a trace that has only samples: the mean, minimum and maximum of each."""
    import polars as pl

    result: dict[str, dict[str, dict[str, float | None]]] = {}
    for kind, frame in trace.sample_frames.items():
        numbers = frame.select(pl.selectors.numeric().exclude(_NO_QUANTITIES))
        result[kind] = {
            name: {"mean": numbers[name].mean(), "min": numbers[name].min(), "max": numbers[name].max()}
            for name in numbers.columns
        }
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
        lines = [[name, *(spell(value, "number") for value in row.values())] for name, row in figures.items()]
        print(table(["", "mean", "min", "max"], lines), end="\n\n")


_NO_QUANTITIES = ("timestamp_ns", "pid", "ppid", "tid", "tgid", "uid", "cpu")

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
    import polars as pl

    from schedtuna.trace.tasks import clean_name

    if "run_delay_ns" in frame.columns:  # its name in older traces
        frame = frame.rename({"run_delay_ns": "schedstat_run_delay_ns"})
    known = [column for column, _ in _EXIT_COLUMNS.values() if column in frame.columns]
    sums = [pl.col(c).mean() if c == "life_ns" else pl.col(c).sum() for c in known]
    groups = frame.group_by("comm").agg(pl.len().alias("count"), *sums).sort("cpu_time_ns", descending=True)
    lines = [
        [
            clean_name(row["comm"]),
            spell(row["count"], "count"),
            *(spell(row.get(column), how) for column, how in _EXIT_COLUMNS.values()),
        ]
        for row in groups.iter_rows(named=True)
    ]
    print(f"exit: {frame.height:,} threads ended, each counted over its whole life")
    print(table(["", "exits", *_EXIT_COLUMNS], lines), end="\n\n")
