"""Interactive tasks beside long-running ones: how late are the answers, and how much gets done?

Every interactive task answers requests that arrive at random times, whether or not it has answered
the previous one, so that a late answer makes the next ones late, too, as for real users. A latency
is the time from a request's arrival to its answer. With --helper the second half of an answer's
work is done by another process, woken through a pipe. Hogs compute without a break; with --apart
they have sessions of their own, as what runs in another terminal has, which is what the kernel's
autogroups share the CPUs out among.

All that is random (arrival times, work per request) is drawn from the seed before the run begins.
The last line of output is a JSON object. A program of its own, without imports outside the
standard library, so that hardly more than the scheduler is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

LOOPS_PER_UNIT = 1000  # some 20 us


def work(nr_loops: int) -> None:
    """Compute; nothing leaves the CPU's nearest cache."""
    value = 1
    for _ in range(nr_loops):
        value = value * 5 & 0xFFFF


def draw_requests(rng: random.Random, options: argparse.Namespace) -> list[tuple[int, int]]:
    """Return (arrival in ns after the start, loops of work) of one task: Poisson, exponential sizes."""
    requests = []
    at_s = rng.expovariate(options.rate)
    while at_s < options.seconds:
        nr_units = max(2, round(rng.expovariate(1 / options.units)))
        requests.append((int(at_s * 1e9), nr_units * options.loops))
        at_s += rng.expovariate(options.rate)
    return requests


def serve(requests: list[tuple[int, int]], start_ns: int, *, helper: bool) -> list[float]:
    """Answer requests, and return their latencies in microseconds."""
    ask, answer = start_helper() if helper else (-1, -1)
    latencies_us = []
    for arrival_ns, nr_loops in requests:
        wait_ns = start_ns + arrival_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        if helper:
            work(nr_loops // 2)
            os.write(ask, (nr_loops - nr_loops // 2).to_bytes(4, "little"))
            os.read(answer, 1)
        else:
            work(nr_loops)
        latencies_us.append((time.monotonic_ns() - start_ns - arrival_ns) / 1e3)
    return latencies_us


def start_helper() -> tuple[int, int]:
    """Fork a process that works on demand; it ends when the pipe is closed."""
    requests_in, requests_out = os.pipe()
    answers_in, answers_out = os.pipe()
    if os.fork() == 0:
        os.close(requests_out)
        while data := os.read(requests_in, 4):
            work(int.from_bytes(data, "little"))
            os.write(answers_out, b".")
        os._exit(0)
    os.close(requests_in)
    os.close(answers_out)
    return requests_out, answers_in


def hog(end_ns: int, *, apart: bool) -> int:
    """Compute until the end, and return the units of work that were done."""
    if apart:
        os.setsid()
    nr_units = 0
    while time.monotonic_ns() < end_ns:
        work(10 * LOOPS_PER_UNIT)
        nr_units += 10
    return nr_units


def fork_reporter(task: Callable[[], Any]) -> int:
    """Run a task in a child, and return a pipe with its result as JSON."""
    readable, writable = os.pipe()
    if os.fork() == 0:
        os.close(readable)
        with os.fdopen(writable, "w") as pipe:
            json.dump(task(), pipe)
            pipe.flush()
        os._exit(0)
    os.close(writable)
    return readable


def collect(pipe: int) -> Any:
    """Read what a child reports."""
    with os.fdopen(pipe) as file:
        return json.load(file)


def percentile(ordered: list[float], percent: float) -> float:
    """Return the smallest value that `percent` of all do not exceed."""
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def parse_options(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Interactive tasks beside long-running ones.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--tasks", type=int, default=1, help="interactive tasks")
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second and task")
    parser.add_argument("--units", type=float, default=10.0, help="mean work per request, of some 20 us each")
    parser.add_argument("--loops", type=int, default=LOOPS_PER_UNIT, help="size of a request's unit of work")
    parser.add_argument("--hogs", type=int, default=1, help="long-running tasks")
    parser.add_argument("--apart", action="store_true", help="long-running tasks have their own sessions")
    parser.add_argument("--helper", action="store_true", help="interactive tasks hand work to a helper")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Run the mix, and print its figures."""
    options = parse_options(argv)
    rng = random.Random(options.seed)
    requests = [draw_requests(rng, options) for _ in range(options.tasks)]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.disable()
    start_ns = time.monotonic_ns() + 50_000_000  # all are ready by then
    end_ns = start_ns + int(options.seconds * 1e9)
    tasks = [fork_reporter(partial(serve, mine, start_ns, helper=options.helper)) for mine in requests]
    hogs = [fork_reporter(partial(hog, end_ns, apart=options.apart)) for _ in range(options.hogs)]
    latencies_us = sorted(latency for pipe in tasks for latency in collect(pipe))
    nr_units = sum(collect(pipe) for pipe in hogs)
    for _ in range(len(tasks) + len(hogs)):
        os.wait()  # their CPU time counts as ours
    figures = {"ops_per_s": nr_units / options.seconds, "nr_requests": len(latencies_us)}
    if latencies_us:
        figures |= {
            "p50_us": percentile(latencies_us, 50),
            "p90_us": percentile(latencies_us, 90),
            "p99_us": percentile(latencies_us, 99),
            "max_us": latencies_us[-1],
            "avg_us": sum(latencies_us) / len(latencies_us),
        }
    print(json.dumps(figures))  # noqa: T201 - a program of its own


if __name__ == "__main__":
    main(sys.argv[1:])
