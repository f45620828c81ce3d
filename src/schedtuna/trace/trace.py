"""One trace, whatever it came from: its tables, and the same tables for numpy, polars, pandas, Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from schedtuna.errors import IncompleteTraceError, MissingExtraError, TraceError, nearest
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE, AttributeArray, attribute_table
from schedtuna.trace.groups import GroupArray, empty_groups, group_table
from schedtuna.trace.parts import in_time_order, require_polars
from schedtuna.trace.picks import Picks, concatenate, to_columns
from schedtuna.trace.schema import TASK_DTYPE, EventArray, TaskArray, empty_events
from schedtuna.trace.tasks import clean_name, task_table

if TYPE_CHECKING:
    import polars as pl

    from schedtuna.trace.labels import LabelRule


@dataclass(frozen=True)
class Loss:
    """Events of one CPU (-1: of any) that are missing somewhere in [first_ns, last_ns]."""

    nr_lost: int | None  # None: whoever lost them does not say how many
    cpu: int
    first_ns: int
    last_ns: int | None  # None: up to the end
    is_unread: bool = False  # they are in the file that was imported, and can't be read


class TraceTables(Protocol):
    """Where a trace's tables come from."""

    def segments(self) -> Iterator[EventArray]:
        """Yield the events in parts, each in time order."""

    def picks(self) -> Iterator[Picks]:
        """Yield the picks in parts."""

    def tasks(self) -> TaskArray:
        """Return the rows of the task table."""

    def attributes(self) -> AttributeArray:
        """Return the rows of the table of attributes."""

    def cpu_sets(self) -> dict[int, str]:
        """Return the sets of CPUs that these rows name."""

    def groups(self) -> GroupArray:
        """Return the rows of the table of groups."""

    def cgroups(self) -> dict[int, str]:
        """Return the cgroups' paths."""

    def samples(self) -> dict[str, Any]:
        """Return the samples: kind to polars frame."""

    def losses(self) -> list[dict[str, Any]]:
        """Return the losses, as they are stored."""


@dataclass
class MemorySource:
    """A trace's tables, in memory."""

    events: EventArray = field(default_factory=empty_events)
    task_rows: TaskArray = field(default_factory=lambda: np.empty(0, TASK_DTYPE))
    cgroup_paths: dict[int, str] = field(default_factory=dict)
    sample_frames: dict[str, Any] = field(default_factory=dict)
    loss_rows: list[dict[str, Any]] = field(default_factory=list)
    attribute_rows: AttributeArray = field(default_factory=lambda: np.empty(0, ATTRIBUTE_DTYPE))
    cpu_set_texts: dict[int, str] = field(default_factory=dict)
    group_rows: GroupArray = field(default_factory=empty_groups)

    def segments(self) -> Iterator[EventArray]:
        """Yield all events at once."""
        yield in_time_order(self.events)

    def picks(self) -> Iterator[Picks]:
        """There are none."""
        return iter(())

    def tasks(self) -> TaskArray:
        """Return the rows of the task table."""
        return self.task_rows

    def attributes(self) -> AttributeArray:
        """Return the rows of the table of attributes."""
        return self.attribute_rows

    def cpu_sets(self) -> dict[int, str]:
        """Return the sets of CPUs that these rows name."""
        return self.cpu_set_texts

    def groups(self) -> GroupArray:
        """Return the rows of the table of groups."""
        return self.group_rows

    def cgroups(self) -> dict[int, str]:
        """Return the cgroups' paths."""
        return self.cgroup_paths

    def samples(self) -> dict[str, Any]:
        """Return the samples."""
        return self.sample_frames

    def losses(self) -> list[dict[str, Any]]:
        """Return the losses."""
        return self.loss_rows


