"""Does the recorder count what happened? Three oracles, on loads of three kinds.

- CPU time and run delay of stopped tasks, against the kernel's own /proc/<tid>/schedstat. (The
  kernel's run_delay leaves out the way from a wakeup that preempts to the switch; see
  docs/recording.md. The recorders measure it, so theirs may be larger where waits are short.)
- Events of tasks of one name, against `perf stat`, which counts the same tracepoints itself.
- Wakeups of a task that is woken a known number of times.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from schedtuna.record.aggregate import Aggregator
from schedtuna.record.filters import TaskFilter
from schedtuna.record.stream import EventStream
from schedtuna.trace.aggregates.layout import Delay
from schedtuna.trace.attributes import AttributeArray
from schedtuna.trace.groups import GroupArray
from schedtuna.trace.intervals import intervals
from schedtuna.trace.schema import EVENT_DTYPE, TASK_DTYPE, EventArray, EventType, TaskArray, TaskReason
from schedtuna.trace.states import RUNNABLE, TaskState
from skipping import skipping

HOG = "while True: pass"
SLEEPER = "import time\nwhile True:\n  time.sleep(0.001)\n  sum(range(2000))"
PING_PONG = """
import os
a, b = os.pipe(), os.pipe()
if os.fork():
    while True: os.write(a[1], b"x"); os.read(b[0], 1)
while True: os.read(a[0], 1); os.write(b[1], b"x")
"""
LOADS = {"hogs": [HOG, HOG, HOG], "sleepers": [SLEEPER, SLEEPER, HOG], "ping-pong": [PING_PONG, HOG]}
WAKEUPS = 23


class Memory:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self._events: list[EventArray] = []
        self._rows: list[TaskArray] = []

    def write_events(self, events: EventArray) -> None:
        """Keep a copy: the events are in the ring, which is used again."""
        self._events.append(events.copy())

    def write_tasks(self, rows: TaskArray) -> None:
        """Keep the rows."""
        self._rows.append(rows)

    def write_attributes(self, rows: AttributeArray) -> None:
        """They are not looked at."""

    def write_cpu_sets(self, cpu_sets: Mapping[int, str]) -> None:
        """Nor are these."""

    def write_groups(self, rows: GroupArray) -> None:
        """Nor are these."""

    @property
    def events(self) -> EventArray:
        """All events in time order."""
        events = np.concatenate([np.empty(0, EVENT_DTYPE), *self._events])
        return events[np.argsort(events["timestamp_ns"], kind="stable")]

    @property
    def rows(self) -> TaskArray:
        """All rows of the task table."""
        return np.concatenate([np.empty(0, TASK_DTYPE), *self._rows])


@contextmanager
def stopped_load(scripts: list[str], cpu: int) -> Iterator[list[int]]:
    """Start scripts on one CPU, stop them, and yield the pids of them and their children."""
    pinned = ["taskset", "-c", str(cpu), sys.executable, "-c"]
    processes = [subprocess.Popen([*pinned, script], start_new_session=True) for script in scripts]
    try:
        time.sleep(0.5)
        pids = [pid for process in processes for pid in group_of(process.pid)]
        send(pids, signal.SIGSTOP)
        yield pids
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def group_of(leader: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader:
            found.append(int(folder.name))
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    """Stop or continue processes; stopped ones have left their CPUs on return."""
    for pid in pids:
        os.kill(pid, number)
    while number == signal.SIGSTOP and any(
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T" for pid in pids
    ):
        time.sleep(0.01)
    time.sleep(0.05)


def schedstat(pids: list[int]) -> dict[int, tuple[int, int]]:
    """CPU time and run delay in nanoseconds, as the kernel counts them."""
    numbers = {pid: Path(f"/proc/{pid}/schedstat").read_text().split() for pid in pids}
    return {pid: (int(values[0]), int(values[1])) for pid, values in numbers.items()}


def compare_with_schedstat(seconds: float, cpu: int) -> dict[str, dict[str, float]]:
    """Deviations in percent of the sums over each load's tasks."""
    result = {}
    for name, scripts in LOADS.items():
        with stopped_load(scripts, cpu) as pids, Aggregator() as aggregator, EventStream() as stream:
            send(pids, signal.SIGCONT)  # a wait that began before the recording would not count
            time.sleep(0.3)
            send(pids, signal.SIGSTOP)
            sink = Memory()
            stream.drain(Memory())
            aggregator.window()
            before = schedstat(pids)
            send(pids, signal.SIGCONT)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.02)
                stream.drain(sink)
            send(pids, signal.SIGSTOP)
            stream.drain(sink)
            after, tasks = schedstat(pids), aggregator.window().tasks
            lost = stream.nr_lost
        kernel = np.sum([np.subtract(after[pid], before[pid]) for pid in pids], axis=0)
        mine = tasks[np.isin(tasks["tid"], pids)]
        waits = mine["delay_ns"][:, [Delay.WAKEUP, Delay.PREEMPT, Delay.FIRST_RUN]].sum()
        counted = np.array([mine["run_ns"].sum(), mine["schedstat_run_delay_ns"].sum(), waits], np.float64)
        states = intervals(sink.events)
        own = np.isin(states.tid, pids)
        running = own & (states.state == TaskState.RUNNING)
        waiting = own & np.isin(states.state, RUNNABLE)
        streamed = np.array([states.duration_ns[running].sum(), states.duration_ns[waiting].sum()])
        result[name] = {
            "kernel_cpu_ms": round(kernel[0] / 1e6, 1),
            "kernel_run_delay_ms": round(kernel[1] / 1e6, 1),
            "aggregate_cpu_percent": round(100 * (counted[0] / kernel[0] - 1), 3),
            "aggregate_run_delay_percent": round(100 * (counted[1] / kernel[1] - 1), 3),
            "aggregate_sum_of_delays_percent": round(100 * (counted[2] / kernel[1] - 1), 3),
            "stream_cpu_percent": round(100 * (streamed[0] / kernel[0] - 1), 3),
            "stream_run_delay_percent": round(100 * (streamed[1] / kernel[1] - 1), 3),
            "lost": lost,
            "hidden_switches": hidden_switches(sink.events),
        }
    return result


