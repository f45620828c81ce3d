"""How much sooner do simulated trials come from two workers of Ray, and what does this process keep of them?

The peer is this process alone, with the same trials, in the same minute; all trials are compared. Goals: 1.8
times as soon on two CPUs, and memory that does not grow with the trials. On a busy machine wall time says
little: `cpu_ratio` is how much sooner two idle CPUs could be done at best, by the CPU time that all processes
took, this one, the workers and Ray's own among them; `driver_share` is this process's part of that.
Needs Ray: tools/ray.sh has an environment for it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from schedtuna.backend.base import Backend, Side
from schedtuna.backend.places.simulated import Simulated
from schedtuna.backend.simulated import workload_of
from schedtuna.experiment.triallog import TrialLog, TrialRecord
from schedtuna.experiment.variability import PHASE, run_variability
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import RunSpec

DEFAULT = SchedulerConfig(name="default")
PLACE = Simulated.of(cpus=2)
LOAD = "interactive:load=0.5"
# A trial of a few ms: what is remembered of it does not depend on how long it takes.
SHORT = json.dumps(
    {"tasks": {"t": {"loop": 1, "phases": {"p": {"loop": 20, "run": 500, "sleep": 500}}, "instance": 2}}}
)
GOAL_RATIO, GOAL_BYTES = 1.8, 500.0
WARM_RUNS = 40


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="trials of the comparison")
    parser.add_argument("--memory-runs", type=int, default=100_000, help="trials of which memory is watched")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if find_spec("ray") is None:
        print(json.dumps({"benchmark": "fleet_scaling", "skipped": "Ray is not installed: tools/ray.sh"}))
        return
    runs, memory_runs = (200, 2_000) if asked.quick else (asked.runs, asked.memory_runs)
    with tempfile.TemporaryDirectory() as folder:
        figures = scaling(Path(folder), runs) | memory(Path(folder), memory_runs)
    print(json.dumps({"benchmark": "fleet_scaling", **figures, "load": os.getloadavg()[0]}))


def scaling(folder: Path, runs: int) -> dict[str, Any]:
    """Make the same trials here and over Ray."""
    from schedtuna.fleet.cluster import spread_over

    spec = RunSpec(workload=workload_of(LOAD), seed=1)
    spread = spread_over("local", [PLACE])
    ways: dict[str, Callable[[], AbstractContextManager[Backend]]] = {
        "alone": lambda: PLACE.open(spec),
        "spread": lambda: spread(PLACE, spec, [DEFAULT], ()),
    }
    took: dict[str, tuple[float, float, float]] = {}
    trials = []
    for name, opened in ways.items():
        with opened() as backend, TrialLog(folder / name, {}) as log:
            side = Side(backend, DEFAULT)
            run_variability(spec, side, runs=WARM_RUNS, log=log)  # imports, and workers that begin
            wall_s, cpu_s, own_s = time.monotonic(), cpu_of_all_s(), time.process_time()
            made = run_variability(spec, side, runs=WARM_RUNS + runs, log=log)
            took[name] = (
                time.monotonic() - wall_s,
                cpu_of_all_s() - cpu_s,
                time.process_time() - own_s,
            )
            trials.append([trial.metrics for trial in made])
    assert trials[0] == trials[1], "trials over Ray are not those of this process"
    alone, spread_took = took["alone"], took["spread"]
    return {
        "runs": runs,
        "alone_s": round(alone[0], 2),
        "two_workers_s": round(spread_took[0], 2),
        "ratio": round(alone[0] / spread_took[0], 2),
        "goal_ratio": GOAL_RATIO,
        "cpu_ratio": round(2 * alone[1] / spread_took[1], 2),
        "driver_share": round(spread_took[2] / spread_took[1], 3),
    }


def memory(folder: Path, runs: int) -> dict[str, Any]:
    """Watch this process's memory while trials come from Ray."""
    from schedtuna.fleet.cluster import spread_over

    load = folder / "load.json"
    load.write_text(SHORT)
    spec = RunSpec(workload=workload_of(str(load)), seed=1)
    seen: list[tuple[int, int]] = []

    def note(record: TrialRecord) -> None:
        if (record.index + 1) % (runs // 20) == 0:
            seen.append((record.index + 1, resident_bytes()))

    with (
        spread_over("local", [PLACE])(PLACE, spec, [DEFAULT], ()) as backend,
        TrialLog(folder / "memory", {}) as log,
    ):
        run_variability(spec, Side(backend, DEFAULT), runs=runs, log=log, on_event=note)
        assert len(log.records(PHASE)) == runs
    (early, before), (late, after) = seen[4], seen[-1]  # what is made once is there by then
    return {
        "memory_runs": runs,
        "resident_mb": [round(size / 1e6, 1) for _, size in seen],
        "bytes_per_trial": round((after - before) / (late - early), 1),
        "goal_bytes_per_trial": GOAL_BYTES,
    }


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_of_all_s() -> float:
    """CPU time of this process and all that descend from it and live, Ray's own processes among them."""
    parents, ticks = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            parents[int(folder.name)], ticks[int(folder.name)] = (
                int(fields[1]),
                int(fields[11]) + int(fields[12]),
            )
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours and pid not in ours}:
        ours |= more
    return sum(ticks[pid] for pid in ours if pid in ticks) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
