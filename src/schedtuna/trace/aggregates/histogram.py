"""Durations counted in buckets: where the buckets end, and what percentiles follow.

There are 4 buckets per factor of two, from 64 ns to 9 minutes (`struct task_stats` in
include/task_stats.h), so a percentile is off by less than 13%.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schedtuna.trace.aggregates.layout import NR_BUCKETS

_SHIFT = 6


def bucket_edges_ns() -> npt.NDArray[np.float64]:
    """Return the 129 edges: bucket b counts durations from edge b up to edge b + 1."""
    index = np.arange(NR_BUCKETS + 1, dtype=np.float64)
    octave, quarter = np.divmod(index, 4)
    units = np.where(index < 4, index, (4 + quarter) * 2.0 ** (octave - 1))
    edges: npt.NDArray[np.float64] = units * 2**_SHIFT
    return edges


_EDGES = bucket_edges_ns()


def bucket_of(duration_ns: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Return the bucket of each duration; what is beyond the last one counts there."""
    index = np.searchsorted(_EDGES, np.asarray(duration_ns, dtype=np.float64), side="right") - 1
    return np.clip(index, 0, NR_BUCKETS - 1)


def percentile_ns(counts: npt.NDArray[np.integer], percent: float, *, max_ns: float | None = None) -> float:
    """Return a percentile, interpolated in its bucket; NaN where nothing was counted.

    Args:
        counts: Per bucket.
        percent: 0 to 100.
        max_ns: The largest duration counted, if known: nothing above it is returned.
    """
    cumulative = np.cumsum(counts, dtype=np.float64)
    total = cumulative[-1]
    if not total:
        return float("nan")
    rank = total * percent / 100
    bucket = int(np.searchsorted(cumulative, rank, side="left"))
    before = cumulative[bucket - 1] if bucket else 0.0
    inside = (rank - before) / counts[bucket] if counts[bucket] else 0.0
    value = _EDGES[bucket] + inside * (_EDGES[bucket + 1] - _EDGES[bucket])
    return float(value if max_ns is None else min(value, max_ns))


def percentiles_ns(histograms: npt.NDArray[np.integer], percent: float) -> npt.NDArray[np.float64]:
    """Return `percentile_ns()` of many histograms, shape (n, 128)."""
    cumulative = np.cumsum(histograms, axis=1, dtype=np.float64)
    rank = cumulative[:, -1:] * (percent / 100)
    bucket = (cumulative < rank).sum(axis=1)
    row = np.arange(len(histograms))
    counted = histograms[row, bucket].astype(np.float64)
    before = cumulative[row, bucket] - counted
    inside = np.divide(rank[:, 0] - before, counted, out=np.zeros(len(row)), where=counted > 0)
    value = _EDGES[bucket] + inside * (_EDGES[bucket + 1] - _EDGES[bucket])
    return np.where(cumulative[:, -1] > 0, value, np.nan)
