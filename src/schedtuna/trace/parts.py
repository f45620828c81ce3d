"""Which files are in a trace's folder, and how is each written and read so that a crash costs little?

While recording, events and tasks are appended raw (`.spool`, whole records; a torn last one is
ignored) and samples as JSON lines. `compact()` turns what is finished into Parquet: the new file is
renamed into place before the old one goes, so that a crash at any point leaves one of the two.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from schedtuna import files
from schedtuna.configfile import parse_json
from schedtuna.errors import MissingExtraError, TraceError
from schedtuna.trace.columns import COLUMN_TYPES, decode, encode
from schedtuna.trace.schema import (
    EVENT_DTYPE,
    FORMER_COLUMNS,
    TASK_DTYPE,
    EventArray,
    EventType,
    TaskArray,
)

if TYPE_CHECKING:
    import polars as pl

    from schedtuna.trace.picks import Picks

MANIFEST = "manifest.json"
LOCK = "writer.lock"
RESERVE = "reserve"
TASKS_SPOOL = "tasks.spool"
TASKS_PARQUET = "tasks.parquet"
ATTRIBUTES_SPOOL = "attributes.spool"
ATTRIBUTES_PARQUET = "attributes.parquet"
CPU_SETS = "cpu_sets.jsonl"
LOSSES = "losses.jsonl"
CGROUPS = "cgroups.jsonl"
GROUPS = "groups.jsonl"
SAMPLES_JSONL = "samples.jsonl"
_NAMES = {
    MANIFEST, LOCK, RESERVE, TASKS_SPOOL, TASKS_PARQUET, ATTRIBUTES_SPOOL, ATTRIBUTES_PARQUET, CPU_SETS,
    LOSSES, CGROUPS, GROUPS, SAMPLES_JSONL,
}  # fmt: skip
_NOT_OURS = "a file of another program is in the trace's folder, or the trace is of a newer version"
ZSTD_LEVEL = 3  # higher ones take up to 1.7 times as long, and save 2% of the bytes

_SEGMENT = re.compile(r"(events|picks)-(\d{6,})\.(spool|parquet)")
_CANDIDATES = re.compile(r"candidates-\d{6,}\.parquet")
_SAMPLES = re.compile(r"samples-([a-z][a-z0-9_]*)\.parquet")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


def require_polars() -> None:
    """Refuse to begin what would fail later, for want of polars: the functions below import it when called.

    Raises:
        MissingExtraError: It is not installed.
    """
    if importlib.util.find_spec("polars") is None:
        raise MissingExtraError("reading or writing a trace", "trace")


def segment_path(folder: Path, index: int, suffix: str, table: str = "events") -> Path:
    """Return where a table's segment of that index is."""
    return folder / f"{table}-{index:06d}.{suffix}"


