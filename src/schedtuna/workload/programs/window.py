"""What does a load do to the machine, and the scheduler to it? Runs a command, and looks at /proc meanwhile.

The command runs for --length seconds, and is ended then. Behind the first --discard of them the whole system
is sampled --samples times; and of the command's own threads it is counted how long they ran and waited for a
CPU. Printed is one JSON object: ``sampleN.NAME`` as the table of features calls it, and of the window

turnaround   mean nanoseconds from a wakeup to the sleep: time that threads ran or waited, per job
first_run    mean nanoseconds that a job waited for a CPU, after its wakeup or preemptions: /proc has the sum
fairness     spread (sd / mean) of CPU time received over entitled, by weight, in shares of what all got
nr_jobs      how many times threads went to sleep, were born, or could run when the window began

Threads that ended within the window are not counted. OVERHEAD: a sample takes 15 us per thread there is.
A program of its own, without imports outside the standard library: it runs where Schedtuna is not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = {"user": (0, 1), "system": (2,), "iowait": (4,), "irq": (5,), "softirq": (6,), "steal": (7,)}
RATES = {
    "swap_in_bytes_per_s": ("pswpin", PAGE_BYTES),
    "swap_out_bytes_per_s": ("pswpout", PAGE_BYTES),
    "io_read_bytes_per_s": ("pgpgin", 1024),
    "io_written_bytes_per_s": ("pgpgout", 1024),
}
MIN_ENTITLED_NS = 1e6  # who asked for less says nothing of fairness
# kernel/sched/core.c, sched_prio_to_weight: each level is a factor of about 1.25.
NICE_FACTOR = 1.25

Threads = dict[int, tuple[int, int, int, str, int]]  # tid -> ns that it ran, and waited, sleeps, state, nice


def words_of(path: str) -> dict[str, list[str]]:
    """Return the words of each line of a file, by the first of them."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return {words[0].rstrip(":"): words[1:] for words in lines if words}


class SystemLook:
    """The numbers of a moment."""

    def __init__(self) -> None:
        self.at_s = time.monotonic()
        stat, vmstat, memory = (words_of(f"/proc/{name}") for name in ("stat", "vmstat", "meminfo"))
        self.ticks = [int(word) for word in stat["cpu"][:8]]
        self.counters = {
            name: int(vmstat[key][0]) * unit for name, (key, unit) in RATES.items() if key in vmstat
        }
        self.counters["switches_per_s"] = int(stat["ctxt"][0])
        kib = {name: int(words[0]) * 1024 for name, words in memory.items() if words}
        self.gauges = {
            "run_queue_length": int(stat["procs_running"][0]),
            "nr_io_blocked_threads": int(stat["procs_blocked"][0]),
            "memory_used_bytes": kib["MemTotal"] - kib["MemAvailable"],
            "memory_available_bytes": kib["MemAvailable"],
            "swap_used_bytes": kib["SwapTotal"] - kib["SwapFree"],
            "cache_bytes": kib["Cached"],
            "buffers_bytes": kib["Buffers"],
        }
        states = dict.fromkeys("RD", 0)
        self.switches: dict[int, tuple[int, int]] = {}
        for process in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - it is hot
            for tid, state, sleeps, preemptions in switches_of(int(process)):
                self.switches[tid] = sleeps, preemptions
                if state in states:
                    states[state] += 1
        self.gauges |= {"nr_active_threads": states["R"], "nr_blocked_threads": states["D"]}

    def since(self, before: SystemLook) -> dict[str, float]:
        """Return the features of the time since an earlier look."""
        seconds = max(self.at_s - before.at_s, 1e-9)
        spent = [now - then for now, then in zip(self.ticks, before.ticks, strict=True)]
        all_ticks = max(sum(spent), 1)
        shares = {
            f"{name}_percent": 100 * sum(spent[i] for i in of) / all_ticks for name, of in TICKS.items()
        }
        shares["cpu_percent"] = 100 * (sum(spent) - spent[3] - spent[4]) / all_ticks
        rates = {name: (value - before.counters[name]) / seconds for name, value in self.counters.items()}
        sums = [0, 0]
        for tid, counts in self.switches.items():
            then = before.switches.get(tid, (0, 0))
            if then[0] > counts[0] or then[1] > counts[1]:  # another thread of the same number
                then = (0, 0)
            sums = [total + now - old for total, now, old in zip(sums, counts, then, strict=True)]
        names = ("voluntary_switches_per_s", "involuntary_switches_per_s")
        return {
            **self.gauges,
            **shares,
            **rates,
            **{n: s / seconds for n, s in zip(names, sums, strict=True)},
        }


