"""Which names did tasks have? A table that readers in native/trace/ fill while they read events."""

from __future__ import annotations

import ctypes

import numpy as np

from schedtuna.trace.intervals import TID_LIMIT
from schedtuna.trace.schema import STATIC_PRIO_NICE_0, TASK_DTYPE, TaskArray

_NAME_DTYPE = np.dtype([("timestamp_ns", "<u8"), ("tgid", "<u4"), ("is_known", "<u4"), ("comm", "S16")])


class _Native(ctypes.Structure):
    """Struct names of native/trace/trace_event.h."""

    _fields_ = (("of_tid", ctypes.c_void_p), ("tids", ctypes.c_void_p), ("nr_tids", ctypes.c_int64))


class Names:
    """The last name of each tid, and its tgid where that is known."""

    def __init__(self) -> None:
        self._of_tid = np.zeros(TID_LIMIT, _NAME_DTYPE)  # pages that no tid touches take no memory
        self._tids = np.empty(TID_LIMIT, np.uint32)
        self._native = _Native(of_tid=self._of_tid.ctypes.data, tids=self._tids.ctypes.data)

    @property
    def address(self) -> int:
        """Where the library finds the table."""
        return ctypes.addressof(self._native)

    def note(self, tid: int, timestamp_ns: int, comm: bytes) -> None:
        """Note a task's name, unless a later one is known."""
        if tid >= TID_LIMIT:
            return  # no kernel gives it
        name = self._of_tid[tid]
        if not name["is_known"]:
            self._tids[self._native.nr_tids] = tid
            self._native.nr_tids += 1
        elif timestamp_ns < name["timestamp_ns"]:
            return
        self._of_tid[tid] = (timestamp_ns, name["tgid"], 1, comm[:16])

    def rows(self) -> TaskArray:
        """Return rows of the task table: of these tasks, little more than the name is known."""
        tids = self._tids[: self._native.nr_tids]
        rows = np.zeros(len(tids), TASK_DTYPE)
        rows["tid"] = tids
        rows["comm"] = self._of_tid["comm"][tids]
        rows["tgid"] = self._of_tid["tgid"][tids]
        rows["static_prio"] = STATIC_PRIO_NICE_0
        return rows
