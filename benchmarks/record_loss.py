"""How many events a second can the recorder read and write to disk before it loses any?

A BPF program fills one CPU's ring with made-up events at a steady rate, far above what schedulers
do; the recorder reads them on its usual timer into a trace. Every event is accounted for: written,
or counted as lost.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

from schedtuna.kernel.mapped import CpuRings
from schedtuna.kernel.objects import BpfObject
from schedtuna.priority import raise_priority
from schedtuna.record.loading import nr_cpu_ids
from schedtuna.record.stream import ring_capacity
from schedtuna.trace.schema import EVENT_DTYPE
from schedtuna.trace.writer import TraceWriter
from skipping import skipping

TICK_S, LONGEST_TICK_S = 0.005, 0.02
READ_S = 0.01


def run(events_per_s: float, seconds: float, ring_bytes: int, cpus: tuple[int, int]) -> dict[str, float]:
    """Produce at a rate on one CPU, read on another, and account for every event."""
    nr_cpus = nr_cpu_ids()
    capacity = ring_capacity(ring_bytes, nr_cpus)
    with BpfObject("produce_events") as bpf, tempfile.TemporaryDirectory() as scratch:
        bpf.set_constants({"ring_capacity": capacity})
        bpf.set_max_entries("rings", nr_cpus)
        bpf.set_max_entries("events", nr_cpus * capacity)
        bpf.load()
        rings = CpuRings(bpf.map_array("rings"), bpf.map_array("events"), nr_cpus, capacity, EVENT_DTYPE)
        stop = threading.Event()
        produced = [0]

        def produce() -> None:
            os.sched_setaffinity(0, [cpus[1]])
            raise_priority()
            before = time.monotonic()
            while not stop.is_set():
                time.sleep(TICK_S)
                now = time.monotonic()
                # What a busy machine kept it from producing is not made up for in one burst.
                due = int(min(now - before, LONGEST_TICK_S) * events_per_s)
                before = now
                bpf.run("produce", due.to_bytes(4, "little"))
                produced[0] += due

        def read(writer: TraceWriter) -> int:
            count = 0
            for cpu in range(rings.nr_rings):
                for events in rings.waiting(cpu):
                    writer.write_events(events)
                    rings.release(cpu, len(events))
                    count += len(events)
            return count

        with TraceWriter(Path(scratch, "trace"), {}) as writer:
            producer = threading.Thread(target=produce)
            producer.start()
            nr_read, fullest, reader_s = 0, 0.0, time.thread_time()
            start = time.monotonic()
            raise_priority()
            while time.monotonic() < start + seconds:
                time.sleep(READ_S)
                fullest = max(fullest, rings.nr_waiting / capacity)
                nr_read += read(writer)
            stop.set()
            producer.join()
            nr_read += read(writer)
            reader_s = time.thread_time() - reader_s
            elapsed = time.monotonic() - start
    lost = int(rings.nr_lost.sum())
    return {
        "asked_events_per_s": events_per_s,
        "produced_events_per_s": round(produced[0] / elapsed),
        "lost": lost,
        "unaccounted": produced[0] - nr_read - lost,
        "fullest_percent": round(100 * fullest, 1),
        "reader_ns_per_event": round(reader_s / max(nr_read, 1) * 1e9, 1),
    }


def main() -> None:
    """Print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="*", default=[0.5e6, 1e6, 2e6, 4e6])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--ring-mb", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 1.0
    available = sorted(os.sched_getaffinity(0))
    cpus = (available[0], available[-1])
    os.sched_setaffinity(0, [cpus[0]])
    results = [run(rate, options.seconds, options.ring_mb << 20, cpus) for rate in options.rates]
    print(json.dumps({"ring_mb": options.ring_mb, "seconds": options.seconds, "rates": results}))


if __name__ == "__main__":
    with skipping("record_loss"):
        main()
