"""What does it cost to watch whether settings are in force, beside the same runs that nobody watches?

Runs of each command, unwatched, watched as tasks end (eBPF) and looked at (/proc), interleaved: what it
takes to begin and to end watching, and what the run itself takes. Goal: at most 5 ms a run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from schedtuna.backend.host import HostBackend
from schedtuna.backend.inforce import SettingsWatch, Watched
from schedtuna.knobs.base import Target
from schedtuna.knobs.journal import Journal
from schedtuna.scheduler.fair import fair
from schedtuna.space import ParameterValue
from schedtuna.workload.spec import Workload

COMMANDS = {
    "true": ["true"],
    "forks": ["sh", "-c", "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done"],
    "hackbench": ["hackbench", "-g", "4", "-l", "100"],  # 160 processes
}
GOAL_MS = 5.0


class Unwatched(SettingsWatch):
    """Sees nothing."""

    @contextmanager
    def watching(self, target: Target, values: Mapping[str, ParameterValue]) -> Iterator[Watched]:  # noqa: ARG002
        """Let the run be."""
        yield Watched({})


class Timed(SettingsWatch):
    """Measures what it takes to begin and to end watching."""

    spent_s = 0.0

    @contextmanager
    def watching(self, target: Target, values: Mapping[str, ParameterValue]) -> Iterator[Watched]:
        """Watch."""
        started = time.perf_counter()
        with super().watching(target, values) as watched:
            self.spent_s = time.perf_counter() - started
            yield watched
            ended = time.perf_counter()
        self.spent_s += time.perf_counter() - ended


WATCHES = {"unwatched": Unwatched(), "ends": Timed(), "looks": Timed(ends=False)}


def measure(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return medians in ms by command and watch."""
    samples: dict[tuple[str, str], list[tuple[float, float]]] = {}
    candidate = fair(include=["nice"]).with_values({"nice": 5, "policy": "batch"})
    with tempfile.TemporaryDirectory() as folder:
        backend = HostBackend(journal=Journal(Path(folder) / "state"))
        for number in range(rounds + 1):
            for command, argv in COMMANDS.items():
                for name, watch in WATCHES.items():
                    backend._settings = watch
                    trial = backend.run(Workload(argv=tuple(argv)), candidate, seed=number)
                    if number:  # the first round loads and warms up
                        spent_s = watch.spent_s if isinstance(watch, Timed) else 0.0
                        row = samples.setdefault((command, name), [])
                        row.append((1e3 * spent_s, 1e3 * trial.metrics["wall_time_s"]))
    return {
        command: {
            name: {
                "own_ms": round(median(own for own, _ in samples[command, name]), 3),
                "wall_ms": round(median(wall for _, wall in samples[command, name]), 3),
            }
            for name in WATCHES
        }
        for command in COMMANDS
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 rounds in place of 40")
    rounds = 5 if parser.parse_args().quick else 40
    medians = measure(rounds)
    own = {name: max(row[name]["own_ms"] for row in medians.values()) for name in ("ends", "looks")}
    print(
        json.dumps(
            {
                "benchmark": "settings_watch",
                "rounds": rounds,
                "median_ms": medians,
                "own_ms": own,
                "goal_ms": GOAL_MS,
                "met": max(own.values()) <= GOAL_MS,
            }
        )
    )


if __name__ == "__main__":
    main()
