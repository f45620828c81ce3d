"""Which features are there, in which bins, and who can compute each of them?

`FEATURES` is the one table. A policy that is trained in the simulator runs on a host, too: it may look
at what both can compute, as the same integers, in the same bins.

A row of a sampled metric stands for its average over a window. `NAME.change`, `NAME.percent_change` and,
of a counter, `NAME.total` are rows of their own (`feature`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from schedtuna.errors import UsageError, nearest
from schedtuna.model.bins import Bins

RATE_SUFFIX = "_per_s"
# Schedulers that are told apart where one is to be chosen for a window.
SWAPPED = ("fair", "rr", "las", "mlfq")


class Kind(StrEnum):
    """What a feature's number is."""

    GAUGE = "gauge"  # what is so at the moment
    COUNTER = "counter"  # sampled as a rate per second
    CHANGE = "change"  # of a window's end from its beginning
    TOTAL = "total"  # of a counter, in a window
    FLAG = "flag"  # 0 or 1


class FeatureSource(StrEnum):
    """Who can compute a feature."""

    TRACE = "trace"  # recorded events
    SAMPLES = "samples"  # /proc, as `record` samples it
    SIMULATOR = "simulator"
    BPF = "bpf"  # a scheduler in the kernel


@dataclass(frozen=True)
class Feature:
    """A row of the table.

    Attributes:
        name: Unique.
        unit: Of its integer value: what is no whole number is rounded down. Empty: it has none.
        kind: What the number is.
        bins: How it is quantised; ``bins.lo`` and ``bins.hi`` are its bounds, and what lies beyond them
            falls into the outermost bins.
        sources: Who can compute it.
        help: What it is, for people.
    """

    name: str
    unit: str
    kind: Kind
    bins: Bins
    sources: frozenset[FeatureSource]
    help: str


_SAMPLED = frozenset({FeatureSource.SAMPLES})
# Recorded as well as simulated decisions have them, and a scheduler in the kernel.
_DECISION = frozenset({FeatureSource.TRACE, FeatureSource.SIMULATOR, FeatureSource.BPF})
_IN_KERNEL = frozenset({FeatureSource.SIMULATOR, FeatureSource.BPF})
_OF_SCX_TUNA = frozenset({FeatureSource.BPF})
_OF_PICKS = frozenset({FeatureSource.TRACE})

_PERCENT = Bins("linear", 0, 100, 101)
_COUNT = Bins("log2", 0, 2**20, 41, per_octave=2)
_BYTES = Bins("log2", 2**20, 2**44, 97, per_octave=4)
_RATE = Bins("log2", 0, 2**30, 61, per_octave=2)
_BYTE_RATE = Bins("log2", 2**10, 2**40, 61, per_octave=2)
_PERCENT_CHANGE = Bins("linear", -100, 1000, 1101)
_TIME = Bins("log2", 2**10, 2**34, 97, per_octave=4)  # 1 us to 17 s
_FLAG = Bins("linear", 0, 1, 2)
# How far a change of what has these bins is told apart. Changes have a sign, so their bins are linear: these
# are narrow enough for what is common, and at most 255, so that models need no wider ones.
_CHANGE_REACH = {_PERCENT: 100, _COUNT: 127, _BYTES: 2**34, _RATE: 2**15, _BYTE_RATE: 2**31}
_MOST_CHANGE_BINS = 255


def _gauge(name: str, unit: str, bins: Bins, text: str) -> Feature:
    return Feature(name, unit, Kind.GAUGE, bins, _SAMPLED, text)


def _counter(name: str, unit: str, bins: Bins, text: str) -> Feature:
    return Feature(name, unit, Kind.COUNTER, bins, _SAMPLED, text)


