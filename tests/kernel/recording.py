"""What the recorder's tests share: a sink that keeps everything, and loads that do known things."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from schedtuna.trace.attributes import ATTRIBUTE_DTYPE, attribute_table
from schedtuna.trace.groups import empty_groups, group_table
from schedtuna.trace.schema import EVENT_DTYPE, TASK_DTYPE


class Memory:
    """A sink that keeps everything."""

    def __init__(self):
        self._events, self._rows, self._attributes, self._cpu_sets, self._groups = [], [], [], {}, []

    def write_events(self, events):
        self._events.append(events.copy())

    def write_tasks(self, rows):
        self._rows.append(rows)

    def write_attributes(self, rows):
        self._attributes.append(rows)

    def write_cpu_sets(self, cpu_sets):
        self._cpu_sets |= cpu_sets

    def write_groups(self, rows):
        self._groups.append(rows)

    @property
    def attributes(self):
        rows = np.concatenate([np.empty(0, ATTRIBUTE_DTYPE), *self._attributes])
        return attribute_table(rows, self._cpu_sets)

    @property
    def groups(self):
        return group_table(np.concatenate([empty_groups(), *self._groups]), {})

    @property
    def events(self):
        events = np.concatenate([np.empty(0, EVENT_DTYPE), *self._events])
        return events[np.argsort(events["timestamp_ns"], kind="stable")]

    @property
    def rows(self):
        return np.concatenate([np.empty(0, TASK_DTYPE), *self._rows])


class Puppet:
    """A Python process that runs one line of code for each line it is sent, and answers each."""

    SCRIPT = "import sys, os, time, threading\nfor line in sys.stdin:\n  exec(line)\n  print(flush=True)"

    def __init__(self, *wrapper):
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-c", self.SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.do("pass")

    @property
    def pid(self):
        return self.process.pid

    def do(self, code):
        self.process.stdin.write(code.encode() + b"\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"\n"

    def rest(self):
        """Wait until it has left its CPU, to wait for its next line; its state says so a little earlier."""
        while Path(f"/proc/{self.pid}/syscall").read_text().startswith("running"):
            time.sleep(0.001)

    def switches(self):
        """Voluntary and involuntary context switches, as the kernel counts them, once it sleeps."""
        self.rest()
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        values = dict(line.split(":\t") for line in lines if "ctxt_switches" in line)
        return int(values["voluntary_ctxt_switches"]), int(values["nonvoluntary_ctxt_switches"])

    def schedstat(self):
        """CPU time and run delay in nanoseconds, as the kernel counts them."""
        run_ns, delay_ns, _ = map(int, Path(f"/proc/{self.pid}/schedstat").read_text().split())
        return run_ns, delay_ns

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def until(condition):
    """Wait for what comes soon, such as a task's last switch: its parent may know of its end before."""
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def cgroup_folder():
    """A new cgroup of the cpu controller; None where this process may make none."""
    for root in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")):
        if (root / "cgroup.procs").exists():
            folder = root / f"schedtuna-test-{os.getpid()}"
            try:
                folder.mkdir()
            except OSError:
                return None
            return folder
    return None


def set_quota(cgroup, *, quota_us, period_us):
    """Give a cgroup a quota, and the most weight, so that it waits for its quota, not for others.

    False: this cgroup can't have one.
    """
    if (cgroup / "cpu.cfs_quota_us").exists():
        (cgroup / "cpu.cfs_period_us").write_text(str(period_us))
        (cgroup / "cpu.cfs_quota_us").write_text(str(quota_us))
        (cgroup / "cpu.shares").write_text("262144")
    elif (cgroup / "cpu.max").exists():
        (cgroup / "cpu.max").write_text(f"{quota_us} {period_us}")
        (cgroup / "cpu.weight").write_text("10000")
    else:
        return False
    return True


def throttled(cgroup):
    """How often and how long, as the kernel counts it."""
    values = {k: int(v) for k, v in map(str.split, (cgroup / "cpu.stat").read_text().splitlines())}
    time_ns = values["throttled_time"] if "throttled_time" in values else 1000 * values["throttled_usec"]
    return values["nr_throttled"], time_ns
