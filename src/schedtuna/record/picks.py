"""What the fair class chooses from at each context switch: from BPF to whoever writes it down."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schedtuna.errors import UnavailableError
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.kernel.mapped import CpuRings
from schedtuna.machine.mounts import CgroupMounts
from schedtuna.record.filters import TaskFilter, current_layout
from schedtuna.record.loading import nr_cpu_ids, open_object
from schedtuna.record.stream import default_ring_bytes
from schedtuna.trace.picks import MOST_CANDIDATES, PICK_DTYPE, PickFlag, from_rows

_ENOUGH = 100  # picks, after which most must be consistent

# What must be in the kernel's types, by any of its names -> since when, or with which option, it is.
_NEEDED = {
    ("cfs_rq", ("nr_queued",)): "kernel 6.14 or newer",
    ("cfs_rq", ("zero_vruntime", "min_vruntime")): "EEVDF",
    ("cfs_rq", ("sum_w_vruntime", "avg_vruntime")): "EEVDF (6.6 or newer)",
    ("cfs_rq", ("sum_weight", "avg_load")): "EEVDF (6.6 or newer)",
    ("cfs_rq", ("next",)): "buddies",
    ("cfs_rq", ("tasks_timeline",)): "a tree of tasks",
    ("cfs_rq", ("rq",)): "CONFIG_FAIR_GROUP_SCHED",
    ("sched_entity", ("my_q",)): "CONFIG_FAIR_GROUP_SCHED",
    ("sched_entity", ("parent",)): "CONFIG_FAIR_GROUP_SCHED",
    ("sched_entity", ("deadline",)): "EEVDF (6.6 or newer)",
    ("sched_entity", ("sched_delayed",)): "kernel 6.12 or newer",
    ("sched_entity", ("custom_slice",)): "kernel 6.12 or newer",
}
# What must not be there -> why.
_UNKNOWN = {
    ("cfs_rq", "h_curr"): "its groups share one queue, which is not read yet",
}


class PickSink(Protocol):
    """Where picks go, such as `trace.writer.TraceWriter`."""

    def write_picks(self, rows: npt.NDArray[np.void]) -> None:
        """Take whole picks, as BPF writes them."""


@dataclass(frozen=True)
class PickTally:
    """What came of recording picks.

    Attributes:
        nr_picks: How many are written.
        nr_consistent: Of those, how many have candidates that give the kernel's own sums.
        nr_truncated: Of those, how many had more candidates than are written.
        nr_lost: How many found no room.
    """

    nr_picks: int = 0
    nr_consistent: int = 0
    nr_truncated: int = 0
    nr_lost: int = 0


class PickStream:
    """Picks, from `attach()` to `detach()`.

    Args:
        task_filter: Whose: those that chose one of these tasks.
        levels: 1: picks from the task's own queue; 2, 3: from the queues that its group and the group
            above are on, too.
        ring_bytes: Memory for them, over all CPUs.

    Raises:
        UnavailableError: This kernel, machine or user can't record them.
        UsageError: The filter names what does not exist.
    """

    def __init__(
        self,
        task_filter: TaskFilter,
        *,
        levels: int = 1,
        ring_bytes: int | None = None,
        layout: CgroupMounts | None = None,
        btf: Path | None = None,
    ) -> None:
        nr_cpus = nr_cpu_ids()
        self.capacity = _capacity(ring_bytes or default_ring_bytes(nr_cpus, waking=True), nr_cpus)
        with KernelBtf(btf) as kernel:
            require_fields(kernel)
        self._bpf = open_object(
            "sched_picks", ["sched_pick", "sched_candidate"], task_filter, layout or current_layout(), btf=btf
        )
        try:
            self._bpf.set_constants(
                {
                    "ring_capacity": self.capacity,
                    "nr_levels": levels,
                    "queue_salt": int.from_bytes(os.urandom(4), "little") | 1 << 31 | 1,
                }
            )
            self._bpf.set_max_entries("rings", nr_cpus)
            self._bpf.set_max_entries("events", nr_cpus * self.capacity)
            if not task_filter.tree:
                self._bpf.skip(["on_fork"])
            self._bpf.load()
            for pid in task_filter.tree:
                self.follow(pid)
            self._rings = CpuRings(
                self._bpf.map_array("rings"),
                self._bpf.map_array("events"),
                nr_cpus,
                self.capacity,
                PICK_DTYPE,
            )
        except BaseException:
            self._bpf.close()
            raise
        self._nr_picks = self._nr_consistent = self._nr_truncated = 0

    def attach(self) -> None:
        """Begin to record."""
        self._bpf.attach()

    def detach(self) -> None:
        """Stop recording; what waits in the rings can still be drained."""
        self._bpf.detach()

    def close(self) -> None:
        """Detach and unload; once is enough."""
        self._bpf.close()

    def follow(self, tgid: int) -> None:
        """Add a process to the roots of the filter's process trees."""
        self._bpf.update("tree_tgids", tgid.to_bytes(4, "little"), b"\1")

    @property
    def ring_bytes(self) -> int:
        """Memory for picks."""
        return self._rings.nr_rings * self.capacity * PICK_DTYPE.itemsize

    @property
    def fill(self) -> float:
        """How full the fullest ring is, 0 to 1."""
        return self._rings.nr_waiting / self.capacity

    @property
    def tally(self) -> PickTally:
        """What came of it so far."""
        lost = int(self._rings.nr_lost.sum())
        return PickTally(self._nr_picks, self._nr_consistent, self._nr_truncated, lost)

    def drain(self, sink: PickSink) -> None:
        """Pass every pick that waits to the sink.

        Raises:
            UnavailableError: Most are not consistent: this version does not know this kernel's queues.
            OSError: The sink's.
        """
        for cpu in range(self._rings.nr_rings):
            rows = [view.copy() for view in self._rings.waiting(cpu)]  # a pick may be in two views
            if not rows:
                continue
            whole = np.concatenate(rows)
            sink.write_picks(whole)
            self._rings.release(cpu, len(whole))
            picks = from_rows(whole)
            self._nr_picks += len(picks.queues)
            self._nr_consistent += int(np.count_nonzero(picks.is_consistent()))
            self._nr_truncated += int(np.count_nonzero(picks.queues["flags"] & PickFlag.TRUNCATED))
        if self._nr_picks >= _ENOUGH and self._nr_consistent + self._nr_truncated < self._nr_picks / 2:
            raise UnavailableError(
                f"the candidates of {self._nr_picks - self._nr_consistent:,} of {self._nr_picks:,} picks do "
                "not give the kernel's own sums: its queues are not as this version knows them",
                hint="record without --picks",
            )


def require_fields(kernel: KernelBtf) -> None:
    """Check that a kernel's queues are of the kind that is read.

    Raises:
        UnavailableError: They are not; the message says what is missing.
    """
    for (struct, names), since in _NEEDED.items():
        if not any(kernel.has_member(struct, name) for name in names):
            missing = " or ".join(f"{struct}.{name}" for name in names)
            raise UnavailableError(
                f"picks can't be recorded: this kernel has no {missing} (needs {since})",
                hint="record without --picks",
            )
    for (struct, name), why in _UNKNOWN.items():
        if kernel.has_member(struct, name):
            raise UnavailableError(
                f"picks can't be recorded: this kernel has {struct}.{name}: {why}",
                hint="record without --picks",
            )


def _capacity(ring_bytes: int, nr_cpus: int) -> int:
    """Return how many rows each CPU's ring holds: a power of two, and room for the largest pick."""
    each = max(ring_bytes // nr_cpus // PICK_DTYPE.itemsize, 4 * MOST_CANDIDATES)
    return 1 << (each.bit_length() - 1)
