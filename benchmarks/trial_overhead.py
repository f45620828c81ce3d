"""What does `tune` add to each trial on this machine, beyond running the command?

A search of a command that does nothing, and the plain launcher running that command as often. A trial's
time is from the end of the one before to its own: asking the sampler, turning the knobs and back, watching
over them, and the journal's and the log's fsync are in it. Goal: at most 5 ms a trial beyond the launcher's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from schedtuna.history.plan import StudyPlan
from schedtuna.scheduler.fair import fair
from schedtuna.tune.running import open_study
from schedtuna.tune.search import SearchProgress
from schedtuna.workload.command import run
from schedtuna.workload.spec import Direction, MetricSpec, Workload

WORKLOAD = Workload(argv=("/bin/true",))
METRIC = MetricSpec(name="wall_time_s", direction=Direction.MIN)
GOAL_MS = 5.0


class Stopwatch:
    """Notes wall time and own CPU time from one moment to the next, in ms."""

    def __init__(self) -> None:
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def lap(self) -> None:
        """Note the time since the last moment."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.wall_ms.append(1e3 * (wall - self._wall))
        self.cpu_ms.append(1e3 * (cpu - self._cpu))
        self.start()

    def medians(self) -> dict[str, float]:
        """Return what a moment took, typically."""
        return {"wall_ms": round(median(self.wall_ms), 2), "cpu_ms": round(median(self.cpu_ms), 2)}


def launched(runs: int) -> Stopwatch:
    """Time runs by the plain launcher."""
    watch = Stopwatch()
    for seed in range(runs):
        run(WORKLOAD, seed)
        watch.lap()
    return watch


def searched(runs: int, sampler: str) -> Stopwatch:
    """Time the runs of a search, but for what is done once."""
    watch = Stopwatch()

    def note(event: Any) -> None:
        if isinstance(event, SearchProgress) and event.sampler:
            watch.lap()
        watch.start()

    plan = StudyPlan(scheduler=fair(), workload=WORKLOAD, metrics=(METRIC,), sampler=sampler, episodes=runs)
    with (
        tempfile.TemporaryDirectory() as results,
        open_study(plan, results=Path(results)) as study,
    ):
        study.run(note)
    return watch


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="30 trials in place of 200")
    runs = 30 if parser.parse_args().quick else 200
    launched(5)
    launcher, tune = launched(runs).medians(), searched(runs, "random").medians()
    beyond = {name: round(tune[name] - launcher[name], 2) for name in tune}
    print(
        json.dumps(
            {
                "benchmark": "trial_overhead",
                "trials": runs,
                "launcher": launcher,
                "tune": tune,
                "beyond": beyond,
                "ratio": round(tune["wall_ms"] / launcher["wall_ms"], 2),
                "goal_ms": GOAL_MS,
                "met": beyond["wall_ms"] <= GOAL_MS,
            }
        )
    )


if __name__ == "__main__":
    main()
