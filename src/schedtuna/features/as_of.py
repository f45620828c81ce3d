"""What held of a task at a moment? The last that was said of it by then."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


class AsOf:
    """A table of what holds of each tid from when on; what comes later is not seen.

    Args:
        tid: [n] of each row.
        since_ns: [n] from when on it holds.
    """

    def __init__(self, tid: npt.ArrayLike, since_ns: npt.ArrayLike) -> None:
        tids, since = np.asarray(tid, np.int64), np.asarray(since_ns, np.int64)
        self._order = np.lexsort((since, tids))
        self._tid, self._since = tids[self._order], since[self._order]
        self._tids = np.unique(self._tid)
        # One line for all: a tid's rank, then its time's; times themselves, of many tids and a machine that
        # has been up for weeks, would not fit into 64 bits.
        self._times = np.unique(self._since)
        self._span = len(self._times) + 1
        self._line = self._place(self._tid, self._since)

    def _place(self, tid: npt.NDArray[Any], time_ns: IntArray) -> IntArray:
        place: IntArray = np.searchsorted(self._tids, tid) * self._span
        return place + np.searchsorted(self._times, time_ns, side="right")

    def at(self, tid: npt.NDArray[Any], time_ns: IntArray) -> npt.NDArray[np.intp]:
        """Return the row that holds of each tid at a time; -1: none does yet."""
        if not len(self._tids):
            return np.full(len(tid), -1)
        found = np.searchsorted(self._line, self._place(tid, time_ns), side="right") - 1
        is_own = (found >= 0) & (self._tid[np.maximum(found, 0)] == tid)
        return np.where(is_own, self._order[np.maximum(found, 0)], -1)
