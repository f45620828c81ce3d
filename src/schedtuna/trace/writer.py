"""How is a trace written while things happen? By appending: it costs little, and a kill loses nothing."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from schedtuna import __version__, files
from schedtuna.errors import TraceError
from schedtuna.trace import parts
from schedtuna.trace.append import AppendFile
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE, AttributeArray, compact_attributes
from schedtuna.trace.folder import FORMAT, discard, prepare_folder, write_manifest
from schedtuna.trace.groups import GROUP_DTYPE, GroupArray, as_json
from schedtuna.trace.picks import PICK_DTYPE
from schedtuna.trace.schema import EVENT_DTYPE, STORED, TASK_DTYPE, EventArray, TaskArray

SEGMENT_EVENTS = 1 << 20  # 32 MB raw; rows of picks: 56 MB
TABLES = ("events", "picks")  # what is written in segments
BACKLOG_SEGMENTS = 16  # raw segments that may wait: 512 MB
RESERVE_BYTES = 8 << 20  # given back on close, so that a trace can be finished on a full disk


class TraceWriter:
    """Writes a trace into a folder, by appending.

    Args:
        folder: Where; must be new or empty, or hold a trace that `force` replaces.
        manifest: What a reader needs to know besides the tables: machine, command, clock offsets.
        clock: The clock of all timestamps: `monotonic`, `boottime`, `realtime`, `local` (perf's and
            ftrace's own, not comparable with another trace's), `simulated`.
        force: Replace an existing trace.
        compacts: Compress at the end what is not compressed yet; else it stays raw, but for what piled up.

    Raises:
        MissingExtraError: polars is not installed.
        UsageError: The folder holds something already.
        UntrustedError: Somebody else owns the folder or can write it.
        OSError: It can't be written.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        *,
        clock: str = "monotonic",
        force: bool = False,
        compacts: bool = True,
    ) -> None:
        parts.require_polars()
        self.folder, self._compacts = folder, compacts
        prepare_folder(folder, force=force)
        self._lock = os.fdopen(files.open_for_writing(folder / parts.LOCK), "wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.manifest: dict[str, Any] = {
            "format": FORMAT,
            STORED.key: STORED.newest,
            "schedtuna_version": __version__,
            "state": "recording",
            "clock": clock,
            **manifest,
        }
        self.nr_events = 0
        self.nr_lost = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._segment = dict.fromkeys(TABLES, 0)
        self._segment_rows = dict.fromkeys(TABLES, 0)
        self._files: dict[str, AppendFile] = {}
        self._compactor: subprocess.Popen[bytes] | None = None
        with ExitStack() as undo:
            undo.callback(discard, folder)
            undo.enter_context(self._lock)
            self._write_manifest()
            # Without a name it goes with this process, whatever ends it.
            reserve = os.fdopen(files.open_for_writing(folder / parts.RESERVE), "wb")
            self._reserve = undo.enter_context(reserve)
            files.remove(folder / parts.RESERVE)
            os.posix_fallocate(self._reserve.fileno(), 0, RESERVE_BYTES)
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write_events(self, events: EventArray) -> None:
        """Append events (`EVENT_DTYPE`); CPUs may be out of step with one another.

        Raises:
            OSError: The disk is full, for example; what was written before stays readable.
        """
        if events.dtype != EVENT_DTYPE:
            raise TraceError(f"events are {events.dtype}, expected schema.EVENT_DTYPE")
        self._append_rows("events", events)
        if len(events):
            time = events["timestamp_ns"]
            first, self._last_ns = int(time.min()), max(self._last_ns, int(time.max()))
            self._first_ns = first if self._first_ns is None else min(first, self._first_ns)
        self.nr_events += len(events)

    def write_picks(self, rows: npt.NDArray[np.void]) -> None:
        """Append whole picks, as BPF writes them: rows of `picks.PICK_DTYPE`.

        Raises:
            OSError: The disk is full, for example; what was written before stays readable.
        """
        if rows.dtype != PICK_DTYPE:
            raise TraceError(f"picks are {rows.dtype}, expected picks.PICK_DTYPE")
        self._append_rows("picks", rows)

    def write_tasks(self, rows: TaskArray) -> None:
        """Append what is known of tasks now (`TASK_DTYPE`); any number of rows per task."""
        if rows.dtype != TASK_DTYPE:
            raise TraceError(f"tasks are {rows.dtype}, expected schema.TASK_DTYPE")
        self._append(parts.TASKS_SPOOL, _bytes(rows))

    def write_attributes(self, rows: AttributeArray) -> None:
        """Append what tasks ask for now (`ATTRIBUTE_DTYPE`); the sets of CPUs are written before."""
        if rows.dtype != ATTRIBUTE_DTYPE:
            raise TraceError(f"attributes are {rows.dtype}, expected attributes.ATTRIBUTE_DTYPE")
        self._append(parts.ATTRIBUTES_SPOOL, _bytes(rows))

    def write_cpu_sets(self, cpu_sets: Mapping[int, str]) -> None:
        """Say which CPUs sets have, by number, such as ``0-3,8``."""
        self._append_json(
            parts.CPU_SETS, {"cpu_sets": {str(number): text for number, text in cpu_sets.items()}}
        )

    def write_cgroups(self, paths: Mapping[int, str]) -> None:
        """Name cgroups: id to path. A later name wins."""
        self._append_json(parts.CGROUPS, {"cgroups": {str(id_): path for id_, path in paths.items()}})

    def write_groups(self, rows: GroupArray) -> None:
        """Append how groups are now (`GROUP_DTYPE`)."""
        if rows.dtype != GROUP_DTYPE:
            raise TraceError(f"groups are {rows.dtype}, expected groups.GROUP_DTYPE")
        self._append_json(parts.GROUPS, as_json(rows))

    def write_samples(
        self, timestamp_ns: int, values: Mapping[str, float | str | None], *, kind: str = "system"
    ) -> None:
        """Append one row of samples of a kind, such as `system` or `process`."""
        row = {"timestamp_ns": int(timestamp_ns), "kind": parts.check_kind(kind), **values}
        self._append_json(parts.SAMPLES_JSONL, row)

    def write_sample_table(
        self, timestamp_ns: int, columns: Mapping[str, Sequence[float | str | None]], *, kind: str
    ) -> None:
        """Append many rows of samples of one moment: columns of one length, each of one type or None."""
        row = {"timestamp_ns": int(timestamp_ns), "kind": parts.check_kind(kind), "columns": columns}
        self._append_json(parts.SAMPLES_JSONL, row)

    def note_lost(
        self,
        nr_lost: int | None,
        *,
        cpu: int = -1,
        first_ns: int = 0,
        last_ns: int | None = None,
        is_unread: bool = False,
    ) -> None:
        """Note that events of a CPU (-1: of any) are missing somewhere in [first_ns, last_ns].

        `nr_lost` None: nobody knows how many. `last_ns` None: up to the end. `is_unread`: they are in the
        file that is imported, but can't be read.
        """
        self.nr_lost += nr_lost or 0
        row = {"nr_lost": nr_lost, "cpu": int(cpu), "first_ns": int(first_ns), "last_ns": last_ns}
        self._append_json(parts.LOSSES, row | ({"is_unread": True} if is_unread else {}))

    @property
    def helper_pids(self) -> list[int]:
        """The processes that work for this writer."""
        return [] if self._compactor is None else [self._compactor.pid]

    def update_manifest(self, values: Mapping[str, Any]) -> None:
        """Add to the manifest, or replace in it."""
        self.manifest.update(values)
        self._write_manifest()

    @property
    def nr_raw_segments(self) -> int:
        """How many segments of events are still to be compacted."""
        return len(self._raw_segments())

    @property
    def nr_bytes(self) -> int:
        """How many bytes the trace takes on disk now."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.name != parts.LOCK)

    def close(self) -> None:
        """Compact everything, and mark the trace complete.

        Raises:
            OSError: There is no room even for that; the trace stays readable, as one that was cut.
        """
        if self._lock.closed:
            return
        try:
            self._reserve.close()
            for file in self._files.values():
                file.close()
            if self._compactor is not None:
                self._compactor.wait()
            window = {"window_ns": [self._first_ns, self._last_ns]} if self.nr_events else {}
            self.manifest = {**window, **self.manifest, "state": "complete"}
            self.manifest |= {"nr_events": self.nr_events, "nr_lost": self.nr_lost}
            self._write_manifest()
            if not self._compacts:
                return
            for path in self._raw_segments():
                parts.compact_segment(path)
            parts.compact_tasks(self.folder)
            compact_attributes(self.folder)
            parts.compact_samples(self.folder)
        finally:
            self._lock.close()
            files.remove(self.folder / parts.LOCK, missing_ok=True)

    def _write_manifest(self) -> None:
        write_manifest(self.folder, self.manifest)

    def _append(self, name: str, data: Any) -> None:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = AppendFile(self.folder / name)
        file.append(data)

    def _append_json(self, name: str, row: Mapping[str, Any]) -> None:
        self._append(name, json.dumps(row, default=float).encode() + b"\n")

    def _append_rows(self, table: str, rows: npt.NDArray[np.void]) -> None:
        self._append(self._spool(table).name, _bytes(rows))
        self._segment_rows[table] += len(rows)
        if self._segment_rows[table] >= SEGMENT_EVENTS:
            self._next_segment(table)

    def _spool(self, table: str) -> Path:
        return parts.segment_path(self.folder, self._segment[table], "spool", table)

    def _raw_segments(self) -> list[Path]:
        found = [path for table in TABLES for path in parts.segments(self.folder, table)]
        return [path for path in found if path.suffix == ".spool"]

    def _next_segment(self, table: str) -> None:
        self._files.pop(self._spool(table).name).close()
        self._segment[table] += 1
        self._segment_rows[table] = 0
        busy = self._compactor is not None and self._compactor.poll() is None
        if self.nr_raw_segments >= BACKLOG_SEGMENTS and not busy:
            self._compactor = subprocess.Popen(
                [sys.executable, "-m", "schedtuna.trace.compact", self.folder, *map(self._spool, TABLES)],
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "POLARS_MAX_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )


def _bytes(records: EventArray | TaskArray) -> memoryview:
    return np.ascontiguousarray(records).data.cast("B")
