"""What does `record --picks` add to a context switch, by how many tasks there are to choose from?

Tasks of one session, pinned to one CPU, call sched_yield: each is a switch, and CPU time per yield is the
cost, at best. They run untouched, with the stream of events alone, and with the stream and picks, in
rotated order.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schedtuna.priority import raise_priority
from schedtuna.record.filters import TaskFilter
from schedtuna.record.picks import PickStream
from schedtuna.record.sources import StreamSource
from schedtuna.record.stream import EventStream
from schedtuna.trace.writer import TraceWriter

ARMS = ("nothing", "stream", "stream and picks")
LOAD = """
import os, sys
os.setsid()
os.sched_setaffinity(0, [int(sys.argv[2])])
for _ in range(int(sys.argv[1])):
    if not os.fork():
        yield_ = os.sched_yield
        for _ in range(int(sys.argv[3])): yield_()
        os._exit(0)
for _ in range(int(sys.argv[1])): os.wait()
"""


def load_s(nr_tasks: int, cpu: int, nr_yields: int) -> float:
    """Run the load; return its CPU time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", LOAD, *map(str, (nr_tasks, cpu, nr_yields))], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def recording(arm: str, tally: dict[str, int]) -> Iterator[None]:
    """Record as the arm says; count picks in the tally."""
    if arm == "nothing":
        yield
        return
    picks = PickStream(TaskFilter()) if arm == ARMS[2] else None
    source, stop = StreamSource(EventStream(), everybody=False, picks=picks), threading.Event()
    with tempfile.TemporaryDirectory() as folder, TraceWriter(Path(folder) / "t", {}) as writer:

        def read() -> None:
            raise_priority()
            while not stop.wait(source.pause_s):
                source.read(writer)

        source.begin(writer, 0)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            stop.set()
            reader.join()
            source.detach()
            source.read(writer)
            found = source.finish(writer).picks
            source.close()
            if found:
                for name, value in vars(found).items():
                    tally[name] = tally.get(name, 0) + value


def main() -> None:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--yields", type=int, default=100_000, help="per run, over all tasks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    sizes = (2, 8) if options.quick else (2, 4, 8, 16, 32)
    if options.quick:
        options.yields, options.rounds = 40_000, 3
    result: dict[str, object] = {}
    for nr_tasks in sizes:
        tally: dict[str, int] = {}
        seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for turn in range(options.rounds):
            for arm in ARMS[turn % 3 :] + ARMS[: turn % 3]:
                with recording(arm, tally):
                    seconds[arm].append(load_s(nr_tasks, options.cpu, options.yields // nr_tasks))
        ns = {arm: 1e9 * min(values) / options.yields for arm, values in seconds.items()}
        added = ns["stream and picks"] - ns["stream"]
        result[f"{nr_tasks} tasks"] = {"ns_per_yield": ns, "picks_add_ns": added, **tally}
    print(json.dumps({"benchmark": "record_picks", **result}))


if __name__ == "__main__":
    main()
