"""How do figures of traces look to people: which columns tables have, and how a value is spelled?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from schedtuna.cli.table import number, table

if TYPE_CHECKING:
    from schedtuna.trace.analysis import Analysis, Rows
    from schedtuna.trace.counted import Counted

# Heading -> (column, how to spell it).
Columns = dict[str, tuple[str, str]]
TASK_COLUMNS: Columns = {
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
_UNKNOWN_COLUMN: Columns = {"unknown": ("unknown_ns", "time")}  # where some of the CPUs' time is unknown
_CPU_COLUMNS: Columns = {
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


def columns_of(source: Analysis | Counted, by: str = "comm") -> Columns:
    """Return the columns of a table: with unknown time where the CPUs have any worth telling."""
    from schedtuna.trace.doubts import WORTH_TELLING

    if by == "cpu":
        return _CPU_COLUMNS
    share = getattr(source, "unknown_share", 0.0)  # what was counted was counted all the time
    return TASK_COLUMNS | (_UNKNOWN_COLUMN if share >= WORTH_TELLING else {})


def cells(grouped: Rows, columns: Columns, nr_rows: int) -> list[list[str]]:
    """Return the first rows of figures, spelled, each after its name."""
    return [
        [name, *(spell(grouped.columns[column][k], how) for column, how in columns.values())]
        for k, name in enumerate(grouped.names[:nr_rows])
    ]


def figures_table(grouped: Rows, columns: Columns, heading: str, nr_rows: int) -> str:
    """Return a table of the first rows, and how many there are more."""
    text = table([heading, *columns], cells(grouped, columns, nr_rows))
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
    return f"{number(nanoseconds / 1e9)}s"
