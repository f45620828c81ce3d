"""Runs inside a guest under scx_tuna: windows of a load, a parameter off and on, in pairs of random order.

Reads {"rows": {name: [load, off, on]}, "pairs": N, "seconds": S, "seed": X}; prints a JSON object per window.
"""

import json
import os
import random
import sys
import time

sys.path.insert(0, "/usr/lib/schedtuna/python")
from tests.kernel import tuna_loads

from schedtuna.scheduler import tuna


def ping_pong(seconds, cpus=None):
    """Two tasks wake each other through pipes; returns how often."""
    there, back = os.pipe(), os.pipe()

    def serve():
        while os.read(there[0], 1) != b"e":
            os.write(back[1], b"x")
        return {}

    server = tuna_loads.fork(serve, cpus=cpus)
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        os.write(there[1], b"x")
        os.read(back[0], 1)
        count += 1
    os.write(there[1], b"e")
    tuna_loads.answers([server])
    for pipe in (*there, *back):
        os.close(pipe)
    return {"rounds": count}


def sleepers(count, seconds, nap_s, cpus=None):
    """Tasks that sleep and run a little; returns the lateness of their wakeups in ms, the 90th percentile."""

    def work():
        late, end = [], time.monotonic() + seconds
        while (before := time.monotonic()) < end:
            time.sleep(nap_s)
            late.append(time.monotonic() - before - nap_s)
        return {"late_ms": sorted(late)[len(late) * 9 // 10] * 1e3}

    return [tuna_loads.fork(work, cpus=cpus) for _ in range(count)]


def mixed(seconds, *, hogs=4, pinned=None):
    """Sleepers beside tasks that spin; returns what the sleepers have seen."""
    spinning = [tuna_loads.fork(tuna_loads.spin(seconds), cpus=pinned) for _ in range(hogs)]
    napping = sleepers(2, seconds, 0.003, cpus=pinned)
    late = tuna_loads.answers(napping)
    tuna_loads.answers(spinning)
    return {"late_ms": max(one["late_ms"] for one in late)}


def shares(seconds, nices):
    """Two tasks of these nice values on one CPU; returns the first's part of their CPU time."""
    found = tuna_loads.hogs(2, seconds, nices, [1])
    times = [one["cpu_s"] for one in found]
    switches = sum(one["switches"] for one in found)
    return {"share": times[0] / sum(times), "switches_per_s": switches / sum(times)}


def light(seconds):
    """Two sleepers, and nobody else."""
    late = tuna_loads.answers(sleepers(2, seconds, 0.004))
    return {"late_ms": max(one["late_ms"] for one in late)}


LOADS = {
    "alike": lambda seconds: shares(seconds, [0]),
    "nice 0 and 10": lambda seconds: shares(seconds, [0, 10]),
    "ping-pong": ping_pong,
    "mixed": mixed,
    "pinned": lambda seconds: mixed(seconds, hogs=4, pinned=[1]),
    "light": light,
}


def main():
    plan = json.load(sys.stdin)
    rng = random.Random(plan["seed"])
    windows = [(name, pair) for name in plan["rows"] for pair in range(plan["pairs"])]
    rng.shuffle(windows)
    with tuna.RunningTuna() as running:
        for name, pair in windows:
            load, *sides = plan["rows"][name]
            order = [0, 1]
            rng.shuffle(order)
            for side in order:
                running.set({**tuna.DEFAULTS, **sides[side]})
                before = running.stats()
                found = LOADS[load](plan["seconds"])
                counted = {key: number - before[key] for key, number in running.stats().items()}
                print(json.dumps({"row": name, "pair": pair, "on": side, **counted, **found}), flush=True)


if __name__ == "__main__":
    main()
