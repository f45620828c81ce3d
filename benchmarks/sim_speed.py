"""How many events does the simulated machine handle in a second of CPU time?

An event is a step of its loop: a burst's or slice's end, a tick, a timer, a wakeup. The load is hogs of
several nice values, periodic sleepers and pairs that send each other messages. Times are thread CPU time,
medians of five; a trace is written to memory where it says so.

    python benchmarks/sim_speed.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIZES = ((8, 64), (1, 10), (1024, 100_000))
SCHEDULERS = ("rr", "fair")
EVENTS = 4_000_000  # about as many are run for each figure


def build(folder: Path) -> Path:
    """The simulator as the package builds it, and the program that times it."""
    program = folder / "sim_speed"
    sources = [
        source
        for source in sorted((ROOT / "native/sim").glob("*.cpp"))
        if not source.name.startswith(("rt_app", "json"))
    ]
    includes = [f"-I{ROOT / path}" for path in ("include", "native", "tests/native")]
    own = ROOT / "benchmarks/sim_speed.cpp"
    subprocess.run(["g++", "-std=c++20", "-O2", *includes, own, *sources, "-o", program], check=True)
    return program


@dataclass(frozen=True)
class Case:
    """What is timed."""

    scheduler: str
    cpus: int
    tasks: int
    traced: bool


def measure(program: Path, case: Case, length_us: int, repeats: int) -> list[tuple[int, int, int]]:
    """CPU time in ns, events and switches of each run."""
    numbers = (case.cpus, case.tasks, length_us, repeats, int(case.traced))
    command: list[str | Path] = [program, case.scheduler, *map(str, numbers)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in output.splitlines())
    return [(int(time), int(events), int(switches)) for time, events, switches in rows]


def figures(program: Path, case: Case, repeats: int, wanted: int) -> dict[str, object]:
    """One row of the result."""
    length_us = 50_000
    while (events := measure(program, case, length_us, 1)[0][1]) < wanted / 4:
        length_us *= max(2, min(100, wanted // max(events, 1)))
    runs = measure(program, case, length_us, repeats)
    rates = [events / time * 1000 for time, events, _ in runs]
    return {
        **asdict(case),
        "million_events_per_s": round(statistics.median(rates), 2),
        "best": round(max(rates), 2),
        "ns_per_event": round(statistics.median(time / events for time, events, _ in runs), 1),
        "switches_per_event": round(runs[0][2] / runs[0][1], 2),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer events and runs")
    options = parser.parse_args()
    repeats, wanted = (3, EVENTS // 20) if options.quick else (5, EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        rows = [
            figures(program, Case(scheduler, *size, traced), repeats, wanted)
            for scheduler in SCHEDULERS
            for size in SIZES
            for traced in (False, True)
            if not traced or size == SIZES[0]
        ]
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