_SYSTEM = [
    _gauge("cpu_percent", "%", _PERCENT, "CPU time not idle and not waiting for IO, of all CPUs"),
    _gauge("user_percent", "%", _PERCENT, "CPU time of programs, nice ones included"),
    _gauge("system_percent", "%", _PERCENT, "CPU time of the kernel for programs"),
    _gauge("iowait_percent", "%", _PERCENT, "idle CPU time with IO outstanding"),
    _gauge("irq_percent", "%", _PERCENT, "CPU time of hardware interrupts"),
    _gauge("softirq_percent", "%", _PERCENT, "CPU time of software interrupts"),
    _gauge("steal_percent", "%", _PERCENT, "CPU time that the hypervisor gave to others"),
    _gauge("run_queue_length", "", _COUNT, "threads running or waiting for a CPU (vmstat's r)"),
    _gauge("nr_threads", "", _COUNT, "threads there are"),
    _gauge("nr_active_threads", "", _COUNT, "threads in state R; from a scan of all threads"),
    _gauge("nr_blocked_threads", "", _COUNT, "threads in state D; from a scan of all threads"),
    _gauge("nr_io_blocked_threads", "", _COUNT, "threads blocked for IO (vmstat's b)"),
    _gauge("load_1min", "", _COUNT, "load average"),
    _gauge("memory_used_bytes", "bytes", _BYTES, "memory that can't be had without swapping"),
    _gauge("memory_available_bytes", "bytes", _BYTES, "memory that can be had without swapping"),
    _gauge("swap_used_bytes", "bytes", _BYTES, "swap in use"),
    _gauge("cache_bytes", "bytes", _BYTES, "page cache"),
    _gauge("buffers_bytes", "bytes", _BYTES, "buffers of block devices"),
    _counter("switches_per_s", "1/s", _RATE, "context switches"),
    _counter("voluntary_switches_per_s", "1/s", _RATE, "of threads that blocked; from a scan"),
    _counter("involuntary_switches_per_s", "1/s", _RATE, "of threads that were preempted; from a scan"),
    _counter("forks_per_s", "1/s", _RATE, "processes and threads started"),
    _counter("interrupts_per_s", "1/s", _RATE, "interrupts"),
    _counter("swap_in_bytes_per_s", "bytes/s", _BYTE_RATE, "read from swap"),
    _counter("swap_out_bytes_per_s", "bytes/s", _BYTE_RATE, "written to swap"),
    _counter("io_read_bytes_per_s", "bytes/s", _BYTE_RATE, "read from block devices"),
    _counter("io_written_bytes_per_s", "bytes/s", _BYTE_RATE, "written to block devices"),
    _counter("page_faults_per_s", "1/s", _RATE, "page faults, minor and major"),
    *(
        _gauge(
            f"psi_{resource}_{share}_percent",
            "%",
            _PERCENT,
            f"time in which {who} waited for {what} (pressure stall information)",
        )
        for resource, what in (("cpu", "a CPU"), ("memory", "memory"), ("io", "IO"))
        for share, who in (("some", "some tasks"), ("full", "all tasks that are not idle"))
    ),
    _gauge("sampler_cpu_percent", "%", _PERCENT, "of one CPU, what this sampling costs itself"),
]

