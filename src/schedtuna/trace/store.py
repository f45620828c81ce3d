"""How is a trace read? Finished ones, those that are being written, and those that were cut."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schedtuna import files
from schedtuna.errors import TraceError, UsageError
from schedtuna.trace import parts
from schedtuna.trace.attributes import AttributeArray, read_attributes, read_cpu_sets
from schedtuna.trace.folder import is_being_written, read_manifest, write_manifest
from schedtuna.trace.groups import GroupArray, read_groups
from schedtuna.trace.picks import Picks
from schedtuna.trace.schema import FORMER_ATTRIBUTES, EventArray, TaskArray
from schedtuna.trace.trace import Trace


def open_trace(folder: Path | str) -> Trace:
    """Open a trace: a finished one, one that is being written, or one that was cut.

    Raises:
        TraceError: There is no trace, or one that this version can't read.
        MissingExtraError: polars is not installed.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    ended = manifest.get("state") == "complete"
    is_cut = "ended_by" in manifest or (not ended and not is_being_written(folder))
    state = "cut" if is_cut else "complete" if ended else "recording"
    return Trace(manifest, _FolderSource(folder, FORMER_ATTRIBUTES in manifest), state=state)


def add_samples(folder: Path, other: Trace, kind: str) -> int:
    """Add another trace's samples to a finished trace, as samples of one kind; return how many.

    Raises:
        TraceError: The clocks can't be aligned, or the other has not just samples.
        UsageError: The trace has samples of that kind, or is not finished.
        UntrustedError: Somebody else owns the folder or can write it.
    """
    import polars as pl

    files.require_own(folder)
    trace = open_trace(folder)
    parts.check_kind(kind)
    if trace.state == "recording":
        raise UsageError(f"{folder} is being recorded right now")
    if kind in trace.sample_frames:
        raise UsageError(f"{folder} already has samples of kind {kind!r}")
    if other.has_events or len(other.sample_frames) != 1:
        raise TraceError(
            "only samples can be added to a trace", hint="import events into a trace of their own"
        )
    shift = _clock_difference(trace, other)
    (frame,) = other.sample_frames.values()
    if other.sample_notes:  # first: samples without their notes would claim more than they can
        notes = [*trace.sample_notes, *(f"{kind}: {note}" for note in other.sample_notes)]
        write_manifest(folder, {**trace.manifest, "sample_notes": notes})
    parts.write_frame(frame.with_columns(pl.col("timestamp_ns") - shift), folder / f"samples-{kind}.parquet")
    return int(frame.height)


def _clock_difference(trace: Trace, other: Trace) -> int:
    """Return what to take off the other's timestamps so that they are on the trace's clock."""
    if other.clock == trace.clock != "none":
        return 0
    offsets = trace.manifest.get("clock_offsets")
    if trace.clock == "monotonic" and isinstance(offsets, dict):
        offset = offsets.get(f"{other.clock}_ns")
        if isinstance(offset, int):
            return offset
    raise TraceError(
        f"the clocks can't be aligned: the trace is on {trace.clock!r}, the samples on {other.clock!r}",
        hint="record with schedtuna, which notes the offsets of its clocks, and sample with times "
        "(vmstat -t, pidstat -h, dstat -T)",
    )


class _FolderSource:
    """Reads a trace's tables from its folder."""

    def __init__(self, folder: Path, has_former_attributes: bool) -> None:
        self.folder = folder
        self._has_former_attributes = has_former_attributes

    def segments(self) -> Iterator[EventArray]:
        for path in parts.segments(self.folder):
            yield _retry_compacted(path)

    def picks(self) -> Iterator[Picks]:
        for path in parts.segments(self.folder, "picks"):
            yield parts.read_picks(path)

    def tasks(self) -> TaskArray:
        return parts.read_tasks(self.folder)

    def attributes(self) -> AttributeArray:
        return read_attributes(self.folder, are_former=self._has_former_attributes)

    def cpu_sets(self) -> dict[int, str]:
        return read_cpu_sets(self.folder)

    def groups(self) -> GroupArray:
        return read_groups(self.folder)

    def cgroups(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for row in parts.read_json_lines(self.folder / parts.CGROUPS):
            paths = row.get("cgroups")
            if not isinstance(paths, dict) or not all(key.isascii() and key.isdecimal() for key in paths):
                raise TraceError(f"{self.folder / parts.CGROUPS}: expected an object of ids and paths")
            found.update((int(key), str(path)) for key, path in paths.items())
        return found

    def samples(self) -> dict[str, Any]:
        frames = {kind: parts.read_samples(path) for kind, path in parts.sample_kinds(self.folder).items()}
        return {**parts.samples_frames(self.folder), **frames}

    def losses(self) -> list[dict[str, Any]]:
        return list(parts.read_json_lines(self.folder / parts.LOSSES))


def _retry_compacted(path: Path) -> EventArray:
    """Read a segment that may be compacted, and so renamed, at this very moment."""
    for _ in range(100):
        try:
            return parts.read_segment(path)
        except FileNotFoundError:
            path = path.with_suffix(".parquet")
            time.sleep(0.01)
    raise TraceError(f"{path} disappeared while it was read")
