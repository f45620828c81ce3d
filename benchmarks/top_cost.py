"""What does `schedtuna top` cost itself, on an idle machine and at many switches a second?

CPU time of the whole process over some seconds after its start, as percent of one CPU; procps `top`
beside it in the same way. The kernel's part, inside the load, is in record_overhead.py.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

COMMANDS = {
    "schedtuna top": [sys.executable, "-m", "schedtuna", "top", "--interval", "1s"],
    "top": ["top", "-d", "1"],
}
WARMUP_S = 3.0


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost_percent(command: list[str], seconds: float) -> float:
    """Run a command in a terminal of 150 x 40 and return its CPU use after its start."""
    master, slave = pty.openpty()
    os.set_blocking(master, True)
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "150", "LINES": "40"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    threading.Thread(target=_discard, args=(master,), daemon=True).start()
    try:
        time.sleep(WARMUP_S)
        before = cpu_seconds(process.pid)
        time.sleep(seconds)
        return 100 * (cpu_seconds(process.pid) - before) / seconds
    finally:
        process.terminate()
        process.wait()


def _discard(master: int) -> None:
    try:
        while os.read(master, 1 << 16):
            pass
    except OSError:
        os.close(master)


def switches() -> int:
    """Context switches of all CPUs since boot."""
    lines = Path("/proc/stat").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("ctxt")))


def main() -> None:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 2.0
    result: dict[str, dict[str, float]] = {}
    for load in ("idle", "busy"):
        pipe = None
        if load == "busy":
            command = ["perf", "bench", "sched", "pipe", "-l", str(10**9)]
            # Both of its processes hold both ends of the pipes: neither would notice that the other is gone.
            pipe = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            started, count = time.monotonic(), switches()
            figures = {
                name: round(cost_percent(command, options.seconds), 2) for name, command in COMMANDS.items()
            }
            figures["switches_per_s"] = round((switches() - count) / (time.monotonic() - started))
        finally:
            if pipe:
                os.killpg(pipe.pid, signal.SIGTERM)
                pipe.wait()
        result[load] = figures
    print(json.dumps(result))


if __name__ == "__main__":
    main()
