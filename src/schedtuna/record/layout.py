"""Does a BPF object write its records as numpy reads them? Asked of its BTF before it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from schedtuna.kernel.btf import Btf, StructLayout
from schedtuna.trace.aggregates.layout import CPU_STATS_DTYPE, STATS_DTYPE
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE
from schedtuna.trace.groups import GROUP_DTYPE
from schedtuna.trace.picks import PICK_DTYPE, RAW_CANDIDATE_DTYPE
from schedtuna.trace.schema import EVENT_DTYPE, TASK_DTYPE

# Rows of the stream's ring buffer that are events, not rows of the task table (enum task_reason).
REASON_WAKEUP = 16
REASON_WAKING = 17

_STRUCTS: dict[str, np.dtype[Any]] = {
    "sched_event": EVENT_DTYPE,
    "task_row": TASK_DTYPE,
    "task_attributes": ATTRIBUTE_DTYPE,
    "sched_group": GROUP_DTYPE,
    "task_stats": STATS_DTYPE,
    "cpu_stats": CPU_STATS_DTYPE,
    "sched_pick": PICK_DTYPE,
    "sched_candidate": RAW_CANDIDATE_DTYPE,
}
_RENAMED = {"task_row": {"other_tid": "reserved"}}  # user space moves it into an event


def check_layouts(btf: Btf, structs: Iterable[str], known: Mapping[str, np.dtype[Any]] = _STRUCTS) -> None:
    """Check that a BPF object writes these structures as numpy reads them.

    Raises:
        UnavailableError: It does not: the object is of another version of this package.
    """
    for name in structs:
        dtype = known[name]
        wanted = StructLayout(dtype.itemsize, {n: dtype.fields[n][1] for n in dtype.names or ()})  # type: ignore[index]  # structured
        btf.require(name, wanted, renamed=_RENAMED.get(name))
