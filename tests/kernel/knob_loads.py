"""What the sides do whose contention shows a knob's effect, and the figures that show it.

The figures are the kernel's own accounts: utime and stime, context switches, run_delay; lateness is the
clock's.
"""

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from schedtuna.kernel.syscalls import sched_getattr, sched_setattr

NAP_S, WORK_S = 0.002, 0.0003
PAUSE_S = 0.0083  # no multiple of a tick
LONG_SLICE_NS = 100_000_000


def hog(end: float) -> dict[str, Any]:
    cpus = set()
    while time.monotonic() < end:
        slot = time.monotonic() + 0.02
        while time.monotonic() < slot:
            for _ in range(300):  # an emulated CPU takes long to tell the time
                pass
        cpus.add(int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[36]))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "switches": used.ru_nivcsw, "cpus": sorted(cpus)}


def napper(end: float) -> dict[str, Any]:
    """Sleep and work in turns; how long it waited for the CPU, and how late it ran, in milliseconds."""
    waited, late = [], []
    delay = Path("/proc/self/schedstat")
    while (before := time.monotonic()) < end:
        waiting_ns = int(delay.read_text().split()[1])
        time.sleep(NAP_S)
        woken = time.monotonic()
        late.append(1e3 * (woken - before - NAP_S))
        waited.append(1e-6 * (int(delay.read_text().split()[1]) - waiting_ns))
        while time.monotonic() < woken + WORK_S:
            pass
    return {"waited_ms": sorted(waited)[len(waited) * 8 // 10], "late_ms": sorted(late)[len(late) // 2]}


def waker(end: float) -> dict[str, Any]:
    """Sleep, and do next to nothing; how late the tenth that waited longest ran, in milliseconds."""
    late = []
    while (before := time.monotonic()) < end:
        time.sleep(PAUSE_S)
        late.append(1e3 * (time.monotonic() - before - PAUSE_S))
    return {"late_ms": sorted(late)[len(late) * 9 // 10]}


def long_hog(end: float) -> dict[str, Any]:
    sched_setattr(0, replace(sched_getattr(0), runtime_ns=LONG_SLICE_NS))
    return hog(end)


def several(number: int, role: Callable[[float], dict[str, Any]] = hog) -> Callable[[float], dict[str, Any]]:
    def hogs(end: float) -> dict[str, Any]:
        reports = [report(role, end) for _ in range(number)]
        found = [json.loads(os.read(pipe, 1 << 16)) for pipe in reports]
        return {
            "cpu_s": sum(row["cpu_s"] for row in found),
            "switches": sum(row["switches"] for row in found),
            "cpus": sorted({cpu for row in found for cpu in row["cpus"]}),
        }

    return hogs


def report(role: Callable[[float], dict[str, Any]], end: float) -> int:
    """Play a role in a child; returns the pipe that its report comes from."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(role(end)).encode())
        os._exit(0)
    os.close(write)
    return read


def realtime_hog(end: float) -> dict[str, Any]:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return hog(end)


def spread_hogs(end: float) -> dict[str, Any]:
    """Three hogs, of which one is on this CPU and the others on the next; what the first one got."""
    (cpu,) = os.sched_getaffinity(0)
    here = report(hog, end)
    others = sorted(set(range(os.cpu_count() or 1)) - {cpu})[:1]
    os.sched_setaffinity(0, others)
    elsewhere = [report(hog, end) for _ in range(2)]
    found: dict[str, Any] = json.loads(os.read(here, 1 << 16))
    for pipe in elsewhere:
        os.read(pipe, 1 << 16)
    return found


class Side:
    """A session with a role, held until it is let go."""

    def __init__(self, role: Callable[[float], dict[str, Any]], cpu: int | None) -> None:
        waiting, self._gate = os.pipe()
        self._report, write = os.pipe()
        ready, is_ready = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                signal.signal(signal.SIGXCPU, signal.SIG_IGN)  # of the knob realtime, after 5 s
                if cpu is not None:
                    os.sched_setaffinity(0, {cpu})
                os.close(self._gate)
                os.write(is_ready, b".")
                if end := os.read(waiting, 100):
                    os.write(write, json.dumps(role(float(end))).encode())
            finally:
                os._exit(0)
        for descriptor in (waiting, write, is_ready):
            os.close(descriptor)
        os.read(ready, 1)
        os.close(ready)

    def go(self, end: float) -> None:
        os.write(self._gate, str(end).encode())

    def result(self) -> dict[str, Any]:
        """What it reports; it has ended then, so that it hinders nobody who removes its control group."""
        found: dict[str, Any] = json.loads(os.read(self._report, 1 << 16))
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return found

    def close(self) -> None:
        os.close(self._gate)
        os.close(self._report)
        os.waitpid(self.pid, 0)


@dataclass(frozen=True)
class Measure:
    """Who has the knob, who contends with it, and the figure."""

    ours: Callable[[float], dict[str, Any]]
    other: Callable[[float], dict[str, Any]] | None
    figure: Callable[[dict[str, Any], dict[str, Any], float], float]
    pinned: bool = True


def _share(ours: dict[str, Any], other: dict[str, Any], _seconds: float) -> float:
    return 100 * float(ours["cpu_s"]) / float(ours["cpu_s"] + other["cpu_s"])


MEASURES = {
    "share": Measure(hog, hog, _share),  # % of the CPU
    "crowd": Measure(several(3), hog, _share),
    "switches": Measure(several(2), None, lambda ours, _, seconds: float(ours["switches"]) / seconds),
    "wait": Measure(napper, hog, lambda ours, *_: float(ours["waited_ms"])),
    # A short slice beside long ones, and a long one beside short ones. Two hogs: a single one is never owed
    # time, and a slice is protected only while its thread is.
    "wake_short": Measure(waker, several(2, long_hog), lambda ours, *_: float(ours["late_ms"])),
    "wake_long": Measure(waker, several(2), lambda ours, *_: float(ours["late_ms"])),
    "late": Measure(napper, None, lambda ours, *_: float(ours["late_ms"])),
    "cpus": Measure(several(4), None, lambda ours, *_: float(len(ours["cpus"])), pinned=False),
    "beside_rt": Measure(hog, realtime_hog, _share),
    # What the other side's hog beside ours gets, as the others of its side are elsewhere.
    "spread": Measure(hog, spread_hogs, lambda ours, other, seconds: 100 - _share(ours, other, seconds)),
}
