"""How many bytes does a stored event take, beside `perf sched record` of the same load?

The load is mixed: hackbench, stress-ng (CPU, context switches, timers) and sleepers. It runs once
under our recorder and once under perf. perf also records sched_stat_runtime, which it can't do
without; its bytes are given per event of the kinds that both keep, and per event of its own. Needs
root and perf. Goal: 4 bytes, 3 at best.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.trace.formats import load
from schedtuna.trace.store import open_trace
from skipping import skipping

GOAL_BYTES = 4.0
SCRIPT = """
hackbench -g 4 -l {loops} >/dev/null 2>&1 &
stress-ng --cpu 1 --switch 1 --timer 1 -t {seconds}s -q &
for k in 1 2 3 4 5 6 7 8; do (for i in $(seq {sleeps}); do sleep 0.02; done) & done
wait
"""


def shell(seconds: int) -> list[str]:
    """Return the command of the load."""
    return ["sh", "-c", SCRIPT.format(loops=400 * seconds, seconds=seconds, sleeps=20 * seconds)]


def ours(folder: Path, seconds: int, *, waking: bool) -> dict[str, float]:
    """Record with schedtuna; count the bytes of the whole folder, samples, tasks and all."""
    trace = folder / f"trace{waking:d}"
    options = ["--waking"] if waking else []
    subprocess.run(
        [sys.executable, "-m", "schedtuna", "record", "-o", str(trace), *options, "--", *shell(seconds)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    nr_events = len(open_trace(trace).events)
    files = {path.name: path.stat().st_size for path in trace.iterdir()}
    only_events = sum(size for name, size in files.items() if name.startswith("events-"))
    return {
        "nr_events": nr_events,
        "bytes_per_event": round(sum(files.values()) / nr_events, 3),
        "bytes_per_event_without_tasks_and_samples": round(only_events / nr_events, 3),
        "nr_lost": open_trace(trace).nr_lost,
    }


def perfs(folder: Path, seconds: int) -> dict[str, float]:
    """Record with `perf sched record`."""
    path = folder / "perf.data"
    subprocess.run(
        ["perf", "sched", "record", "-m", "32M", "-o", path, "--", *shell(seconds)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    nr_events = len(load(path).events)
    text = subprocess.run(
        ["perf", "script", "--force", "-F", "event", "-i", path], capture_output=True, check=True
    ).stdout
    size = path.stat().st_size
    return {
        "nr_events": nr_events,
        "bytes_per_event": round(size / nr_events, 1),
        "bytes_per_event_of_its_own": round(size / text.count(b"\n"), 1),
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 seconds of load in place of 10")
    seconds = 2 if parser.parse_args().quick else 10
    if os.geteuid() != 0:
        raise UnavailableError("needs root to record", hint="run it as root")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        result = {
            "schedtuna": ours(folder, seconds, waking=False),
            "schedtuna_with_waking": ours(folder, seconds, waking=True),
            "perf_sched": perfs(folder, seconds),
        }
    ratio = result["perf_sched"]["bytes_per_event"] / result["schedtuna"]["bytes_per_event"]
    print(
        json.dumps(
            {
                "benchmark": "trace_storage",
                "goal_bytes_per_event": GOAL_BYTES,
                **result,
                "perf_over_schedtuna": round(ratio, 1),
                "met": result["schedtuna"]["bytes_per_event"] <= GOAL_BYTES,
            }
        )
    )


if __name__ == "__main__":
    with skipping("trace_storage"):
        main()
