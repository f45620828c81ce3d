"""Statistics of every task, counted in the kernel: what happened since recording began, or lately.

The kernel keeps one `task_stats` per task. Living tasks' are read with an iterator, exited ones' come
through a ring buffer, so short lives count as much as long ones. Memory stays bounded: beyond
`MAX_EXITED` the oldest exited tasks are folded into one row per name and cgroup.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from schedtuna.kernel.mapped import RingBuffer
from schedtuna.machine.mounts import CgroupMounts
from schedtuna.machine.topology import Topology, read_topology
from schedtuna.record.filters import TaskFilter, current_layout
from schedtuna.record.loading import nr_cpu_ids, open_object
from schedtuna.trace.aggregates.groups import (
    GROUP_DTYPE,
    GroupArray,
    concatenate,
    fold,
    groups_of_tasks,
    identity,
    since,
)
from schedtuna.trace.aggregates.layout import CPU_STATS_DTYPE, STATS_DTYPE, StatsArray

MAX_EXITED = 4096
EXITS_BYTES = 1 << 24  # 6,800 exits


@dataclass(frozen=True)
class Snapshot:
    """What the kernel has counted up to a moment.

    Attributes:
        timestamp_ns: On CLOCK_MONOTONIC.
        tasks: One row per task, and one per name and cgroup for old exits.
        cpus: `CPU_STATS_DTYPE`, by CPU.
    """

    timestamp_ns: int
    tasks: GroupArray
    cpus: StatsArray

    @property
    def nr_unrecorded(self) -> int:
        """Tasks whose first or last run was missed, because there was no memory for their statistics."""
        return int(self.cpus["nr_unrecorded"].sum())

    @property
    def nr_exits_lost(self) -> int:
        """Exited tasks whose statistics found no room."""
        return int(self.cpus["nr_exits_lost"].sum())


class Aggregator:
    """Counts in the kernel, from entering the context to leaving it.

    Args:
        task_filter: Which tasks; what a task was when it was met decides.
        btf: The kernel's types, instead of /sys/kernel/btf/vmlinux.

    Raises:
        UnavailableError: This kernel, machine or user can't record.
        UsageError: The filter names what does not exist.
    """

    def __init__(
        self,
        task_filter: TaskFilter | None = None,
        *,
        layout: CgroupMounts | None = None,
        topology: Topology | None = None,
        btf: Path | None = None,
    ) -> None:
        task_filter = task_filter or TaskFilter()
        nr_cpus = nr_cpu_ids()
        structs = ["task_stats", "cpu_stats"]
        self._bpf = open_object("sched_aggregate", structs, task_filter, layout or current_layout(), btf=btf)
        try:
            for name in ("cpus", "places"):
                self._bpf.set_max_entries(name, nr_cpus)
            self._bpf.set_max_entries("exits", EXITS_BYTES)
            if not task_filter.tree:
                self._bpf.skip(["on_fork"])
            self._bpf.load()
            for pid in task_filter.tree:
                self.follow(pid)
            self._tell_places(topology or read_topology())
            self._exits = RingBuffer(self._bpf.map_fd("exits"), EXITS_BYTES, STATS_DTYPE)
            self._cpus = np.frombuffer(self._bpf.map_array("cpus"), CPU_STATS_DTYPE, nr_cpus)
        except BaseException:
            self._bpf.close()
            raise
        self._exited: list[GroupArray] = []  # one by one
        self._nr_exited = 0
        self._folded = np.empty(0, GROUP_DTYPE)  # by name and cgroup
        self._window_start = np.empty(0, GROUP_DTYPE)
        self._window_exited: list[GroupArray] | None = None

    def __enter__(self) -> Self:
        self.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def attach(self) -> None:
        """Begin to count, with the tasks that run or wait by now, and may never be switched."""
        self._bpf.attach()
        self._bpf.iterate("snapshot")

    def close(self) -> None:
        """Detach and unload; once is enough."""
        self._bpf.close()

    def follow(self, tgid: int) -> None:
        """Add a process to the roots of the filter's process trees."""
        self._bpf.update("tree_tgids", tgid.to_bytes(4, "little"), b"\1")

    def drain(self) -> None:
        """Take the statistics of exited tasks out of the kernel; often enough that they find room."""
        records = self._exits.take()
        if not len(records):
            return
        exited = groups_of_tasks(records)
        self._exited.append(exited)
        self._nr_exited += len(records)
        if self._window_exited is not None:
            self._window_exited.append(exited)
        if self._nr_exited > MAX_EXITED:
            old = concatenate([self._folded, *self._exited])
            self._folded = fold(old, ["comm", "cgroup_id"])
            self._exited, self._nr_exited = [], 0

    def snapshot(self) -> Snapshot:
        """Return everything counted so far; tasks on a CPU count up to the last tick."""
        now_ns, living = self._living()
        return Snapshot(now_ns, concatenate([self._folded, *self._exited, living]), self._cpus.copy())

    def window(self) -> Snapshot:
        """Return what was counted since the last window, or since recording began."""
        first = self._window_exited is None
        now_ns, living = self._living()
        exited = self._exited if first else self._window_exited or []
        tasks = since(concatenate([*exited, living]), self._window_start)
        self._window_start, self._window_exited = living, []
        return Snapshot(now_ns, tasks, self._cpus.copy())

    def _living(self) -> tuple[int, GroupArray]:
        """Read the tasks that live, and leave those out that exit meanwhile."""
        living = np.frombuffer(self._bpf.iterate("snapshot"), STATS_DTYPE)
        now_ns = int(living["task"]["timestamp_ns"].max(initial=0))
        self.drain()
        groups = groups_of_tasks(living)
        exited = concatenate(self._exited)
        return now_ns, groups[~np.isin(identity(groups), identity(exited))]

    def detach(self) -> None:
        """Stop counting; a snapshot can still be taken."""
        self._bpf.detach([name for name in self._bpf.programs if name != "snapshot"])

    def _tell_places(self, topology: Topology) -> None:
        for cpu in topology.cpus:
            place = cpu.llc << 16 | cpu.numa_node
            self._bpf.update("places", cpu.cpu.to_bytes(4, "little"), place.to_bytes(4, "little"))
