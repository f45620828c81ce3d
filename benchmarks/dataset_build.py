"""How fast are datasets built of traces, and in how much memory? One JSON object.

Events are simulated once and then repeated, copy after copy in time: memory that grows with them would show.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
import time
from collections.abc import Iterator

import numpy as np

from schedtuna.features.cycles import CycleBuilder
from schedtuna.features.task_history import HistoryBuilder
from schedtuna.learn.migration_rows import HORIZONS_NS, NR_PAIRS
from schedtuna.learn.task_rows import task_rows
from schedtuna.sim import Simulation, simulate
from schedtuna.sim.futures import migration_futures
from schedtuna.trace.attributes import AttributeArray
from schedtuna.trace.intervals import IntervalBuilder
from schedtuna.trace.schema import EventArray
from schedtuna.trace.trace import MemorySource, Trace

LIVE_TASKS = 10_000


class Repeated(MemorySource):
    """A trace's events, one copy after the other in time."""

    def __init__(self, trace: Trace, times: int) -> None:
        super().__init__(events=trace.events, task_rows=trace.task_rows, attribute_rows=trace.attribute_rows)
        self.length_ns = np.uint64(trace.window_ns[1])
        self.times = times

    def segments(self) -> Iterator[EventArray]:
        """Yield copy after copy."""
        for copy in range(self.times):
            events = self.events.copy()
            events["timestamp_ns"] += np.uint64(copy) * self.length_ns
            yield events

    def attributes(self) -> AttributeArray:
        """Return those of the first copy, which hold on."""
        return self.attribute_rows


def built(trace: Trace, times: int) -> dict[str, float]:
    """Build rows of a trace that is repeated."""
    manifest = trace.manifest | {"window_ns": [0, trace.window_ns[1] * times]}
    repeated = Trace(manifest, Repeated(trace, times))
    repeated._source.cpu_set_texts = trace.cpu_sets  # type: ignore[attr-defined]
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    rows = task_rows(repeated, most=100_000, seed=1)
    return {
        "events": rows.nr_events,
        "rows": rows.nr_seen,
        "events_per_s": round(rows.nr_events / (time.perf_counter() - begin_s)),
        "events_per_cpu_s": round(rows.nr_events / (time.process_time() - begin_cpu_s)),
        "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def features_ms() -> float:
    """Return how long features of one more burst of each of 10,000 tasks take, at best."""
    one = {"instance": LIVE_TASKS // 100, "loop": -1, "run": 10}
    tasks = {f"t{n}": {**one, "sleep": 200_000 + n} for n in range(100)}
    trace = simulate({"tasks": tasks, "global": {"duration": 1}}, cpus=64)
    builder = IntervalBuilder(0)
    states = [builder.feed(trace.events), builder.finish(trace.window_ns[1])]
    cycles = CycleBuilder().feed(states)
    last = np.ones(len(cycles), np.bool_)
    last[:-1] = cycles.task[1:] != cycles.task[:-1]
    best = float("inf")
    for _ in range(5):
        history = HistoryBuilder()
        history.feed(cycles.select(~last))
        newest = cycles.select(last)
        begin_s = time.process_time()
        history.feed(newest)
        best = min(best, time.process_time() - begin_s)
    return round(1000 * best, 2)


def migrations_per_cpu_s(most: int) -> float:
    """Return how many migrations are labelled per second of CPU time: 8 pairs of futures of 200 ms each."""
    simulation = Simulation("poisson:load=0.8", cpus=4, seed=1)
    found = migration_futures(simulation, until_ns=9_000_000_000, horizons_ns=HORIZONS_NS, nr_pairs=NR_PAIRS)
    begin_s = time.process_time()
    nr_found = sum(1 for _ in itertools.islice(found, most))
    return round(nr_found / (time.process_time() - begin_s), 1)


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--copies", type=int, default=20)
    options = parser.parse_args()
    trace = simulate("poisson:load=0.9", cpus=16, duration_s=2 if options.quick else 20, seed=1)
    few = built(trace, 1)
    many = built(trace, 2 if options.quick else options.copies)
    migrations = migrations_per_cpu_s(50 if options.quick else 500)
    figures = {"features_of_10k_tasks_ms": features_ms(), "migrations_per_cpu_s": migrations}
    json.dump({"few": few, "many": many} | figures, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
