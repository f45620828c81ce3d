"""Of which time does nobody know what a CPU did, and why?

A gap is a CPU, from when to when, and a `Why`. `intervals` finds those that the events themselves betray,
`Trace.losses` has those that the recording tool, or the reader of its file, tells; `Gaps` holds both, and
everything that is shown as unknown comes from here. Pure.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from schedtuna.trace.schema import IntArray


class Why(IntEnum):
    """Why nobody knows; the first three are found by native/trace/task_states.c."""

    NOT_BEGUN = 0
    UNCHAINED = 1
    NOT_RECORDED = 2
    LOST = 3
    UNREAD = 4


MEANINGS = {
    Why.NOT_BEGUN: "before the first event of a CPU",
    Why.UNCHAINED: "between switches that do not fit together: another task left the CPU than had come",
    Why.NOT_RECORDED: "while a CPU ran what was not recorded, or idled",
    Why.LOST: "where events were lost",
    Why.UNREAD: "where events could not be read",
}

_DTYPES: dict[str, Any] = {"start_ns": np.int64, "end_ns": np.int64, "cpu": np.uint16, "why": np.uint8}


class Gaps:
    """Gaps of CPUs, one element of each array per gap.

    Attributes:
        start_ns, end_ns: From when to when.
        cpu: Of which CPU.
        why: `Why`.
    """

    def __init__(self, **arrays: npt.NDArray[Any]) -> None:
        self._pieces: dict[str, list[npt.NDArray[Any]]] = {
            name: [arrays[name].astype(dtype)] if name in arrays else [] for name, dtype in _DTYPES.items()
        }

    def append(self, **arrays: npt.NDArray[Any]) -> None:
        """Add gaps."""
        for name, pieces in self._pieces.items():
            pieces.append(arrays[name])

    def _column(self, name: str) -> npt.NDArray[Any]:
        pieces = self._pieces[name]
        if len(pieces) != 1:
            pieces[:] = [np.concatenate([np.empty(0, _DTYPES[name]), *pieces])]
        return pieces[0]

    @property
    def start_ns(self) -> IntArray:
        """When each began."""
        return self._column("start_ns")

    @property
    def end_ns(self) -> IntArray:
        """When each ended."""
        return self._column("end_ns")

    @property
    def cpu(self) -> npt.NDArray[np.uint16]:
        """The CPU of each."""
        return self._column("cpu")

    @property
    def why(self) -> npt.NDArray[np.uint8]:
        """The `Why` of each."""
        return self._column("why")

    def __len__(self) -> int:
        return len(self.start_ns)

    def select(self, which: npt.NDArray[Any]) -> Self:
        """Return some of them: a mask or indices."""
        return type(self)(**{name: self._column(name)[which] for name in _DTYPES})

    def clip(self, start_ns: int, end_ns: int) -> Self:
        """Return what of them lies in a window."""
        inside = self.select((self.end_ns > start_ns) & (self.start_ns < end_ns))
        return type(self)(
            start_ns=np.maximum(inside.start_ns, start_ns),
            end_ns=np.minimum(inside.end_ns, end_ns),
            cpu=inside.cpu,
            why=inside.why,
        )

    def united(self) -> Self:
        """Return gaps that don't overlap, in order of CPU and time; `why` is that of the first of each."""
        order = np.lexsort((self.end_ns, self.start_ns, self.cpu))
        start, end, cpu, why = self.start_ns[order], self.end_ns[order], self.cpu[order], self.why[order]
        if not len(start):
            return self
        # Times of all CPUs on one line, so that one running maximum serves: no CPU reaches into the next.
        length = int(end.max()) - int(start.min()) + 1
        line = cpu.astype(np.int64) * length - int(start.min())
        reached = np.maximum.accumulate(line + end)
        first = np.concatenate([[True], (line + start)[1:] > reached[:-1]])
        last = np.concatenate([first[1:], [True]])
        return type(self)(
            start_ns=start[first], end_ns=(reached - line)[last], cpu=cpu[first], why=why[first]
        )

    def per_cpu_ns(self, nr_cpus: int) -> IntArray:
        """Return how much time of each CPU is in gaps; time that is in two counts once."""
        one = self.united()
        known = one.cpu < nr_cpus
        total = np.bincount(one.cpu[known], (one.end_ns - one.start_ns)[known], nr_cpus)
        return np.rint(total).astype(np.int64)
