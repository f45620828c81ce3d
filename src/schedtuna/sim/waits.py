"""Which waits for a CPU does a metric count, in the events of a simulation, and what does it come to?"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from schedtuna.errors import UsageError
from schedtuna.trace.metrics import QUANTILES
from schedtuna.trace.schema import EventArray, EventType, IntArray, PrevState

KINDS = ("wakeup_latency", "preempt_delay")
STATISTICS = (*QUANTILES, "mean", "max")


@dataclass(frozen=True)
class WaitMetric:
    """A figure of waits, as `schedtuna stats` has it.

    Attributes:
        kind: One of `KINDS`.
        statistic: One of `STATISTICS`.
    """

    kind: str
    statistic: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``wakeup_latency_p99``, with or without its unit.

        Raises:
            UsageError: It is none.
        """
        kind, _, statistic = text.removesuffix("_ns").rpartition("_")
        if kind not in KINDS or statistic not in STATISTICS:
            raise UsageError(
                f"metric {text!r}: expected one of {', '.join(KINDS)} with {', '.join(STATISTICS)}",
                hint="--metric wakeup_latency_p99",
            )
        return cls(kind, statistic)

    def of(self, lengths_ns: npt.NDArray[Any]) -> float:
        """Return what waits of these lengths come to, in nanoseconds; 0: there are none.

        A quantile is the smallest length with that share of all at or below it.
        """
        if not len(lengths_ns):
            return 0.0
        if self.statistic == "mean":
            return float(lengths_ns.mean())
        share = QUANTILES.get(self.statistic, 1.0)
        rank = max(int(np.ceil(share * len(lengths_ns) - 1e-9)), 1) - 1
        return float(np.partition(lengths_ns, rank)[rank])


@dataclass(frozen=True)
class Waits:
    """One element per wait.

    Attributes:
        tid: Who waits.
        begin_ns, end_ns: From when to when; `end_ns` is -1 where the events end before it does.
        cpu: On whose queue it was put at first.
        begin_event, end_event: The events' numbers; -1: it began before the first, or doesn't end.
    """

    tid: IntArray
    begin_ns: IntArray
    end_ns: IntArray
    cpu: IntArray
    begin_event: IntArray
    end_event: IntArray

    def __len__(self) -> int:
        return len(self.tid)

    def lengths_ns(self, until_ns: int | None = None) -> IntArray:
        """Return how long they are, cut at a time; without one, of those that end alone."""
        if until_ns is None:
            return (self.end_ns - self.begin_ns)[self.end_ns >= 0]
        ends = np.where(self.end_ns < 0, until_ns, np.minimum(self.end_ns, until_ns))
        return ends - self.begin_ns

    def select(self, which: npt.NDArray[Any]) -> Self:
        """Return some of them: a mask or indices."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: list[Self]) -> Self:
        """Return several as one."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


def waits_of(events: EventArray, kind: str, pending: Waits | None = None) -> Waits:
    """Return the waits that begin in the events, or before them.

    Args:
        events: In time order.
        kind: One of `KINDS`.
        pending: Waits that have begun before the first event, and go on.
    """
    switches = np.flatnonzero(events["type"] == EventType.SWITCH)
    if kind == "wakeup_latency":
        begins = np.flatnonzero(events["type"] == EventType.WAKEUP)
        cpu = events["target_cpu"][begins]
    else:
        states = events["prev_state"][switches]
        begins = switches[np.isin(states, (PrevState.PREEMPTED, PrevState.RUNNABLE))]
        begins = begins[events["tid"][begins] > 0]
        cpu = events["cpu"][begins]
    came = switches[events["other_tid"][switches] > 0]
    first = _no_waits() if pending is None else pending
    # Per task in time order: where a wait begins (0) and a switch-in (1); what a switch ends comes first.
    tid = np.concatenate([first.tid, events["tid"][begins], events["other_tid"][came]]).astype(np.int64)
    when = np.concatenate([first.begin_ns, events["timestamp_ns"][begins], events["timestamp_ns"][came]])
    order = np.concatenate([np.full(len(first), -2), 2 * begins, 2 * came + 1])
    at_cpu = np.concatenate([first.cpu, cpu, np.zeros(len(came), np.int64)])
    is_end = np.arange(len(tid)) >= len(tid) - len(came)
    sort = np.lexsort((order, tid))
    tid, when, event = tid[sort], when[sort].astype(np.int64), order[sort] // 2
    at_cpu, is_end = at_cpu[sort].astype(np.int64), is_end[sort]
    index = np.flatnonzero(~is_end)
    follows = np.minimum(index + 1, max(len(tid) - 1, 0))
    ends = (follows > index) & (tid[follows] == tid[index]) & is_end[follows] if len(index) else is_end[index]
    end_ns, end_event = (np.where(ends, values[follows], -1) for values in (when, event))
    return Waits(tid[index], when[index], end_ns, at_cpu[index], event[index], end_event)


def _no_waits() -> Waits:
    return Waits(*(np.zeros(0, np.int64) for _ in fields(Waits)))
