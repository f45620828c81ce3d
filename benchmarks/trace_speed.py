"""How fast do events become task states, figures, and how fast are perf's files read?

The trace is made up: 8 CPUs on which 400 tasks wake, run and sleep, so that it needs no privileges.
Rates are of wall time, the best of several rounds (other programs on the machine only make it slower),
and of CPU time; two threads share the work. "metrics" is everything: of all tasks together, of each task
and of each CPU, with fairness and migrations. Peers: a plain per-event state machine in Python, a plain
parser of `perf script` text with one regular expression per line, and (with perf and root) perf itself on
a perf.data of hackbench, in turn with us: `perf sched latency` beside reading the file and computing every
figure, `perf script` beside reading it only, and then its text.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import load as load_trace
from schedtuna.trace.formats import sched_text
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.intervals import iter_intervals
from schedtuna.trace.schema import EVENT_DTYPE, EventArray, EventType, PrevState
from schedtuna.trace.trace import MemorySource, Trace

GOALS = {"intervals": 20e6, "metrics": 10e6, "perf_script_text": 2e6}
NR_CPUS, TASKS_PER_CPU = 8, 50


def made_up_events(nr_events: int) -> EventArray:
    """Return wakeups, each followed by a switch to who was woken."""
    rng = np.random.default_rng(0)
    per_cpu = nr_events // NR_CPUS // 2
    parts = []
    for cpu in range(NR_CPUS):
        task = np.cumsum(rng.integers(1, TASKS_PER_CPU, per_cpu)) % TASKS_PER_CPU + 1 + cpu * TASKS_PER_CPU
        part = np.zeros((per_cpu, 2), EVENT_DTYPE)
        part["timestamp_ns"] = 10**9 + np.cumsum(
            rng.exponential(4_000, (per_cpu, 2)).astype(np.int64) + 100
        ).reshape(per_cpu, 2)
        part["cpu"] = part["target_cpu"] = part["orig_cpu"] = cpu
        part["type"] = [EventType.WAKEUP, EventType.SWITCH]
        before = np.concatenate([[0], task[:-1]])
        part["tid"] = np.stack([task, before], axis=1)
        part["other_tid"] = np.stack([before, task], axis=1)
        part["prio"] = 120
        part["other_prio"][:, 1] = 120
        part["prev_state"][:, 1] = PrevState.SLEEPING
        parts.append(part.reshape(-1))
    events = np.concatenate(parts)
    return events[np.argsort(events["timestamp_ns"], kind="stable")]


def perf_text(events: EventArray) -> bytes:
    """Return events as `perf script` prints them."""
    lines = []
    for event in events.tolist():
        row = dict(zip(EVENT_DTYPE.names or (), event, strict=True))
        seconds, rest = divmod(row["timestamp_ns"], 10**9)
        current = row["tid"] if row["type"] == EventType.SWITCH else row["other_tid"]
        head = f"task-{current:<11} {current:5} [{row['cpu']:03}] {seconds:5}.{rest:09}: "
        if row["type"] == EventType.SWITCH:
            prev, following = row["tid"], row["other_tid"]
            lines.append(
                f"{head}      sched:sched_switch: prev_comm=task-{prev} prev_pid={prev} prev_prio=120 "
                f"prev_state=S ==> next_comm=task-{following} next_pid={following} next_prio=120"
            )
        else:
            lines.append(
                f"{head}      sched:sched_wakeup: comm=task-{row['tid']} pid={row['tid']} prio=120 "
                f"target_cpu={row['target_cpu']:03}"
            )
    return "\n".join(lines).encode() + b"\n"


def best(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the least wall time and the least CPU time of some rounds."""
    wall, cpu = [], []
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return min(wall), min(cpu)


def rates(name: str, count: int, work: Callable[[], object], rounds: int) -> dict[str, float | bool]:
    """Return events per second of our way, and whether that is the goal."""
    wall, cpu = best(work, rounds)
    return {
        "per_s": round(count / wall),
        "per_cpu_s": round(count / cpu),
        "goal_per_s": GOALS[name],
        "met": count / wall >= GOALS[name],
    }


def states(events: EventArray) -> None:
    """Take all intervals, and keep none."""
    for _ in iter_intervals(events):
        pass


def all_metrics(events: EventArray) -> None:
    """Compute every figure: of all tasks together, of each, and of each CPU; fairness and migrations too."""
    analyse(Trace({}, MemorySource(events)))


def analyse(trace: Trace) -> None:
    """Compute every figure of a trace."""
    analysis = Analysis(trace, allow_lost=True)
    analysis.overall()
    analysis.by("task")
    analysis.by("cpu")


