"""What did each task of a process tree have when it ended? Asked of the kernel, by eBPF.

Nothing happens while the tasks run; each exit costs them a microsecond. So a run of one millisecond
is known as well as one of an hour. What a task had before it changed it again is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from schedtuna.errors import UnavailableError
from schedtuna.kernel.objects import BpfObject
from schedtuna.kernel.privilege import require_bpf
from schedtuna.machine.namespaces import in_initial_pid_namespace
from schedtuna.record.layout import check_layouts
from schedtuna.record.loading import nr_cpu_ids

MASK_BYTES = 128
WANTED_DTYPE = np.dtype([("root_tgid", "<u4"), ("pad", "<u4"), ("cpu_group", "<u8"), ("cpuset_group", "<u8")])
END_DTYPE = np.dtype(
    [
        ("root_tgid", "<u4"),
        ("policy", "<u4"),
        ("nice", "<i4"),
        ("autogroup_nice", "<i4"),
        ("slice_ns", "<u8"),
        ("timer_slack_ns", "<u8"),
        ("in_cpu_group", "u1"),
        ("in_cpuset_group", "u1"),
        ("has_autogroup", "u1"),
        ("pad", "u1", 5),
        ("comm", "S16"),
        ("cpus", "u1", MASK_BYTES),
    ]
)
ENDS_DTYPE = np.dtype([("cpu_time_ns", "<u8"), ("nr_tasks", "<u8")])
LAYOUTS = {"ends_wanted": WANTED_DTYPE, "task_end": END_DTYPE, "task_ends": ENDS_DTYPE}
_FIRST = b"\0\0\0\0"


@dataclass(frozen=True)
class TaskEnd:
    """Tasks that had the same when they ended.

    Attributes:
        comm: Their name.
        policy: A `SchedPolicy`.
        nice: As getpriority(2) tells it.
        slice_ns: As sched_getattr(2) tells it of a fair task.
        timer_slack_ns: 0 of a realtime task.
        cpus: The CPUs that they may use; None on a machine with more than 1,024.
        autogroup_nice: Of their session; None on a kernel without autogroups.
        in_cpu_group: Whether they were in the control group of the cpu controller that was asked for.
        in_cpuset_group: Likewise of the cpuset controller.
        cpu_time_ns: What they ran in all.
        nr_tasks: How many.
    """

    comm: str
    policy: int
    nice: int
    slice_ns: int
    timer_slack_ns: int
    cpus: tuple[int, ...] | None
    autogroup_nice: int | None
    in_cpu_group: bool
    in_cpuset_group: bool
    cpu_time_ns: int
    nr_tasks: int


class TaskEnds:
    """Watches one tree after the other, from entering the context to leaving it.

    Raises:
        UnavailableError: This kernel, machine or user can't.
    """

    def __init__(self) -> None:
        require_bpf()
        if not in_initial_pid_namespace():
            raise UnavailableError(
                "this process is in a PID namespace of its own: the kernel knows processes by other numbers"
            )
        self._bpf = BpfObject("task_ends")
        try:
            check_layouts(self._bpf.btf, LAYOUTS, LAYOUTS)
            nr_cpus = nr_cpu_ids()
            self._bpf.set_constants({"mask_bytes": 8 * -(-nr_cpus // 64)})
            self._bpf.set_max_entries("ahead", nr_cpus)
            self._bpf.load()
            self._bpf.attach()
        except BaseException:
            self._bpf.close()
            raise
        self._lost_before_ns = 0
        self._nr_cpus = nr_cpus

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Detach and unload; once is enough."""
        self._bpf.close()

    def watch(self, root: int, *, cpu_group: int = 0, cpuset_group: int = 0) -> None:
        """Watch what descends from a process from now on, and forget what was watched before.

        Args:
            root: The process.
            cpu_group: Inode of a control group's folder; tasks are told to be inside, or below, or not.
            cpuset_group: Likewise of the cpuset controller's.
        """
        self._want(root, cpu_group, cpuset_group)
        self._drain()
        self._lost_before_ns = self._bpf.variable("lost_ns")

    def take(self) -> tuple[list[TaskEnd], int]:
        """Stop watching. Return what ended, and the CPU time in ns of tasks that found no room."""
        self._want(0, 0, 0)
        lost_ns = self._bpf.variable("lost_ns") - self._lost_before_ns
        return [_read(key, value, self._nr_cpus) for key, value in self._drain().items()], lost_ns

    def _want(self, root: int, cpu_group: int, cpuset_group: int) -> None:
        row = np.array((root, 0, cpu_group, cpuset_group), WANTED_DTYPE)
        self._bpf.update("wanted", _FIRST, row.tobytes())

    def _drain(self) -> dict[bytes, bytes]:
        return self._bpf.take("ends", END_DTYPE.itemsize, ENDS_DTYPE.itemsize)


def _read(key: bytes, value: bytes, nr_cpus: int) -> TaskEnd:
    end, sums = np.frombuffer(key, END_DTYPE)[0], np.frombuffer(value, ENDS_DTYPE)[0]
    return TaskEnd(
        comm=bytes(end["comm"]).decode(errors="replace"),
        policy=int(end["policy"]),
        nice=int(end["nice"]),
        slice_ns=int(end["slice_ns"]),
        timer_slack_ns=int(end["timer_slack_ns"]),
        cpus=_cpus(end["cpus"].tobytes(), nr_cpus),
        autogroup_nice=int(end["autogroup_nice"]) if end["has_autogroup"] else None,
        in_cpu_group=bool(end["in_cpu_group"]),
        in_cpuset_group=bool(end["in_cpuset_group"]),
        cpu_time_ns=int(sums["cpu_time_ns"]),
        nr_tasks=int(sums["nr_tasks"]),
    )


def _cpus(mask: bytes, nr_cpus: int) -> tuple[int, ...] | None:
    bits = int.from_bytes(mask, "little")
    return tuple(cpu for cpu in range(nr_cpus) if bits >> cpu & 1) if nr_cpus <= 8 * MASK_BYTES else None