# What a choice of the next task may look at: of each candidate,
_CANDIDATE = [
    Feature("is_candidate", "", Kind.FLAG, _FLAG, _DECISION, "1: somebody stands in this slot"),
    Feature("nice", "", Kind.GAUGE, Bins("linear", -20, 19, 40), _DECISION, "its priority: its nice value"),
    Feature("waited_ns", "ns", Kind.GAUGE, _TIME, _DECISION, "how long it has been waiting for a CPU"),
    Feature("attained_ns", "ns", Kind.GAUGE, _TIME, _DECISION, "its CPU time since it woke up"),
    Feature(
        "burst_ns",
        "ns",
        Kind.GAUGE,
        _TIME,
        _DECISION,
        "its CPU time between its last two sleeps; 0: none yet",
    ),
    Feature("cpu_time_ns", "ns", Kind.GAUGE, _TIME, _DECISION, "its CPU time since it was born"),
    Feature(
        "rss_kib",
        "KiB",
        Kind.GAUGE,
        Bins("log2", 2**10, 2**30, 41, per_octave=2),
        _DECISION,
        "its RAM: resident memory of its process; in traces as of the last sample of /proc, 0: none yet; in "
        "the simulator's environments drawn per program, and without effect",
    ),
    Feature("ran_here", "", Kind.FLAG, _FLAG, _DECISION, "1: it ran on this CPU last"),
    Feature(
        "shares_llc", "", Kind.FLAG, _FLAG, _DECISION, "1: it ran last on a CPU that shares this one's cache"
    ),
    Feature("is_previous", "", Kind.FLAG, _FLAG, _DECISION, "1: it ran on this CPU until now, and can go on"),
    Feature(
        "deadline_ns",
        "ns",
        Kind.GAUGE,
        Bins("linear", -(2**22), 2**23, 256),
        _OF_PICKS,
        "its virtual deadline, less its queue's mean virtual time V; of `record --picks`",
    ),
    Feature(
        "vlag_ns",
        "ns",
        Kind.GAUGE,
        Bins("linear", -(2**22), 2**22, 256),
        _OF_PICKS,
        "V less its virtual time: how much it is owed; of `record --picks`",
    ),
    Feature(
        "is_eligible",
        "",
        Kind.FLAG,
        _FLAG,
        _OF_PICKS,
        "1: it is not ahead of V, so that EEVDF may choose it; of `record --picks`",
    ),
]
# and of the machine.
_MACHINE = [
    Feature("nr_waiting", "", Kind.GAUGE, _COUNT, _DECISION, "tasks that wait for a CPU, of all CPUs"),
    Feature(
        "nr_candidates", "", Kind.GAUGE, _COUNT, _DECISION, "tasks that may run here, beyond slots included"
    ),
    Feature("busy_percent", "%", Kind.GAUGE, _PERCENT, _DECISION, "CPUs that run a task now"),
    Feature("nr_cpus", "", Kind.GAUGE, Bins("log2", 0, 1024, 21, per_octave=2), _DECISION, "CPUs there are"),
    Feature("was_idle", "", Kind.FLAG, _FLAG, _DECISION, "1: this CPU idled until now"),
    Feature(
        "longest_elsewhere_ns",
        "ns",
        Kind.GAUGE,
        _TIME,
        _IN_KERNEL,
        "CPU time since it woke up of the task on another CPU that has most of it; 0: there is none",
    ),
    Feature(
        "since_decision_ns", "ns", Kind.GAUGE, _TIME, _IN_KERNEL, "since the last choice, on whatever CPU"
    ),
]

# What a migration from one CPU's queue to another's may look at: names as in `schedtuna.model.migration`.
_CPUS = Bins("log2", 0, 1024, 37, per_octave=4)
_PERMILLE = Bins("linear", 0, 1000, 1001)
_MIGRATION = [
    Feature(
        "cpu",
        "",
        Kind.GAUGE,
        Bins("linear", 0, 1023, 1024),
        _IN_KERNEL,
        "the CPU that the task would go to",
    ),
    Feature("nr_idle_cpus", "", Kind.GAUGE, _CPUS, _IN_KERNEL, "CPUs without tasks that can run"),
    Feature("nr_busy_cpus", "", Kind.GAUGE, _CPUS, _IN_KERNEL, "CPUs with such"),
    Feature(
        "src_load_permille",
        "1/1000",
        Kind.GAUGE,
        _PERMILLE,
        _IN_KERNEL,
        "how much of its present CPU was used lately (util_avg)",
    ),
    Feature("dst_load_permille", "1/1000", Kind.GAUGE, _PERMILLE, _IN_KERNEL, "and of the other CPU"),
    Feature(
        "is_wakeup", "", Kind.FLAG, _FLAG, _IN_KERNEL, "1: it would wake up there; 0: it waits, and is moved"
    ),
    Feature(
        "scheduler_now",
        "",
        Kind.GAUGE,
        Bins("linear", 0, len(SWAPPED) - 1, len(SWAPPED)),
        frozenset({FeatureSource.SIMULATOR}),
        "which scheduler is in charge: its number in SWAPPED",
    ),
    Feature("cpus_share_llc", "", Kind.FLAG, _FLAG, _IN_KERNEL, "1: both CPUs share a last-level cache"),
]

