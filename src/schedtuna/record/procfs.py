"""How is the whole system doing? Samples from /proc, without privileges and without BPF.

`SYSTEM_METRICS` is what is sampled: rows of the table of features. Gauges are what is so at the moment;
counters become rates per second between two samples.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schedtuna.features.table import SYSTEM_FEATURES
from schedtuna.machine.procstat import ProcStat, parse_proc_stat

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_KIB = 1024
ThreadSwitches = dict[int, tuple[int, int]]


SYSTEM_METRICS = SYSTEM_FEATURES

# Counter -> (line of /proc/stat or /proc/vmstat, unit).
_STAT_COUNTERS = {"switches_per_s": "ctxt", "forks_per_s": "processes", "interrupts_per_s": "intr"}
_VMSTAT_COUNTERS = {
    "swap_in_bytes_per_s": ("pswpin", PAGE_BYTES),
    "swap_out_bytes_per_s": ("pswpout", PAGE_BYTES),
    "io_read_bytes_per_s": ("pgpgin", _KIB),
    "io_written_bytes_per_s": ("pgpgout", _KIB),
    "page_faults_per_s": ("pgfault", 1),
}


@dataclass(frozen=True)
class ProcSnapshot:
    """The raw numbers of a moment.

    Attributes:
        timestamp_ns: On CLOCK_MONOTONIC.
        cpu: CPU times since boot.
        gauges: By metric.
        counters: By metric, since boot.
        thread_switches: Voluntary and involuntary ones so far, by tid; None where nobody looked.
        stalled_us: PSI totals since boot, by metric.
        thread: Who read them.
        own_cpu_s: That thread's CPU time.
    """

    timestamp_ns: int
    cpu: ProcStat
    gauges: dict[str, float]
    counters: dict[str, float]
    thread_switches: ThreadSwitches | None
    stalled_us: dict[str, float]
    thread: int
    own_cpu_s: float


class SystemSampler:
    """Samples the system; each sample covers the time since the one before.

    Args:
        threads: Scan all threads, too, for the metrics that say so: 15 microseconds per thread.
        proc: Where procfs is mounted.

    Raises:
        UnavailableError: There is no procfs.
    """

    def __init__(self, *, threads: bool = True, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._threads = threads
        self._before = self._read()

    @property
    def since_ns(self) -> int:
        """When the time begins that the next sample covers (CLOCK_MONOTONIC)."""
        return self._before.timestamp_ns

    def sample(self) -> tuple[int, dict[str, float]]:
        """Return the time (CLOCK_MONOTONIC, ns) and the metrics by name, as far as this kernel has them."""
        before, now = self._before, self._read()
        self._before = now
        elapsed_s = max((now.timestamp_ns - before.timestamp_ns) / 1e9, 1e-9)
        return now.timestamp_ns, {
            **_cpu_shares(now.cpu, before.cpu),
            **now.gauges,
            **_rates(now.counters, before.counters, elapsed_s),
            **_switch_rates(now.thread_switches, before.thread_switches, elapsed_s),
            **{
                name: min(100.0, 100 * rate / 1e6)
                for name, rate in _rates(now.stalled_us, before.stalled_us, elapsed_s).items()
            },
            **_own_share(now, before, elapsed_s),
        }

    def _read(self) -> ProcSnapshot:
        stat = self._text("stat")
        lines = {name: rest.split() for name, _, rest in (line.partition(" ") for line in stat.splitlines())}
        gauges = {
            **_first_numbers(
                lines, {"run_queue_length": "procs_running", "nr_io_blocked_threads": "procs_blocked"}
            ),
            **_load(self._text("loadavg")),
            **memory_gauges(self._text("meminfo")),
        }
        vmstat = {
            name: rest.split()
            for name, _, rest in (line.partition(" ") for line in self._text("vmstat").splitlines())
        }
        counters = _first_numbers(lines, _STAT_COUNTERS)
        for metric, (name, unit) in _VMSTAT_COUNTERS.items():
            counters |= {key: value * unit for key, value in _first_numbers(vmstat, {metric: name}).items()}
        thread_switches = None
        if self._threads:
            states, thread_switches = scan_threads(self._proc)
            gauges |= states
        return ProcSnapshot(
            time.monotonic_ns(),
            parse_proc_stat(stat),
            gauges,
            counters,
            thread_switches,
            self._pressure(),
            threading.get_ident(),
            time.thread_time(),
        )

    def _pressure(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        for resource in ("cpu", "memory", "io"):
            for line in self._text(f"pressure/{resource}").splitlines():
                share, _, rest = line.partition(" ")
                total = rest.rpartition("total=")[2]
                if total.isdecimal():
                    totals[f"psi_{resource}_{share}_percent"] = float(total)
        return totals

    def _text(self, name: str) -> str:
        try:
            return (self._proc / name).read_text(errors="replace")
        except OSError:
            return ""  # not every kernel has it


def _cpu_shares(now: ProcStat, before: ProcStat) -> dict[str, float]:
    spent = (now - before).total
    if not spent.total:
        return {}  # less than a clock tick has passed: unknown
    ticks = {
        "cpu_percent": spent.total - spent.idle - spent.iowait,
        "user_percent": spent.user + spent.nice,
        "system_percent": spent.system,
        "iowait_percent": spent.iowait,
        "irq_percent": spent.irq,
        "softirq_percent": spent.softirq,
        "steal_percent": spent.steal,
    }
    return {name: 100 * spent.fraction(count) for name, count in ticks.items()}


def _own_share(now: ProcSnapshot, before: ProcSnapshot, elapsed_s: float) -> dict[str, float]:
    if now.thread != before.thread:
        return {}  # two threads' CPU times have no difference
    return {"sampler_cpu_percent": 100 * (now.own_cpu_s - before.own_cpu_s) / elapsed_s}


def _rates(now: Mapping[str, float], before: Mapping[str, float], elapsed_s: float) -> dict[str, float]:
    return {name: max(0.0, value - before[name]) / elapsed_s for name, value in now.items() if name in before}


def _first_numbers(lines: Mapping[str, list[str]], wanted: Mapping[str, str]) -> dict[str, float]:
    return {
        metric: float(words[0])
        for metric, name in wanted.items()
        if (words := lines.get(name)) and words[0].isdecimal()
    }


def _load(text: str) -> dict[str, float]:
    fields = text.split()
    try:
        return {"load_1min": float(fields[0]), "nr_threads": float(fields[3].partition("/")[2])}
    except (IndexError, ValueError):
        return {}


def memory_gauges(text: str) -> dict[str, float]:
    """Return the metrics of memory that the text of /proc/meminfo has."""
    sizes: dict[str, float] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()[:1]
        if number and number[0].isdecimal():
            sizes[name] = float(number[0]) * _KIB
    names = {"memory_available_bytes": "MemAvailable", "cache_bytes": "Cached", "buffers_bytes": "Buffers"}
    result = {metric: sizes[name] for metric, name in names.items() if name in sizes}
    if {"MemTotal", "MemAvailable"} <= sizes.keys():
        result["memory_used_bytes"] = sizes["MemTotal"] - sizes["MemAvailable"]
    if {"SwapTotal", "SwapFree"} <= sizes.keys():
        result["swap_used_bytes"] = sizes["SwapTotal"] - sizes["SwapFree"]
    return result


def _switch_rates(
    now: ThreadSwitches | None, before: ThreadSwitches | None, elapsed_s: float
) -> dict[str, float]:
    """Switches per second of the threads that are there now; a tid whose counts step back is a new one's."""
    if now is None or before is None:
        return {}
    sums = [0, 0]
    for tid, counts in now.items():
        earlier = before.get(tid, (0, 0))
        if earlier[0] > counts[0] or earlier[1] > counts[1]:
            earlier = (0, 0)
        for kind in (0, 1):
            sums[kind] += counts[kind] - earlier[kind]
    return {
        "voluntary_switches_per_s": sums[0] / elapsed_s,
        "involuntary_switches_per_s": sums[1] / elapsed_s,
    }


