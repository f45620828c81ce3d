"""Where a reader puts what it finds: into a trace's folder, or into memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from schedtuna.trace.attributes import ATTRIBUTE_DTYPE, AttributeArray
from schedtuna.trace.groups import GroupArray, empty_groups
from schedtuna.trace.parts import require_polars, sample_frame
from schedtuna.trace.schema import TASK_DTYPE, EventArray, TaskArray, empty_events
from schedtuna.trace.trace import MemorySource, Trace


class Sink(Protocol):
    """What `TraceWriter` and `Collector` have in common."""

    def write_events(self, events: EventArray) -> None:
        """Append events."""

    def write_tasks(self, rows: TaskArray) -> None:
        """Append what is known of tasks."""

    def write_attributes(self, rows: AttributeArray) -> None:
        """Append what tasks ask of the scheduler."""

    def write_cpu_sets(self, cpu_sets: Mapping[int, str]) -> None:
        """Say which CPUs the sets have that attributes name."""

    def write_groups(self, rows: GroupArray) -> None:
        """Append how groups are now."""

    def write_cgroups(self, paths: Mapping[int, str]) -> None:
        """Name cgroups."""

    def write_samples(
        self, timestamp_ns: int, values: Mapping[str, float | str | None], *, kind: str = "system"
    ) -> None:
        """Append one row of samples."""

    def note_lost(
        self,
        nr_lost: int | None,
        *,
        cpu: int = -1,
        first_ns: int = 0,
        last_ns: int | None = None,
        is_unread: bool = False,
    ) -> None:
        """Note that events are missing."""

    def update_manifest(self, values: Mapping[str, Any]) -> None:
        """Add to the manifest."""


class Collector:
    """A sink that keeps everything in memory; `trace()` returns it.

    Raises:
        MissingExtraError: polars is not installed.
    """

    def __init__(self, manifest: Mapping[str, Any] | None = None) -> None:
        require_polars()
        self.manifest: dict[str, Any] = {"clock": "unknown", **(manifest or {})}
        self._events: list[EventArray] = []
        self._tasks: list[TaskArray] = []
        self._attributes: list[AttributeArray] = []
        self._cpu_sets: dict[int, str] = {}
        self._cgroups: dict[int, str] = {}
        self._groups: list[GroupArray] = []
        self._samples: dict[str, list[dict[str, Any]]] = {}
        self._losses: list[dict[str, Any]] = []

    def write_events(self, events: EventArray) -> None:
        """Append events."""
        self._events.append(events)

    def write_tasks(self, rows: TaskArray) -> None:
        """Append what is known of tasks."""
        self._tasks.append(rows)

    def write_attributes(self, rows: AttributeArray) -> None:
        """Append what tasks ask of the scheduler."""
        self._attributes.append(rows)

    def write_cpu_sets(self, cpu_sets: Mapping[int, str]) -> None:
        """Say which CPUs the sets have that attributes name."""
        self._cpu_sets.update(cpu_sets)

    def write_groups(self, rows: GroupArray) -> None:
        """Append how groups are now."""
        self._groups.append(rows)

    def write_cgroups(self, paths: Mapping[int, str]) -> None:
        """Name cgroups."""
        self._cgroups.update(paths)

    def write_samples(
        self, timestamp_ns: int, values: Mapping[str, float | str | None], *, kind: str = "system"
    ) -> None:
        """Append one row of samples."""
        self._samples.setdefault(kind, []).append({"timestamp_ns": timestamp_ns, **values})

    def note_lost(
        self,
        nr_lost: int | None,
        *,
        cpu: int = -1,
        first_ns: int = 0,
        last_ns: int | None = None,
        is_unread: bool = False,
    ) -> None:
        """Note that events are missing."""
        row = {"nr_lost": nr_lost, "cpu": cpu, "first_ns": first_ns, "last_ns": last_ns}
        self._losses.append({**row, "is_unread": is_unread})

    def update_manifest(self, values: Mapping[str, Any]) -> None:
        """Add to the manifest."""
        self.manifest.update(values)

    def trace(self) -> Trace:
        """Return what was collected."""
        source = MemorySource(
            np.concatenate([empty_events(), *self._events]),
            np.concatenate([np.empty(0, TASK_DTYPE), *self._tasks]),
            self._cgroups,
            {kind: sample_frame(rows, kind) for kind, rows in self._samples.items()},
            self._losses,
            np.concatenate([np.empty(0, ATTRIBUTE_DTYPE), *self._attributes]),
            self._cpu_sets,
            np.concatenate([empty_groups(), *self._groups]),
        )
        return Trace(self.manifest, source)
