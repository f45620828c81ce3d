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
        # One line for all: a tid's rank, then time; ranks are far apart.
        self._span = int(max(since.max(initial=0), 0)) + 2
        self._line = np.searchsorted(self._tids, self._tid) * self._span + np.maximum(self._since, 0)

    def at(self, tid: npt.NDArray[Any], time_ns: IntArray) -> npt.NDArray[np.intp]:
        """Return the row that holds of each tid at a time; -1: none does yet."""
        if not len(self._tids):
            return np.full(len(tid), -1)
        rank = np.minimum(np.searchsorted(self._tids, tid), len(self._tids) - 1)
        time = np.minimum(time_ns, self._span - 1)
        found = np.searchsorted(self._line, rank * self._span + time, side="right") - 1
        is_own = (found >= 0) & (self._tid[np.maximum(found, 0)] == tid)
        return np.where(is_own, self._order[np.maximum(found, 0)], -1)
