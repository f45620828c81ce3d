"""What does the agent's loop take, by how many threads there are? And what would reading /proc take instead?

Each row: CPU time of one interval of the whole loop (sense, decide, judge limits, log), the share of one CPU
at an interval of 1 s, the interval that keeps it below 1%, the peak memory of `schedtuna agent run` (about
half of it pages of libraries, which processes share), and the CPU time of reading the same threads from
/proc in the same run. The threads sleep, but for a few that run and wait.
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
from pathlib import Path

from schedtuna.agent.log import AgentLog
from schedtuna.agent.loop import Agent, LoopOptions
from schedtuna.agent.policies.rules import RulesPolicy
from schedtuna.agent.sensing import Senses
from schedtuna.knobs.journal import Journal
from schedtuna.record.sense import ProcTaskSensor, TaskSensor
from skipping import skipping

THREADS = """
import sys, threading, time
threading.stack_size(65536)
for _ in range(int(sys.argv[1])):
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
print("ready", flush=True)
while True:
    time.sleep(0.02)
    sum(range(20_000))
"""
RUN = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def loop_ms(intervals: int, folder: Path) -> tuple[list[float], int]:
    """CPU time of each interval, and how many threads were seen."""
    senses = Senses()
    log = AgentLog(folder)
    try:
        agent = Agent(RulesPolicy(), senses, Journal(folder), log, options=LoopOptions(advise=True))
        agent.step()
        spent = []
        for _ in range(intervals):
            time.sleep(1)
            began = time.process_time()
            sensed = agent.step()
            spent.append(1e3 * (time.process_time() - began))
        assert sensed is not None
        return spent, len(sensed.tasks)
    finally:
        log.close()
        senses.close()


def proc_ms(times: int) -> float:
    """CPU time of one reading of /proc."""
    sensor = ProcTaskSensor()
    began = time.process_time()
    for _ in range(times):
        sensor.rows()
    return 1e3 * (time.process_time() - began) / times


def peak_mb(folder: Path) -> float:
    """The peak memory of an agent that runs for some seconds."""
    agent = [sys.executable, "-m", "schedtuna", "agent", "run", "--advise", "--for", "4s"]
    environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *agent], env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def measure(nr_threads: int, intervals: int) -> dict[str, float | int | bool]:
    """One row."""
    load = subprocess.Popen(
        [sys.executable, "-c", THREADS, str(nr_threads)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert load.stdout is not None
        load.stdout.readline()
        with tempfile.TemporaryDirectory() as folder:
            spent, seen = loop_ms(intervals, Path(folder))
            memory = peak_mb(Path(folder))
        ours, theirs = statistics.median(spent), proc_ms(3 if nr_threads > 5000 else 10)
    finally:
        load.kill()
        load.communicate()
    return {
        "threads": seen,
        "loop_ms": round(ours, 2),
        "cpu_percent_at_1s": round(ours / 10, 3),
        "interval_for_1_percent_s": round(max(1.0, ours / 10), 2),
        "peak_mb": round(memory, 1),
        "proc_ms": round(theirs, 2),
        "ratio": round(theirs / ours, 1),
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    sizes = (100, 1000) if quick else (100, 1000, 10_000)
    with skipping("agent_loop"):
        TaskSensor().close()
        rows = [measure(size, 4 if quick else 10) for size in sizes]
        print(json.dumps({"benchmark": "agent_loop", "rows": rows}))


if __name__ == "__main__":
    main()
