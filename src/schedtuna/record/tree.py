"""The scheduler's view of one process and all that it starts: `sched.*` metrics of a workload."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from schedtuna.machine.tasks import descendants
from schedtuna.record.aggregate import Aggregator
from schedtuna.record.filters import TaskFilter
from schedtuna.trace.aggregates.summary import sched_metrics

_DRAIN_INTERVAL_S = 0.1


class TreeRecorder:
    """Counts for a process tree until it is stopped; made by `record_tree()`."""

    def __init__(self, aggregator: Aggregator) -> None:
        self._aggregator = aggregator
        self._start_ns = time.monotonic_ns()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._drain, name="schedtuna-record", daemon=True)
        self._thread.start()
        self._metrics: dict[str, float] | None = None
        self.nr_lost = 0

    def metrics(self) -> dict[str, float]:
        """Return the `sched.*` metrics so far, or of the whole time once it is over.

        Metrics without a value, such as latencies of a tree that never waited, are left out.
        """
        if self._metrics is not None:
            return self._metrics
        window_ns = time.monotonic_ns() - self._start_ns
        snapshot = self._aggregator.snapshot()
        self.nr_lost = snapshot.nr_exits_lost + snapshot.nr_unrecorded
        return sched_metrics(snapshot.tasks, len(os.sched_getaffinity(0)), window_ns)

    def _drain(self) -> None:
        while not self._stop.wait(_DRAIN_INTERVAL_S):
            self._aggregator.drain()

    def stop(self) -> None:
        """Stop counting; `metrics()` is then of the whole time."""
        self._stop.set()
        self._thread.join()
        self._aggregator.detach()
        self._metrics = self.metrics()


@contextmanager
def record_tree(pid: int) -> Iterator[TreeRecorder]:
    """Count what the scheduler does with a process and everything that descends from it.

    Start it before the process starts others: of what it has started already, only the living
    descendants are followed.

    Raises:
        UnavailableError: This kernel, machine or user can't record.
    """
    roots = tuple(descendants(pid))
    with record_tasks(TaskFilter(tree=roots), lambda: set(descendants(pid)) - set(roots)) as recorder:
        yield recorder


@contextmanager
def record_tasks(wanted: TaskFilter, late: Callable[[], Iterable[int]] = tuple) -> Iterator[TreeRecorder]:
    """Count what the scheduler does with the tasks of a filter.

    Args:
        wanted: Which tasks.
        late: More processes to follow with their descendants, asked once counting has begun.

    Raises:
        UnavailableError: This kernel, machine or user can't record.
    """
    with Aggregator(wanted) as aggregator:
        for pid in late():
            aggregator.follow(pid)
        recorder = TreeRecorder(aggregator)
        try:
            yield recorder
        finally:
            recorder.stop()