# What a guess about a task may look at when it wakes up: its bursts, sleeps and waits until then.
_TASK_SOURCES = frozenset({FeatureSource.TRACE, FeatureSource.SIMULATOR})
_HISTORY = 8  # bursts, at most: `features.task_history` remembers so many


def _of_task(name: str, bins: Bins, text: str, kind: Kind = Kind.GAUGE) -> Feature:
    unit = "ns" if name.endswith("_ns") else ("1/1000" if name.endswith("_permille") else "")
    sources = _TASK_SOURCES | (_OF_SCX_TUNA if name == "sleep_ns" else frozenset())
    return Feature(name, unit, kind, bins, sources, text)


_FEW = Bins("log2", 0, 1024, 21, per_octave=2)
_TASK = [
    _of_task("burst_2_ns", _TIME, "the burst before `burst_ns`; 0: not known, as in all of these"),
    _of_task("burst_3_ns", _TIME, "the one before that"),
    _of_task("burst_4_ns", _TIME, "and before that"),
    _of_task("burst_mean_ns", _TIME, f"mean of its last bursts, at most {_HISTORY}"),
    _of_task("burst_median_ns", _TIME, "their median; the lower one of two"),
    _of_task("burst_average_ns", _TIME, "their average in which each counts half of the one after it"),
    _of_task("burst_most_ns", _TIME, "the longest of them"),
    _of_task(
        "nr_known_bursts",
        Bins("linear", 0, _HISTORY, _HISTORY + 1),
        f"how many of its last {_HISTORY} are known",
    ),
    _of_task("sleep_ns", _TIME, "how long the sleep was that has just ended; 0: it was just born"),
    _of_task("sleep_2_ns", _TIME, "and the sleep before that"),
    _of_task("sleep_mean_ns", _TIME, f"mean of its last sleeps, at most {_HISTORY}"),
    _of_task("slept_blocked", _FLAG, "1: that sleep was one that signals do not end (D)", Kind.FLAG),
    _of_task("slept_for_io", _FLAG, "1: it was one for IO", Kind.FLAG),
    _of_task("wakeup_latency_ns", _TIME, "how long it waited for a CPU after the wakeup before this one"),
    _of_task("preempt_delay_ns", _TIME, "how long it waited in its last burst, preempted"),
    _of_task("nr_preempted", _FEW, "how often it was preempted in its last burst"),
    _of_task("nr_burst_migrations", _FEW, "how often it changed CPUs in its last burst"),
    _of_task("cpu_permille", _PERMILLE, "CPU time of its known bursts, of the time since the first of them"),
    _of_task("policy", Bins("linear", 0, 7, 8), "OTHER 0, FIFO 1, RR 2, BATCH 3, IDLE 5, DEADLINE 6, EXT 7"),
    _of_task("task_weight", Bins("log2", 2, 2**17, 60, per_octave=4), "its weight; 1024 is nice 0"),
    _of_task("asked_slice_ns", _TIME, "the slice that it asked for; 0: none"),
    _of_task("is_kthread", _FLAG, "1: it is a thread of the kernel", Kind.FLAG),
    _of_task("is_leader", _FLAG, "1: it is the first thread of its process", Kind.FLAG),
    _of_task(
        "group_shares",
        Bins("log2", 2, 2**18, 67, per_octave=4),
        "shares of its group of tasks; 1024: as much as a task of nice 0 (cpu.weight 100)",
    ),
    _of_task(
        "group_depth", Bins("linear", 0, 15, 16), "how many groups are above its own; 0: it is the root"
    ),
    _of_task(
        "woken_by_interrupt",
        _FLAG,
        "1: an interrupt woke it up, as timers and devices do; 0: a task, or it was just born",
        Kind.FLAG,
    ),
    _of_task("woken_by_sibling", _FLAG, "1: a thread of its own process woke it up", Kind.FLAG),
    _of_task("woken_by_kthread", _FLAG, "1: a thread of the kernel woke it up", Kind.FLAG),
]