def hidden_switches(events: EventArray) -> int:
    """Switches without an event, where a CPU leaves another task than the one that came to it before.

    Some microVMs' kernels fire no sched_switch when a thread of process 1, their guest agent, leaves a
    CPU; perf misses the same ones.
    """
    switches = events[events["type"] == EventType.SWITCH]
    chains = [switches[switches["cpu"] == cpu] for cpu in np.unique(switches["cpu"])]
    return sum(int((chain["tid"][1:] != chain["other_tid"][:-1]).sum()) for chain in chains)


PERF_EVENTS = {
    "switch": ("sched:sched_switch", 'prev_comm == "{}"'),
    "wakeup": ("sched:sched_wakeup", 'comm == "{}"'),
    "migrate": ("sched:sched_migrate_task", 'comm == "{}"'),
    "exit": ("sched:sched_process_exit", 'comm == "{}"'),
}


def compare_with_perf() -> dict[str, dict[str, int]]:
    """Counts of events of hackbench's tasks, by us and by `perf stat`, over the same run."""
    name = f"hb{os.getpid()}"
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch, name)
        shutil.copy(shutil.which("hackbench") or "hackbench", program)
        output = Path(scratch, "stat")
        arguments = ["perf", "stat", "-a", "-x", ",", "-o", str(output)]
        for event, condition in PERF_EVENTS.values():
            arguments += ["-e", event, "--filter", condition.format(name)]
        sink = Memory()
        with EventStream() as stream:
            load = ["sh", "-c", f"sleep 0.2; {program} -g 2 -l 200; sleep 0.2"]
            process = subprocess.Popen([*arguments, "--", *load], stdout=subprocess.DEVNULL)
            while process.poll() is None:
                time.sleep(0.02)
                stream.drain(sink)
            stream.drain(sink)
        lines = [line.split(",") for line in output.read_text().splitlines() if "sched:" in line]
        perf = {event: int(fields[0]) for fields, event in zip(lines, PERF_EVENTS, strict=True)}
    return {
        event: {"schedtuna": count, "perf": perf[event]}
        for event, count in count_named(sink, name.encode()).items()
    }


def count_named(sink: Memory, name: bytes) -> dict[str, int]:
    """Count events of tasks while they have a name."""
    rows, events = sink.rows, sink.events
    named = rows[(rows["comm"] == name) & (rows["reason"] != TaskReason.EXIT)]
    since = dict(zip(named["tid"].tolist()[::-1], named["timestamp_ns"].tolist()[::-1], strict=True))
    start = np.array([since.get(tid, np.iinfo(np.int64).max) for tid in events["tid"].tolist()])
    types = events["type"][events["timestamp_ns"].astype(np.int64) >= start]
    wanted = {
        "switch": EventType.SWITCH,
        "wakeup": EventType.WAKEUP,
        "migrate": EventType.MIGRATE,
        "exit": EventType.EXIT,
    }
    return {event: int((types == type_).sum()) for event, type_ in wanted.items()}


def count_wakeups() -> dict[str, int]:
    """Wake a reader of a pipe a known number of times."""
    read, write = os.pipe()
    script = f"import os\nwhile os.read({read}, 1): pass"
    process = subprocess.Popen([sys.executable, "-c", script], pass_fds=[read])
    os.close(read)
    time.sleep(0.5)
    sink = Memory()
    with EventStream() as stream, Aggregator(TaskFilter(tgid=process.pid)) as aggregator:
        os.write(write, b"x")  # the first wait began before the recording: its beginning is not known
        time.sleep(0.05)
        aggregator.window()
        stream.drain(Memory())
        for _ in range(WAKEUPS):
            os.write(write, b"x")
            time.sleep(0.01)
        stream.drain(sink)
        counted = int(aggregator.window().tasks["nr_delays"][:, Delay.WAKEUP].sum())
    os.close(write)
    process.wait()
    woken = sink.events[sink.events["tid"] == process.pid]
    return {
        "made": WAKEUPS,
        "streamed": int((woken["type"] == EventType.WAKEUP).sum()),
        "counted": counted,
    }


def main() -> None:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 1.0
    print(
        json.dumps(
            {
                "schedstat": compare_with_schedstat(options.seconds, options.cpu),
                "perf_stat": compare_with_perf(),
                "wakeups": count_wakeups(),
            }
        )
    )


if __name__ == "__main__":
    with skipping("record_accuracy"):
        main()