def plain_states(events: EventArray) -> None:
    """The same state machine, an event at a time, as one would write it in Python."""
    state: dict[int, tuple[str, int]] = {}
    found = []

    def enter(tid: int, new: str, now: int) -> None:
        if tid:
            old = state.get(tid)
            if old is not None:
                found.append((tid, old[0], old[1], now))
            state[tid] = (new, now)

    for event in events.tolist():
        now, tid, other, kind = event[0], event[1], event[2], event[7]
        if kind == EventType.SWITCH:
            enter(tid, "runnable" if event[8] < 2 else "sleeping", now)
            enter(other, "running", now)
        elif kind == EventType.WAKEUP and state.get(tid, ("sleeping", 0))[0] == "sleeping":
            enter(tid, "runnable", now)


_LINE = re.compile(
    r"\s*(.+?)\s+(\d+)\s+\[(\d+)\]\s+(\d+)\.(\d+):\s+sched:(\w+): "
    r"(?:prev_comm=(.+) prev_pid=(\d+) prev_prio=(\d+) prev_state=(\S+) ==> next_comm=(.+) next_pid=(\d+) "
    r"next_prio=(\d+)|comm=(.+) pid=(\d+) prio=(\d+) target_cpu=(\d+))"
)


def plain_text(text: bytes) -> None:
    """Read `perf script` text as one would: a regular expression per line."""
    rows = []
    for line in text.decode().splitlines():
        match = _LINE.match(line)
        if match:
            time_ns = int(match[4]) * 10**9 + int(match[5])
            if match[8]:
                rows.append((time_ns, int(match[3]), int(match[8]), int(match[12]), match[10]))
            else:
                rows.append((time_ns, int(match[3]), int(match[15]), int(match[2]), match[6]))


def in_turn(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Return the least wall and CPU time of each, children included; they take turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started, used = time.perf_counter(), cpu_seconds()
            work()
            found[name].append((time.perf_counter() - started, cpu_seconds() - used))
    return {
        name: {"wall_s": min(wall for wall, _ in times), "cpu_s": min(cpu for _, cpu in times)}
        for name, times in found.items()
    }


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def beside_perf(seconds: float, rounds: int) -> dict[str, object]:
    """Take a perf.data of hackbench: what do perf's own tools take for it, and what do we?"""
    if os.geteuid() != 0 or shutil.which("perf") is None:
        return {"skipped": "needs root and perf"}
    with tempfile.TemporaryDirectory() as scratch:
        path, text = Path(scratch) / "perf.data", Path(scratch) / "text"
        load = ["timeout", str(seconds), "hackbench", "-g", "2", "-l", "1000000"]

        def perf(*command: str | Path, output: Path = Path(os.devnull), check: bool = True) -> None:
            with output.open("wb") as file:
                subprocess.run(["perf", *command], stdout=file, stderr=subprocess.DEVNULL, check=check)

        perf("sched", "record", "-m", "32M", "-o", path, "--", *load, check=False)  # timeout's exit code
        times = in_turn(
            {
                "perf_sched_latency": lambda: perf("sched", "latency", "-i", path),
                "import_and_metrics": lambda: analyse(load_trace(path)),
                "perf_script": lambda: perf(
                    "script", "--ns", "-F", "comm,pid,tid,cpu,time,event,trace", "-i", path, output=text
                ),
                "import": lambda: load_trace(path),
                "import_of_the_text": lambda: load_trace(text),
            },
            rounds,
        )
        return {
            "nr_events": len(load_trace(path).events),
            "nr_lines_of_text": text.read_bytes().count(b"\n"),
            **{name: {key: round(value, 3) for key, value in of.items()} for name, of in times.items()},
            "perf_sched_latency_over_ours": ratios(times["perf_sched_latency"], times["import_and_metrics"]),
            "perf_script_over_our_import": ratios(times["perf_script"], times["import"]),
        }


def ratios(theirs: dict[str, float], ours: dict[str, float]) -> dict[str, float]:
    """Return how much longer they take, by wall and by CPU time."""
    return {name: round(theirs[name] / ours[name], 1) for name in theirs}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 million events in place of 4")
    quick = parser.parse_args().quick
    events = made_up_events(1_000_000 if quick else 4_000_000)
    rounds, sample = (3, 100_000) if quick else (9, 300_000)
    text = perf_text(events[:sample])
    nr_lines = text.count(b"\n")
    plain_wall, _ = best(lambda: plain_states(events[:sample]), 2)
    plain_text_wall, _ = best(lambda: plain_text(text), 2)
    result = {
        "benchmark": "trace_speed",
        "nr_events": len(events),
        "intervals": rates("intervals", len(events), lambda: states(events), rounds),
        "metrics": rates("metrics", len(events), lambda: all_metrics(events), rounds),
        "perf_script_text": rates(
            "perf_script_text", nr_lines, lambda: sched_text.parse(io.BytesIO(text), Collector()), rounds
        ),
        "peers": {
            "plain_state_machine_per_s": round(sample / plain_wall),
            "plain_text_parser_per_s": round(nr_lines / plain_text_wall),
        },
        "beside_perf": beside_perf(*((1.0, 2) if quick else (5.0, 5))),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
