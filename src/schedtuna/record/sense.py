"""What each thread is and did, in one short row, read in a loop: by BPF, or from /proc where that can't be.

The iterator of BPF costs 0.3 us a thread and sees who else sets attributes; /proc costs 30 us a thread and
does not. Delays of all tasks together are summed in the kernel (`DelaySums`), by a program at each switch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schedtuna.errors import UnavailableError
from schedtuna.kernel.mapped import RingBuffer
from schedtuna.kernel.objects import BpfObject
from schedtuna.kernel.privilege import require_bpf
from schedtuna.kernel.programs import why_not_followed
from schedtuna.machine.mounts import CgroupMounts
from schedtuna.machine.namespaces import in_initial_pid_namespace
from schedtuna.printable import printable
from schedtuna.record.filters import TaskFilter, current_layout
from schedtuna.record.layout import check_layouts
from schedtuna.record.loading import nr_cpu_ids, open_object
from schedtuna.record.proc_tasks import CLOCK_TICK_NS, task_rows
from schedtuna.trace.aggregates.histogram import percentile_ns
from schedtuna.trace.aggregates.layout import CPU_STATS_DTYPE, NR_BUCKETS, Delay
from schedtuna.trace.schema import STATIC_PRIO_NICE_0

_PF_KTHREAD = 0x00200000  # include/linux/sched.h
_WORD_BITS = 64
_TOUCHES_BYTES = 1 << 18
_EXITS_BYTES = 4096  # a ring that is not used

# struct sensed_task of include/sensed.h.
SENSED_TASK_DTYPE = np.dtype(
    [
        ("start_time_ns", "<u8"),
        ("cgroup_id", "<u8"),
        ("cpu_time_ns", "<u8"),
        ("run_delay_ns", "<u8"),
        ("nr_voluntary", "<u8"),
        ("nr_involuntary", "<u8"),
        ("slice_ns", "<u8"),
        ("cpus_hash", "<u8"),
        ("sched_group", "<u8"),
        ("tid", "<u4"),
        ("tgid", "<u4"),
        ("ppid", "<u4"),
        ("weight", "<u4"),
        ("nr_cpus_allowed", "<u4"),
        ("session", "<u4"),
        ("nice", "i1"),
        ("policy", "u1"),
        ("reserved", "<u2"),
        ("comm", "S16"),
        ("unused", "<u4"),
    ]
)
_TOUCH_DTYPE = np.dtype(
    [
        ("timestamp_ns", "<u8"),
        ("start_time_ns", "<u8"),
        ("slice_ns", "<u8"),
        ("tid", "<u4"),
        ("actor_tid", "<u4"),
        ("actor_tgid", "<u4"),
        ("nice", "i1"),
        ("policy", "u1"),
        ("reach", "<u2"),
        ("actor_comm", "S16"),
    ]
)
_CPU_DELAYS_DTYPE = np.dtype(
    [
        ("delay_ns", "<u8", 3),
        ("nr_delays", "<u8", 3),
        ("reserved", "<u8", 2),
        ("histograms", "<u4", (3, NR_BUCKETS)),
    ]
)
_LAYOUTS = {"sensed_task": SENSED_TASK_DTYPE, "sensed_touch": _TOUCH_DTYPE, "cpu_delays": _CPU_DELAYS_DTYPE}
_CALLS = ("before_setpriority", "before_setscheduler", "before_setattr")
_FOLLOWERS = {"after_nice": "set_user_nice", "after_setscheduler": "__sched_setscheduler"}
_SUMMED = {
    "wakeup_latency": Delay.WAKEUP,
    "preempt_delay": Delay.PREEMPT,
    "first_run_delay": Delay.FIRST_RUN,
}

TaskRows = npt.NDArray[np.void]


class TouchReach(IntEnum):
    """What is known of a touch."""

    SEEN = 0  # the thread has these values now; its policy was set, maybe the others with it
    CALL = 1  # somebody was about to set something of it: without values and start time
    MANY = 2  # the same of all threads of a process group or a user
    NICE = 3  # the thread has these values now; its nice value was set, and nothing else


@dataclass(frozen=True)
class Touch:
    """Somebody else set what a thread asks of the scheduler.

    Attributes:
        timestamp_ns: When (CLOCK_MONOTONIC).
        tid, start_time_ns: The thread.
        nice, policy, slice_ns: What it asked for from then on, where it was seen.
        actor_tid, actor_tgid, actor_comm: Who did it.
        reach: What is known of it.
    """

    timestamp_ns: int
    tid: int
    start_time_ns: int
    nice: int
    policy: int
    slice_ns: int
    actor_tid: int
    actor_tgid: int
    actor_comm: str
    reach: TouchReach


class TaskSensor:
    """Reads all threads of user space by BPF, from entering the context to leaving it.

    Attributes:
        why_unfollowed: Why it is not seen what others set, but only that they call for it; empty where it is.

    Raises:
        UnavailableError: This kernel, machine or user can't.
    """

    def __init__(self) -> None:
        require_bpf()
        if not in_initial_pid_namespace():
            raise UnavailableError(
                "this process is in a PID namespace of its own: the kernel knows threads by other numbers",
                hint="run it in the host's (docker run --pid=host)",
            )
        self.why_unfollowed = why_not_followed(_FOLLOWERS.values()) or ""
        self._bpf = self._open_best(() if self.why_unfollowed else tuple(_FOLLOWERS))
        self._touches = RingBuffer(self._bpf.map_fd("touches"), _TOUCHES_BYTES, _TOUCH_DTYPE)

    def _open_best(self, followers: Sequence[str]) -> BpfObject:
        """Open it with what sees most; some kernels let nobody attach to functions, or have no tracefs."""
        for programs in (followers, _CALLS):
            if programs:
                try:
                    return self._open(programs)
                except UnavailableError as error:
                    self.why_unfollowed = self.why_unfollowed or str(error)
        return self._open(())

    @staticmethod
    def _open(programs: Sequence[str]) -> BpfObject:
        bpf = BpfObject("agent_sense")
        try:
            check_layouts(bpf.btf, ["sensed_task", "sensed_touch"], _LAYOUTS)
            bpf.set_constants(
                {
                    "agent_tgid": os.getpid(),
                    "nr_cpu_words": -(-nr_cpu_ids() // _WORD_BITS),
                    "cpu_controller_is_v1": "cpu" in current_layout().v1_mounts,
                }
            )
            bpf.skip({*_FOLLOWERS, *_CALLS} - set(programs))
            bpf.load()
            bpf.attach()
        except BaseException:
            bpf.close()
            raise
        return bpf

    def rows(self) -> TaskRows:
        """Return a row of `SENSED_TASK_DTYPE` for each thread, in no order; counts are since its fork."""
        return np.frombuffer(self._bpf.iterate("sense"), SENSED_TASK_DTYPE)

    def touches(self) -> list[Touch]:
        """Return what others have set since the last call, oldest first."""
        found = self._touches.take()
        return [
            Touch(
                timestamp_ns=int(row["timestamp_ns"]),
                tid=int(row["tid"]),
                start_time_ns=int(row["start_time_ns"]),
                nice=int(row["nice"]),
                policy=int(row["policy"]),
                slice_ns=int(row["slice_ns"]),
                actor_tid=int(row["actor_tid"]),
                actor_tgid=int(row["actor_tgid"]),
                actor_comm=printable(bytes(row["actor_comm"]).decode(errors="replace")),
                reach=TouchReach(int(row["reach"])),
            )
            for row in found
        ]

    def close(self) -> None:
        """Detach and unload."""
        self._bpf.close()


class ProcTaskSensor:
    """The same from /proc: slower, without slices, sets of CPUs and who sets attributes."""

    why_unfollowed = "only BPF sees who sets attributes"

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()

    def rows(self) -> TaskRows:
        """Return a row for each thread of user space that can be read; cgroups are unknown, and slices."""
        threads: list[Path] = []
        for process in os.listdir(self._proc):  # noqa: PTH208  # 5 times as fast as Path
            if process.isdecimal():
                try:
                    threads += (self._proc / process / "task").iterdir()
                except OSError:
                    continue  # it is gone
        found = task_rows(threads)
        found = found[found["flags"] & _PF_KTHREAD == 0]
        rows = np.zeros(len(found), SENSED_TASK_DTYPE)
        for name in ("cpu_time_ns", "tid", "tgid", "ppid", "policy", "comm"):
            rows[name] = found[name]
        rows["run_delay_ns"] = found["schedstat_run_delay_ns"]
        # Each was told as of another moment; the same thread is to have the same start each time.
        ticks = np.rint((found["start_time_ns"].astype(np.int64) + self._boot_ns) / CLOCK_TICK_NS)
        rows["start_time_ns"] = np.maximum(ticks * CLOCK_TICK_NS - self._boot_ns, 0)
        rows["nice"] = found["static_prio"] - STATIC_PRIO_NICE_0
        return rows

    def touches(self) -> list[Touch]:
        """None can be seen."""
        return []

    def close(self) -> None:
        """Nothing is open."""


class DelaySums:
    """What all tasks together waited, counted in the kernel at each switch.

    Raises:
        UnavailableError: This kernel, machine or user can't.
    """

    def __init__(self, layout: CgroupMounts | None = None) -> None:
        nr_cpus = nr_cpu_ids()
        structs = ["task_stats", "cpu_stats"]
        self._bpf = open_object("sched_aggregate", structs, TaskFilter(), layout or current_layout())
        try:
            check_layouts(self._bpf.btf, ["cpu_delays"], _LAYOUTS)
            self._bpf.set_constants({"only_sums": True})
            for name in ("cpus", "delays"):
                self._bpf.set_max_entries(name, nr_cpus)
            self._bpf.set_max_entries("exits", _EXITS_BYTES)
            self._bpf.skip(["on_fork", "on_migrate"])
            self._bpf.load()
            self._bpf.attach()
            self._cpus = np.frombuffer(self._bpf.map_array("cpus"), CPU_STATS_DTYPE, nr_cpus)
            self._delays = np.frombuffer(self._bpf.map_array("delays"), _CPU_DELAYS_DTYPE, nr_cpus)
        except BaseException:
            self._bpf.close()
            raise
        self._before = (self._cpus.copy(), self._delays.copy())

    def window(self, seconds: float) -> dict[str, float]:
        """Return what happened since the last call, by the names of `Sensed.kernel`.

        What has no value, such as a percentile of none, is missing.

        Args:
            seconds: How long that was.
        """
        cpus, delays = self._cpus.copy(), self._delays.copy()
        cpus_before, delays_before = self._before
        self._before = cpus, delays
        result = {"switches_per_s": float((cpus["nr_switches"] - cpus_before["nr_switches"]).sum()) / seconds}
        total = (delays["delay_ns"] - delays_before["delay_ns"]).sum(axis=0)
        count = (delays["nr_delays"] - delays_before["nr_delays"]).sum(axis=0)
        histograms = (delays["histograms"] - delays_before["histograms"]).sum(axis=0)
        for name, delay in _SUMMED.items():
            if count[delay]:
                result[f"{name}_mean_us"] = float(total[delay]) / float(count[delay]) / 1e3
                result[f"{name}_p99_us"] = percentile_ns(histograms[delay], 99) / 1e3
        result["wakeups_per_s"] = float(count[Delay.WAKEUP]) / seconds
        result["run_delay_ms_per_s"] = float(total.sum()) / 1e6 / seconds
        ended = int((cpus["nr_turnarounds"] - cpus_before["nr_turnarounds"]).sum())
        if ended:
            spent = int((cpus["turnaround_ns"] - cpus_before["turnaround_ns"]).sum())
            result["turnaround_mean_us"] = spent / ended / 1e3
            result["turnarounds_per_s"] = ended / seconds
        return result

    def close(self) -> None:
        """Detach and unload."""
        self._bpf.close()
