"""A trace's tables as CSV and Arrow files."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from schedtuna.errors import TraceError
from schedtuna.trace.gaps import Why
from schedtuna.trace.intervals import Intervals
from schedtuna.trace.reading import Reading, read_states
from schedtuna.trace.schema import EventType, PrevState
from schedtuna.trace.states import TaskState
from schedtuna.trace.trace import Trace

if TYPE_CHECKING:
    import polars as pl

_FORMULA = ("=", "+", "-", "@")  # a spreadsheet would compute a cell that begins so


def table(trace: Trace, name: str) -> pl.DataFrame:
    """Return a table as a polars frame: `events` and `intervals` with names, `unknown`, `tasks`, or samples.

    Raises:
        TraceError: There is none of that name, or the trace has no events.
    """
    if name in {"events", "intervals", "unknown"} and not trace.has_events:
        raise TraceError(
            "the trace has no scheduler events",
            hint=f"--table has other ones: {', '.join(['tasks', *trace.sample_frames])}",
        )
    if name == "events":
        return _events(trace)
    if name == "intervals":
        return _intervals(trace)
    if name == "unknown":
        return _unknown(trace)
    return trace.to_polars(name)


def write_csv(frame: pl.DataFrame, file: BinaryIO) -> None:
    """Write a frame as CSV; text that a spreadsheet would take for a formula gets a `'` before it."""
    import polars as pl

    guarded = [
        pl.when(pl.any_horizontal(pl.col(name).str.starts_with(first) for first in _FORMULA))
        .then("'" + pl.col(name))
        .otherwise(pl.col(name))
        .alias(name)
        for name, dtype in frame.schema.items()
        if dtype == pl.String
    ]
    frame.with_columns(guarded).write_csv(file)


def write_arrow(frame: pl.DataFrame, file: BinaryIO) -> None:
    """Write a frame as an Arrow IPC file (Feather)."""
    frame.write_ipc(file, compression="zstd")


def _events(trace: Trace) -> pl.DataFrame:
    import polars as pl

    frame = trace.to_polars("events")
    tasks = trace.tasks.unique("tid", keep="last").select("tid", "comm")
    return (
        frame.with_columns(
            _spelled("type", EventType),
            pl.when(pl.col("type") == EventType.SWITCH)
            .then(_spelled("prev_state", PrevState))
            .otherwise(None)
            .alias("prev_state"),
        )
        .join(tasks, on="tid", how="left", maintain_order="left")
        .join(
            tasks.rename({"tid": "other_tid", "comm": "other_comm"}),
            on="other_tid",
            how="left",
            maintain_order="left",
        )
    )


def _intervals(trace: Trace) -> pl.DataFrame:
    import polars as pl

    found, _ = read_states(trace, lambda reading: Intervals.concatenate(list(reading.pieces())))
    order = np.lexsort((found.task, found.start_ns))
    frame = pl.DataFrame({name: column[order] for name, column in vars(found).items()})
    tasks = trace.tasks.unique("tid", keep="last").select("tid", "comm")
    return frame.with_columns(_spelled("state", TaskState)).join(
        tasks, on="tid", how="left", maintain_order="left"
    )


def _unknown(trace: Trace) -> pl.DataFrame:
    """Return of which time nobody knows what a CPU did, and why."""
    import polars as pl

    highest, reading = read_states(trace, _highest_cpu)
    gaps = reading.gaps(trace.nr_cpus(highest + 1))
    order = np.lexsort((gaps.cpu, gaps.start_ns))
    columns = {name: getattr(gaps, name)[order] for name in ("cpu", "start_ns", "end_ns", "why")}
    return pl.DataFrame(columns).with_columns(_spelled("why", Why))


def _highest_cpu(reading: Reading) -> int:
    highest = [0]
    for _ in reading.pieces(lambda part: highest.append(int(part["cpu"].max(initial=0)))):
        pass
    return max(highest)


def _spelled(column: str, enum: type[IntEnum]) -> pl.Expr:
    import polars as pl

    return pl.col(column).replace_strict(
        [int(member) for member in enum], [member.name for member in enum], return_dtype=pl.String
    )
