"""How fast does the simulator run sched_ext schedulers' own objects, beside a native one that decides alike?

A decision is a call of select_cpu(), enqueue() or dispatch(): two per wakeup, and one per choice of a CPU.
The peer is the simulator's own `vtime`, in C++, which decides as the kernel's example scx_simple does. Times
are CPU time of the threads, medians; the two are run in turn. For an object that is `vtime` in BPF:

    clang-19 -O2 -g -target bpf -mcpu=v3 -c tests/unit/sim/bpf_sources/vtime.bpf.c -o vtime.bpf.o
    python benchmarks/sim_object.py ./vtime.bpf.o scx_tuna
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from schedtuna.sim import Simulation

PEER = "vtime"
LOAD = "interactive"
CPUS = 4
NR_INSTANCES = 200


def measure(scheduler: str, seconds: float, seed: int) -> dict[str, float]:
    """Run one simulation; what it took, and what it did."""
    simulation = Simulation(LOAD, scheduler, cpus=CPUS, seed=seed, duration_s=seconds)
    begun = time.thread_time()
    simulation.run()
    took_s = time.thread_time() - begun
    totals = simulation.totals
    decisions = 2 * totals.nr_wakeups + simulation.nr_picks
    return {"cpu_s": took_s, "events": totals.nr_events, "decisions": decisions, "hash": totals.hash}


def side_by_side(scheduler: str, seconds: float, runs: int) -> dict[str, Any]:
    """One thread: the object and its peer in turn."""
    sides: dict[str, list[dict[str, float]]] = {scheduler: [], PEER: []}
    for seed in range(1, runs + 1):
        for name, found in sides.items():
            found.append(measure(name, seconds, seed))

    def ns(name: str, what: str) -> float:
        return statistics.median(1e9 * run["cpu_s"] / run[what] for run in sides[name])

    own, peer = ns(scheduler, "decisions"), ns(PEER, "decisions")
    return {
        "scheduler": scheduler,
        "ns_per_event": round(ns(scheduler, "events"), 1),
        "decisions_per_s": round(1e9 / own),
        "peer": PEER,
        "peer_decisions_per_s": round(1e9 / peer),
        "ratio": round(own / peer, 2),
    }


def many(scheduler: str, seconds: float) -> dict[str, Any]:
    """Many instances in one process, on one thread and on two."""
    hashes, walls, rates = {}, {}, {}
    for threads in (1, 2):
        made = [
            Simulation(LOAD, scheduler, cpus=CPUS, seed=seed, duration_s=seconds)
            for seed in range(NR_INSTANCES)
        ]
        begun = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            cpu_s = sum(pool.map(_run, made))
        walls[threads] = time.monotonic() - begun
        decisions = sum(2 * each.totals.nr_wakeups + each.nr_picks for each in made)
        rates[threads] = decisions / cpu_s
        hashes[threads] = hash(tuple(each.totals.hash for each in made))
    return {
        "scheduler": scheduler,
        "instances": NR_INSTANCES,
        "decisions_per_cpu_s": {str(threads): round(rate) for threads, rate in rates.items()},
        "speedup_by_wall": round(walls[1] / walls[2], 2),
        "same_hash": hashes[1] == hashes[2],
    }


def _run(simulation: Simulation) -> float:
    begun = time.thread_time()
    simulation.run()
    return time.thread_time() - begun


def main() -> None:
    """Print a row per scheduler and measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("schedulers", nargs="+", metavar="FILE.bpf.o|scx_NAME")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=20, help="simulated, per run")
    arguments = parser.parse_args()
    rows: list[Callable[[str], dict[str, Any]]] = [
        lambda name: side_by_side(name, arguments.seconds, arguments.runs),
        lambda name: many(name, arguments.seconds / 10),
    ]
    for scheduler in arguments.schedulers:
        for row in rows:
            print(json.dumps(row(scheduler)), flush=True)


if __name__ == "__main__":
    main()
