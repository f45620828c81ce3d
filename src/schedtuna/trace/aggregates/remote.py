"""What was counted on another kernel amounts to `sched.*` metrics here, where numpy is."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from schedtuna.errors import MetricError
from schedtuna.trace.aggregates.groups import concatenate, groups_of_tasks, identity
from schedtuna.trace.aggregates.layout import CPU_STATS_DTYPE, STATS_DTYPE, StatsArray
from schedtuna.trace.aggregates.summary import sched_metrics


def metrics_of_dump(dump: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of what `lab/guest/recorder.py` wrote.

    Raises:
        MetricError: Tasks are missing, or it is not such a dump: it comes from a guest.
    """
    try:
        living, exits = (groups_of_tasks(_unpacked(dump[name], STATS_DTYPE)) for name in ("living", "exits"))
        cpus = _unpacked(dump["cpus"], CPU_STATS_DTYPE)
        nr_cpus, window_ns = int(dump["nr_cpus"]), int(dump["window_ns"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise MetricError(f"what the guest counted can't be read: {error}") from None
    nr_lost = int(cpus["nr_unrecorded"].sum() + cpus["nr_exits_lost"].sum())
    if nr_lost:
        raise MetricError(f"{nr_lost} tasks were not recorded, so sched.* would be wrong")
    tasks = concatenate([exits, living[~np.isin(identity(living), identity(exits))]])
    return sched_metrics(tasks, nr_cpus, window_ns)


def _unpacked(text: str, dtype: np.dtype[np.void]) -> StatsArray:
    data = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(data, dtype, len(data) // dtype.itemsize)
