"""How is a simulation written to a file while it goes on?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from schedtuna.trace.attributes import AttributeArray
from schedtuna.trace.groups import GroupArray
from schedtuna.trace.schema import EventArray, TaskArray
from schedtuna.trace.writer import TraceWriter


class Behind:
    """A trace's writer in a thread of its own, one write behind the caller; errors come with the next call.

    Args:
        writer: Used by nobody else until the context is left.
    """

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self._pool = ThreadPoolExecutor(1, "schedtuna-trace")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._pool:
            if kind is None:
                self._wait()

    def write_events(self, events: EventArray) -> None:
        """As `TraceWriter` has it; likewise all others."""
        self._do(lambda: self._writer.write_events(events))

    def write_attributes(self, rows: AttributeArray) -> None:
        """As above; nothing is written of none."""
        if len(rows):
            self._do(lambda: self._writer.write_attributes(rows))

    def write_tasks(self, rows: TaskArray) -> None:
        """As above."""
        self._do(lambda: self._writer.write_tasks(rows))

    def write_cpu_sets(self, cpu_sets: Mapping[int, str]) -> None:
        """As above."""
        self._do(lambda: self._writer.write_cpu_sets(cpu_sets))

    def write_groups(self, rows: GroupArray) -> None:
        """As above."""
        self._do(lambda: self._writer.write_groups(rows))

    def write_cgroups(self, paths: Mapping[int, str]) -> None:
        """As above."""
        self._do(lambda: self._writer.write_cgroups(paths))

    def update_manifest(self, values: Mapping[str, Any]) -> None:
        """As above; it is written when the trace ends."""
        self._do(lambda: self._writer.manifest.update(values))

    def _do(self, write: Callable[[], None]) -> None:
        self._wait()
        self._last = self._pool.submit(write)

    def _wait(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            last.result()
