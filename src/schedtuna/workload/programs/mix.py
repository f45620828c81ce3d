"""Interactive tasks beside long-running ones: how late are the answers, and how much gets done?

Every interactive task answers requests that arrive at random times, whether or not it has answered
the previous one, so that a late answer makes the next ones late, too, as for real users; with
--even they arrive at fixed times, and all take the same work, as what plays sound has it. A latency
is the time from a request's arrival to its answer. With --helper the second half of an answer's
work is done by another process, woken through a pipe; with --helpers an answer's work is done by
so many processes in equal parts, one after the other, or with --together all at once. Hogs compute
without a break, --jobs with a short one now and then, as what compiles does when it reads. With
--apart hogs have sessions of their own, as what runs in another terminal has, which is what the
kernel's autogroups share the CPUs out among; with --users each task shares one with a hog. With
--swap the tasks change their parts halfway: who answered computes, and the other way round, as far
as there are as many of both.

All that is random (arrival times, work per request) is drawn from the seed before the run begins.
The last line of output is a JSON object; with --announce the first one says who is who. A program
of its own, without imports outside the standard library, so that hardly more than the scheduler is
measured.
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
START_NS = 50_000_000  # from its begin until requests arrive: all are ready by then
JOB_UNITS, LEAST_JOB_UNITS, JOB_PAUSE_S = 5000, 1250, 0.002  # 100 ms of work on average, and what is between
_NR_JOBS = 1000  # that are drawn; then they begin anew


def work(nr_loops: int) -> None:
    """Compute; nothing leaves the CPU's nearest cache."""
    value = 1
    for _ in range(nr_loops):
        value = value * 5 & 0xFFFF


def draw_requests(rng: random.Random, options: argparse.Namespace) -> list[tuple[int, int]]:
    """Return (arrival in ns after the start, loops of work) of one task: Poisson, exponential sizes."""
    requests = []
    if options.even:
        period_s = 1 / options.rate
        first_s = rng.random() * period_s
        nr_loops = round(options.units * options.loops)
        nr_periods = int((options.seconds - first_s) / period_s)
        return [(int((first_s + nth * period_s) * 1e9), nr_loops) for nth in range(nr_periods)]
    at_s = rng.expovariate(options.rate)
    while at_s < options.seconds:
        nr_units = max(2, round(rng.expovariate(1 / options.units)))
        requests.append((int(at_s * 1e9), nr_units * options.loops))
        at_s += rng.expovariate(options.rate)
    return requests


def draw_all(options: argparse.Namespace) -> list[list[tuple[int, int]]]:
    """Return every task's requests: all that is random."""
    rng = random.Random(options.seed)
    return [draw_requests(rng, options) for _ in range(options.tasks)]


def draw_jobs(options: argparse.Namespace) -> list[list[int]]:
    """Return the loops of work of each job, of each task that has some."""
    rng = random.Random(f"jobs {options.seed}")
    return [
        [
            max(LEAST_JOB_UNITS, round(rng.expovariate(1 / JOB_UNITS))) * LOOPS_PER_UNIT
            for _ in range(_NR_JOBS)
        ]
        for _ in range(options.jobs)
    ]