class Trace:
    """What happened: events, tasks, samples, losses, and the manifest. Tables are read when asked for.

    Attributes:
        manifest: What is known besides: clock, machine, command. Made by another program for an
            imported trace: to be trusted as little.
        state: `complete`, `recording` (by a living writer), or `cut` (the writer died: what came
            before is all there).

    Raises:
        MissingExtraError: polars is not installed.
    """

    def __init__(self, manifest: Mapping[str, Any], source: TraceTables, *, state: str = "complete") -> None:
        require_polars()
        self.manifest = dict(manifest)
        self.state = state
        self._source = source

    def segments(self) -> Iterator[EventArray]:
        """Yield the events in parts, in time order as far as they were written in it: bounded memory.

        Raises:
            TraceError: A part is damaged.
        """
        return self._source.segments()

    @cached_property
    def events(self) -> EventArray:
        """All events in time order, as a structured array (`EVENT_DTYPE`).

        Raises:
            TraceError: A part is damaged.
        """
        pieces = list(self.segments())
        return in_time_order(np.concatenate(pieces)) if pieces else empty_events()

    def picks(self) -> Iterator[Picks]:
        """Yield what the fair class chose from in parts, those of one CPU in time order: bounded memory.

        Raises:
            TraceError: A part is damaged.
        """
        return self._source.picks()

    @property
    def has_events(self) -> bool:
        """Whether there are any events."""
        return any(len(part) for part in self.segments())

    @cached_property
    def task_rows(self) -> TaskArray:
        """What was known of tasks, and when (`TASK_DTYPE`)."""
        return self._source.tasks()

    @cached_property
    def tasks(self) -> pl.DataFrame:
        """One row per task, as a polars frame; see `tasks.task_table()`."""
        return task_table(self.task_rows, self.cgroups, self.manifest.get("label"))

    @cached_property
    def attributes(self) -> pl.DataFrame:
        """What tasks asked of the scheduler, and when, as a polars frame; see `attribute_table()`.

        Raises:
            TraceError: The trace does not tell (`why_no_attributes`), or they are damaged.
        """
        if self.why_no_attributes is not None:
            raise TraceError(
                f"what tasks asked of the scheduler is unknown: {self.why_no_attributes}",
                hint="`schedtuna record` tells them, and so do simulated traces",
            )
        return attribute_table(self.attribute_rows, self.cpu_sets)

    @cached_property
    def attribute_rows(self) -> AttributeArray:
        """The rows of `attributes` as they were written (`ATTRIBUTE_DTYPE`)."""
        return self._source.attributes()

    @cached_property
    def cpu_sets(self) -> dict[int, str]:
        """The sets of CPUs that these rows name, by number."""
        return self._source.cpu_sets()

    @property
    def why_no_attributes(self) -> str | None:
        """Why `attributes` are unknown; None: they are known."""
        told = self.manifest.get("attributes")
        if isinstance(told, dict):
            return clean_name(str(told["unknown"])[:400]) if "unknown" in told else None
        if imported_format(self.manifest) is not None:
            return "it was imported, and what other tools record does not tell them"
        return "scheduling events were not recorded"

    @property
    def attribute_doubts(self) -> list[str]:
        """What is to be doubted in `attributes`, such as changes that were not seen; fit to be shown."""
        told = self.manifest.get("attributes")
        told = told if isinstance(told, dict) else {}
        why, nr_lost = told.get("not_followed"), told.get("nr_lost")
        doubts = []
        if why:
            doubts.append(f"what others changed of a task was not seen when it came, but found later: {why}")
        if nr_lost:
            doubts.append(f"{nr_lost} changes of attributes were lost while this was recorded")
        return [clean_name(doubt[:400]) for doubt in doubts]

    @cached_property
    def groups(self) -> pl.DataFrame:
        """The groups that tasks share CPU time in, and changes, as a polars frame; see `group_table()`.

        Raises:
            TraceError: The trace does not tell (`why_no_groups`), or they are damaged.
        """
        if self.why_no_groups is not None:
            raise TraceError(
                f"in which groups tasks were is unknown: {self.why_no_groups}",
                hint="`schedtuna record` tells it, and so do simulated traces",
            )
        return group_table(self.group_rows, self.cgroups)

    @cached_property
    def group_rows(self) -> GroupArray:
        """The rows of `groups` as they were written (`GROUP_DTYPE`)."""
        return self._source.groups()

    @property
    def why_no_groups(self) -> str | None:
        """Why `groups` are unknown; None: they are known."""
        told = self.manifest.get("groups")
        if isinstance(told, dict):
            return clean_name(str(told["unknown"])[:400]) if "unknown" in told else None
        if imported_format(self.manifest) is not None:
            return "it was imported, and what other tools record does not tell them"
        return "scheduling events were not recorded"

    def label(self, rules: list[LabelRule]) -> None:
        """Label tasks by rules (`labels.read_labels()`)."""
        from schedtuna.trace.labels import label_tasks

        start, end = self.window_ns
        self.tasks = label_tasks(self.tasks, rules, start_ns=start, end_ns=end)

    @cached_property
    def cgroups(self) -> dict[int, str]:
        """The cgroups' paths, by id; hostile."""
        return self._source.cgroups()

    @cached_property
    def sample_frames(self) -> dict[str, pl.DataFrame]:
        """All samples: kind to polars frame."""
        return self._source.samples()

    def samples(self, kind: str = "system") -> pl.DataFrame:
        """Return the samples of a kind, as a polars frame with `timestamp_ns` and one column per name.

        Raises:
            TraceError: There are none of that kind.
        """
        if kind not in self.sample_frames:
            raise TraceError(
                f"the trace has no samples of kind {kind!r}: {nearest(kind, self.sample_frames)}"
            )
        return self.sample_frames[kind]

    @cached_property
    def losses(self) -> list[Loss]:
        """Where events are missing, and how many."""
        losses = [_loss(row) for row in self._source.losses()]
        told = self.manifest.get("nr_unread")
        if isinstance(told, int) and told > 0 and not any(loss.is_unread for loss in losses):
            losses.append(Loss(told, -1, 0, None, is_unread=True))  # older versions did not tell where
        return losses

    @property
    def nr_lost(self) -> int:
        """How many events are missing, as far as their number is known: `is_incomplete`."""
        return sum(loss.nr_lost or 0 for loss in self.losses)

    @property
    def is_incomplete(self) -> bool:
        """Whether events were lost, or can't be read."""
        return any(loss.nr_lost != 0 for loss in self.losses)

    def nr_cpus(self, seen: int) -> int:
        """Return how many CPUs the machine has: as the manifest says, but at least as many as were seen."""
        declared = self.manifest.get("nr_cpus")
        return max(declared, seen) if isinstance(declared, int) and 0 < declared < 1 << 16 else seen

    @property
    def clock(self) -> str:
        """The clock of all timestamps."""
        return str(self.manifest.get("clock", "unknown"))

    @property
    def sample_notes(self) -> list[str]:
        """What whoever uses the samples must know, such as that their times are made up; fit to be shown."""
        notes = self.manifest.get("sample_notes", [])
        return [clean_name(str(note)[:400]) for note in notes] if isinstance(notes, list) else []

    @property
    def sample_times(self) -> str:
        """Where the samples' times are from: `column` (measured), `interval` (counted), `made up`."""
        return str(self.manifest.get("sample_times", "column"))

    @cached_property
    def window_ns(self) -> tuple[int, int]:
        """When recording began and ended: from the manifest, else the first and the last event."""
        declared = self.manifest.get("window_ns")
        if isinstance(declared, list) and len(declared) == 2 and all(type(t) is int for t in declared):
            return declared[0], declared[1]
        ends = [(part["timestamp_ns"][0], part["timestamp_ns"][-1]) for part in self.segments() if len(part)]
        return (int(min(first for first, _ in ends)), int(max(last for _, last in ends))) if ends else (0, 0)

    def require_complete(self) -> None:
        """Refuse a trace that lost events.

        Raises:
            IncompleteTraceError: Events were lost, or can't be read.
        """
        refuse_losses(self.losses, self.manifest)

    def to_polars(self, table: str = "events") -> pl.DataFrame:
        """Return a table as a frame: events, tasks, attributes, groups, picks, candidates, or samples."""
        import polars as pl

        if table in {"tasks", "attributes", "groups"}:
            frame: pl.DataFrame = getattr(self, table)
            return frame
        if table in {"picks", "candidates"}:
            columns = to_columns(concatenate(list(self.picks())))
            return pl.DataFrame(columns[table == "candidates"])
        if table != "events":
            return self.samples(table)
        events = self.events
        return pl.DataFrame({name: np.ascontiguousarray(events[name]) for name in events.dtype.names or ()})

    def to_pandas(self, table: str = "events") -> Any:
        """Return a table as a pandas frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("a pandas frame", "arrow") from error
        frame = self.to_polars(table)
        return pd.DataFrame({name: frame[name].to_numpy() for name in frame.columns})

    def to_arrow(self, table: str = "events") -> Any:
        """Return a table as a pyarrow table.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError as error:
            raise MissingExtraError("an Arrow table", "arrow") from error
        return pa.table(self.to_polars(table))


