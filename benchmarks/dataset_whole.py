"""Does a dataset of a hundred million events fit into 2 GB, and how long does it take? One JSON object.

One trace on disk, of simulated events that are repeated, copy after copy in time, and `schedtuna dataset
build` on it as a user types it, in a process of its own whose greatest memory the kernel tells. The folder
keeps what is done: called again, it goes on there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from schedtuna.errors import TraceError
from schedtuna.sim import simulate
from schedtuna.trace.folder import remove_trace
from schedtuna.trace.store import open_trace
from schedtuna.trace.trace import Trace
from schedtuna.trace.writer import TraceWriter

MOST_MB = 2000
TRACE, DATASET, FIGURES = "trace", "dataset", "figures.json"


def written(folder: Path, nr_events: int) -> Trace:
    """Write the trace, unless it is there whole."""
    try:
        trace = open_trace(folder)
        if trace.state == "complete":
            return trace
        remove_trace(folder)
    except TraceError:
        pass
    one = simulate("poisson:load=0.9", cpus=16, duration_s=20, seed=1)
    copies = -(-nr_events // len(one.events))
    length_ns = one.window_ns[1]
    manifest = {
        name: one.manifest[name] for name in ("nr_cpus", "attributes", "groups") if name in one.manifest
    }
    told: dict[str, Any] = {"window_ns": [0, copies * length_ns], "waking": True, "label": "poisson"}
    writer = TraceWriter(folder, manifest | told, clock=one.clock, force=True)
    writer.write_cpu_sets(one.cpu_sets)
    writer.write_groups(one.group_rows)
    writer.write_tasks(one.task_rows)
    writer.write_attributes(one.attribute_rows)
    for copy in range(copies):
        events = one.events.copy()
        events["timestamp_ns"] += np.uint64(copy * length_ns)
        writer.write_events(events)
        sys.stderr.write(f"\r{(copy + 1) * len(events):,} events")
    sys.stderr.write("\n")
    writer.update_manifest(told)
    writer.close()
    return open_trace(folder)


def built(folder: Path, most_rows: int) -> dict[str, Any]:
    """Build the dataset in a child, and return what it took."""
    command = [sys.executable, "-m", "schedtuna", "dataset", "build", str(folder / TRACE), "--task", "burst"]
    command += ["-o", str(folder / DATASET), "--force", "--json", "--max-rows", str(most_rows)]
    begin_s = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        card = json.loads(child.stdout.read())
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    counts, cpu_s = card["counts"], used.ru_utime + used.ru_stime
    return {
        "events": counts["nr_events"],
        "rows": counts["nr_rows"],
        "rows_before_thinning": counts["nr_rows_before_thinning"],
        "max_rss_mb": used.ru_maxrss // 1024,
        "wall_s": round(time.monotonic() - begin_s, 1),
        "cpu_s": round(cpu_s, 1),
        "events_per_cpu_s": round(counts["nr_events"] / cpu_s),
        "dataset_mb": sum(path.stat().st_size for path in (folder / DATASET).iterdir()) >> 20,
    }


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="Kept. Default: a temporary one.")
    parser.add_argument("--quick", action="store_true", help="3 million events in place of 100")
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    nr_events = 3_000_000 if options.quick else options.events
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = folder / FIGURES
        if not figures.exists():
            trace = written(folder / TRACE, nr_events)
            size = sum(path.stat().st_size for path in (folder / TRACE).iterdir())
            del trace
            found = {"trace_mb": size >> 20, **built(folder, options.rows)}
            figures.write_text(json.dumps(found) + "\n")
        found = json.loads(figures.read_text())
    print(json.dumps({"benchmark": "dataset_whole", **found, "fits": found["max_rss_mb"] < MOST_MB}))


if __name__ == "__main__":
    main()
