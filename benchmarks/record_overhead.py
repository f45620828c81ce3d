"""What does recording cost the worst load there is: two tasks on one CPU that only wake each other?

`perf bench sched pipe`, pinned to one CPU, untraced, counted, streamed to disk, and under
`perf sched record`, in rotated order. The load is CPU bound, so throughput is the inverse of CPU
time, which other programs on the machine disturb least. The CPU time of the recorder, of reading
and writing too, is added to that of the load.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from schedtuna.priority import raise_priority
from schedtuna.record.aggregate import Aggregator
from schedtuna.record.stream import SHORTEST_PAUSE_S, EventStream, next_pause
from schedtuna.trace.writer import TraceWriter
from skipping import skipping

EXITS_PAUSE_S = 0.2


class Bench:
    """Runs the load, alone or recorded."""

    def __init__(self, loops: int, cpu: int, scratch: Path) -> None:
        self.scratch = scratch
        self.load = ["perf", "bench", "sched", "pipe", "-l", str(loops)]
        self.cpu = cpu
        self.lost = 0
        self.nr_events = 0

    def untraced(self) -> float:
        """The load alone."""
        return self._children(self._pinned(self.load))

    def aggregate(self) -> float:
        """Counted in the kernel; exits are read 10 times a second."""
        with Aggregator() as aggregator:

            def read(_pause_s: float) -> float:
                aggregator.drain()
                return EXITS_PAUSE_S

            seconds = self._with_reader(read)
            snapshot = aggregator.snapshot()
            self.lost += snapshot.nr_exits_lost
            return seconds

    def stream(self, *, waking: bool = False) -> float:
        """Every event, written to a trace."""
        folder = self.scratch / "trace"
        with EventStream(waking=waking) as stream:
            writer = TraceWriter(folder, {}, force=True)

            def read(pause_s: float) -> float:
                fill = stream.fill
                stream.drain(writer)
                stream.new_losses()
                return next_pause(pause_s, fill)

            seconds = self._with_reader(read)
            stream.detach()
            self.lost += sum(loss.nr_lost for loss in stream.new_losses())
            self.nr_events = stream.nr_events
        writer.close()
        shutil.rmtree(folder)
        return seconds

    def stream_waking(self) -> float:
        """Likewise, with sched_waking."""
        return self.stream(waking=True)

    def perf_sched(self) -> float:
        """`perf sched record`, system-wide as it always is."""
        output = self.scratch / "perf.data"
        command = ["perf", "sched", "record", "-o", str(output), *self._pinned(self.load)]
        seconds = self._children(command)
        output.unlink()
        return seconds

    def _pinned(self, command: list[str]) -> list[str]:
        return ["taskset", "-c", str(self.cpu), *command]

    def _children(self, command: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def _with_reader(self, read: Callable[[float], float]) -> float:
        """Run the load while a thread reads as the recorder does; `read` returns the next pause."""
        stop = threading.Event()
        reader_s = 0.0

        def loop() -> None:
            nonlocal reader_s
            raise_priority()
            before = time.thread_time()
            pause_s = SHORTEST_PAUSE_S
            while not stop.wait(pause_s):
                pause_s = read(pause_s)
            read(pause_s)
            reader_s = time.thread_time() - before

        thread = threading.Thread(target=loop)
        thread.start()
        seconds = self._children(self._pinned(self.load))
        stop.set()
        thread.join()
        return seconds + reader_s


def main() -> None:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loops", type=int, default=100_000, help="round trips per run")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--arms", nargs="*")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    if options.quick:
        options.loops, options.rounds = 50_000, 3
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options.loops, options.cpu, Path(scratch))
        arms: dict[str, Callable[[], float]] = {
            "untraced": bench.untraced,
            "aggregate": bench.aggregate,
            "stream": bench.stream,
            "stream with waking": bench.stream_waking,
            "perf sched record": bench.perf_sched,
        }
        names = ["untraced", *options.arms] if options.arms else list(arms)
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(options.rounds):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                seconds[name].append(arms[name]())
    base = statistics.median(seconds["untraced"])
    nr_switches = 2 * options.loops
    print(
        json.dumps(
            {
                "load": " ".join(bench.load),
                "rounds": options.rounds,
                "untraced_ns_per_switch": round(base / nr_switches * 1e9, 1),
                "kept_percent": {
                    name: round(100 * base / statistics.median(values), 1) for name, values in seconds.items()
                },
                "added_ns_per_switch": {
                    name: round((statistics.median(values) - base) / nr_switches * 1e9, 1)
                    for name, values in seconds.items()
                },
                "range_percent": {
                    name: [round(100 * base / max(values), 1), round(100 * base / min(values), 1)]
                    for name, values in seconds.items()
                },
                "lost": bench.lost,
                "events_per_run": bench.nr_events,
            }
        )
    )


if __name__ == "__main__":
    with skipping("record_overhead"):
        main()