def segments(folder: Path, table: str = "events") -> list[Path]:
    """Return a table's files in order; where both forms of one are there, the Parquet one.

    Args:
        folder: The trace's.
        table: `events`, or `picks`, whose candidates are in a file beside.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):  # .parquet sorts before .spool
        match = _SEGMENT.fullmatch(path.name)
        if match and match[1] == table:
            found.setdefault(int(match[2]), path)
    return [found[index] for index in sorted(found)]


def read_segment(path: Path) -> EventArray:
    """Return the events of one segment, in time order.

    Raises:
        TraceError: It is not a segment of a trace, or a damaged one.
    """
    if path.suffix == ".spool":
        events = read_records(path, EVENT_DTYPE)
        if np.any((events["type"] < 1) | (events["type"] > max(EventType))):
            raise TraceError(f"{path} is damaged: it has events of an unknown type")
    else:
        frame = read_parquet(path, list(COLUMN_TYPES))
        columns = {name: column(frame, name, type_, path) for name, type_ in COLUMN_TYPES.items()}
        try:
            events = decode(columns)
        except TraceError as error:
            raise TraceError(f"{path} is damaged: {error}") from error
    return in_time_order(events)


def read_picks(path: Path) -> Picks:
    """Return the picks of one segment.

    Raises:
        TraceError: It is not a segment of a trace, or a damaged one.
    """
    from schedtuna.trace import picks

    try:
        if path.suffix == ".spool":
            return picks.from_rows(read_records(path, picks.PICK_DTYPE))
        tables = []
        for file, names, dtype in (
            (path, picks.PICK_COLUMNS, picks.PICK_DTYPE),
            (_candidates_path(path), picks.CANDIDATE_COLUMNS, picks.CANDIDATE_DTYPE),
        ):
            frame = read_parquet(file, list(names))
            tables.append({name: column(frame, name, dtype[name].str[1:], file) for name in names})
        return picks.from_columns(*tables)
    except TraceError as error:
        if path.name in str(error) or _candidates_path(path).name in str(error):
            raise
        raise TraceError(f"{path} is damaged: {error}") from error


def own_files(folder: Path) -> list[Path]:
    """Return the files of a trace in its folder."""
    patterns = (_SEGMENT, _CANDIDATES, _SAMPLES)
    return [
        path
        for path in folder.iterdir()
        if path.name in _NAMES or any(pattern.fullmatch(path.name) for pattern in patterns)
    ]


def in_time_order(events: EventArray) -> EventArray:
    """Return events by time; those of one moment keep their order.

    Raises:
        TraceError: One is later than any clock tells.
    """
    time = events["timestamp_ns"]
    if not np.all(time[1:] >= time[:-1]):
        events = events[np.argsort(time, kind="stable")]
    if len(events) and (last_ns := int(events["timestamp_ns"][-1])) >= 1 << 63:
        raise TraceError(f"an event is damaged: its time is {last_ns} ns, beyond 2^63")
    return events


def read_records(path: Path, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Return the whole records of a file; the rest of a torn last one is left out."""
    data = path.read_bytes()
    return np.frombuffer(data, dtype, count=len(data) // dtype.itemsize)


def read_tasks(folder: Path) -> TaskArray:
    """Return the rows of the task table, in the order in which they were written."""
    import polars as pl

    parquet, spool = folder / TASKS_PARQUET, folder / TASKS_SPOOL
    if not parquet.exists():
        return read_records(spool, TASK_DTYPE) if spool.exists() else np.empty(0, TASK_DTYPE)
    names = [name for name in TASK_DTYPE.names or () if name != "reserved"]
    frame = read_parquet(parquet, None)
    absent = {FORMER_COLUMNS.get(name): name for name in names if name not in frame.columns}
    frame = frame.rename({former: absent[former] for former in frame.columns if former in absent})
    missing = set(names) - set(frame.columns)
    if missing:
        raise TraceError(
            f"{parquet} is not part of a trace: it lacks a column ({min(missing)})", hint=_NOT_OURS
        )
    rows = np.zeros(frame.height, TASK_DTYPE)
    for name in names:
        if name == "comm":
            if frame[name].dtype != pl.Binary or frame[name].null_count():
                raise TraceError(
                    f"{parquet}: column {name} is {frame[name].dtype}, expected bytes without nulls"
                )
            rows[name] = np.array(frame[name].to_list(), dtype="S16")
        else:
            rows[name] = column(frame, name, TASK_DTYPE[name].str[1:], parquet)
    return rows


def sample_kinds(folder: Path) -> dict[str, Path]:
    """Return the kinds of samples that have a Parquet file."""
    found = {path: _SAMPLES.fullmatch(path.name) for path in sorted(folder.iterdir())}
    return {match[1]: path for path, match in found.items() if match}


def check_kind(kind: str) -> str:
    """Return the name of a kind of samples if it can be one."""
    if not _KIND.fullmatch(kind):
        raise TraceError(f"{kind!r} can't name a kind of samples: expected lower-case letters, digits and _")
    return kind


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file; a torn last line is left out."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            value = parse_json(line)
        except ValueError as error:
            raise TraceError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(value, dict):
            raise TraceError(f"{path}, line {number}: expected an object")
        yield value


def read_samples(path: Path) -> pl.DataFrame:
    """Return a file of samples as a polars frame.

    Raises:
        TraceError: It can't be read, lacks the times, or has a column that is neither numbers nor text.
    """
    import polars as pl

    frame = read_parquet(path, None)
    if "timestamp_ns" not in frame.columns:
        raise TraceError(f"{path} is not part of a trace: it lacks a column (timestamp_ns)", hint=_NOT_OURS)
    column(frame, "timestamp_ns", "i8", path)
    for name, dtype in frame.schema.items():
        if not (dtype.is_integer() or dtype.is_float() or dtype in {pl.String, pl.Boolean, pl.Null}):
            raise TraceError(f"{path}: column {name} is {dtype}, expected numbers or text", hint=_NOT_OURS)
    return frame


def read_parquet(path: Path, names: list[str] | None) -> pl.DataFrame:
    """Return a polars frame with these columns (None: all).

    Raises:
        TraceError: The file can't be read, or lacks a column.
    """
    import polars as pl

    try:
        return pl.read_parquet(path, columns=names, glob=False)
    except pl.exceptions.ColumnNotFoundError as error:
        raise TraceError(
            f"{path} is not part of a trace: it lacks a column ({error})",
            hint=_NOT_OURS,
        ) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise TraceError(
            f"{path} can't be read as Parquet: {_reason(error)}", hint="the file is damaged or cut"
        ) from error


def column(frame: pl.DataFrame, name: str, type_: str, path: Path) -> npt.NDArray[Any]:
    """Return a column of a frame that was read from that path.

    Raises:
        TraceError: It is of another type, or has nulls.
    """
    values = frame[name]
    array: npt.NDArray[Any] | None = values.to_numpy() if values.null_count() == 0 else None
    if array is None or array.dtype != np.dtype(type_):
        raise TraceError(
            f"{path}: column {name} is {values.dtype}, expected {np.dtype(type_).name} without nulls"
        )
    return array


def write_frame(frame: pl.DataFrame, path: Path, level: int = ZSTD_LEVEL) -> None:
    """Write a polars frame as Parquet, whole or not at all."""
    import polars as pl

    with files.writing(path) as file:
        try:
            frame.write_parquet(
                file, compression="zstd", compression_level=level, statistics=False, row_group_size=1 << 22
            )
        except pl.exceptions.ComputeError as error:  # the disk's errors are in its text alone
            if told := _OS_ERROR.search(str(error)):
                raise OSError(int(told[1]), os.strerror(int(told[1])), str(path)) from error
            raise


def compact_segment(spool: Path) -> Path:
    """Turn a finished spool into Parquet, and return that."""
    import polars as pl

    parquet = spool.with_suffix(".parquet")
    if not parquet.exists():
        if spool.name.startswith("picks"):
            from schedtuna.trace.picks import to_columns

            queues, candidates = to_columns(read_picks(spool))
            write_frame(pl.DataFrame(candidates), _candidates_path(parquet))  # first: `parquet` counts
            write_frame(pl.DataFrame(queues), parquet)
        else:
            write_frame(pl.DataFrame(encode(read_records(spool, EVENT_DTYPE))), parquet)
    files.remove(spool)
    return parquet


def _candidates_path(picks: Path) -> Path:
    return picks.with_name(picks.name.replace("picks", "candidates", 1)).with_suffix(".parquet")


def compact_tasks(folder: Path) -> None:
    """Turn the raw rows of the task table into Parquet."""
    import polars as pl

    spool, parquet = folder / TASKS_SPOOL, folder / TASKS_PARQUET
    if not spool.exists():
        return
    if not parquet.exists():
        rows = read_records(spool, TASK_DTYPE)
        names = [name for name in TASK_DTYPE.names or () if name != "reserved"]
        columns = {name: np.ascontiguousarray(rows[name]) for name in names if name != "comm"}
        frame = pl.DataFrame(columns).with_columns(pl.Series("comm", rows["comm"].tolist(), dtype=pl.Binary))
        write_frame(frame, parquet)
    files.remove(spool)


def samples_frames(folder: Path) -> dict[str, pl.DataFrame]:
    """Return the samples that are still JSON lines, as one polars frame per kind."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read_json_lines(folder / SAMPLES_JSONL):
        rows.setdefault(check_kind(str(row.pop("kind", "system"))), []).append(row)
    return {kind: sample_frame(kind_rows, str(folder / SAMPLES_JSONL)) for kind, kind_rows in rows.items()}


def sample_frame(rows: list[dict[str, Any]], where: str) -> pl.DataFrame:
    """Return samples as a polars frame: `timestamp_ns`, then one column per name.

    Args:
        rows: Each is one sample, or has many of one moment under `columns`: by name, a list each.
        where: What they are from, for errors.
    """
    import polars as pl

    try:
        tables = [
            pl.DataFrame(columns).with_columns(timestamp_ns=pl.lit(row["timestamp_ns"]))
            for row in rows
            if isinstance(columns := row.get("columns"), dict)
        ]
        single = [row for row in rows if not isinstance(row.get("columns"), dict)]
        if single:
            tables.append(pl.from_dicts(single, infer_schema_length=None))
        frame = pl.concat(tables, how="diagonal_relaxed")
        return frame.select(pl.col("timestamp_ns").cast(pl.Int64), pl.exclude("timestamp_ns"))
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
    ) as error:
        raise TraceError(f"{where}: the samples are not a table: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The first line: what follows is about the table library's own calls."""
    return str(error).split("\n", 1)[0]


def compact_samples(folder: Path) -> None:
    """Turn the samples' JSON lines into one Parquet file per kind."""
    done = sample_kinds(folder)
    for kind, frame in samples_frames(folder).items():
        if kind not in done:
            write_frame(frame, folder / f"samples-{kind}.parquet")
    files.remove(folder / SAMPLES_JSONL, missing_ok=True)