def refuse_losses(losses: Iterable[Loss], manifest: Mapping[str, Any]) -> None:
    """Refuse what lost events.

    Raises:
        IncompleteTraceError: There are losses.
    """
    missing = [loss for loss in losses if loss.nr_lost != 0]
    if missing:
        raise IncompleteTraceError(
            f"{tell_losses(missing)}: metrics would be wrong",
            hint=f"{_against_losses(missing, manifest)}, choose a window without them (--from, --to),"
            " or accept the error with --allow-lost",
        )


def tell_losses(losses: Sequence[Loss]) -> str:
    """Return how many events are missing, and why, as part of a sentence."""
    told = []
    for is_unread in (False, True):
        counts = [loss.nr_lost for loss in losses if loss.is_unread == is_unread and loss.nr_lost != 0]
        known = sum(count or 0 for count in counts)
        if None in counts:
            number = f"at least {known + 1:,} (how many is not said)" if known else "an unknown number of"
        else:
            number = f"{known:,}"
        events, were = ("event", "was") if number == "1" else ("events", "were")
        if is_unread and counts:
            told.append(f"{number} {events} of the file can't be read")
        elif counts:
            told.append(f"{number} {events} {were} lost while this was recorded")
    return ", ".join(told) or "no events were lost"


_RINGS = {
    "perf-data": "record again with a larger buffer (perf record -m 16M)",
    "perf-script": "record again with a larger buffer (perf record -m 16M)",
    "trace-dat": "record again with a larger buffer (trace-cmd record -b 65536)",
    "ftrace": "record again with a larger buffer (tracefs's buffer_size_kb, or trace-cmd record -b 65536)",
    "ftrace-ns": "record again with a larger buffer (tracefs's buffer_size_kb, or trace-cmd record -b 65536)",
    "jsonl": "record again with larger buffers",
}


