"""A load for picks: `python -m tests.kernel.pick_load SEED SECONDS`; on the last CPU, a session of its own.

Hogs, sleepers, pairs that wake each other through pipes, one that yields, and a parent that gives them other
nice values and slices at random: all that decides a pick is there (weights, lags, deadlines, delayed ones).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from functools import partial

from schedtuna.kernel.syscalls import SchedAttributes, sched_setattr

NICES = (-5, 0, 0, 1, 5, 10, 19)
SLICES_NS = (0, 0, 100_000, 500_000, 3_000_000, 10_000_000)  # 0: the default


def hog() -> None:
    while True:
        sum(range(1000))


def sleeper(rng: random.Random) -> None:
    while True:
        sum(range(rng.randrange(2000)))
        time.sleep(rng.uniform(0.0002, 0.005))


def yielder() -> None:
    while True:
        sum(range(3000))
        os.sched_yield()


def echo(source: int, target: int) -> None:
    while os.read(source, 1):
        sum(range(200))
        os.write(target, b"x")


def start(rng: random.Random) -> list[int]:
    """Fork the load, and return its pids."""
    jobs: list[partial[None]] = [partial(hog), partial(hog), partial(yielder)]
    jobs += [partial(sleeper, random.Random(rng.random())) for _ in range(4)]
    for _ in range(2):
        (read_a, write_a), (read_b, write_b) = os.pipe(), os.pipe()
        os.write(write_a, b"x")
        jobs += [partial(echo, read_a, write_b), partial(echo, read_b, write_a)]
    pids = []
    for job in jobs:
        if pid := os.fork():
            pids.append(pid)
        else:
            try:
                job()
            finally:
                os._exit(1)
    return pids


def main() -> None:
    """Run it for so long."""
    rng, end_s = random.Random(int(sys.argv[1])), time.monotonic() + float(sys.argv[2])
    os.setsid()
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    pids = start(rng)
    try:
        while time.monotonic() < end_s:
            slice_ns = rng.choice(SLICES_NS)
            sched_setattr(rng.choice(pids), SchedAttributes(0, nice=rng.choice(NICES), runtime_ns=slice_ns))
            time.sleep(0.02)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
