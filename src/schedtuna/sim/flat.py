"""Loads as flat arrays: how millions of steps get into the native module.

The rows are the structs of native/sim/flat.hpp, which their sizes are checked against there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.sim.native import NEVER, Workload, flat_workload

FlatArray = npt.NDArray[np.void]

NONE = (1 << 32) - 1  # no object, all CPUs, the first CPU
FOREVER = NEVER // 4  # an amount that outlasts every simulation

STEP_DTYPE = np.dtype(
    [("amount", "<i8"), ("object", "<u4"), ("op", "u1"), ("flags", "u1"), ("reserved", "<u2")]
)
TASK_DTYPE = np.dtype(
    [
        ("start_ns", "<i8"),  # NEVER: only by a FORK step
        ("slice_ns", "<i8"),
        ("nr_steps", "<u4"),  # of its own: the next ones
        ("group", "<u4"),  # 0: the root
        ("cpu_set", "<u4"),
        ("first_cpu", "<u4"),
        ("nice", "i1"),
        ("policy", "u1"),  # of the native module's `Policy`
        ("is_kthread", "u1"),
        ("reserved", "u1", 5),
    ]
)
INTERRUPTION_DTYPE = np.dtype(
    [("start_ns", "<i8"), ("length_ns", "<i8"), ("cpu", "<u4"), ("reserved", "<u4")]
)


@dataclass(frozen=True)
class FlatLoad:
    """A load.

    Attributes:
        names: Of the tasks.
        tasks: `TASK_DTYPE`; those that start by themselves get their ids in this order.
        steps: `STEP_DTYPE`, task by task.
        duration_ns: When it ends.
        cpu_sets: Sets of CPUs that tasks and steps name.
        groups: (name, parent, shares) of each, a parent before its children; the root is there already.
        nr_mailboxes: Pipes that are never full, which READ and WRITE steps name.
        interruptions: `INTERRUPTION_DTYPE`, in order of CPU, then of time.
    """

    names: Sequence[str]
    tasks: FlatArray
    steps: FlatArray
    duration_ns: int
    cpu_sets: Sequence[Sequence[int]] = ()
    groups: Sequence[tuple[str, int, int]] = ()
    nr_mailboxes: int = 0
    interruptions: FlatArray = field(default_factory=lambda: np.empty(0, INTERRUPTION_DTYPE))

    def workload(self) -> Workload:
        """Return it as a simulation takes it."""
        return flat_workload(list(self.names), duration_ns=self.duration_ns, **self._parts())

    def sha256(self) -> str:
        """Return a hash of all of it: equal loads have equal ones."""
        parts = self._parts()
        arrays = [parts.pop(name) for name in ("tasks", "steps", "interruptions")]
        return sha256(b"".join([repr((self.names, self.duration_ns, parts)).encode(), *arrays])).hexdigest()

    def _parts(self) -> dict[str, Any]:
        return {
            "tasks": self.tasks.tobytes(),
            "steps": self.steps.tobytes(),
            "interruptions": self.interruptions.tobytes(),
            "cpu_sets": [list(cpus) for cpus in self.cpu_sets],
            "groups": list(self.groups),
            "nr_mailboxes": self.nr_mailboxes,
        }