# What scx_tuna's model may look at beside these, when a task is queued: include/scx_tuna_model.h.
_QUEUED = [
    Feature("mean_burst_ns", "ns", Kind.GAUGE, _TIME, _OF_SCX_TUNA, "its mean CPU time between two sleeps"),
    Feature("wakeups_per_s", "1/s", Kind.COUNTER, _RATE, _OF_SCX_TUNA, "how often it is woken, of late"),
    Feature(
        "mean_delay_ns",
        "ns",
        Kind.GAUGE,
        _TIME,
        _OF_SCX_TUNA,
        "its mean wait for a CPU, each time it could run",
    ),
    Feature(
        "weight",
        "",
        Kind.GAUGE,
        Bins("log2", 0, 10_000, 49, per_octave=4),
        _OF_SCX_TUNA,
        "its weight by its nice value; 100 is nice 0",
    ),
    Feature(
        "llc_nr_waiting", "", Kind.GAUGE, _COUNT, _OF_SCX_TUNA, "tasks that wait in the queue of its LLC"
    ),
    Feature(
        "llc_busy_permille",
        "1/1000",
        Kind.GAUGE,
        _PERMILLE,
        _OF_SCX_TUNA,
        "how much of its LLC's CPUs was used lately",
    ),
    Feature("was_woken", "", Kind.FLAG, _FLAG, _OF_SCX_TUNA, "1: it was woken; 0: it could run all along"),
]

# Of these, events tell what samples would have been: see `told`.
_TOLD = (
    "cpu_percent",
    "run_queue_length",
    "nr_threads",
    "nr_active_threads",
    "nr_blocked_threads",
    "nr_io_blocked_threads",
    "switches_per_s",
    "voluntary_switches_per_s",
    "involuntary_switches_per_s",
    "forks_per_s",
)
_SYSTEM = [
    replace(row, sources=_SAMPLED | {FeatureSource.TRACE, FeatureSource.SIMULATOR})
    if row.name in _TOLD
    else row
    for row in _SYSTEM
]

_ROWS = (*_SYSTEM, *_CANDIDATE, *_MACHINE, *_MIGRATION, *_TASK, *_QUEUED)
FEATURES: dict[str, Feature] = {row.name: row for row in _ROWS}
SYSTEM_FEATURES: dict[str, Feature] = {row.name: row for row in _SYSTEM}


def feature(name: str) -> Feature:
    """Return a row of the table, or of a window: ``NAME.change``, ``NAME.percent_change``, ``NAME.total``.

    Raises:
        UsageError: There is no such feature.
    """
    base, _, part = name.partition(".")
    row = FEATURES.get(base)
    if row is None:
        raise UsageError(f"there is no feature {name!r}: {nearest(base, FEATURES)}")
    if not part:
        return row
    for derived in _derived(row):
        if derived.name == name:
            return derived
    known = ", ".join(derived.name for derived in _derived(row)) or "none"
    raise UsageError(f"there is no feature {name!r}", hint=f"of {base} there are: {known}")


def window_features() -> dict[str, Feature]:
    """Return every feature of a window of samples, by name."""
    return {row.name: row for base in _SYSTEM for row in (base, *_derived(base))}


def _derived(row: Feature) -> Iterator[Feature]:
    if FeatureSource.SAMPLES not in row.sources:
        return
    reach = _CHANGE_REACH[row.bins]
    change = replace(row, kind=Kind.CHANGE)
    yield replace(
        change,
        name=f"{row.name}.change",
        bins=Bins("linear", -reach, reach, min(2 * reach + 1, _MOST_CHANGE_BINS)),
        help=f"{row.help}: change in the window",
    )
    yield replace(
        change,
        name=f"{row.name}.percent_change",
        unit="%",
        bins=_PERCENT_CHANGE,
        help=f"{row.help}: change in the window, of the value at its beginning",
    )
    if row.kind is Kind.COUNTER:
        yield replace(
            row,
            name=f"{row.name}.total",
            unit=row.unit.removesuffix("/s").removeprefix("1"),
            kind=Kind.TOTAL,
            help=f"{row.help}: all in the window",
        )
