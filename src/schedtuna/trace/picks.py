"""What did the fair class choose from? Recorded picks: the queue's sums, and every candidate's state.

`schedtuna record --picks` writes one at each context switch to a task of the fair class that was not alone.
All virtual times are relative to the queue's `zero_vruntime`, as the kernel's own entity_key() is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError

MOST_CANDIDATES = 128  # of a pick that are written
MOST_LEVELS = 3
# Sums over 128 candidates nearer and lighter than this fit into 64 bits.
_FARTHEST, _HEAVIEST = 1 << 36, 1 << 19
_LIGHTEST = 2  # MIN_SHARES


class PickRow(IntEnum):
    """What a row of the ring is."""

    QUEUE = 1
    CANDIDATE = 2


class PickFlag(IntFlag):
    """What else is known of a pick."""

    TRUNCATED = 1  # there were more candidates than MOST_CANDIDATES
    KEPT = 2  # the chosen group ran before, too: another task of it did


class CandidateFlag(IntFlag):
    """What else is known of a candidate."""

    DELAYED = 1  # it sleeps, and stays queued until its lag is gone
    CUSTOM_SLICE = 2  # its slice was asked for by sched_setattr
    GROUP = 4  # a group of tasks
    PREV = 8  # the task that ran before, or a group with it
    BUDDY = 16  # cfs_rq->next, to be preferred


# Of a queue: struct sched_pick of include/sched_pick.h; tests/native and record/ compare them.
PICK_DTYPE = np.dtype(
    [
        ("timestamp_ns", "<u8"),
        ("zero_vruntime", "<u8"),
        ("sum_w_vruntime", "<i8"),  # the kernel's sums, over all but the chosen one
        ("sum_weight", "<u8"),
        ("tid", "<u4"),  # who runs next
        ("prev_tid", "<u4"),
        ("nr_queued", "<u4"),
        (
            "queue",
            "<u4",
        ),  # stands for the cfs_rq; numbers of two recordings have nothing to do with each other
        ("kind", "u1"),
        ("level", "u1"),  # 0: the task's own queue; 1: the one that its group is queued on; ...
        ("flags", "u1"),  # PickFlag
        ("reserved", "u1"),
        ("nr_candidates", "<u2"),
        ("cpu", "<u2"),
    ]
)


def _candidate_dtype(time: str) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("vruntime", time),
            ("deadline", time),
            ("slice_ns", "<u8"),
            ("vprot", time),  # of who runs next, or ran last: its slice is protected up to this vruntime
            ("cpu_time_ns", "<u8"),
            ("weight", "<u4"),
            ("tid", "<u4"),  # of a group: the number of its queue
            ("kind", "u1"),
            ("flags", "u1"),  # CandidateFlag
            ("reserved", "u1", 6),
        ]
    )


RAW_CANDIDATE_DTYPE = _candidate_dtype("<u8")  # struct sched_candidate: virtual times as in the kernel
CANDIDATE_DTYPE = _candidate_dtype("<i8")  # virtual times relative to the queue's zero_vruntime

# What is stored of each, column by column; names and types are the dtypes'.
PICK_COLUMNS = tuple(name for name in PICK_DTYPE.names or () if name not in {"kind", "reserved"})
CANDIDATE_COLUMNS = tuple(name for name in CANDIDATE_DTYPE.names or () if name not in {"kind", "reserved"})


@dataclass(frozen=True)
class Picks:
    """Picks, those of one CPU in time order.

    Attributes:
        queues: One row per pick (`PICK_DTYPE`).
        candidates: All candidates (`CANDIDATE_DTYPE`): those of the first pick, the chosen one first, then
            those of the second, and so on.
    """

    queues: npt.NDArray[np.void]
    candidates: npt.NDArray[np.void]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each pick's candidates begin; the chosen one stands there."""
        counts = self.queues["nr_candidates"].astype(np.int64)
        starts: npt.NDArray[np.int64] = np.cumsum(counts) - counts
        return starts

    def where(self, wanted: npt.NDArray[np.bool_]) -> Picks:
        """Return some of the picks."""
        return Picks(self.queues[wanted], self.candidates[np.repeat(wanted, self.queues["nr_candidates"])])

    def is_consistent(self) -> npt.NDArray[np.bool_]:
        """Whether the candidates of each pick give the kernel's own sums, and are all of them.

        Virtual times and weights by which such a sum would overflow are none of a kernel's.
        """
        if not len(self.queues):
            return np.empty(0, np.bool_)
        starts, weight = self.starts, self.candidates["weight"].astype(np.int64)
        vruntime, deadline = self.candidates["vruntime"], self.candidates["deadline"]
        is_near = (weight >= _LIGHTEST) & (weight < _HEAVIEST)
        for time in (vruntime, deadline):
            is_near &= (time > -_FARTHEST) & (time < _FARTHEST)
        in_tree = np.ones(len(self.candidates), np.bool_)
        in_tree[starts] = False  # the chosen one has left the tree
        weight = np.where(in_tree, weight, 0)
        sums = [np.add.reduceat(column, starts) for column in (weight, weight * vruntime)]
        consistent: npt.NDArray[np.bool_] = (
            (sums[0] == self.queues["sum_weight"].view(np.int64))
            & (sums[1] == self.queues["sum_w_vruntime"])
            & (self.queues["nr_candidates"] == self.queues["nr_queued"])
            & (self.queues["flags"] & PickFlag.TRUNCATED == 0)
            & np.logical_and.reduceat(is_near, starts)
        )
        return consistent


