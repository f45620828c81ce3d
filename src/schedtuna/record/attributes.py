"""What tasks ask of the scheduler, from BPF: nice value, policy, slice, CPUs, and when that changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schedtuna.machine.cpu_lists import format_cpu_list
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE, UNKNOWN_CPUS, UNKNOWN_SLICE, AttributeArray
from schedtuna.trace.groups import GroupArray
from schedtuna.trace.schema import STATIC_PRIO_NICE_0, TaskArray

# Program -> the kernel's function whose end it sees.
FOLLOWERS = {
    "after_nice": "set_user_nice",
    "after_setscheduler": "__sched_setscheduler",
    "after_affinity": "set_cpus_allowed_common",
    "after_move": "sched_move_task",
    "after_shares": "sched_group_set_shares",
}
# Where these can't be had: system calls, which take every other call 9 ns longer.
CALLS = frozenset(
    f"after_{call}_call"
    for call in ("setpriority", "setscheduler", "setattr", "setaffinity", "setsid", "attach")
)
_WORD_BITS = 64


class AttributeSink(Protocol):
    """Where attributes go, such as `trace.writer.TraceWriter`."""

    def write_attributes(self, rows: AttributeArray) -> None:
        """Take rows; the sets of CPUs that they name were written before."""

    def write_cpu_sets(self, cpu_sets: Mapping[int, str]) -> None:
        """Take sets of CPUs by their numbers."""

    def write_groups(self, rows: GroupArray) -> None:
        """Take how groups are now."""


class AttributeRows:
    """Makes rows of a trace of what BPF writes; sets of CPUs are numbered as they come.

    Args:
        nr_cpus: How many numbers of CPUs there may be.
    """

    def __init__(self, nr_cpus: int) -> None:
        self.nr_words = -(-nr_cpus // _WORD_BITS)
        self.record_dtype = np.dtype([("task", ATTRIBUTE_DTYPE), ("cpus", "<u8", (self.nr_words,))])
        self._nr_cpus = nr_cpus
        self._numbers: dict[str, int] = {}
        self._found: set[bytes] = set()

    def write(self, records: npt.NDArray[np.void], sink: AttributeSink) -> None:
        """Pass records as BPF writes them (`record_dtype`) to the sink."""
        if len(records):
            sink.write_attributes(self._rows(records, sink))

    def write_news(self, records: npt.NDArray[np.void], sink: AttributeSink) -> None:
        """The same of all living tasks, but for what they had at the last call."""
        rows = self._rows(records, sink)
        values = rows.copy()
        values["timestamp_ns"] = 0
        found = values.view(f"V{values.dtype.itemsize}").tolist()
        sink.write_attributes(rows[[value not in self._found for value in found]])
        self._found = set(found)

    def _rows(self, records: npt.NDArray[np.void], sink: AttributeSink) -> AttributeArray:
        rows: AttributeArray = records["task"].copy()
        masks, places = np.unique(records["cpus"], axis=0, return_inverse=True)
        bits = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little")[:, : self._nr_cpus]
        numbers = [self._number(np.flatnonzero(one).tolist(), sink) for one in bits]
        rows["cpu_set"] = np.array(numbers, np.uint32)[places.ravel()]
        return rows

    def write_from_proc(self, tasks: TaskArray, sink: AttributeSink) -> None:
        """Pass what /proc tells of tasks that BPF doesn't see; weight and slice stay unknown."""
        rows = np.zeros(len(tasks), ATTRIBUTE_DTYPE)
        for name in ("timestamp_ns", "start_time_ns", "tid", "policy"):
            rows[name] = tasks[name]
        rows["nice"] = tasks["static_prio"] - STATIC_PRIO_NICE_0
        rows["slice_ns"] = UNKNOWN_SLICE
        for row in rows:
            try:
                row["cpu_set"] = self._number(sorted(os.sched_getaffinity(int(row["tid"]))), sink)
            except OSError:
                row["cpu_set"] = UNKNOWN_CPUS  # it is gone
        sink.write_attributes(rows)

    def _number(self, cpus: list[int], sink: AttributeSink) -> int:
        text = format_cpu_list(cpus)
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self._numbers) + 1
            sink.write_cpu_sets({number: text})
        return number