def imported_format(manifest: Mapping[str, Any]) -> str | None:
    """Return the format of the file that a trace was imported from; None: it was not."""
    found = manifest.get("imported_from")
    return str(found.get("format")) if isinstance(found, dict) else None


def _against_losses(losses: Sequence[Loss], manifest: Mapping[str, Any]) -> str:
    """Return what to do, for a hint."""
    if all(loss.is_unread for loss in losses):
        example = str(manifest.get("unread_example", ""))[:160]
        return (
            f"see what can't be read ({example})" if example else "see docs/trace-format.md for what is read"
        )
    ours = "record again with a larger ring (--ring-mb)"
    return _RINGS.get(imported_format(manifest) or "", ours)


def _loss(row: Mapping[str, Any]) -> Loss:
    values = [row.get(name) for name in ("nr_lost", "cpu", "first_ns")]
    last, is_unread = row.get("last_ns"), row.get("is_unread", False)
    is_fine = all(isinstance(value, int) for value in values[1:]) and isinstance(is_unread, bool)
    if not is_fine or not all(isinstance(value, int | None) for value in (values[0], last)):
        raise TraceError(f"a loss can't be read: {str(row)[:200]}")
    nr_lost, cpu, first = values
    if nr_lost is not None and nr_lost < 0:
        raise TraceError(f"a loss of {nr_lost} events")
    return Loss(nr_lost, int(cpu or 0), int(first or 0), last, is_unread)
