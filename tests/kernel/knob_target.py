"""A program whose threads and children can be watched through /proc, apart from the code under test."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SCRIPT = r"""
import ctypes, os, selectors, subprocess, sys, threading
if len(sys.argv) > 1:  # become another user, once all is imported that only root may read
    os.setgroups([])
    os.setresgid(*[int(sys.argv[1])] * 3)
    os.setresuid(*[int(sys.argv[1])] * 3)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, which the change of user cleared
def start_thread():
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    return thread.native_id
for line in sys.stdin:
    order = line.strip()
    if order == "thread":
        print(start_thread(), flush=True)
    elif order == "ready":
        print(os.getpid(), flush=True)
    elif order == "child":
        print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
"""


class Program:
    """A running program; `order` makes it start a thread or a child, and returns the tid or pid."""

    def __init__(self, *, threads=1, children=1, uid=None):
        self._process: Any = subprocess.Popen(
            [sys.executable, "-S", "-c", SCRIPT, *([] if uid is None else [str(uid)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self.order("ready")
        self.threads = [self.order("thread") for _ in range(threads)]
        self.children = [self.order("child") for _ in range(children)]

    def order(self, what):
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @property
    def tids(self):
        return [self.pid, *self.threads, *self.children]

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def observe(tid):
    """What the kernel's own files say of a thread."""

    def find(pattern, text):
        found = re.search(pattern, text)
        return found and found.group(1)

    stat = Path(f"/proc/{tid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{tid}/status").read_text()
    limits = Path(f"/proc/{tid}/limits").read_text()
    sched = Path(f"/proc/{tid}/sched")
    slice_ns = find(r"se\.slice\s*:\s*(\d+)", sched.read_text()) if sched.exists() else None
    return {
        "nice": int(stat[16]),
        "policy": int(stat[38]),
        "priority": int(stat[37]),
        "cpus": find(r"Cpus_allowed_list:\s*(\S+)", status),
        "slack_ns": int(Path(f"/proc/{tid}/timerslack_ns").read_text()),
        "slice_ns": slice_ns and int(slice_ns),
        "rttime": find(r"Max realtime timeout\s+(\S+)", limits),
        "groups": Path(f"/proc/{tid}/cgroup").read_text(),
    }


def wait_until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