def switches_of(process: int) -> Iterator[tuple[int, str, int, int]]:
    """Iterate over a process's threads: number, state, voluntary and involuntary switches."""
    with contextlib.suppress(OSError):
        for tid in map(int, os.listdir(f"/proc/{process}/task")):  # noqa: PTH208 - it is hot
            with contextlib.suppress(OSError):
                with open(f"/proc/{process}/task/{tid}/status", "rb") as file:  # noqa: PTH123 - likewise
                    text = file.read()
                sleeps, preemptions = (
                    int(behind(text, b"\n%bvoluntary_ctxt_switches:" % kind)) for kind in (b"", b"non")
                )
                yield tid, chr(behind(text, b"\nState:")[0]), sleeps, preemptions


def behind(text: bytes, label: bytes) -> bytes:
    """Return the word that follows a label on its line."""
    return text.partition(label)[2].split(None, 1)[0]


def tree(root: int) -> list[int]:
    """Return a process and its descendants."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - it is hot
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{name}/stat").read_text()
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def threads_of(root: int) -> Threads:
    """Return what the threads of a tree have done since they were born."""
    found = {}
    for process in tree(root):
        for tid, state, sleeps, _ in switches_of(process):
            with contextlib.suppress(OSError, ProcessLookupError):
                text = Path(f"/proc/{process}/task/{tid}/schedstat").read_text()
                ran, waited = int(text.split()[0]), int(text.split()[1])
                found[tid] = (ran, waited, sleeps, state, os.getpriority(os.PRIO_PROCESS, tid))
    return found


def figures(before: Threads, after: Threads) -> dict[str, float]:
    """Return the terms of L of the time between two looks at the command's threads."""
    rows = []  # received, asked for, weight
    nr_jobs, waited_ns = 0, 0
    for tid, now in after.items():
        nice = now[4]
        then = before.get(tid, (0, 0, 0, "R", nice))  # one that is new could run when it was born
        ran, waited, sleeps = now[0] - then[0], now[1] - then[1], now[2] - then[2]
        rows.append((float(ran), float(ran + waited), NICE_FACTOR**-nice))
        nr_jobs += sleeps + (then[3] == "R")
        waited_ns += waited
    return {
        "turnaround": sum(asked for _, asked, _ in rows) / max(nr_jobs, 1),
        "first_run": waited_ns / max(nr_jobs, 1),
        "fairness": spread(rows),
        "nr_jobs": nr_jobs,
        "nr_counted_threads": len(rows),
    }


def spread(rows: Sequence[tuple[float, float, float]]) -> float:
    """Return sd / mean of received over entitled; rows are (received, asked for, weight).

    Entitled is what water-filling gives of all that was received: by weight, to nobody more than asked for.
    """
    left, open_rows, entitled = sum(received for received, _, _ in rows), list(range(len(rows))), {}
    while open_rows:
        level = left / sum(rows[i][2] for i in open_rows)
        sated = [i for i in open_rows if rows[i][1] <= level * rows[i][2]]
        for i in sated or open_rows:
            entitled[i] = rows[i][1] if sated else level * rows[i][2]
        left -= sum(entitled[i] for i in sated)
        open_rows = [i for i in open_rows if i not in entitled]
    ratios = [rows[i][0] / ns for i, ns in entitled.items() if ns >= MIN_ENTITLED_NS]
    mean = sum(ratios) / len(ratios) if ratios else 0.0
    if len(ratios) < 2 or not mean:
        return 0.0
    return float((sum((ratio - mean) ** 2 for ratio in ratios) / len(ratios)) ** 0.5 / mean)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=float, default=5.0)
    parser.add_argument("--discard", type=float, default=2.0)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)
    begun_s = time.monotonic()
    with subprocess.Popen(options.command, stdout=subprocess.DEVNULL, start_new_session=True) as load:
        try:
            time.sleep(options.discard)
            looks, threads = [SystemLook()], threads_of(load.pid)
            for number in range(1, options.samples + 1):
                due_s = options.discard + (options.length - options.discard) * number / options.samples
                time.sleep(max(begun_s + due_s - time.monotonic(), 0))
                looks.append(SystemLook())
            if load.poll() is not None:
                sys.stderr.write(f"the load ended early, with exit code {load.returncode}\n")
                return 1
            found = figures(threads, threads_of(load.pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(load.pid, signal.SIGKILL)
    for number, (before, now) in enumerate(itertools.pairwise(looks)):
        found |= {f"sample{number}.{name}": value for name, value in now.since(before).items()}
        found[f"sample{number}.time_s"] = now.at_s - begun_s
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