def scan_threads(proc: Path = Path("/proc")) -> tuple[dict[str, float], ThreadSwitches]:
    """Look at every thread: how many are in state R and D, and how often each was switched.

    Threads that came and went since the last look are not seen, nor what those that went did since.
    """
    states = {"R": 0, "D": 0}
    switches: ThreadSwitches = {}
    for process in os.scandir(proc):
        if not process.name.isdecimal():
            continue
        try:
            threads = os.listdir(f"{process.path}/task")  # noqa: PTH208  # 5 times as fast as Path
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"{process.path}/task/{thread}/status", "rb") as file:  # noqa: PTH123  # likewise
                    text = file.read()
            except OSError:
                continue
            at = text.find(b"\nState:\t")
            state = chr(text[at + 8]) if at >= 0 else ""
            if state in states:
                states[state] += 1
            switches[int(thread)] = (
                _number_after(text, b"\nvoluntary_ctxt_switches:\t"),
                _number_after(text, b"\nnonvoluntary_ctxt_switches:\t"),
            )
    return {"nr_active_threads": states["R"], "nr_blocked_threads": states["D"]}, switches


def _number_after(text: bytes, label: bytes) -> int:
    at = text.find(label)
    return int(text[at + len(label) :].split(b"\n", 1)[0]) if at >= 0 else 0