def shares_of(nr_loops: int, options: argparse.Namespace) -> tuple[int, list[int]]:
    """Return the loops of an answer's work that its task does itself, and those of each helper."""
    if options.helper:
        return nr_loops // 2, [nr_loops - nr_loops // 2]
    if options.helpers:
        return 0, [nr_loops // options.helpers] * options.helpers
    return nr_loops, []


def serve(
    requests: list[tuple[int, int]], start_ns: int, options: argparse.Namespace, *, counted_ns: int = 0
) -> list[float]:
    """Answer requests, and return the latencies, in microseconds, of those that arrive from counted_ns on."""
    helpers = [start_helper() for _ in shares_of(0, options)[1]]
    latencies_us = []
    for arrival_ns, nr_loops in requests:
        wait_ns = start_ns + arrival_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        own, others = shares_of(nr_loops, options)
        work(own)
        for (ask, answer), share in zip(helpers, others, strict=True):
            os.write(ask, share.to_bytes(4, "little"))
            if not options.together:
                os.read(answer, 1)
        if options.together:
            for _, answer in helpers:
                os.read(answer, 1)
        if arrival_ns >= counted_ns:
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


def hog(end_ns: int, *, apart: bool, counted_ns: int = 0) -> int:
    """Compute until the end, and return the units of work that were done from counted_ns on."""
    if apart:
        os.setsid()
    nr_units = 0
    while (now_ns := time.monotonic_ns()) < end_ns:
        work(10 * LOOPS_PER_UNIT)
        nr_units += 10 * (now_ns >= counted_ns)
    return nr_units


def compile_jobs(jobs: list[int], end_ns: int, *, counted_ns: int = 0) -> int:
    """Compute job after job until the end, and return the units of work of what counted_ns has seen begin."""
    nr_units = 0
    for nth in range(_NR_JOBS**2):
        left = jobs[nth % len(jobs)]
        while left > 0:
            now_ns = time.monotonic_ns()
            if now_ns >= end_ns:
                return nr_units
            work(10 * LOOPS_PER_UNIT)
            left -= 10 * LOOPS_PER_UNIT
            nr_units += 10 * (now_ns >= counted_ns)
        time.sleep(JOB_PAUSE_S)
    return nr_units


def as_user(serving: Callable[[], list[float]], computing: Callable[[], int], hogs_pid: int) -> list[float]:
    """Answer and compute in a session of its own; return the units of work, and then the latencies.

    Args:
        serving: This process does it.
        computing: Another one does.
        hogs_pid: A pipe that is told which.
    """
    os.setsid()
    pids: list[int] = []
    hog_report = fork_reporter(computing, pids)
    os.write(hogs_pid, pids[0].to_bytes(4, "little"))
    latencies_us = serving()
    nr_units = collect(hog_report)
    os.wait()
    return [nr_units, *latencies_us]


Times = tuple[int, int, int, int]  # start, half, end; from when on it counts: all on CLOCK_MONOTONIC, in ns


def in_turn(
    requests: list[tuple[int, int]], times: Times, options: argparse.Namespace, *, serves_first: bool
) -> list[float]:
    """Answer in one half and compute in the other; return the units of work, and then the latencies."""
    start_ns, half_ns, end_ns, counted_ns = times
    mine = [one for one in requests if (one[0] < half_ns - start_ns) == serves_first]
    since_ns = counted_ns - start_ns
    if serves_first:
        latencies_us = serve(mine, start_ns, options, counted_ns=since_ns)
        return [hog(end_ns, apart=False, counted_ns=counted_ns), *latencies_us]
    nr_units = hog(half_ns, apart=False, counted_ns=counted_ns)
    return [nr_units, *serve(mine, start_ns, options, counted_ns=since_ns)]


def fork_reporter(task: Callable[[], Any], pids: list[int]) -> int:
    """Run a task in a child, whose number joins the list, and return a pipe with its result as JSON."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        with os.fdopen(writable, "w") as pipe:
            json.dump(task(), pipe)
            pipe.flush()
        os._exit(0)
    pids.append(pid)
    os.close(writable)
    return readable


def fork_user(
    requests: list[tuple[int, int]], times: Times, options: argparse.Namespace, roles: dict[str, list[int]]
) -> int:
    """Run a task and a hog of one session, whose numbers join their lists; return a pipe as above."""
    start_ns, _, end_ns, counted_ns = times
    told, tells = os.pipe()
    serving = partial(serve, requests, start_ns, options, counted_ns=counted_ns - start_ns)
    computing = partial(hog, end_ns, apart=False, counted_ns=counted_ns)
    report = fork_reporter(partial(as_user, serving, computing, tells), roles["interactive"])
    roles["batch"].append(int.from_bytes(os.read(told, 4), "little"))
    os.close(told)
    os.close(tells)
    return report


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
    parser.add_argument("--even", action="store_true", help="requests arrive evenly and are all alike")
    parser.add_argument("--hogs", type=int, default=1, help="long-running tasks")
    parser.add_argument("--jobs", type=int, default=0, help="tasks that compute job after job")
    parser.add_argument("--apart", action="store_true", help="long-running tasks have their own sessions")
    parser.add_argument("--skip", type=float, default=0.0, help="seconds at the start that do not count")
    parser.add_argument("--swap", action="store_true", help="tasks and hogs change parts halfway")
    parser.add_argument("--announce", action="store_true", help="print first who answers and who computes")
    parser.add_argument("--helper", action="store_true", help="interactive tasks hand work to a helper")
    parser.add_argument("--helpers", type=int, default=0, help="interactive tasks hand all work to so many")
    parser.add_argument("--together", action="store_true", help="these work at the same time")
    parser.add_argument("--users", action="store_true", help="each task shares a session with a hog")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Run the mix, and print its figures."""
    options = parse_options(argv)
    requests = draw_all(options)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.disable()
    start_ns = time.monotonic_ns() + START_NS
    end_ns = start_ns + int(options.seconds * 1e9)
    skipped_ns = int(options.skip * 1e9)
    counted_ns = start_ns + skipped_ns
    roles: dict[str, list[int]] = {"interactive": [], "batch": []}
    times = (start_ns, (start_ns + end_ns) // 2, end_ns, counted_ns)
    nr_both = min(options.tasks, options.hogs) if options.swap or options.users else 0
    if options.users:
        both = [fork_user(mine, times, options, roles) for mine in requests[:nr_both]]
    else:
        both = [
            fork_reporter(
                partial(in_turn, requests[index // 2], times, options, serves_first=not index % 2),
                roles["batch" if index % 2 else "interactive"],
            )
            for index in range(2 * nr_both)
        ]
    tasks = [
        fork_reporter(partial(serve, mine, start_ns, options, counted_ns=skipped_ns), roles["interactive"])
        for mine in requests[nr_both:]
    ]
    computing = [
        *[partial(hog, end_ns, apart=options.apart, counted_ns=counted_ns)] * (options.hogs - nr_both),
        *(partial(compile_jobs, jobs, end_ns, counted_ns=counted_ns) for jobs in draw_jobs(options)),
    ]
    hogs = [fork_reporter(task, roles["batch"]) for task in computing]
    if options.announce:
        half_ns = times[1] if options.swap else end_ns
        print(json.dumps({**roles, "swap_ns": half_ns, "end_ns": end_ns}), flush=True)  # noqa: T201 - a program of its own
    reports = [collect(pipe) for pipe in both]
    latencies_us = sorted(
        [latency for pipe in tasks for latency in collect(pipe)]
        + [latency for report in reports for latency in report[1:]]
    )
    nr_units = sum(collect(pipe) for pipe in hogs) + sum(report[0] for report in reports)
    for _ in range(len(tasks) + len(hogs) + len(both)):
        os.wait()  # their CPU time counts as ours
    counted_s = options.seconds - options.skip
    figures = {"ops_per_s": nr_units / counted_s, "nr_requests": len(latencies_us)}
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