def from_rows(rows: npt.NDArray[np.void]) -> Picks:
    """Return the picks of rows (`PICK_DTYPE`) as BPF writes them; the rest of a torn last one is left out.

    Raises:
        TraceError: They are not picks.
    """
    kinds = rows["kind"]
    starts = np.flatnonzero(kinds == PickRow.QUEUE)
    counts = np.diff(np.append(starts, len(rows))) - 1
    told = rows["nr_candidates"][starts].astype(np.int64)
    if len(starts) and counts[-1] < told[-1]:
        rows, kinds = rows[: starts[-1]], kinds[: starts[-1]]
        starts, counts, told = starts[:-1], counts[:-1], told[:-1]
    is_queue = kinds == PickRow.QUEUE
    if (
        (len(rows) and not is_queue[0])
        or not np.array_equal(counts, told)
        or not np.all(is_queue | (kinds == PickRow.CANDIDATE))
    ):
        raise TraceError("the rows are not picks, each followed by its candidates")
    queues = rows[is_queue]
    candidates = rows[~is_queue].view(RAW_CANDIDATE_DTYPE).view(CANDIDATE_DTYPE)
    zero = np.repeat(queues["zero_vruntime"].view(np.int64), counts)
    for name in ("vruntime", "deadline", "vprot"):
        candidates[name] -= zero  # modulo 2^64, as in the kernel
    return _checked(Picks(queues, candidates))


def to_columns(picks: Picks) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is stored: the columns of the queues, and those of the candidates."""
    return (
        {name: np.ascontiguousarray(picks.queues[name]) for name in PICK_COLUMNS},
        {name: np.ascontiguousarray(picks.candidates[name]) for name in CANDIDATE_COLUMNS},
    )


def from_columns(queues: Mapping[str, npt.NDArray[Any]], candidates: Mapping[str, npt.NDArray[Any]]) -> Picks:
    """Return the picks of stored columns.

    Raises:
        TraceError: They do not fit together.
    """
    tables = []
    for columns, dtype, kind in (
        (queues, PICK_DTYPE, PickRow.QUEUE),
        (candidates, CANDIDATE_DTYPE, PickRow.CANDIDATE),
    ):
        table = np.zeros(len(next(iter(columns.values()))), dtype)
        table["kind"] = kind
        for name, column in columns.items():
            table[name] = column
        tables.append(table)
    return _checked(Picks(*tables))


def concatenate(parts: list[Picks]) -> Picks:
    """Return the picks of several parts, in their order."""
    return Picks(
        np.concatenate([np.empty(0, PICK_DTYPE), *(part.queues for part in parts)]),
        np.concatenate([np.empty(0, CANDIDATE_DTYPE), *(part.candidates for part in parts)]),
    )


def _checked(picks: Picks) -> Picks:
    counts = picks.queues["nr_candidates"].astype(np.int64)
    if counts.sum() != len(picks.candidates):
        raise TraceError(
            f"there are {len(picks.candidates):,} candidates, but the picks tell of {counts.sum():,}"
        )
    if len(counts) and not 1 <= counts.min() <= counts.max() <= MOST_CANDIDATES:
        raise TraceError(f"a pick has no candidate, or more than {MOST_CANDIDATES}")
    return picks
