"""How does the simulator stand against SimPy, its own Python twin, and its own limits?

Each row has both figures, their ratio and what it is to be. Times are CPU time, medians of some runs.
SimPy is installed into a folder of its own, which goes away again.

    python benchmarks/sim_peers.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from schedtuna.sim import Simulation, simulate
from schedtuna.sim.fair import Fair
from sim_speed import Case, build, figures

SIMPY = "simpy==4.1.1"
CPUS, LOAD, MEAN_US = 8, 0.9, 1000
FREE = ("context_switch_ns", "wakeup_ns", "ipi_ns", "tick_ns", "timer_irq_ns", "idle_exit_ns", "migration_ns")
NR_THREADS = 8
# M/M/c as SimPy's documentation has it: a process per customer, and a resource.
SIMPY_PROGRAM = """
import sys, time, random, simpy
nr, cpus, load, mean = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
draw = random.Random(1).expovariate
env = simpy.Environment()
servers = simpy.Resource(env, cpus)
def customer():
    with servers.request() as request:
        yield request
        yield env.timeout(draw(1 / mean))
def arrivals():
    for _ in range(nr):
        yield env.timeout(draw(cpus * load / mean))
        env.process(customer())
env.process(arrivals())
begun = time.process_time()
env.run()
print(time.process_time() - begun)
"""


def cpu_s(run: Callable[[], object]) -> float:
    """CPU time of this process, all its threads."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def median_of(repeats: int, once: Callable[[], float]) -> float:
    """The median of so many figures."""
    return statistics.median(once() for _ in range(repeats))


def row(
    what: str, figure: float, other: float, *, least: float | None = None, most: float | None = None
) -> dict[str, Any]:
    """Two figures, their ratio, and whether it is in the bound, if there is one."""
    ratio = figure / other
    found = {
        "what": what,
        "figures": [float(f"{figure:.4g}"), float(f"{other:.4g}")],
        "ratio": round(ratio, 3),
    }
    if least is not None:
        return {**found, "at_least": least, "met": ratio >= least}
    return found if most is None else {**found, "at_most": most, "met": ratio <= most}


def against_simpy(nr_customers: int, repeats: int) -> dict[str, Any]:
    """M/M/8 at a load of 0.9: customers per second of CPU time."""
    draw = Random(1).expovariate
    at_us, tasks = 0.0, {}
    for number in range(nr_customers):
        at_us += draw(CPUS * LOAD / MEAN_US)
        size = max(1, round(draw(1 / MEAN_US)))
        tasks[f"c{number}"] = {"delay": round(at_us), "loop": 1, "phases": {"p": {"run": size}}}
    first = Simulation({"tasks": tasks}, "fifo", cpus=CPUS, costs=dict.fromkeys(FREE, 0))
    ours = median_of(repeats, lambda: cpu_s(first.fork().run))
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", folder, SIMPY]
        subprocess.run(pip, check=True)
        numbers = map(str, (nr_customers, CPUS, LOAD, MEAN_US))
        command = [sys.executable, "-c", SIMPY_PROGRAM, *numbers]
        environment = {**os.environ, "PYTHONPATH": folder}

        def once() -> float:
            return float(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)

        theirs = median_of(repeats, once)
    return row(
        f"M/M/{CPUS}: customers/s, ours and SimPy's", nr_customers / ours, nr_customers / theirs, least=50
    )


def against_twin(seconds: float, repeats: int) -> dict[str, Any]:
    """One CPU with ten tasks: simulated seconds per second, natively and in Python."""
    tasks = {
        "hog": {"instance": 3, "run": 9000, "priority": 5},
        "sleeper": {"instance": 7, "run": {"exponential": 300}, "sleep": 3000},
    }
    until_ns = round(seconds * 1e9)

    def took(scheduler: Any) -> float:
        return median_of(
            repeats, lambda: cpu_s(lambda: Simulation({"tasks": tasks}, scheduler, cpus=1).run(until_ns))
        )

    return row(
        "1 CPU, 10 tasks: simulated s/s, fair and its twin", seconds / took("fair"), seconds / took(Fair)
    )


def of_traces(seconds: float, repeats: int) -> list[dict[str, Any]]:
    """CPU seconds with a trace in a file, and without one: of all, and of the loop alone."""
    load = "interactive:load=0.9,member=3"

    def untraced() -> object:
        return Simulation(load, duration_s=seconds, cpus=CPUS).run(round(seconds * 1e9))

    def traced() -> object:
        return Simulation(load, duration_s=seconds, traced=True, cpus=CPUS).run(round(seconds * 1e9))

    def to_file() -> object:
        with tempfile.TemporaryDirectory() as folder:
            return simulate(load, duration_s=seconds, trace=Path(folder) / "t", cpus=CPUS)

    bare = median_of(repeats, lambda: cpu_s(untraced))
    return [
        row(
            "s with events kept in memory, and without",
            median_of(repeats, lambda: cpu_s(traced)),
            bare,
            most=1.15,
        ),
        row(
            "s with a trace in a file, and without",
            median_of(repeats, lambda: cpu_s(to_file)),
            bare,
            most=1.15,
        ),
    ]


def of_size(program: Path, wanted: int, repeats: int) -> list[dict[str, Any]]:
    """Ns per event with many tasks and with few, and bytes per task."""
    many, few = (
        figures(program, Case("fair", *size, traced=False), repeats, wanted)
        for size in ((1024, 100_000), (1, 10))
    )
    bytes_of = {}
    for nr_tasks in (1000, 101_000):
        child = subprocess.Popen(
            [program, "fair", "8", str(nr_tasks), "100", "1", "0"], stdout=subprocess.DEVNULL
        )
        bytes_of[nr_tasks] = os.wait4(child.pid, 0)[2].ru_maxrss * 1024
    return [
        row(
            "ns per event of 1,024 CPUs with 100,000 tasks, and of 1 with 10",
            float(str(many["ns_per_event"])),
            float(str(few["ns_per_event"])),
            most=8,
        ),
        row(
            "bytes for 100,000 tasks and for one, load included",
            bytes_of[101_000] - bytes_of[1000],
            1e5,
            most=400,
        ),
    ]


def of_threads(seconds: float, repeats: int) -> dict[str, Any]:
    """CPU seconds of eight simulations in as many threads, and one after the other."""
    first = Simulation("poisson:load=0.9", cpus=CPUS, duration_s=seconds)
    until_ns = round(seconds * 1e9)

    def one(_: int) -> int:
        fork = first.fork()
        fork.run(until_ns)
        return fork.now_ns

    def side_by_side() -> None:
        with ThreadPoolExecutor(NR_THREADS) as pool:
            list(pool.map(one, range(NR_THREADS)))

    alone = median_of(repeats, lambda: cpu_s(lambda: [one(number) for number in range(NR_THREADS)]))
    return row(
        "s of 8 simulations in 8 threads, and in turn",
        median_of(repeats, lambda: cpu_s(side_by_side)),
        alone,
        most=1.05,
    )


def main() -> None:
    """Print the rows as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    scale, repeats = (1, 3) if options.quick else (10, 5)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            against_simpy(10_000 * scale, repeats),
            against_twin(2.0 * scale, repeats),
            *of_traces(2.0 * scale, repeats),
            *of_size(build(Path(folder)), 200_000 * scale, repeats),
            of_threads(2.0 * scale, repeats),
        ]
    print(json.dumps({"benchmark": "sim_peers", "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
